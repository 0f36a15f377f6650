{{/* The configuration of the daemon as YAML, with what the chart adds to it. */}}
{{- define "streamcanary.config" -}}
{{- $fullname := include "streamcanary.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config -}}
{{- $config = .Files.Get "files/simulation.yaml" | fromYaml -}}
{{- end -}}
{{- if not (hasKey $config "instance") -}}
{{- $_ := set $config "instance" (printf "%s/%s" $namespace $fullname) -}}
{{- end -}}
{{- $web := $config.web | default dict -}}
{{- $hosts := list $fullname (printf "%s.%s" $fullname $namespace) (printf "%s.%s.svc" $fullname $namespace) (printf "%s.%s.svc.cluster.local" $fullname $namespace) -}}
{{- $hosts = concat $hosts .Values.web.allowedHosts ($web.allowed_hosts | default list) | uniq -}}
{{- $_ := set $config "web" (merge (dict "allowed_hosts" $hosts) $web) -}}
{{ toYaml $config }}
{{- end }}

{{/* The key and the annotation-free data of the ConfigMap with the configuration. */}}
{{- define "streamcanary.configData" -}}
streamcanary.yaml: |
  {{- include "streamcanary.config" . | nindent 2 }}
{{- end }}
