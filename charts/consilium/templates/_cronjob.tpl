{{/*
One CronJob that cares for the archive by a command of the program. Takes:
  root, component (its values are care.<component>); args: the command and its options, a list; scratch: size of /tmp.
*/}}
{{- define "consilium.cronjob" -}}
{{- $own := get .root.Values.care .component }}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "consilium.metadata" . | nindent 2 }}
spec:
  schedule: {{ $own.schedule | quote }}
  timeZone: {{ .root.Values.care.timeZone | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600  # after an outage of the cluster a run that late is left out
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    metadata:
      labels:
        {{- include "consilium.labels" . | nindent 8 }}
    spec:
      backoffLimit: 0  # a run that has found something ends with failure; a second one would look elsewhere and hide it
      podFailurePolicy:
        rules:  # a drained node is no finding: the run begins again elsewhere
          - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "True"}]}
      activeDeadlineSeconds: {{ $own.deadlineSeconds }}
      template:
        metadata:
          labels:
            {{- include "consilium.labels" . | nindent 12 }}
        spec:
          restartPolicy: Never
          serviceAccountName: {{ include "consilium.name" .root }}-{{ .component }}
          {{- include "consilium.podBasics" .root | nindent 10 }}
          containers:
            - name: {{ .component }}
              image: {{ include "consilium.image" .root | quote }}
              imagePullPolicy: {{ .root.Values.image.pullPolicy }}
              args: {{ .args | toJson }}
              env:
                {{- include "consilium.databaseEnv" .root | nindent 16 }}
                {{- include "consilium.objectsEnv" .root | nindent 16 }}
                {{- range $name, $value := .root.Values.ingest.env }}
                {{- if hasPrefix "CONSILIUM_INGEST_STORAGE_" $name }}
                - name: {{ $name }}
                  value: {{ $value | quote }}
                {{- end }}
                {{- end }}
              resources:
                {{- toYaml $own.resources | nindent 16 }}
              securityContext:
                {{- include "consilium.containerSecurity" . | nindent 16 }}
              volumeMounts:
                - {name: tmp, mountPath: /tmp}
          volumes:
            - name: tmp
              emptyDir: {sizeLimit: {{ .scratch }}}
{{- end }}
