{{- /* How names begin: a release's may have dots or begin with a digit, which a Service's can't */ -}}
{{- define "camfleet.name" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (contains "camfleet" $name) }}{{ $name = printf "%s-camfleet" $name }}{{ end -}}
{{- if not (regexMatch "^[a-z]" $name) }}{{ $name = printf "x-%s" $name }}{{ end -}}
{{ regexReplaceAll "-+$" ($name | trunc 40) "" }}
{{- end -}}

{{- /* Labels of an object; (list $ "part") */ -}}
{{- define "camfleet.labels" -}}
{{- $ := index . 0 -}}
{{ include "camfleet.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "camfleet.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: camfleet
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "camfleet.image" -}}
{{- $ := index . 0 -}}{{- $image := index . 1 -}}
{{- if $image.digest -}}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}{{ printf "%s:%s" $image.repository (default $.Chart.AppVersion $image.tag) }}{{- end -}}
{{- end -}}

{{- define "camfleet.serviceAccount" -}}
{{- default (include "camfleet.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* A number as people write it, since templates make 1e+08 of 100000000 */ -}}
{{- define "camfleet.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%.0f" . }}
{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{- define "camfleet.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- $variable := ternary "REDIS_URL_PASSWORD" "REDIS_PASSWORD" (ne $redis.urlPasswordKey "") -}}
{{- $login := printf "%s:$(%s)@" $redis.user $variable -}}
{{- if $redis.sentinel.hosts -}}
{{ ternary "sentinels" "sentinel" $redis.tls }}://{{ $login }}{{ join ";" $redis.sentinel.hosts }}/{{ $redis.database }}
{{- else -}}
{{ ternary "rediss" "redis" $redis.tls }}://{{ $login }}{{ $redis.host }}:{{ $redis.port }}/{{ $redis.database }}
{{- end -}}
{{- end -}}

{{- define "camfleet.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{- /* The environment of all processes; (list $ SETTINGS), which replace those of all */ -}}
{{- define "camfleet.env" -}}
{{- $ := index . 0 -}}{{- $redis := $.Values.redis -}}{{- $s3 := $.Values.s3 -}}
{{ include "camfleet.secretVariable" (list "REDIS_PASSWORD" $redis.existingSecret $redis.passwordKey) }}
{{- if $redis.urlPasswordKey }}
{{ include "camfleet.secretVariable" (list "REDIS_URL_PASSWORD" $redis.existingSecret $redis.urlPasswordKey) }}
{{- end }}
- name: CAMFLEET_REDIS_URL
  value: {{ include "camfleet.redisUrl" $ | quote }}
{{- with $redis.sentinel }}
{{- if .hosts }}
- name: CAMFLEET_SENTINEL_MASTER
  value: {{ .master | quote }}
{{- if .user }}
- name: CAMFLEET_SENTINEL_USER
  value: {{ .user | quote }}
{{- end }}
{{- if .existingSecret }}
{{ include "camfleet.secretVariable" (list "CAMFLEET_SENTINEL_PASSWORD" .existingSecret .passwordKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $redis.keyPrefix }}
- name: CAMFLEET_KEY_PREFIX
  value: {{ $redis.keyPrefix | quote }}
{{- end }}
- name: CAMFLEET_BUCKET
  value: {{ $.Values.bucket | quote }}
{{- if $s3.endpoint }}
- name: CAMFLEET_S3_ENDPOINT
  value: {{ $s3.endpoint | quote }}
{{- end }}
- name: CAMFLEET_S3_REGION
  value: {{ $s3.region | quote }}
{{- if $s3.existingSecret }}
{{ include "camfleet.secretVariable" (list "AWS_ACCESS_KEY_ID" $s3.existingSecret $s3.accessKeyIdKey) }}
{{ include "camfleet.secretVariable" (list "AWS_SECRET_ACCESS_KEY" $s3.existingSecret $s3.secretAccessKeyKey) }}
{{- end }}
{{- if $.Values.ca.existingSecret }}
- name: CAMFLEET_CA_FILE
  value: {{ printf "/etc/camfleet/ca/%s" $.Values.ca.key | quote }}
{{- end }}
{{- range $name, $value := merge (dict) (default (dict) (index . 1)) (default (dict) $.Values.settings) }}
- name: {{ $name }}
  value: {{ include "camfleet.text" $value | quote }}
{{- end }}
{{- end -}}

{{- define "camfleet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "camfleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where pods go, and as whom; (list $ SECTION) */ -}}
{{- define "camfleet.pod" -}}
{{- $ := index . 0 -}}{{- $section := index . 1 -}}
serviceAccountName: {{ include "camfleet.serviceAccount" $ }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "camfleet.podSecurity" $ | nindent 2 }}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" }}
{{- with get $section $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "camfleet.volumes" -}}
{{- $ := index . 0 -}}{{- $section := index . 1 -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ $section.temporarySpace }}
{{- if $.Values.ca.existingSecret }}
- name: ca
  secret:
    secretName: {{ $.Values.ca.existingSecret }}
    items:
      - key: {{ $.Values.ca.key }}
        path: {{ $.Values.ca.key }}
{{- end }}
{{- end -}}

{{- define "camfleet.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.ca.existingSecret }}
- name: ca
  mountPath: /etc/camfleet/ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "camfleet.fleet" -}}{{ .Release.Namespace }}/{{ .Release.Name }}{{- end -}}

{{- /* The labels by which Prometheus knows this fleet */ -}}
{{- define "camfleet.series" -}}
{{- if .Values.scaling.selector -}}{{ .Values.scaling.selector }}
{{- else if .Values.monitoring.podMonitor -}}fleet="{{ include "camfleet.fleet" . }}"{{- end -}}
{{- end -}}

{{- define "camfleet.storePort" -}}
{{- $host := (urlParse .Values.s3.endpoint).host -}}
{{- $found := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- if $found -}}{{ $found }}{{- else if hasPrefix "http://" .Values.s3.endpoint -}}80{{- else -}}443{{- end -}}
{{- end -}}
