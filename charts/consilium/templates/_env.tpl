{{/* Settings by environment: exactly the names of the settings classes (tests/chart holds the chart to them). */}}
{{- define "consilium.databaseEnv" -}}
- name: CONSILIUM_PLATFORM_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.database | quote }}, key: url}}
- name: CONSILIUM_PLATFORM_LOG_FORMAT
  value: json
- name: CONSILIUM_PLATFORM_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
{{- end }}

{{/* Where the objects are, and where large ones pass through. Takes the root. */}}
{{- define "consilium.objectsEnv" -}}
- name: CONSILIUM_PLATFORM_DATA_DIR
  value: /tmp/consilium
- name: CONSILIUM_PLATFORM_BLOB_STORE
  value: s3
{{- with .Values.objects.endpoint }}
- name: CONSILIUM_PLATFORM_S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: CONSILIUM_PLATFORM_S3_BUCKET
  value: {{ .Values.objects.bucket | quote }}
- name: CONSILIUM_PLATFORM_S3_REGION
  value: {{ .Values.objects.region | quote }}
{{- with .Values.secrets.objects }}
- name: CONSILIUM_PLATFORM_S3_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: access-key}}
- name: CONSILIUM_PLATFORM_S3_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: secret-key}}
{{- end }}
{{- with .Values.objects.cold }}
{{- if .class }}
- name: CONSILIUM_PLATFORM_S3_COLD_CLASS
  value: {{ .class | quote }}
- name: CONSILIUM_PLATFORM_S3_COLD_DAYS
  value: {{ .days | quote }}
- name: CONSILIUM_PLATFORM_S3_RESTORE_TIER
  value: {{ .restoreTier | quote }}
{{- end }}
{{- end }}
{{- with .Values.objects.copy }}
{{- if .bucket }}
- name: CONSILIUM_PLATFORM_COPY_STORE
  value: s3
- name: CONSILIUM_PLATFORM_COPY_S3_BUCKET
  value: {{ .bucket | quote }}
- name: CONSILIUM_PLATFORM_COPY_S3_REGION
  value: {{ .region | quote }}
{{- with .endpoint }}
- name: CONSILIUM_PLATFORM_COPY_S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with $.Values.secrets.copy }}
- name: CONSILIUM_PLATFORM_COPY_S3_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: access-key}}
- name: CONSILIUM_PLATFORM_COPY_S3_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: secret-key}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What every service needs. Takes root, component and optionally "calls" (component: port). */}}
{{- define "consilium.serviceEnv" -}}
{{ include "consilium.databaseEnv" .root }}
{{ include "consilium.objectsEnv" .root }}
- name: CONSILIUM_PLATFORM_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secrets.redis | quote }}, key: url}}
- name: CONSILIUM_PLATFORM_VERIFY_KEYS_FILE
  value: /etc/consilium/keys/verify.json
{{- if has "users.json" .keys }}
- name: CONSILIUM_PLATFORM_USER_KEY_FILE
  value: /etc/consilium/keys/users.json
{{- end }}
{{- if has "services.json" .keys }}
- name: CONSILIUM_PLATFORM_SERVICE_KEY_FILE
  value: /etc/consilium/keys/services.json
{{- end }}
{{- if has "receipts.json" .keys }}
- name: CONSILIUM_PLATFORM_RECEIPT_KEY_FILE
  value: /etc/consilium/keys/receipts.json
{{- end }}
{{- with .calls }}
{{- $urls := dict }}
{{- range $name, $port := . }}
{{- $_ := set $urls $name (printf "http://%s-%s:%v" (include "consilium.name" $.root) $name $port) }}
{{- end }}
- name: CONSILIUM_PLATFORM_SERVICES
  value: {{ $urls | toJson | quote }}
{{- end }}
{{- range $name, $value := (get .root.Values .component).env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
