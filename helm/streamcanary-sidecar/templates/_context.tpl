{{/*
Completes the argument of a template, a dict with the context of the application's chart as "root": "library" becomes
this chart, "values" its values, "name" the name of its objects.
*/}}
{{- define "streamcanary-sidecar.context" -}}
{{- $context := . -}}
{{- range .root.Subcharts -}}
{{- if index .Chart.Annotations "streamcanary/library" -}}
{{- $_ := set $context "library" .Chart -}}
{{- $_ := set $context "files" .Files -}}
{{- $_ := set $context "values" .Values -}}
{{- end -}}
{{- end -}}
{{- if not .values -}}
{{- fail (printf "the chart %s uses templates of streamcanary-sidecar: add it to the dependencies in its own Chart.yaml" .root.Chart.Name) -}}
{{- end -}}
{{- $_ := set . "name" (.values.nameOverride | default (printf "%s-streamcanary-sidecar" (.root.Release.Name | trunc 42 | trimSuffix "-"))) -}}
{{- end }}

{{- define "streamcanary-sidecar.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  app.kubernetes.io/name: streamcanary-sidecar
  app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
  app.kubernetes.io/component: canary
  app.kubernetes.io/version: {{ .library.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
  {{- with .values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "streamcanary-sidecar.image" -}}
{{- $repository := .values.image.repository -}}
{{- with (.values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- if .values.image.digest -}}
{{ $repository }}@{{ .values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .values.image.tag | default .library.AppVersion }}
{{- end -}}
{{- end }}
