{{/*
What the schema cannot say: rules over several values, and over the cluster. Each refusal names the value and the way
out. `helm lint` only notes them, so the chart lints as it stands, before anybody has named an image.
*/}}
{{- define "nimify.checks" -}}
{{- $v := .Values -}}
{{- $kube := .Capabilities.KubeVersion.Version -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is empty: name the image that `nimify build` made, e.g. --set image.repository=registry.example.com/team/my-service" -}}
{{- end -}}
{{- if and (ne $v.autoscaling.mode "none") (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- fail (printf "autoscaling.maxReplicas (%d) is below autoscaling.minReplicas (%d)" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if and $v.podDisruptionBudget.enabled (lt (int $v.podDisruptionBudget.maxUnavailable) 1) -}}
{{- fail "podDisruptionBudget.maxUnavailable must be at least 1: 0 would block every drain of a node" -}}
{{- end -}}
{{- if and (eq (int $v.rollout.maxUnavailable) 0) (eq (int $v.rollout.maxSurge) 0) -}}
{{- fail "rollout.maxUnavailable and rollout.maxSurge are both 0: no rollout could take a step" -}}
{{- end -}}
{{- range $name, $probe := $v.probes -}}
{{- if gt (int $probe.timeoutSeconds) (int $probe.periodSeconds) -}}
{{- fail (printf "probes.%s.timeoutSeconds is longer than its periodSeconds" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.modelDelivery.mode "imageVolume") (semverCompare "<1.33.0-0" $kube) -}}
{{- fail (printf "modelDelivery.mode imageVolume needs Kubernetes 1.33 or newer, and this is %s: use baked or pvc" $kube) -}}
{{- end -}}
{{- if and (eq $v.gpu.mode "dra") (semverCompare "<1.34.0-0" $kube) -}}
{{- fail (printf "gpu.mode dra needs Kubernetes 1.34 or newer, and this is %s: use devicePlugin" $kube) -}}
{{- end -}}
{{- if and $v.autoscaling.tolerance (semverCompare "<1.35.0-0" $kube) -}}
{{- fail (printf "autoscaling.tolerance needs Kubernetes 1.35 or newer, and this is %s" $kube) -}}
{{- end -}}
{{- if and $v.tls.enabled (or $v.gateway.enabled) (not $v.gateway.backendTLS.enabled) -}}
{{- fail "tls.enabled with gateway.enabled also needs gateway.backendTLS, so that the gateway speaks TLS to the service" -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) $v.serviceAccount.annotations -}}
{{- fail "serviceAccount.annotations are given, but serviceAccount.create is false" -}}
{{- end -}}
{{- $ports := list (int $v.service.httpPort) (int $v.service.grpcPort) 8002 -}}
{{- if ne (len ($ports | uniq)) 3 -}}
{{- fail "service.httpPort, service.grpcPort and 8002 (metrics of Triton) must differ" -}}
{{- end -}}
{{- if and (ne $v.monitoring.scrape "none") (gt (include "nimify.seconds" $v.monitoring.scrapeTimeout | int) (include "nimify.seconds" $v.monitoring.interval | int)) -}}
{{- fail "monitoring.scrapeTimeout is longer than monitoring.interval" -}}
{{- end -}}
{{- range $name := list "cpu" "memory" "ephemeral-storage" -}}
{{- $request := index $v.resources.requests $name -}}
{{- $limit := index $v.resources.limits $name -}}
{{- if and $limit (lt (include "nimify.amount" $limit | float64) (include "nimify.amount" $request | float64)) -}}
{{- fail (printf "resources.limits.%s (%v) is below resources.requests.%s (%v)" $name $limit $name $request) -}}
{{- end -}}
{{- end -}}
{{- include "nimify.checks.names" . -}}
{{- end -}}

{{/* A duration of one unit in seconds. */}}
{{- define "nimify.seconds" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]$" .)) -}}
{{- end -}}

{{/* A quantity of Kubernetes as a plain number. */}}
{{- define "nimify.amount" -}}
{{- $text := toString . -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- mulf (float64 (trimSuffix $unit $text)) (ternary 1.0 (get $units $unit) (eq $unit "")) -}}
{{- end -}}

{{/* Kubernetes applies on the server's side, where a name that is there twice is an error, or wins by chance. */}}
{{- define "nimify.checks.names" -}}
{{- $names := list "NIM_HTTP_API_PORT" "NIM_GRPC_API_PORT" "NIM_SERVER_PORT" "NIM_TRITON_GRPC_PORT" "NIM_TRITON_METRICS_PORT" "PORT" "NIM_CACHE_PATH" "NIM_LOG_LEVEL" "NIM_JSONL_LOGGING" "NIM_SSL_MODE" "NIM_SSL_CERTS_PATH" "NIM_SSL_KEY_PATH" "NIMIFY_API_KEYS_FILE" -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv: %s is set by the chart, or given twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $volumes := list "tmp" "cache" "shm" "model" "api-keys" "tls" -}}
{{- range $volume := .Values.extraVolumes -}}
{{- if has .name $volumes -}}
{{- fail (printf "extraVolumes: '%s' is a volume of the chart, or given twice" .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- $mounted := false -}}
{{- range $mount := $.Values.extraVolumeMounts -}}
{{- if eq $mount.name $volume.name }}{{ $mounted = true }}{{ end -}}
{{- end -}}
{{- if not $mounted -}}
{{- fail (printf "extraVolumes: '%s' is mounted nowhere" .name) -}}
{{- end -}}
{{- end -}}
{{- $paths := list "/tmp" "/opt/nim/.cache" "/dev/shm" "/etc/nimify/api-keys" "/etc/nimify/tls" (trimSuffix "/" .Values.modelDelivery.mountPath) -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "extraVolumeMounts: there is no volume '%s'" .name) -}}
{{- end -}}
{{- $path := trimSuffix "/" .mountPath -}}
{{- if has $path $paths -}}
{{- fail (printf "extraVolumeMounts: %s is mounted by the chart, or given twice" $path) -}}
{{- end -}}
{{- $paths = append $paths $path -}}
{{- end -}}
{{- end -}}
