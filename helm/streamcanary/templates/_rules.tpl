{{/*
The rule groups without `prometheusRule.groups`: the built-in rules (files/rules.yaml), and an alert for each rule of
`config`. The daemon decides when they fire, since PromQL cannot express all of them.
The last built-in alert, for a daemon without metrics, is about that of this release if the chart has the monitor that
scrapes it: other daemons have other values of `job`, which the Prometheus operator sets to that of the Service, or to
NAMESPACE/NAME of the PodMonitor.
*/}}
{{- define "streamcanary.ruleGroups" -}}
{{- $rules := dig "alerts" "rules" dict (.Values.config | default dict) -}}
{{- if include "streamcanary.isSimulation" . -}}
{{- $rules = dig "alerts" "rules" dict (.Files.Get "files/simulation.yaml" | fromYaml) -}}
{{- end -}}
{{- $fullname := include "streamcanary.fullname" . -}}
{{- $isMonitored := or .Values.podMonitor.enabled .Values.serviceMonitor.enabled -}}
{{- $series := printf "streamcanary_canary_info{namespace=%q, job=~\"(%s/)?%s\"}" .Release.Namespace .Release.Namespace $fullname -}}
{{- $absent := printf "The streamcanary daemon %s/%s has no metrics: outages are not detected" .Release.Namespace $fullname -}}
{{- $groups := list -}}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).groups -}}
{{- if not (hasKey $rules (trimPrefix "streamcanary." .name)) -}}
{{- $rule := first .rules -}}
{{- if and $isMonitored (eq $rule.alert "StreamcanaryAbsent") -}}
{{- $_ := set $rule "expr" (printf "absent(%s)" $series) -}}
{{- $_ := set $rule.annotations "summary" $absent -}}
{{- end -}}
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
