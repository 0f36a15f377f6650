{{/*
The rule groups without `prometheusRule.groups`: the built-in rules (files/rules.yaml), and an alert for each rule of
`config`. The daemon decides when they fire, since PromQL cannot express all of them.
*/}}
{{- define "streamcanary.ruleGroups" -}}
{{- $rules := dig "alerts" "rules" dict (.Values.config | default dict) -}}
{{- if include "streamcanary.isSimulation" . -}}
{{- $rules = dig "alerts" "rules" dict (.Files.Get "files/simulation.yaml" | fromYaml) -}}
{{- end -}}
{{- $groups := list -}}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).groups -}}
{{- if not (hasKey $rules (trimPrefix "streamcanary." .name)) -}}
{{- $groups = append $groups . -}}
{{- end -}}
{{- end -}}
{{- range $name, $rule := $rules -}}
{{- $rule = $rule | default dict -}}
{{- if ne (dig "enabled" true $rule) false -}}
{{- $summary := "{{ $labels.canary }}{{ $labels.receiver }}: streamcanary reports RULE" | replace "RULE" $name -}}
{{- $annotations := dict "summary" $summary -}}
{{- with dig "annotations" "runbook_url" "" $rule -}}
{{- if not (contains "{" .) -}}
{{- $_ := set $annotations "runbook_url" . -}}
{{- end -}}
{{- end -}}
{{- $expr := printf "max by (canary, target, provider, receiver, severity, job, namespace) (streamcanary_alert_active{alert=%q}) == 1" $name -}}
{{- $alert := dict "alert" $name "expr" $expr "annotations" $annotations -}}
{{- $groups = append $groups (dict "name" (printf "streamcanary.%s" $name) "interval" "30s" "rules" (list $alert)) -}}
{{- end -}}
{{- end -}}
{{ toYaml $groups }}
{{- end }}
