{{/*
Secrets that are written into `config`, and so would be into a ConfigMap, and into the release. A message has the key of a
secret, and never its value.
*/}}
{{- define "streamcanary.literalSecretProblems" -}}
{{- $problems := list -}}
{{- range $path := (.Files.Get "files/secret-keys.yaml" | fromYaml).secrets -}}
{{- $found := list (dict "name" "config" "value" ($.Values.config | default dict)) -}}
{{- range $part := splitList "." $path -}}
{{- $next := list -}}
{{- range $item := $found -}}
{{- $next = concat $next (include "streamcanary.entries" (dict "item" $item "part" $part) | fromJsonArray) -}}
{{- end -}}
{{- $found = $next -}}
{{- end -}}
{{- range $found -}}
{{- if include "streamcanary.isLiteralSecret" (dict "path" $path "name" .name "value" .value) -}}
{{- $problems = append $problems (printf "%s: a secret would be readable in a ConfigMap. Write it into a key of a Secret (secret.existing), and refer to it: {file: /secrets/KEY}, or ${KEY} with secret.env: [KEY]" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{/* What "part" of a path selects below "item", with names: a key; `*`, every key; `*:slack`, those of a type; `[]`. */}}
{{- define "streamcanary.entries" -}}
{{- $entries := list -}}
{{- $item := .item -}}
{{- $part := splitList ":" .part | first -}}
{{- $type := trimPrefix $part .part | trimPrefix ":" -}}
{{- if and (eq $part "[]") (kindIs "slice" $item.value) -}}
{{- range $number, $value := $item.value -}}
{{- $entries = append $entries (dict "name" (printf "%s[%d]" $item.name $number) "value" $value) -}}
{{- end -}}
{{- else if kindIs "map" $item.value -}}
{{- range $key, $value := $item.value -}}
{{- if or (eq $part $key) (eq $part "*") -}}
{{- if or (not $type) (and (kindIs "map" $value) (eq $type (toString (get $value "type")))) -}}
{{- $entries = append $entries (dict "name" (printf "%s.%s" $item.name $key) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $entries }}
{{- end }}

{{/*
Whether "value", at "path" and with the "name", is a secret: "true", or nothing. Variables are none, but their defaults may
be. A word such as `none` is too short for a secret; a header needs a name like authorization; an address needs a password,
a query, or a part that looks like a token; that of a database needs a password. The address of a Slack webhook always is one.
*/}}
{{- define "streamcanary.isLiteralSecret" -}}
{{- if kindIs "string" .value -}}
{{- $text := regexReplaceAll "\\$\\{\\w+(?::-([^{}]*))?\\}" .value "${1}" -}}
{{- $text = regexReplaceAll "^(?i:bearer|basic) *" $text "" -}}
{{- if hasSuffix ".headers.*" .path -}}
{{- if and (regexMatch "(?i)auth|key|token|secret|cookie|passw|credential" (splitList ".headers." .name | last)) (ge (len $text) 8) -}}true{{- end -}}
{{- else if hasSuffix ".proxy" .path -}}
{{- if regexMatch "://[^/]*:[^/]+@" $text -}}true{{- end -}}
{{- else if eq .path "store.url" -}}
{{- if regexMatch "://[^/?#]*:[^/?#@]+@|[?&]password=[^&]" $text -}}true{{- end -}}
{{- else if has .path (list "alerts.receivers.*:webhook.url" "heartbeat.url") -}}
{{- if regexMatch "@|[?]|//[^/]+/.*[A-Za-z0-9_-]{20}" $text -}}true{{- end -}}
{{- else if hasSuffix ".urls.[]" .path -}}
{{- if regexMatch "://.{8}" $text -}}true{{- end -}}
{{- else if ge (len $text) 8 -}}
true
{{- end -}}
{{- end -}}
{{- end }}
