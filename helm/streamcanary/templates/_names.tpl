{{/* Names and labels. */}}

{{- define "streamcanary.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The name of the objects. It contains the whole name of the release, which has at most 53 characters, and leaves room for a
suffix.
*/}}
{{- define "streamcanary.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "streamcanary.name" . -}}
{{ ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "streamcanary.selectorLabels" -}}
app.kubernetes.io/name: {{ include "streamcanary.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
The labels of an object: "labels" (dict "root" $ "component" "daemon" "labels" .Values.podLabels). Those by which the chart
selects, and Helm, cannot be replaced; `labels` take precedence over `commonLabels`.
*/}}
{{- define "streamcanary.labels" -}}
{{- $labels := include "streamcanary.selectorLabels" .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/component" (.component | default "daemon") -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $defaults := dict "app.kubernetes.io/version" .root.Chart.AppVersion "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{ merge $labels (.labels | default dict) .root.Values.commonLabels $defaults | toYaml }}
{{- end }}

{{- define "streamcanary.metadata" -}}
name: {{ .name | default (include "streamcanary.fullname" .root) | quote }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels:
  {{- include "streamcanary.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "streamcanary.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "streamcanary.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "streamcanary.secretName" -}}
{{- if .Values.secret.create }}{{ include "streamcanary.fullname" . }}{{ else }}{{ .Values.secret.existing }}{{ end -}}
{{- end }}

{{- define "streamcanary.tokenSecretName" -}}
{{ .Values.web.tokenSecret.existing | default (printf "%s-web" (include "streamcanary.fullname" .)) }}
{{- end }}

{{- define "streamcanary.configMapName" -}}
{{ .Values.existingConfigMap | default (include "streamcanary.fullname" .) }}
{{- end }}

{{/* A parent chart may replace the registry: the part of the repository before its first slash. */}}
{{- define "streamcanary.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The pull secrets of the chart and of a parent chart, where they may be names. */}}
{{- define "streamcanary.pullSecrets" -}}
{{- $secrets := .Values.image.pullSecrets -}}
{{- range (.Values.global | default dict).imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with $secrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* Whether the pods have their store in a database that they share: "true", or nothing. */}}
{{- define "streamcanary.isShared" -}}
{{- $store := (.Values.config | default dict).store | default dict -}}
{{- if or .Values.database.existingSecret $store.url $store.url_file }}true{{ end -}}
{{- end }}

{{/* Whether there is a PodDisruptionBudget: "true", or nothing. */}}
{{- define "streamcanary.hasBudget" -}}
{{- if eq (toString .Values.podDisruptionBudget.enabled) "auto" -}}
{{- if gt (int .Values.replicas) 1 }}true{{ end -}}
{{- else if .Values.podDisruptionBudget.enabled }}true{{ end -}}
{{- end }}

{{/* Whether the release probes a simulated provider: "true", or nothing. */}}
{{- define "streamcanary.isSimulation" -}}
{{- if not (or .Values.config .Values.existingConfigMap) }}true{{ end -}}
{{- end }}
