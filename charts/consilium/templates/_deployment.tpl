{{/*
One Deployment of one service. Takes:
  root, component; keys: files of the key secret that this service may read; calls: {component: port} of services it calls;
  env, ports, volumes, mounts: further YAML as strings; single: true for a workload that is replaced, never doubled;
  grace: seconds from the wish to end to the kill (30): the preStop below, HTTP's end, what a service drains, and some to spare.
*/}}
{{- define "consilium.deployment" -}}
{{- $own := get .root.Values .component }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  {{- if .single }}
  replicas: 1
  strategy: {type: Recreate}
  {{- else }}
  {{- if eq (int $own.replicas) (int $own.maxReplicas) }}
  replicas: {{ $own.replicas }}
  {{- end }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "consilium.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "consilium.labels" . | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8080"
        prometheus.io/path: /metrics
    spec:
      serviceAccountName: {{ include "consilium.name" .root }}-{{ .component }}
      {{- include "consilium.podBasics" .root | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace | default 30 }}
      {{- if not .single }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "consilium.selector" . | nindent 14 }}
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "consilium.selector" . | nindent 14 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "consilium.image" .root | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [serve, {{ .component }}, --host, 0.0.0.0, --port, "8080"]
          env:
            {{- include "consilium.serviceEnv" . | nindent 12 }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
          ports:
            - {name: http, containerPort: 8080, protocol: TCP}
            {{- with .ports }}
            {{- . | nindent 12 }}
            {{- end }}
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          lifecycle:
            preStop: {sleep: {seconds: 5}}  # the endpoints forget the pod before it stops answering
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          securityContext:
            {{- include "consilium.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - {name: keys, mountPath: /etc/consilium/keys, readOnly: true}
            - {name: tmp, mountPath: /tmp}
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        - name: keys
          secret:
            secretName: {{ .root.Values.secrets.keys | quote }}
            defaultMode: 0440
            items:
              {{- range .keys }}
              - {key: {{ . }}, path: {{ . }}}
              {{- end }}
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
{{- end }}
