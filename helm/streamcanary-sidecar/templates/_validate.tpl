{{/*
What values.schema.json cannot say: values that contradict each other, or the pod of the application. All problems are
reported at once, each with what to change.
*/}}
{{- define "streamcanary-sidecar.validate" -}}
{{- $problems := concat (include "streamcanary-sidecar.valueProblems" . | fromJsonArray) (include "streamcanary-sidecar.configProblems" . | fromJsonArray) (include "streamcanary-sidecar.podProblems" . | fromJsonArray) (include "streamcanary-sidecar.literalSecretProblems" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "these values of streamcanary-sidecar are refused:\n\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}

{{- define "streamcanary-sidecar.valueProblems" -}}
{{- $problems := list -}}
{{- $values := .values -}}
{{- $version := .root.Capabilities.KubeVersion.Version -}}
{{- if not (semverCompare .library.KubeVersion $version) -}}
{{- $problems = append $problems (printf "Kubernetes is %s, and has no native sidecars: a pod would wait for ever for its init container to end. streamcanary-sidecar needs %s; until then, set enabled: false" $version .library.KubeVersion) -}}
{{- end -}}
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
{{- if not $values.replicasHint -}}
{{- $problems = append $problems "replicasHint is not set: write how many pods the application has, usually. Each takes its share of the schedule and the budget" -}}
{{- end -}}
{{- if and $values.metrics.scrape (not $values.metrics.tokenSecret.name) -}}
{{- $problems = append $problems "metrics.scrape needs metrics.tokenSecret.name, the name of a Secret with a random token: the port is open to the cluster" -}}
{{- end -}}
{{- if and $values.podMonitor.enabled (not $values.metrics.scrape) -}}
{{- $problems = append $problems "podMonitor needs metrics.scrape: true" -}}
{{- end -}}
{{- if and $values.podMonitor.enabled (not .root.Chart.IsRoot) (not $values.podMonitor.matchLabels) -}}
{{- $problems = append $problems (printf "podMonitor.matchLabels is not set: the default matches the pods of all charts of the release; write labels that only pods of the chart %s have" .root.Chart.Name) -}}
{{- end -}}
{{- if and $values.metrics.scrape (not $values.otlp.metricsToo) -}}
{{- $otlp := dig "telemetry" "otlp" dict ($values.config | default dict) -}}
{{- $pushes := and $otlp (has "metrics" (get $otlp "signals" | default (list "metrics"))) -}}
{{- range $values.extraEnv -}}
{{- $pushes = or $pushes (and (not $otlp) (has .name (list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"))) -}}
{{- end -}}
{{- if or $pushes (and $values.otlp.endpoint (not $otlp)) -}}
{{- $problems = append $problems "the metrics are both scraped (metrics.scrape) and exported over OTLP: in one Prometheus, each pod would be counted twice. Remove one, or export the rest (config.telemetry.otlp.signals: [traces, logs]); with another backend behind OTLP, set otlp.metricsToo: true" -}}
{{- end -}}
{{- end -}}
{{- range $values.extraEnv -}}
{{- if or (has .name (list "POD_NAME" "POD_NAMESPACE" "POD_UID" "NODE_NAME" "CONTAINER_NAME" "OTEL_SERVICE_NAME")) (regexMatch "^STREAMCANARY_(FLEET(__.*)?|WEB(__(ENABLED|HOST|PORT|TOKEN|TOKEN_FILE|LIVENESS_FILE))?|STORE(__PATH)?)$" .name) -}}
{{- $problems = append $problems (printf "extraEnv: the chart sets %s; remove it" .name) -}}
{{- end -}}
{{- if and (eq .name "OTEL_RESOURCE_ATTRIBUTES") (contains "service.namespace=" (.value | default "")) -}}
{{- $problems = append $problems "extraEnv: OTEL_RESOURCE_ATTRIBUTES has service.namespace, by which the rules find the pods; remove it" -}}
{{- end -}}
{{- end -}}
{{- $hasEndpoint := or $values.otlp.endpoint $values.extraEnvFrom (dig "telemetry" "otlp" dict ($values.config | default dict)) -}}
{{- range $values.extraEnv -}}
{{- if hasPrefix "OTEL_EXPORTER_OTLP_" .name -}}
{{- $hasEndpoint = true -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.existingConfigMap $values.metrics.scrape $hasEndpoint (dig "alerts" "receivers" dict ($values.config | default dict))) -}}
{{- $problems = append $problems "nobody would learn what the sidecars see: set otlp.endpoint, or metrics.scrape" -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{- define "streamcanary-sidecar.configProblems" -}}
{{- $problems := list -}}
{{- $values := .values -}}
{{- $config := $values.config | default dict -}}
{{- if and $config $values.existingConfigMap -}}
{{- $problems = append $problems (printf "both config and existingConfigMap (%s) are set; remove one of them" $values.existingConfigMap) -}}
{{- else if not $values.existingConfigMap -}}
{{- $targets := $config.targets | default dict -}}
{{- $known := keys $targets | sortAlpha | join ", " | default "none" -}}
{{- range $section := list "targets" "canaries" -}}
{{- if not (index $config $section) -}}
{{- $problems = append $problems (printf "config.%s: needs at least one entry; config has to be a whole configuration (see README.md)" $section) -}}
{{- end -}}
{{- end -}}
{{- range $name, $canary := $config.canaries -}}
{{- if not (or (hasKey $targets $canary.target) (contains "${" $canary.target)) -}}
{{- $problems = append $problems (printf "config.canaries.%s.target: there is no target '%s'; known: %s" $name $canary.target $known) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (int $values.replicasHint) 1 -}}
{{- range $name, $canary := $config.canaries -}}
{{- if $canary.cron -}}
{{- $problems = append $problems (printf "config.canaries.%s.cron: %d pods cannot share a cron schedule: write every, which they share, or set replicasHint: 1" $name (int $values.replicasHint)) -}}
{{- end -}}
{{- end -}}
{{- if not $values.allowReceivers -}}
{{- range $name, $receiver := dig "alerts" "receivers" dict $config -}}
{{- if ne (get $receiver "type" | default "") "alertmanager" -}}
{{- $problems = append $problems (printf "config.alerts.receivers.%s: each of %d pods would notify it. Remove it, and let Prometheus notify once (prometheusRule); if each pod is to notify it, set allowReceivers: true" $name (int $values.replicasHint)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := list "service.name" "service.namespace" -}}
{{- if hasKey (dig "telemetry" "resource" dict $config) $name -}}
{{- $problems = append $problems (printf "config.telemetry.resource: the chart sets %s, by which the rules find the pods; remove it" $name) -}}
{{- end -}}
{{- end -}}
{{- if $config.fleet -}}
{{- $problems = append $problems "config.fleet: the chart sets it; use the value replicasHint" -}}
{{- end -}}
{{- range $key := list "enabled" "host" "port" "token" "token_file" "liveness_file" -}}
{{- if hasKey ($config.web | default dict) $key -}}
{{- $problems = append $problems (printf "config.web.%s: the chart sets it; use the values web.port and metrics" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey ($config.store | default dict) "path" -}}
{{- $problems = append $problems "config.store.path: the chart sets it" -}}
{{- end -}}
{{- if not $values.extraEnvFrom -}}
{{- $variables := list "POD_NAME" "POD_NAMESPACE" "POD_UID" "NODE_NAME" "CONTAINER_NAME" -}}
{{- range $values.extraEnv -}}
{{- $variables = append $variables .name -}}
{{- end -}}
{{- range $reference := regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" (toJson $config | replace "$$" "") -1 | uniq -}}
{{- $variable := $reference | trimPrefix "${" | trimSuffix "}" -}}
{{- if not (or (has $variable $variables) (regexMatch (include "streamcanary-sidecar.ambientVariables" .) $variable)) -}}
{{- $problems = append $problems (printf "config uses the variable %s, which the sidecar does not have; add it to extraEnv; if something else sets it, write ${%s:-DEFAULT}" $reference $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{/* What the containers and volumes of the application have taken. */}}
{{- define "streamcanary-sidecar.podProblems" -}}
{{- $problems := list -}}
{{- $values := .values -}}
{{- range concat (.spec.initContainers | default list) (.spec.containers | default list) -}}
{{- $container := .name -}}
{{- if eq $container "streamcanary" -}}
{{- $problems = append $problems "the pod has a container streamcanary already: that is the name of the sidecar" -}}
{{- end -}}
{{- range .ports -}}
{{- if and $values.metrics.scrape (eq (int .containerPort) (int $values.web.port)) -}}
{{- $problems = append $problems (printf "web.port is %d, which the container %s declares; choose another port" (int $values.web.port) $container) -}}
{{- end -}}
{{- if and $values.metrics.scrape (eq (.name | default "") "streamcanary") -}}
{{- $problems = append $problems (printf "the container %s has a port with the name streamcanary, by which Prometheus finds the sidecar; rename it" $container) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.metrics.scrape .spec.hostNetwork -}}
{{- $problems = append $problems (printf "metrics.scrape: the pod has hostNetwork: true, so port %d would be open on the node, and only one pod of a node could have it; use otlp.endpoint instead" (int $values.web.port)) -}}
{{- end -}}
{{- range .spec.volumes -}}
{{- if has .name (list "streamcanary-config" "streamcanary-secrets" "streamcanary-state" "streamcanary-no-token") -}}
{{- $problems = append $problems (printf "the pod has a volume %s already: that is one of the sidecar" .name) -}}
{{- end -}}
{{- end -}}
{{ toJson $problems }}
{{- end }}

{{/*
Variables that a pod has without the chart, as a pattern: those of the kubelet, of the image, and those that the webhooks of
cloud providers and of OpenTelemetry add to it.
*/}}
{{- define "streamcanary-sidecar.ambientVariables" -}}
^(HOSTNAME|HOME|PATH|LANG|PYTHON_VERSION|KUBERNETES_(SERVICE|PORT).*|AZURE_(CLIENT_ID|TENANT_ID|FEDERATED_TOKEN_FILE|AUTHORITY_HOST)|AWS_(ROLE_ARN|WEB_IDENTITY_TOKEN_FILE|REGION|DEFAULT_REGION|CONTAINER_[A-Z_]+)|OTEL_[A-Z_]+)$
{{- end }}
