#!/bin/sh
# Writes .env with passwords made at random, unless it's there, and from it the files in secrets/ that
# containers of docker-compose.yml read. Run it in the repository's root, and again after changes of
# .env. `sh deploy/compose/prepare.sh sentinel` lets camfleet ask sentinels for Redis.
set -eu
umask 077

random() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
  sed -e "s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=$(random)/" \
    -e "s/^S3_ACCESS_KEY=.*/S3_ACCESS_KEY=$(random)/" \
    -e "s/^S3_SECRET_KEY=.*/S3_SECRET_KEY=$(random)/" .env.example > .env
fi
if [ "${1:-}" = sentinel ]; then
  sed -i -e 's/^#\(SENTINEL_MASTER\|MIN_REPLICAS\)=/\1=/' \
    -e '/sentinel/!s/^COMPOSE_PROFILES=.*/&,sentinel/' .env
fi

value() { sed -n "s/^$1=//p" .env | tail -n 1; }

for name in REDIS_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY; do
  case $(value $name) in
    '' | *[!A-Za-z0-9]*) echo ".env: $name must be letters and digits" >&2; exit 1 ;;
  esac
done
mkdir -p secrets
if [ -n "$(value SENTINEL_MASTER)" ]; then
  hosts='sentinel-1:26379;sentinel-2:26379;sentinel-3:26379'
  echo "sentinel://:$(value REDIS_PASSWORD)@$hosts/0" > secrets/redis-url
else
  echo "redis://:$(value REDIS_PASSWORD)@redis:6379/0" > secrets/redis-url
fi
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$(value S3_ACCESS_KEY)" "$(value S3_SECRET_KEY)" > secrets/s3
# Containers read them as user 10001; on the machine only who may enter the folder does.
chmod 0444 secrets/redis-url secrets/s3
