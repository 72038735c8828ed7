{{- /* What a schema can't say in a sentence; every template that needs more than names asks it first */ -}}
{{- define "camfleet.validate" -}}
{{- $v := .Values -}}
{{- if not $v.bucket -}}
{{- fail "bucket is empty: name the bucket that camfleet keeps everything in" -}}
{{- end -}}
{{- if and $v.s3.existingSecret $v.s3.fromServiceAccount -}}
{{- fail "s3.existingSecret and s3.fromServiceAccount exclude each other: leave one of them out" -}}
{{- end -}}
{{- if not (or $v.s3.existingSecret $v.s3.fromServiceAccount) -}}
{{- fail (printf "s3.existingSecret is empty: name a Secret of this namespace with the keys %s and %s, or set s3.fromServiceAccount=true where the service account's role opens the bucket" $v.s3.accessKeyIdKey $v.s3.secretAccessKeyKey) -}}
{{- end -}}
{{- if not $v.redis.existingSecret -}}
{{- fail (printf "redis.existingSecret is empty: name a Secret of this namespace that has Redis' password under the key %s" $v.redis.passwordKey) -}}
{{- end -}}
{{- if and $v.redis.host $v.redis.sentinel.hosts -}}
{{- fail "redis.host and redis.sentinel.hosts exclude each other: sentinels say where Redis is" -}}
{{- end -}}
{{- if not (or $v.redis.host $v.redis.sentinel.hosts) -}}
{{- fail "redis.host is empty: name Redis' host, such as redis.data.svc, or its sentinels in redis.sentinel.hosts" -}}
{{- end -}}
{{- if and $v.redis.sentinel.hosts (not $v.redis.sentinel.master) -}}
{{- fail "redis.sentinel.master is empty: give the name by which the sentinels watch the primary" -}}
{{- end -}}
{{- if and $v.scaling.enabled (not $v.scaling.prometheus) -}}
{{- fail "scaling.prometheus is empty: KEDA needs Prometheus' address, such as http://prometheus.monitoring.svc:9090, or set scaling.enabled=false" -}}
{{- end -}}
{{- range $name := list "cpu" "gpu" -}}
{{- $pool := get $v $name -}}
{{- if and $pool.enabled $v.scaling.enabled (gt (int $pool.scaling.min) (int $pool.scaling.max)) -}}
{{- fail (printf "%s.scaling.min is %d, more than %s.scaling.max, which is %d" $name (int $pool.scaling.min) $name (int $pool.scaling.max)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.hostNames) -}}
{{- fail "gateway.hostNames is empty: name the hosts under which the gateway is reached, since it refuses all others, or set gateway.enabled=false" -}}
{{- end -}}
{{- if and $v.gateway.ingress.enabled (not $v.gateway.enabled) -}}
{{- fail "gateway.ingress.enabled is true and gateway.enabled isn't: an ingress leads to a gateway" -}}
{{- end -}}
{{- if and $v.gateway.ingress.enabled (not $v.gateway.ingress.tlsSecret) -}}
{{- fail "gateway.ingress.tlsSecret is empty: name a Secret with the certificate of gateway.hostNames, since tokens mustn't travel in clear text" -}}
{{- end -}}
{{- range $name := list "cpu" "gpu" -}}
{{- $volumes := list "tmp" "models" "ca" -}}
{{- range $volume := default (list) (get $v $name).volumes -}}
{{- if has $volume.name $volumes -}}
{{- fail (printf "%s.volumes: there is a volume named %q already, of the chart or in this list: give it another name" $name (toString $volume.name)) -}}
{{- end -}}
{{- $volumes = append $volumes $volume.name -}}
{{- end -}}
{{- range $mount := default (list) (get $v $name).volumeMounts -}}
{{- if not (has $mount.name $volumes) -}}
{{- fail (printf "%s.volumeMounts: there is no volume named %q in %s.volumes" $name (toString $mount.name) $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
