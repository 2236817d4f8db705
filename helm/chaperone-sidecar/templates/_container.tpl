{{/*
The sidecar, one item of a pod's `initContainers` (or of `containers`, with `sidecar.native: false`). List it after a
mesh's proxy and before whatever asks for decisions: Kubernetes starts the next when this one has started.

The socket has mode 0660 and the group of the volume, so the pod needs a `securityContext.fsGroup`, and every container
that asks needs a `runAsUser` of its own: the kernel tells the sidecar that user, nobody else does.
*/}}
{{- define "chaperone.sidecar.container" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
{{- $tag := $values.image.tag | default (include "chaperone.sidecar.version" .) -}}
- name: chaperone
  {{- if $values.image.digest }}
  image: {{ printf "%s@%s" $values.image.repository $values.image.digest | quote }}
  {{- else }}
  image: {{ printf "%s:%s" $values.image.repository $tag | quote }}
  {{- end }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- if $values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args: [serve, --config, /etc/chaperone/chaperone.yaml]
  env:
    - name: RUST_LOG
      value: {{ $values.telemetry.log | quote }}
    {{- with $values.telemetry.otlpEndpoint }}
    - name: OTEL_EXPORTER_OTLP_ENDPOINT
      value: {{ . | quote }}
    - name: OTEL_SERVICE_NAME
      value: chaperone
    {{- end }}
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ int64 $values.sidecar.runAsUser }}
    runAsGroup: {{ int64 $values.sidecar.runAsGroup }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  ports:
    - name: health
      containerPort: {{ int $values.sidecar.healthPort }}
      protocol: TCP
  startupProbe:
    httpGet:
      path: /startupz
      port: health
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet:
      path: /readyz
      port: health
    periodSeconds: 5
    timeoutSeconds: 2
  livenessProbe:
    httpGet:
      path: /livez
      port: health
    periodSeconds: 10
    timeoutSeconds: 2
    failureThreshold: 6
  resources:
    {{- toYaml $values.sidecar.resources | nindent 4 }}
  volumeMounts:
    {{- include "chaperone.sidecar.socketMount" . | nindent 4 }}
    - name: chaperone-config
      mountPath: /etc/chaperone
      readOnly: true
    {{- if $values.policies.existingConfigMap }}
    - name: chaperone-policies
      mountPath: /srv/chaperone/policies
      readOnly: true
    {{- end }}
    {{- if $values.policies.existingSchemasConfigMap }}
    - name: chaperone-schemas
      mountPath: /srv/chaperone/schemas
      readOnly: true
    {{- end }}
    - name: chaperone-secrets
      mountPath: /run/secrets/chaperone
      readOnly: true
    - name: chaperone-audit
      mountPath: /var/lib/chaperone
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
The mount of the socket, one item of `volumeMounts`, for every container that asks.
*/}}
{{- define "chaperone.sidecar.socketMount" -}}
{{- $values := include "chaperone.sidecar.values" . | fromJson -}}
- name: chaperone-socket
  mountPath: {{ $values.sidecar.socketDir }}
{{- end -}}
