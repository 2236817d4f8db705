{{/*
The sidecar's values, as JSON, wherever the application chart keeps them: under the alias `chaperone` or under the
name of this chart. What the schema cannot say is refused here.
*/}}
{{- define "chaperone.sidecar.values" -}}
{{- if semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "chaperone-sidecar needs Kubernetes 1.29 or later (native sidecars); this cluster is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $values := .Values.chaperone | default (index .Values "chaperone-sidecar") -}}
{{- if not $values -}}
{{- fail "chaperone-sidecar: no values found; list the dependency with `alias: chaperone` and set `chaperone:`" -}}
{{- end -}}
{{- if not $values.callers -}}
{{- fail "chaperone-sidecar: `callers` is empty, so nobody could ask; name the application and the user it runs as" -}}
{{- end -}}
{{- range $caller := $values.callers -}}
{{- range $uid := $caller.uids -}}
{{- if eq (int64 $uid) (int64 $values.sidecar.runAsUser) -}}
{{- fail (printf "chaperone-sidecar: caller `%s` runs as %d, the sidecar's own user; give it another, since callers are told apart by it" $caller.name (int64 $uid)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $withToken := 0 -}}
{{- range $caller := $values.callers -}}
{{- if $caller.tokenSecretRef -}}
{{- $withToken = add1 $withToken -}}
{{- if not $values.sidecar.tcp.enabled -}}
{{- fail (printf "chaperone-sidecar: caller `%s` has a token, but `sidecar.tcp.enabled` is false; a token counts on TCP alone" $caller.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.sidecar.tcp.enabled (not $withToken) -}}
{{- fail "chaperone-sidecar: `sidecar.tcp.enabled` without a caller that has a `tokenSecretRef`; on TCP a token is the only proof" -}}
{{- end -}}
{{- range $name := list "app" "store" -}}
{{- if not (index $values.sources $name).urlSecretRef.name -}}
{{- fail (printf "chaperone-sidecar: `sources.%s.urlSecretRef.name` is empty; name the Secret that holds the database's URL" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.audit.persistence "ephemeral") (not $values.audit.acceptEphemeral) -}}
{{- fail "chaperone-sidecar: `audit.persistence: ephemeral` loses the trail with the pod; use a claim, or set `audit.acceptEphemeral: true`" -}}
{{- end -}}
{{- if and (eq $values.audit.persistence "existingClaim") (not $values.audit.existingClaim) -}}
{{- fail "chaperone-sidecar: `audit.existingClaim` is empty; name the claim, or use `audit.persistence: claimTemplate`" -}}
{{- end -}}
{{- toJson $values -}}
{{- end -}}

{{/*
Name of the ConfigMap with the sidecar's configuration, at most 63 characters.
*/}}
{{- define "chaperone.sidecar.configName" -}}
{{- printf "%s-chaperone" (.Release.Name | trunc 53 | trimSuffix "-") -}}
{{- end -}}

{{/*
Labels of the objects this library renders.
*/}}
{{- define "chaperone.sidecar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: chaperone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ include "chaperone.sidecar.version" . | quote }}
app.kubernetes.io/component: sidecar
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- end -}}

{{/*
Version of Chaperone that this chart was made for. A library does not see its own Chart.yaml, so it is said twice;
helm/check.sh compares.
*/}}
{{- define "chaperone.sidecar.version" -}}
0.1.0
{{- end -}}
