{{/* Parts of the pods: of the daemon, of the check before an upgrade, and of `helm test`. */}}

{{/*
The environment. The variables STREAMCANARY_… override the configuration: where the daemon listens, and where its files
are, is a matter of the chart. With "isCheck", a missing Secret does not keep the pod from starting: the check reports it.
*/}}
{{- define "streamcanary.env" -}}
{{- $root := .root -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: CONTAINER_NAME
  value: streamcanary
- name: STREAMCANARY_WEB__HOST
  value: {{ $root.Values.web.host | quote }}
- name: STREAMCANARY_WEB__PORT
  value: {{ $root.Values.web.port | quote }}
{{- if .isCheck }}
- name: STREAMCANARY_WEB__TOKEN
  value: not-used-by-the-check
{{- else }}
- name: STREAMCANARY_WEB__TOKEN_FILE
  value: /secrets/streamcanary-web-token
{{- end }}
{{- if include "streamcanary.isShared" $root }}
- name: STREAMCANARY_STORE__REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if $root.Values.database.existingSecret }}
- name: STREAMCANARY_STORE__URL_FILE
  value: /secrets/streamcanary-database-url
{{- end }}
{{- else }}
- name: STREAMCANARY_STORE__PATH
  value: /var/lib/streamcanary/streamcanary.db
{{- end }}
{{- with $root.Values.region }}
- name: STREAMCANARY_REGION
  value: {{ . | quote }}
{{- end }}
{{- range $root.Values.secret.env }}
- name: {{ . | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $.secret | default (include "streamcanary.secretName" $root) | quote }}
      key: {{ . | quote }}
      {{- if $.isCheck }}
      optional: true
      {{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "streamcanary.volumeMounts" -}}
- name: config
  mountPath: /etc/streamcanary
  readOnly: true
- name: secrets
  mountPath: /secrets
  readOnly: true
{{- if not (include "streamcanary.isShared" .root) }}
- name: store
  mountPath: /var/lib/streamcanary
{{- end }}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.csi.enabled }}
- name: csi
  mountPath: {{ .root.Values.csi.mountPath | quote }}
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
The volumes. "root"; "configMap" and "secret", their names; "persistent", whether the store is on the claim; "isCheck".
The token of the web server does not exist yet when the first check runs.
*/}}
{{- define "streamcanary.volumes" -}}
{{- $values := .root.Values -}}
- name: config
  configMap:
    name: {{ .configMap | quote }}
- name: secrets
  {{- if and .isCheck (not .secret) (not $values.database.existingSecret) }}
  emptyDir: {}
  {{- else }}
  projected:
    defaultMode: 0440
    sources:
      {{- if not .isCheck }}
      - secret:
          name: {{ include "streamcanary.tokenSecretName" .root | quote }}
          items:
            - key: {{ $values.web.tokenSecret.key | quote }}
              path: streamcanary-web-token
      {{- end }}
      {{- if .secret }}
      - secret:
          name: {{ .secret | quote }}
          {{- if .isCheck }}
          optional: true
          {{- end }}
      {{- end }}
      {{- with $values.database.existingSecret }}
      - secret:
          name: {{ . | quote }}
          items:
            - key: {{ $values.database.key | quote }}
              path: streamcanary-database-url
          {{- if $.isCheck }}
          optional: true
          {{- end }}
      {{- end }}
  {{- end }}
{{- if not (include "streamcanary.isShared" .root) }}
- name: store
  {{- if and .persistent $values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ $values.persistence.existingClaim | default (include "streamcanary.fullname" .root) | quote }}
  {{- else }}
  emptyDir: {sizeLimit: 1Gi}
  {{- end }}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if $values.csi.enabled }}
- name: csi
  csi:
    driver: {{ $values.csi.driver | quote }}
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ $values.csi.secretProviderClass | quote }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A container that runs streamcanary: "root", "name", "args" (a list), "isCheck". */}}
{{- define "streamcanary.container" -}}
name: {{ .name }}
image: {{ include "streamcanary.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- range .args }}
  - {{ . | quote }}
  {{- end }}
env:
  {{- include "streamcanary.env" . | nindent 2 }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .root.Values.resources | nindent 2 }}
volumeMounts:
  {{- include "streamcanary.volumeMounts" . | nindent 2 }}
{{- end }}

{{/*
The ServiceAccount of the check: that of the daemon, to which a CSI driver may give the keys. It does not exist yet when
the release that creates it is installed.
*/}}
{{- define "streamcanary.checkServiceAccountName" -}}
{{- $name := include "streamcanary.serviceAccountName" . -}}
{{- if and .Values.serviceAccount.create (not (lookup "v1" "ServiceAccount" .Release.Namespace $name)) -}}
default
{{- else -}}
{{ $name }}
{{- end -}}
{{- end }}

{{/* What all pods share: who they are, where they run, and the simulated provider, if there is one. */}}
{{- define "streamcanary.podSpec" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ .serviceAccountName | quote }}
automountServiceAccountToken: {{ and (not .withoutToken) $values.serviceAccount.automountToken }}
enableServiceLinks: false
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with include "streamcanary.pullSecrets" .root }}
{{ . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .simulator (include "streamcanary.isSimulation" .root) }}
initContainers:
  - name: simulator
    image: {{ include "streamcanary.image" .root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: [simulate, --port, "9466"]
    restartPolicy: Always
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
    resources:
      requests: {cpu: 10m, memory: 64Mi}
      limits: {memory: 128Mi}
{{- end }}
{{- end }}
