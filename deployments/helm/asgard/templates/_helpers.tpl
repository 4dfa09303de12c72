{{- define "asgard.labels" -}}
app.kubernetes.io/name: asgard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: asgard
{{- end }}

{{- define "asgard.sparkNamespace" -}}
{{ .Values.sparkNamespace | default .Release.Namespace }}
{{- end }}

{{- define "asgard.namespaces" -}}
{{- /* All of the platform's, as JSON. */ -}}
{{ list .Release.Namespace (include "asgard.sparkNamespace" .) | uniq | toJson }}
{{- end }}

{{- define "asgard.sparkHomes" -}}
{{- /* Where pods with Spark's account run, as JSON: a warm Spark stands beside the platform. */ -}}
{{ append (ternary (list .Release.Namespace) list .Values.sparkConnect.enabled) (include "asgard.sparkNamespace" .) | uniq | toJson }}
{{- end }}

{{- define "asgard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "asgard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .readOnly }}
capabilities: {drop: [ALL]}
{{- end }}

{{- define "asgard.image" -}}
{{ required "image.repository: name the platform image" .Values.image.repository }}:{{ required "image.tag: pin the platform image" .Values.image.tag }}
{{- end }}

{{- define "asgard.sparkImage" -}}
{{ required "sparkImage.repository: name the Spark image" .Values.sparkImage.repository }}:{{ required "sparkImage.tag: pin the Spark image; it must be of the same code as image" .Values.sparkImage.tag }}
{{- end }}

{{- define "asgard.sparkToken" -}}
{{- if .Values.sparkConnect.enabled -}}
{{ required "sparkConnect.tokenSecret: name the Secret with SPARK_CONNECT_AUTHENTICATE_TOKEN, a long random text" .Values.sparkConnect.tokenSecret }}
{{- end -}}
{{- end }}

{{- define "asgard.secrets" -}}
{{- $state := required "secrets.state: name the Secret with ASGARD_MLFLOW_URI, ASGARD_FEAST_REGISTRY and ASGARD_ONLINE_STORE" .Values.secrets.state -}}
{{- compact (list .Values.secrets.s3 .Values.secrets.postgres $state (include "asgard.sparkToken" .)) | toJson -}}
{{- end }}

{{- define "asgard.environment" -}}
- configMapRef: {name: asgard-environment}
{{- range concat (include "asgard.secrets" .root | fromJsonArray) (ternary .root.Values.secrets.sources list .sources) }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "asgard.instance" -}}
{{- /* dagster.yaml, with what the pods of runs and steps get. It stands in the run launcher, which a run's tags cannot change. */ -}}
{{- $instance := .Files.Get "dagster.yaml" | fromYaml -}}
{{- $secrets := concat (include "asgard.secrets" . | fromJsonArray) .Values.secrets.sources -}}
{{- $pod := dict "node_selector" .Values.nodeSelector "tolerations" .Values.tolerations -}}
{{- $given := dict "job_namespace" .Release.Namespace "env_secrets" $secrets "image_pull_policy" .Values.image.pullPolicy "run_k8s_config" (dict "pod_spec_config" $pod) -}}
{{- with .Values.imagePullSecrets }}{{ $_ := set $given "image_pull_secrets" . }}{{ end -}}
{{- mergeOverwrite $instance (dict "run_launcher" (dict "config" $given)) | toYaml -}}
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
