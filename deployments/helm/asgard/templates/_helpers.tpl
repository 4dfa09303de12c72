{{- define "asgard.labels" -}}
app.kubernetes.io/name: asgard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: asgard
{{- end }}

{{- define "asgard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "asgard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "asgard.image" -}}
{{ required "image.repository: name the platform image" .Values.image.repository }}:{{ required "image.tag: pin the platform image" .Values.image.tag }}
{{- end }}

{{- define "asgard.sparkImage" -}}
{{ required "sparkImage.repository: name the Spark image" .Values.sparkImage.repository }}:{{ required "sparkImage.tag: pin the Spark image; it must be of the same code as image" .Values.sparkImage.tag }}
{{- end }}

{{- define "asgard.environment" -}}
- configMapRef: {name: asgard-environment}
- secretRef: {name: {{ .Values.secrets.s3 }}}
- secretRef: {name: {{ .Values.secrets.postgres }}}
{{- range .Values.secrets.sources }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}
