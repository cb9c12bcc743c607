{{/* The parts of the pod that are too long to stand in the Deployment. */}}

{{- define "nimify.env" -}}
- name: NIM_HTTP_API_PORT
  value: {{ .Values.service.httpPort | quote }}
- name: NIM_GRPC_API_PORT
  value: {{ .Values.service.grpcPort | quote }}
{{- if eq .Values.family "triton" }}
- name: NIM_TRITON_METRICS_PORT
  value: "8002"
{{- end }}
- name: NIM_CACHE_PATH
  value: /opt/nim/.cache
- name: NIM_LOG_LEVEL
  value: {{ .Values.logLevel | upper | quote }}
- name: NIM_JSONL_LOGGING
  value: "1"
{{- if .Values.apiKeys.enabled }}
- name: NIMIFY_API_KEYS_FILE
  value: /etc/nimify/api-keys
{{- end }}
{{- if .Values.tls.enabled }}
- name: NIM_SSL_MODE
  value: TLS
- name: NIM_SSL_CERTS_PATH
  value: /etc/nimify/tls/tls.crt
- name: NIM_SSL_KEY_PATH
  value: /etc/nimify/tls/tls.key
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "nimify.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: cache
  mountPath: /opt/nim/.cache
{{- if eq .Values.family "triton" }}
- name: shm
  mountPath: /dev/shm
{{- end }}
{{- if ne .Values.modelDelivery.mode "baked" }}
- name: model
  mountPath: {{ .Values.modelDelivery.mountPath | quote }}
  readOnly: true
  {{- with .Values.modelDelivery.subPath }}
  subPath: {{ . | quote }}
  {{- end }}
{{- end }}
{{- if .Values.apiKeys.enabled }}
- name: api-keys
  mountPath: /etc/nimify/api-keys
  readOnly: true
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: /etc/nimify/tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "nimify.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.scratch.tmp | quote }}
- name: cache
  emptyDir:
    sizeLimit: {{ .Values.scratch.cache | quote }}
{{- if eq .Values.family "triton" }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.scratch.shm | quote }}
{{- end }}
{{- if eq .Values.modelDelivery.mode "imageVolume" }}
- name: model
  image:
    reference: {{ .Values.modelDelivery.image | quote }}
    pullPolicy: {{ .Values.modelDelivery.pullPolicy }}
{{- else if eq .Values.modelDelivery.mode "pvc" }}
- name: model
  persistentVolumeClaim:
    claimName: {{ .Values.modelDelivery.claimName | quote }}
    readOnly: true
{{- end }}
{{- if .Values.apiKeys.enabled }}
- name: api-keys
  secret:
    secretName: {{ include "nimify.apiKeysSecret" . | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* One probe: root, and the name of the probe. */}}
{{- define "nimify.probe" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
httpGet:
  path: {{ ternary "/v1/health/live" "/v1/health/ready" (eq $name "liveness") }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" $root.Values.tls.enabled }}
{{ toYaml (index $root.Values.probes $name) }}
{{- end -}}

{{- define "nimify.resources" -}}
{{- $limits := deepCopy (default (dict) .Values.resources.limits) -}}
{{- if eq .Values.gpu.mode "devicePlugin" -}}
{{- $_ := set $limits .Values.gpu.resourceName (int .Values.gpu.count) -}}
{{- end -}}
requests: {{ toJson .Values.resources.requests }}
limits: {{ toJson $limits }}
{{- if eq .Values.gpu.mode "dra" }}
claims:
  - name: gpu
{{- end }}
{{- end -}}

{{- define "nimify.tolerations" -}}
{{- $tolerations := .Values.tolerations -}}
{{- if ne .Values.gpu.mode "none" -}}
{{- $tolerations = prepend $tolerations (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with $tolerations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "nimify.affinity" -}}
{{- if .Values.affinity -}}
{{ toYaml .Values.affinity }}
{{- else -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "nimify.selectorLabels" . | nindent 12 }}
{{- end -}}
{{- end -}}

{{/* Over one kind of place: root, and the label of the place. */}}
{{- define "nimify.spread" -}}
- maxSkew: 1
  topologyKey: {{ index . 1 }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "nimify.selectorLabels" (index . 0) | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end -}}
