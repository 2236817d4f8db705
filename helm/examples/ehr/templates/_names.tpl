{{- define "ehr.selector" -}}
app.kubernetes.io/name: ehr
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ehr.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ehr.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: ehr
{{- end -}}
