#!/bin/sh
# Replaces the containers of the services that are named (without any, `api` and `refresher`), one after the
# other, by new ones of the images and settings as they are now: each new one is healthy before an old one is
# told to end, so that no client notices. Run it beside docker-compose.yml, or with COMPOSE_FILE set.
set -eu

# How many seconds a new container may take to be healthy, and an old one to end.
HEALTHY_WITHIN=120
END_WITHIN=30

compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

wait_until_healthy() {
    waited=0
    until [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; do
        if [ "$waited" -ge "$HEALTHY_WITHIN" ]; then
            echo "replace.sh: $1 is not healthy after $waited s: \`docker logs $1\` says why; no further one is replaced" >&2
            exit 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
}

[ $# -gt 0 ] || set -- api refresher
for service in "$@"; do
    olds=$(compose ps --quiet "$service")
    [ -n "$olds" ] || { echo "replace.sh: no container of $service runs" >&2; exit 1; }
    count=$(echo "$olds" | wc -l)
    for old in $olds; do
        compose up --detach --no-deps --no-recreate --scale "$service=$((count + 1))" "$service"
        for container in $(compose ps --quiet "$service"); do
            wait_until_healthy "$container"
        done
        docker stop -t "$END_WITHIN" "$old" >/dev/null
        docker rm "$old" >/dev/null
    done
    echo "replaced $count of $service"
done
