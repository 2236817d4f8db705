{{/*
The volumes of the sidecar, items of a pod's `volumes`. ConfigMaps are mounted as folders: a `subPath` would never see
a change. With `audit.persistence: claimTemplate` the trail's volume comes from the StatefulSet instead.
*/}}
{{- define "chaperone.sidecar.volumes" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
- name: chaperone-socket
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: chaperone-config
  configMap:
    name: {{ include "chaperone.sidecar.configName" . }}
{{- if $values.policies.existingConfigMap }}
- name: chaperone-policies
  configMap:
    name: {{ tpl $values.policies.existingConfigMap . }}
{{- end }}
{{- if $values.policies.existingSchemasConfigMap }}
- name: chaperone-schemas
  configMap:
    name: {{ tpl $values.policies.existingSchemasConfigMap . }}
{{- end }}
- name: chaperone-secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name := list "app" "store" }}
      {{- $ref := (index $values.sources $name).urlSecretRef }}
      - secret:
          name: {{ tpl $ref.name $ }}
          items:
            - key: {{ $ref.key }}
              path: {{ $name }}-url
      {{- end }}
      {{- range $caller := $values.callers }}
      {{- with $caller.tokenSecretRef }}
      - secret:
          name: {{ tpl .name $ }}
          items:
            - key: {{ .key }}
              path: caller-{{ $caller.name }}-token
      {{- end }}
      {{- end }}
{{- if eq $values.audit.persistence "existingClaim" }}
- name: chaperone-audit
  persistentVolumeClaim:
    claimName: {{ tpl $values.audit.existingClaim . }}
{{- else if eq $values.audit.persistence "ephemeral" }}
- name: chaperone-audit
  emptyDir:
    sizeLimit: {{ $values.audit.size }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The claim of the trail, an item of a StatefulSet's `volumeClaimTemplates`; nothing unless
`audit.persistence: claimTemplate`. One pod writes one folder, hence ReadWriteOncePod.
*/}}
{{- define "chaperone.sidecar.volumeClaimTemplates" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
{{- if eq $values.audit.persistence "claimTemplate" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: chaperone-audit
  spec:
    accessModes: [ReadWriteOncePod]
    {{- with $values.audit.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $values.audit.size }}
{{- end -}}
{{- end -}}
