{{/* The small objects that each workload has in the same form. All take root and component. */}}
{{- define "consilium.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{/* "ports": further ports as a YAML string. */}}
{{- define "consilium.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "consilium.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 8080, targetPort: http, protocol: TCP}
    {{- with .ports }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* "blocked": true when no pod may be evicted. */}}
{{- define "consilium.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ if .blocked }}0{{ else }}1{{ end }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "consilium.selector" . | nindent 6 }}
{{- end }}

{{- define "consilium.hpa" -}}
{{- $own := get .root.Values .component }}
{{- if gt (int $own.maxReplicas) (int $own.replicas) }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "consilium.name" .root }}-{{ .component }}
  minReplicas: {{ $own.replicas }}
  maxReplicas: {{ $own.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
{{- end }}
{{- end }}

{{/* Rules of a NetworkPolicy: the release's own pods by component, and the outside by the peers in values. */}}
{{- define "consilium.fromOwn" -}}
- from:
    {{- range .components }}
    - podSelector:
        matchLabels:
          {{- include "consilium.selector" (dict "root" $.root "component" .) | nindent 10 }}
    {{- end }}
  ports: [{protocol: TCP, port: {{ .port }}}]
{{- end }}

{{- define "consilium.toOwn" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "consilium.selector" . | nindent 10 }}
  ports: [{protocol: TCP, port: {{ .port }}}]
{{- end }}

{{- define "consilium.fromMonitoring" -}}
- from:
    {{- toYaml .Values.network.monitoring | nindent 4 }}
  ports: [{protocol: TCP, port: http}]
{{- end }}

{{- define "consilium.toDatabase" -}}
- to:
    {{- toYaml .Values.network.dns | nindent 4 }}
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
- to:
    {{- toYaml .Values.network.database.peers | nindent 4 }}
  ports: [{protocol: TCP, port: {{ .Values.network.database.port }}}]
{{- end }}

{{- define "consilium.toObjects" -}}
- to:
    {{- toYaml .Values.network.objects.peers | nindent 4 }}
  ports: [{protocol: TCP, port: {{ .Values.network.objects.port }}}]
{{- end }}

{{- define "consilium.toData" -}}
{{ include "consilium.toDatabase" . }}
- to:
    {{- toYaml .Values.network.redis.peers | nindent 4 }}
  ports: [{protocol: TCP, port: {{ .Values.network.redis.port }}}]
{{ include "consilium.toObjects" . }}
{{- end }}

{{/* Head of a workload's NetworkPolicy; rules follow. */}}
{{- define "consilium.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "consilium.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}
