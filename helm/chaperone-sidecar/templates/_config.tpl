{{/*
The text of chaperone.yaml: what the values say, with `config` laid over it.
*/}}
{{- define "chaperone.sidecar.config" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
{{- $callers := list -}}
{{- range $caller := $values.callers -}}
{{- $entry := dict "name" $caller.name -}}
{{- with $caller.uids -}}
{{- $_ := set $entry "unix" (dict "uids" .) -}}
{{- end -}}
{{- if $caller.tokenSecretRef -}}
{{- $_ := set $entry "token_file" (printf "/run/secrets/chaperone/caller-%s-token" $caller.name) -}}
{{- end -}}
{{- with $caller.capabilities -}}
{{- $_ := set $entry "capabilities" . -}}
{{- end -}}
{{- $callers = append $callers $entry -}}
{{- end -}}
{{- $server := dict
  "unix" (dict "path" (printf "%s/pdp.sock" $values.sidecar.socketDir) "mode" "0660")
  "health" (dict "listen" (printf "0.0.0.0:%d" (int $values.sidecar.healthPort)))
-}}
{{- if $values.sidecar.tcp.enabled -}}
{{- $_ := set $server "tcp" (dict "listen" (printf "127.0.0.1:%d" (int $values.sidecar.tcp.port))) -}}
{{- end -}}
{{- $policies := dict
  "dir" (ternary "/srv/chaperone/policies" "/usr/share/chaperone/policies" (ne $values.policies.existingConfigMap ""))
  "schemas" (ternary "/srv/chaperone/schemas" "/usr/share/chaperone/schemas" (ne $values.policies.existingSchemasConfigMap ""))
-}}
{{- $audit := dict "dir" "/var/lib/chaperone/audit" "quota_bytes" (int64 $values.audit.quotaBytes) -}}
{{- if eq $values.audit.persistence "ephemeral" -}}
{{- $_ := set $audit "accept_ephemeral" true -}}
{{- end -}}
{{- $config := dict
  "server" $server
  "callers" $callers
  "policies" $policies
  "sources" (dict
    "app" (dict "url_file" "/run/secrets/chaperone/app-url")
    "store" (dict "url_file" "/run/secrets/chaperone/store-url"))
  "audit" $audit
-}}
{{- toYaml (mustMergeOverwrite $config $values.config) -}}
{{- end -}}

{{/*
The ConfigMap that the sidecar's container mounts.
*/}}
{{- define "chaperone.sidecar.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "chaperone.sidecar.configName" . }}
  labels:
    {{- include "chaperone.sidecar.labels" . | nindent 4 }}
data:
  chaperone.yaml: |
    {{- include "chaperone.sidecar.config" . | nindent 4 }}
{{- end -}}

{{/*
Annotations of the pod. The configuration is read once, at start: its digest makes a change start new pods. Policies
are followed as they change and need no restart.
*/}}
{{- define "chaperone.sidecar.annotations" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
checksum/chaperone-config: {{ include "chaperone.sidecar.config" . | sha256sum }}
{{- if $values.telemetry.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ $values.sidecar.healthPort | int | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end -}}
