{{/*
What values.schema.json cannot say: values that contradict each other. All problems are reported at once, each with what
to change. The daemon checks the configuration itself (templates/check.yaml).
*/}}
{{- define "streamcanary.validate" -}}
{{- $problems := concat (include "streamcanary.valueProblems" . | fromJsonArray) (include "streamcanary.configProblems" . | fromJsonArray) (include "streamcanary.secretProblems" . | fromJsonArray) (include "streamcanary.literalSecretProblems" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "these values are refused:\n\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}

{{- define "streamcanary.valueProblems" -}}
{{- $problems := list -}}
{{- $values := .Values -}}
{{- $image := $values.image -}}
{{- $last := splitList "/" $image.repository | last -}}
{{- if or (contains ":" $last) (contains "@" $last) -}}
{{- $problems = append $problems (printf "image.repository is %s, with a tag or a digest; write these into image.tag or image.digest" $image.repository) -}}
{{- end -}}
{{- if contains "@" $image.tag -}}
{{- $problems = append $problems (printf "image.tag is %s, with a digest; write the digest into image.digest, and leave image.tag empty" $image.tag) -}}
{{- else if and $image.tag $image.digest -}}
{{- $problems = append $problems (printf "image.tag is %s and image.digest is %s: nodes pull the digest and ignore the tag, so the two may disagree; remove one of them" $image.tag $image.digest) -}}
{{- end -}}
{{- if and $values.config $values.existingConfigMap -}}
{{- $problems = append $problems (printf "both config and existingConfigMap (%s) are set; remove one of them" $values.existingConfigMap) -}}
{{- end -}}
{{- if and $values.existingConfigMap (eq $values.reload "checksum") -}}
{{- $problems = append $problems "reload is checksum with existingConfigMap, whose content the chart does not see; use reload: hot" -}}
{{- end -}}
{{- if and $values.existingConfigMap $values.web.allowedHosts -}}
{{- $problems = append $problems (printf "web.allowedHosts has no effect on the ConfigMap %s; write the names into web.allowed_hosts of its configuration" $values.existingConfigMap) -}}
{{- end -}}
{{- if and $values.region (hasKey $values.config "region") (ne $values.region (toString $values.config.region)) -}}
{{- $problems = append $problems (printf "region is %s and config.region is %s; remove one of them" $values.region (toString $values.config.region)) -}}
{{- end -}}
{{- if and (gt (int $values.replicas) 1) (not (include "streamcanary.isShared" .)) -}}
{{- $problems = append $problems (printf "replicas is %d, and there is no database that the pods could share: each would probe everything, and notify. Set database.existingSecret, the name of a Secret with the URL of a PostgreSQL database, or replicas: 1. To probe from several places, install the chart once in each, with another region" (int $values.replicas)) -}}
{{- end -}}
{{- if and $values.database.existingSecret $values.persistence.existingClaim -}}
{{- $problems = append $problems (printf "persistence.existingClaim is %s, and the store is in the database of database.existingSecret; remove one of them. streamcanary migrate-store copies a store" $values.persistence.existingClaim) -}}
{{- end -}}
{{- if and $values.secret.create $values.secret.existing -}}
{{- $problems = append $problems (printf "secret.create is true and secret.existing is %s; keep one of them" $values.secret.existing) -}}
{{- end -}}
{{- if and $values.secret.data (not $values.secret.create) -}}
{{- $problems = append $problems "secret.data is not used without secret.create: true" -}}
{{- end -}}
{{- if and $values.csi.enabled (not $values.csi.secretProviderClass) -}}
{{- $problems = append $problems "csi.enabled needs csi.secretProviderClass, the name of a SecretProviderClass" -}}
{{- end -}}
{{- if and $values.podMonitor.enabled $values.serviceMonitor.enabled -}}
{{- $problems = append $problems "podMonitor and serviceMonitor are both enabled: everything would be counted twice; enable one of them" -}}
{{- end -}}
{{- $fullname := include "streamcanary.fullname" . -}}
{{- if and $values.service.enabled (not (regexMatch "^[a-z]" $fullname)) -}}
{{- $problems = append $problems (printf "the Service would have the name %s, and that of a Service begins with a letter; set fullnameOverride" $fullname) -}}
{{- end -}}
{{- if and $values.serviceMonitor.enabled (not $values.service.enabled) -}}
{{- $problems = append $problems "serviceMonitor needs service.enabled: true; or use podMonitor" -}}
{{- end -}}
{{- range $name := list "podMonitor" "serviceMonitor" -}}
{{- $monitor := index $values $name -}}
{{- if gt (include "streamcanary.milliseconds" $monitor.scrapeTimeout | int64) (include "streamcanary.milliseconds" $monitor.interval | int64) -}}
{{- $problems = append $problems (printf "%s.scrapeTimeout is %s, more than the interval of %s: Prometheus would refuse it; lower it" $name $monitor.scrapeTimeout $monitor.interval) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^(127[.]|localhost$|::1$)" $values.web.host -}}
{{- $problems = append $problems (printf "web.host is %s: neither the probes of the kubelet nor Prometheus reach the loopback of the pod; use 0.0.0.0 or ::" $values.web.host) -}}
{{- end -}}
{{- $budget := $values.podDisruptionBudget -}}
{{- $replicas := int $values.replicas -}}
{{- if include "streamcanary.hasBudget" . -}}
{{- $minimum := toString $budget.minAvailable -}}
{{- $maximum := toString $budget.maxUnavailable -}}
{{- $limit := $minimum | default $maximum -}}
{{- $count := int (trimSuffix "%" $limit) -}}
{{- if hasSuffix "%" $limit -}}
{{- $count = int (ceil (divf (mulf $count $replicas) 100)) -}}{{/* as Kubernetes rounds both */}}
{{- end -}}
{{- $evicted := ternary (sub $replicas $count) $count (ne $minimum "") -}}
{{- if and (gt $replicas 1) (ge (int $evicted) $replicas) -}}
{{- $problems = append $problems (printf "podDisruptionBudget.%s is %s with %d replicas: all pods could be evicted at once, and nothing would run; use maxUnavailable: 1" (ternary "minAvailable" "maxUnavailable" (ne $minimum "")) $limit $replicas) -}}
{{- end -}}
{{- if $minimum -}}
{{- if ge $count $replicas -}}
{{- $problems = append $problems (printf "podDisruptionBudget.minAvailable is %s with %d replicas: no node with the pod could be drained; use maxUnavailable: 1" $minimum $replicas) -}}
{{- end -}}
{{- else if not (int (trimSuffix "%" $maximum)) -}}
{{- $problems = append $problems (printf "podDisruptionBudget.maxUnavailable is %s: no node with the pod could be drained; use maxUnavailable: 1" ($maximum | default "empty")) -}}
{{- end -}}
{{- end -}}
{{- $selectors := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" -}}
{{- range $name, $labels := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels "podMonitor.labels" $values.podMonitor.labels "serviceMonitor.labels" $values.serviceMonitor.labels "prometheusRule.labels" $values.prometheusRule.labels "dashboards.labels" $values.dashboards.labels -}}
{{- range $label := $selectors -}}
{{- if hasKey $labels $label -}}
{{- $problems = append $problems (printf "%s has %s, by which the chart selects its objects; use another label" $name $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $owned := list "POD_NAME" "POD_NAMESPACE" "POD_UID" "POD_IP" "NODE_NAME" "CONTAINER_NAME" "STREAMCANARY_WEB__HOST" "STREAMCANARY_WEB__PORT" "STREAMCANARY_WEB__TOKEN" "STREAMCANARY_WEB__TOKEN_FILE" "STREAMCANARY_STORE__PATH" "STREAMCANARY_STORE__REPLICA" "STREAMCANARY_STORE__URL_FILE" "STREAMCANARY_REGION" -}}
{{- $seen := dict -}}
{{- range $place, $names := dict "secret.env" $values.secret.env "extraEnv" (include "streamcanary.names" $values.extraEnv | fromJsonArray) -}}
{{- range $variable := $names -}}
{{- if has $variable $owned -}}
{{- $problems = append $problems (printf "%s has %s, which the chart sets; use the values web, persistence, database and config" $place $variable) -}}
{{- else if hasKey $seen $variable -}}
{{- $problems = append $problems (printf "%s has %s, and so has %s; keep one of them" $place $variable (get $seen $variable)) -}}
{{- end -}}
{{- $_ := set $seen $variable $place -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{- define "streamcanary.configProblems" -}}
{{- $problems := list -}}
{{- $config := .Values.config -}}
{{- if $config -}}
{{- $targets := $config.targets | default dict -}}
{{- $canaries := $config.canaries | default dict -}}
{{- $known := keys $targets | sortAlpha | join ", " | default "none" -}}
{{- range $section := list "targets" "canaries" -}}
{{- if not (index $config $section) -}}
{{- $problems = append $problems (printf "config.%s: needs at least one entry; config has to be a whole configuration (see README.md)" $section) -}}
{{- end -}}
{{- end -}}
{{- range $name, $canary := $canaries -}}
{{- if not (or (hasKey $targets $canary.target) (contains "${" $canary.target)) -}}
{{- $problems = append $problems (printf "config.canaries.%s.target: there is no target '%s'; known: %s" $name $canary.target $known) -}}
{{- end -}}
{{- range $number, $fallback := $canary.fallbacks -}}
{{- if and $fallback.target (not (hasKey $targets ($fallback.target | default ""))) (not (contains "${" $fallback.target)) -}}
{{- $problems = append $problems (printf "config.canaries.%s.fallbacks[%d].target: there is no target '%s'; known: %s" $name $number $fallback.target $known) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key := list "host" "port" "token" "token_file" -}}
{{- if hasKey ($config.web | default dict) $key -}}
{{- $problems = append $problems (printf "config.web.%s: the chart sets it; use the values web.host, web.port and web.tokenSecret" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey ($config.store | default dict) "path" -}}
{{- $problems = append $problems "config.store.path: the chart sets it; the value persistence says where the store is kept" -}}
{{- end -}}
{{- if hasKey ($config.store | default dict) "replica" -}}
{{- $problems = append $problems "config.store.replica: the chart sets it, to the name of the pod" -}}
{{- end -}}
{{- if .Values.database.existingSecret -}}
{{- range $key := list "url" "url_file" -}}
{{- if hasKey ($config.store | default dict) $key -}}
{{- $problems = append $problems (printf "config.store.%s, and database.existingSecret is %s: both say where the database is; remove one of them" $key $.Values.database.existingSecret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{/* Files and variables that the configuration names, and that no Secret has. */}}
{{- define "streamcanary.secretProblems" -}}
{{- $problems := list -}}
{{- $values := .Values -}}
{{- $name := include "streamcanary.secretName" . -}}
{{- $isKnown := true -}}
{{- $keys := list -}}
{{- if $values.secret.create -}}
{{- $keys = keys $values.secret.data | sortAlpha -}}
{{- else if $values.secret.existing -}}
{{- with lookup "v1" "Secret" .Release.Namespace $values.secret.existing -}}
{{- $keys = keys (.data | default dict) | sortAlpha -}}
{{- else -}}
{{- $isKnown = false -}}
{{- end -}}
{{- end -}}
{{- $has := printf "Secret %s has %s" $name (join ", " $keys | default "no keys") -}}
{{- if not $name -}}
{{- $has = "there is no Secret: set secret.existing, the name of one that you have created, or secret.create and secret.data" -}}
{{- end -}}
{{- $json := toJson $values.config -}}
{{- if $isKnown -}}
{{- range $file := regexFindAll "\"/secrets/[^\"/]+\"" $json -1 | uniq -}}
{{- $key := trimPrefix "/secrets/" (trimAll "\"" $file) -}}
{{- if not (has $key $keys) -}}
{{- $problems = append $problems (printf "config names the file /secrets/%s, and %s" $key $has) -}}
{{- end -}}
{{- end -}}
{{- range $key := $values.secret.env -}}
{{- if not (has $key $keys) -}}
{{- $problems = append $problems (printf "secret.env names %s, and %s" $key $has) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $values.extraEnvFrom -}}
{{- $variables := concat (list "POD_NAME" "POD_NAMESPACE" "POD_UID" "POD_IP" "NODE_NAME" "CONTAINER_NAME") $values.secret.env -}}
{{- range $values.extraEnv -}}
{{- $variables = append $variables .name -}}
{{- end -}}
{{- range $reference := regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" ($json | replace "$$" "") -1 | uniq -}}
{{- $variable := $reference | trimPrefix "${" | trimSuffix "}" -}}
{{- if not (or (has $variable $variables) (regexMatch (include "streamcanary.ambientVariables" .) $variable)) -}}
{{- $problems = append $problems (printf "config uses the variable %s, which the pod does not have; add the key of a Secret to secret.env, or the variable to extraEnv; if something else sets it, write ${%s:-DEFAULT}" $reference $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $values.database.existingSecret -}}
{{- with lookup "v1" "Secret" $.Release.Namespace . -}}
{{- if not (hasKey (.data | default dict) $values.database.key) -}}
{{- $problems = append $problems (printf "database.key is %s, and Secret %s has %s" $values.database.key $values.database.existingSecret (keys (.data | default dict) | sortAlpha | join ", " | default "no keys")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $values.web.tokenSecret.existing -}}
{{- with lookup "v1" "Secret" $.Release.Namespace . -}}
{{- if not (hasKey (.data | default dict) $values.web.tokenSecret.key) -}}
{{- $problems = append $problems (printf "web.tokenSecret.key is %s, and Secret %s has %s" $values.web.tokenSecret.key $values.web.tokenSecret.existing (keys (.data | default dict) | sortAlpha | join ", " | default "no keys")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{/*
Variables that a pod has without the chart, as a pattern: those of the kubelet, of the image, and those that the webhooks of
cloud providers and of OpenTelemetry add to it.
*/}}
{{- define "streamcanary.ambientVariables" -}}
^(HOSTNAME|HOME|PATH|LANG|PYTHON_VERSION|KUBERNETES_(SERVICE|PORT).*|AZURE_(CLIENT_ID|TENANT_ID|FEDERATED_TOKEN_FILE|AUTHORITY_HOST)|AWS_(ROLE_ARN|WEB_IDENTITY_TOKEN_FILE|REGION|DEFAULT_REGION|CONTAINER_[A-Z_]+)|OTEL_[A-Z_]+)$
{{- end }}

{{- define "streamcanary.names" -}}
{{- $names := list -}}
{{- range . -}}
{{- $names = append $names .name -}}
{{- end -}}
{{ toJson $names }}
{{- end }}

{{/* A duration of Prometheus (https://prometheus.io/docs/prometheus/latest/querying/basics/#durations) in milliseconds. */}}
{{- define "streamcanary.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{ $sum }}
{{- end }}
