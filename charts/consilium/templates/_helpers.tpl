{{/* Names and labels: one release, one component per workload. */}}
{{- define "consilium.name" -}}
{{- if contains "consilium" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-consilium" (.Release.Name | trunc 30) }}{{ end }}
{{- end }}

{{/* What selects a workload's pods. Takes (dict "root" $ "component" "gateway"). */}}
{{- define "consilium.selector" -}}
app.kubernetes.io/name: consilium
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "consilium.labels" -}}
{{ include "consilium.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
consilium/zone: {{ get (dict "gateway" "edge" "coturn" "edge") .component | default "business" }}
{{- end }}

{{- define "consilium.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* metadata of an object that belongs to a workload; "suffix" names a second object of the same kind. */}}
{{- define "consilium.metadata" -}}
name: {{ include "consilium.name" .root }}-{{ .component }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "consilium.labels" . | nindent 2 }}
{{- end }}

{{/* The restricted profile, pod and container. */}}
{{- define "consilium.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "consilium.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod of our own image says about itself. Takes the root. */}}
{{- define "consilium.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false  # Kubernetes' own CONSILIUM_..._PORT variables would be unknown settings
securityContext:
  {{- include "consilium.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Is TURN offered to clients? "yes" or nothing. */}}
{{- define "consilium.turn" -}}
{{- if or .Values.coturn.enabled .Values.live.turnUrls }}yes{{ end }}
{{- end }}
