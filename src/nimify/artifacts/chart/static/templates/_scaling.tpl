{{/* Up at once, down slowly: a replica costs a load of the model, and a queue costs answers. */}}
{{- define "nimify.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .Values.autoscaling.behavior.scaleUpWindowSeconds }}
  selectPolicy: Max
  policies:
    - type: Percent
      value: 100
      periodSeconds: 15
    - type: Pods
      value: 4
      periodSeconds: 15
  {{- with .Values.autoscaling.tolerance }}
  tolerance: {{ . | quote }}
  {{- end }}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.behavior.scaleDownWindowSeconds }}
  selectPolicy: Min
  policies:
    - type: Percent
      value: 10
      periodSeconds: 60
    - type: Pods
      value: 1
      periodSeconds: 60
  {{- with .Values.autoscaling.tolerance }}
  tolerance: {{ . | quote }}
  {{- end }}
{{- end -}}
