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
{{- range concat (compact (list .Values.secrets.s3 .Values.secrets.postgres)) .Values.secrets.sources }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "asgard.runs" -}}
# What the pods of runs and steps get beside dagster.yaml; the code server hands it to the run launcher.
k8s:
  env_secrets: {{- toYaml (concat (compact (list .Values.secrets.s3 .Values.secrets.postgres)) .Values.secrets.sources) | nindent 2 }}
  image_pull_policy: {{ .Values.image.pullPolicy }}
  {{- with .Values.imagePullSecrets }}
  image_pull_secrets: {{- toYaml . | nindent 2 }}
  {{- end }}
  run_k8s_config:
    pod_spec_config:
      node_selector: {{- toYaml .Values.nodeSelector | nindent 8 }}
      tolerations: {{- toYaml .Values.tolerations | nindent 8 }}
{{- end }}

{{- define "asgard.sparkPod" -}}
# What a namespace of the Pod Security Standard `restricted` asks of every pod.
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: spark-kubernetes-{{ . }}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
{{- end }}

{{- define "asgard.sparkSpec" -}}
{{- $pull := list -}}
{{- range .Values.imagePullSecrets }}{{ $pull = append $pull .name }}{{ end -}}
{{- $defaults := dict "imagePullPolicy" .Values.image.pullPolicy -}}
{{- range $side := list "driver" "executor" -}}
{{- $template := include "asgard.sparkPod" $side | fromYaml -}}
{{- $_ := set $defaults $side (dict "template" $template) -}}
{{- end -}}
{{- if $pull }}{{ $_ := set $defaults "imagePullSecrets" $pull }}{{ end -}}
{{- mergeOverwrite $defaults (deepCopy .Values.sparkSpec) | toJson -}}
{{- end }}
