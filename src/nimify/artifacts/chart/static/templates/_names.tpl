{{/*
Names and labels. A name may carry a suffix of at most nine characters within the 63 that Kubernetes allows; one that
would start with a digit gets a letter before it, because a Service may not.
*/}}
{{- define "nimify.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "nimify.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
  {{- $own := include "nimify.name" . -}}
  {{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $own) (contains $own .Release.Name) -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "n-%s" $name }}{{ end -}}
{{- $name | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "nimify.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "nimify.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods; never changes over the life of a release. */}}
{{- define "nimify.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nimify.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Of the helm test: nothing that the Service or the Deployment would take for its own. */}}
{{- define "nimify.testLabels" -}}
app.kubernetes.io/name: {{ include "nimify.name" . | trunc 58 | trimSuffix "-" | printf "%s-test" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "nimify.labels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end -}}
{{ include "nimify.selectorLabels" . }}
app.kubernetes.io/version: {{ include "nimify.labelValue" .Values.model.version }}
app.kubernetes.io/component: inference
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ include "nimify.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- end -}}

{{/* Any text as the value of a label. */}}
{{- define "nimify.labelValue" -}}
{{- regexReplaceAll "[^A-Za-z0-9_.-]" . "_" | trunc 63 | trimAll "_.-" | quote -}}
{{- end -}}

{{- define "nimify.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (regexReplaceAll "[^A-Za-z0-9_.-]" .Values.model.version "-") $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "nimify.apiKeysSecret" -}}
{{- if .Values.apiKeys.externalSecret.enabled -}}
{{- include "nimify.fullname" . }}-api-keys
{{- else -}}
{{- .Values.apiKeys.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* How many replicas there are at least. */}}
{{- define "nimify.leastReplicas" -}}
{{- ternary .Values.replicaCount .Values.autoscaling.minReplicas (eq .Values.autoscaling.mode "none") -}}
{{- end -}}
