{{/*
The ports that the daemon connects to, as {"ports": […], "unknown": […]}: those of the addresses in `config` and in the
variables of proxies and of OTLP. Addresses that the chart does not see, or whose port it does not know, have their names
in "unknown". HTTPS is always among the ports: most providers and receivers have it.
*/}}
{{- define "streamcanary.egress" -}}
{{- $variables := dict -}}
{{- $addresses := list -}}
{{- $unknown := list -}}
{{- range .Values.extraEnv -}}
{{- if .value -}}
{{- $_ := set $variables .name .value -}}
{{- end -}}
{{- if regexMatch "(?i)^(https?_proxy|all_proxy|OTEL_EXPORTER_OTLP_.*ENDPOINT)$" .name -}}
{{- $addresses = append $addresses (dict "name" (printf "the variable %s" .name) "value" (.value | default "unknown")) -}}
{{- end -}}
{{- end -}}
{{- if .Values.extraEnvFrom -}}
{{- $unknown = append $unknown "the variables of extraEnvFrom" -}}
{{- end -}}
{{- if .Values.existingConfigMap -}}
{{- $unknown = append $unknown (printf "the configuration in ConfigMap %s" .Values.existingConfigMap) -}}
{{- end -}}
{{- range $path := list "targets.*.base_url" "targets.*.endpoint" "targets.*.proxy" "alerts.receivers.*.url" "alerts.receivers.*.url_file" "alerts.receivers.*.urls.[]" "alerts.receivers.*.urls_file" "alerts.receivers.*.proxy" "telemetry.otlp.endpoint" "heartbeat.url" "heartbeat.url_file" "store.url" "store.url_file" -}}
{{- $found := list (dict "name" "config" "value" ($.Values.config | default dict)) -}}
{{- range $part := splitList "." $path -}}
{{- $next := list -}}
{{- range $item := $found -}}
{{- $next = concat $next (include "streamcanary.entries" (dict "item" $item "part" $part) | fromJsonArray) -}}
{{- end -}}
{{- $found = $next -}}
{{- end -}}
{{- $addresses = concat $addresses $found -}}
{{- end -}}
{{- $ports := list "443" -}}
{{- if .Values.database.existingSecret -}}
{{- $ports = append $ports (toString .Values.database.port) -}}
{{- end -}}
{{- range $address := $addresses -}}
{{- $text := ternary $address.value "a file" (kindIs "string" $address.value) -}}
{{- range $name, $value := $variables -}}
{{- $text = regexReplaceAll (printf "\\$\\{%s(:-[^{}]*)?\\}" $name) $text (replace "$" "$$" $value) -}}
{{- end -}}
{{- $text = regexReplaceAll "\\$\\{\\w+:-([^{}]*)\\}" $text "${1}" | lower -}}
{{- $authority := regexReplaceAll "^[a-z0-9+.-]+://" (regexFind "^([a-z0-9+.-]+://)?[^/?#]*" $text) "" -}}
{{- $port := trimPrefix ":" (regexFind ":[0-9]+$" $authority) -}}
{{- if not $port -}}
{{- $port = get (dict "http" "80" "https" "443" "postgres" "5432" "postgresql" "5432") (regexFind "^[a-z0-9+.-]+://" $text | trimSuffix "://") -}}
{{- end -}}
{{- if and $port (not (contains "${" $authority)) -}}
{{- $ports = append $ports $port -}}
{{- else if $address.value -}}
{{- $unknown = append $unknown $address.name -}}
{{- end -}}
{{- end -}}
{{ toJson (dict "ports" ($ports | uniq | sortAlpha) "unknown" ($unknown | uniq)) }}
{{- end }}
