{{/* The objects beside the pod: the ConfigMap, and what Prometheus needs. */}}
{{- define "streamcanary-sidecar.objects" -}}
{{- $objects := list -}}
{{- range $template := list "configmap" "podmonitor" "prometheusrule" -}}
{{- with include (printf "streamcanary-sidecar.%s" $template) $ | trim -}}
{{- $objects = append $objects . -}}
{{- end -}}
{{- end -}}
{{ join "\n---\n" $objects }}
{{- end }}

{{/* The ConfigMap with the configuration; nothing with `existingConfigMap`. */}}
{{- define "streamcanary-sidecar.configmap" -}}
{{- $context := dict "root" (.root | default .) "spec" dict -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- if and $context.values.enabled (not $context.values.existingConfigMap) -}}
{{- include "streamcanary-sidecar.validate" $context -}}
{{- $config := deepCopy ($context.values.config | default dict) -}}
{{- if not (hasKey $config "instance") -}}
{{- $_ := set $config "instance" (printf "%s/%s" $context.root.Release.Namespace $context.instance) -}}
{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "streamcanary-sidecar.metadata" $context | nindent 2 }}
data:
  streamcanary.yaml: |
    {{- toYaml $config | nindent 4 }}
{{- end }}
{{- end }}

{{/* The PodMonitor, if it is enabled. */}}
{{- define "streamcanary-sidecar.podmonitor" -}}
{{- $context := dict "root" (.root | default .) -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- $values := $context.values -}}
{{- if and $values.enabled $values.podMonitor.enabled -}}
{{- $_ := set $context "labels" $values.podMonitor.labels -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "streamcanary-sidecar.metadata" $context | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- toYaml ($values.podMonitor.matchLabels | default (dict "app.kubernetes.io/instance" $context.root.Release.Name)) | nindent 6 }}
  podMetricsEndpoints:
    - port: streamcanary
      path: /metrics
      interval: {{ $values.podMonitor.interval | quote }}
      scrapeTimeout: {{ $values.podMonitor.scrapeTimeout | quote }}
      authorization:
        type: Bearer
        credentials:
          name: {{ $values.metrics.tokenSecret.name | quote }}
          key: {{ $values.metrics.tokenSecret.key | quote }}
{{- end }}
{{- end }}

{{/*
The PrometheusRule, if it is enabled. The job of the sidecars is NAMESPACE/NAME: over OTLP that of the service, and
that of the PodMonitor if Prometheus scrapes them.
*/}}
{{- define "streamcanary-sidecar.prometheusrule" -}}
{{- $context := dict "root" (.root | default .) -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- $rule := $context.values.prometheusRule -}}
{{- if and $context.values.enabled $rule.enabled -}}
{{- $_ := set $context "labels" $rule.labels -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "streamcanary-sidecar.metadata" $context | nindent 2 }}
spec:
  groups:
    {{- with $rule.groups }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    {{- $jobs := printf "%s/%s" $context.root.Release.Namespace $context.name }}
    {{- toYaml ($context.files.Get "files/rules.yaml" | replace "FLEET_JOBS" $jobs | fromYaml).groups | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
