{{/* An endpoint of a PodMonitor or ServiceMonitor: "root", "monitor". */}}
{{- define "streamcanary.scrapeEndpoint" -}}
port: web
path: /metrics
interval: {{ .monitor.interval | quote }}
scrapeTimeout: {{ .monitor.scrapeTimeout | quote }}
authorization:
  type: Bearer
  credentials:
    name: {{ include "streamcanary.tokenSecretName" .root | quote }}
    key: {{ .root.Values.web.tokenSecret.key | quote }}
{{- with .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
