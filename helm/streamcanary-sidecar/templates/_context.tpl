{{/*
Completes the argument of a template, a dict with the context of the application's chart as "root": "library" becomes
this chart, "values" its values, "instance" the release, and in a subchart the chart, "name" the name of its objects. The
chart is in both: the subcharts of a release share its name.
*/}}
{{- define "streamcanary-sidecar.context" -}}
{{- $context := . -}}
{{- $found := list -}}
{{- range .root.Subcharts -}}
{{- if index .Chart.Annotations "streamcanary/library" -}}
{{- $found = append $found .Chart.Name -}}
{{- $_ := set $context "library" .Chart -}}
{{- $_ := set $context "files" .Files -}}
{{- $_ := set $context "values" .Values -}}
{{- end -}}
{{- end -}}
{{- if not .values -}}
{{- fail (printf "the chart %s uses templates of streamcanary-sidecar: add it to the dependencies in its own Chart.yaml" .root.Chart.Name) -}}
{{- end -}}
{{- if gt (len $found) 1 -}}
{{- fail (printf "the chart %s depends on streamcanary-sidecar %d times (%s), and its pods have one sidecar: remove all but one; config.canaries may have several" .root.Chart.Name (len $found) ($found | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $instance := .root.Release.Name -}}
{{- if ne $instance .root.Chart.Name -}}
{{- $instance = printf "%s-%s" $instance .root.Chart.Name -}}
{{- end -}}
{{- $_ := set . "instance" $instance -}}
{{- if gt (len $instance) 42 -}}
{{- $instance = printf "%s-%s" ($instance | trunc 33 | trimSuffix "-") (sha256sum $instance | trunc 8) -}}
{{- end -}}
{{- $_ := set . "name" (.values.nameOverride | default (printf "%s-streamcanary-sidecar" $instance)) -}}
{{- end }}

{{- define "streamcanary-sidecar.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- $labels := dict "app.kubernetes.io/name" "streamcanary-sidecar" "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" "canary" -}}
  {{- $_ := set $labels "app.kubernetes.io/version" .library.AppVersion -}}
  {{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
  {{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
  {{- toYaml (mergeOverwrite $labels (deepCopy .values.commonLabels) (deepCopy (.labels | default dict))) | nindent 2 }}
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
