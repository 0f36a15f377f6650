{{/* The configuration of the daemon as YAML, with what the chart adds to it. */}}
{{- define "streamcanary.config" -}}
{{- $fullname := include "streamcanary.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config -}}
{{- $config = .Files.Get "files/simulation.yaml" | fromYaml -}}
{{- end -}}
{{- if not (hasKey $config "instance") -}}
{{- $_ := set $config "instance" (ternary (printf "%s/%s/%s" (.Values.region | replace "$" "$$") $namespace $fullname) (printf "%s/%s" $namespace $fullname) (ne .Values.region "")) -}}
{{- end -}}
{{- $web := $config.web | default dict -}}
{{- $hosts := list $fullname (printf "%s.%s" $fullname $namespace) (printf "%s.%s.svc" $fullname $namespace) (printf "%s.%s.svc.cluster.local" $fullname $namespace) -}}
{{- $hosts = concat $hosts .Values.web.allowedHosts ($web.allowed_hosts | default list) | uniq -}}
{{- $_ := set $config "web" (merge (dict "allowed_hosts" $hosts) $web) -}}
{{- if include "streamcanary.isShared" . -}}
{{- $_ := set $config "store" (merge ($config.store | default dict) (dict "generation" .Release.Revision)) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{/* The key and the annotation-free data of the ConfigMap with the configuration. */}}
{{- define "streamcanary.configData" -}}
streamcanary.yaml: |
  {{- include "streamcanary.config" . | nindent 2 }}
{{- end }}

{{/* What of the configuration a running daemon cannot change, as JSON: a change of it replaces the pod. */}}
{{- define "streamcanary.restartConfig" -}}
{{- $config := include "streamcanary.config" . | fromYaml -}}
{{- $keys := .Files.Get "files/restart-keys.yaml" | fromYaml -}}
{{- range $key := $keys.reloadable -}}
{{- $section := $config -}}
{{- range initial (splitList "." $key) -}}
{{- $section = get ($section | default dict) . -}}
{{- end -}}
{{- if $section -}}
{{- $_ := unset $section (splitList "." $key | last) -}}
{{- end -}}
{{- end -}}
{{- $kept := dict -}}
{{- range $key := $keys.restart -}}
{{- $section := $config -}}
{{- range initial (splitList "." $key) -}}
{{- $section = get ($section | default dict) . -}}
{{- end -}}
{{- $last := splitList "." $key | last -}}
{{- if hasKey ($section | default dict) $last -}}
{{- $_ := set $kept $key (get $section $last) -}}
{{- end -}}
{{- end -}}
{{ toJson $kept }}
{{- end }}
