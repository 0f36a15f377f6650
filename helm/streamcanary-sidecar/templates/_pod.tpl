{{/*
The templates for the pod of the application. Each takes the context of the application's chart (`.`), or a dict with it
as "root" and further entries.
*/}}

{{/*
A pod spec with the sidecar: "root", and "spec", that of the application, as a map or as YAML.
The sidecar is the last init container: it starts when those of the application are done, and ends after its containers,
before sidecars such as a proxy, through which it may have to connect.
*/}}
{{- define "streamcanary-sidecar.podSpec" -}}
{{- $spec := .spec -}}
{{- if kindIs "string" $spec -}}
{{- $spec = fromYaml $spec -}}
{{- with $spec.Error -}}
{{- fail (printf "streamcanary-sidecar.podSpec: the pod spec is no YAML: %s" .) -}}
{{- end -}}
{{- end -}}
{{- $spec = deepCopy $spec -}}
{{- $context := dict "root" .root -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- if $context.values.enabled -}}
{{- $container := include "streamcanary-sidecar.container" (dict "root" .root "spec" $spec) | fromYaml -}}
{{- $volumes := include "streamcanary-sidecar.volumes" .root | fromYamlArray -}}
{{- $_ := set $spec "initContainers" (append ($spec.initContainers | default list) $container) -}}
{{- $_ := set $spec "volumes" (concat ($spec.volumes | default list) $volumes) -}}
{{- end -}}
{{ toYaml $spec }}
{{- end }}

{{/*
The sidecar, an init container; nothing if it is not enabled. With "spec", the pod spec of the application, names and
ports are compared.
*/}}
{{- define "streamcanary-sidecar.container" -}}
{{- $context := dict "root" (.root | default .) "spec" (.spec | default dict) -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- $values := $context.values -}}
{{- if $values.enabled -}}
{{- include "streamcanary-sidecar.validate" $context -}}
name: streamcanary
image: {{ include "streamcanary-sidecar.image" $context | quote }}
imagePullPolicy: {{ $values.image.pullPolicy | quote }}
restartPolicy: Always
args:
  - run
  - -c
  - /etc/streamcanary/streamcanary.yaml
  - --keep-running  # a container that has ended makes the pod unready
  - --log-level
  - {{ $values.log.level }}
  - --log-format
  - {{ $values.log.format }}
env:
  {{- include "streamcanary-sidecar.env" $context | nindent 2 }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.metrics.scrape }}
ports:
  - name: streamcanary
    containerPort: {{ $values.web.port }}
{{- end }}
{{- with $values.livenessProbe }}
livenessProbe:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: streamcanary-config
    mountPath: /etc/streamcanary
    readOnly: true
  - name: streamcanary-secrets
    mountPath: /secrets
    readOnly: true
  - name: streamcanary-state
    mountPath: /var/lib/streamcanary
  {{- if not $values.serviceAccountToken }}
  - name: streamcanary-no-token  # in this place, the token of the pod's ServiceAccount is not mounted
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The variables STREAMCANARY_… override the configuration: identity, places and ports are a matter of the chart. */}}
{{- define "streamcanary-sidecar.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: CONTAINER_NAME
  value: streamcanary
- name: STREAMCANARY_FLEET__MEMBER
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if .values.replicasHint }}
- name: STREAMCANARY_FLEET__REPLICAS
  value: {{ .values.replicasHint | quote }}
{{- end }}
- name: OTEL_SERVICE_NAME  # with the namespace, the job of the metrics: that of one application
  value: {{ .name | quote }}
- name: STREAMCANARY_WEB__ENABLED  # it starts before the application, whose port it would take
  value: {{ .values.metrics.scrape | quote }}
{{- if .values.metrics.scrape }}
- name: STREAMCANARY_WEB__HOST
  value: 0.0.0.0
- name: STREAMCANARY_WEB__PORT
  value: {{ .values.web.port | quote }}
- name: STREAMCANARY_WEB__TOKEN_FILE
  value: /secrets/streamcanary-web-token
{{- end }}
- name: STREAMCANARY_WEB__LIVENESS_FILE
  value: /var/lib/streamcanary/alive
- name: STREAMCANARY_STORE__PATH
  value: /var/lib/streamcanary/streamcanary.db
{{- with .values.otlp.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
The volumes. What the sidecar reads is optional: a pod does not wait for a Secret of its canary. What it writes is in
memory: with a size limit on the disk of the node, the kubelet would evict the pod.
*/}}
{{- define "streamcanary-sidecar.volumes" -}}
{{- $context := dict "root" (.root | default .) -}}
{{- include "streamcanary-sidecar.context" $context -}}
{{- $values := $context.values -}}
{{- if $values.enabled -}}
- name: streamcanary-config
  configMap:
    name: {{ $values.existingConfigMap | default $context.name | quote }}
    optional: true
- name: streamcanary-secrets
  {{- if or $values.secret.existing $values.metrics.scrape }}
  projected:
    sources:
      {{- with $values.secret.existing }}
      - secret:
          name: {{ . | quote }}
          optional: true
      {{- end }}
      {{- if $values.metrics.scrape }}
      - secret:
          name: {{ $values.metrics.tokenSecret.name | quote }}
          optional: true
          items:
            - key: {{ $values.metrics.tokenSecret.key | quote }}
              path: streamcanary-web-token
      {{- end }}
  {{- else }}
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
  {{- end }}
- name: streamcanary-state
  emptyDir: {medium: Memory, sizeLimit: 32Mi}
{{- if not $values.serviceAccountToken }}
- name: streamcanary-no-token
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- end }}
{{- end }}
