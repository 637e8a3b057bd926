#!/bin/sh
# Makes one store of the three nodes of docker-compose.garage.yml, with the bucket `incidents` and the account that
# `.env` has. Run it beside docker-compose.yml when the nodes run; it may be run again.
set -eu

compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# A command of Garage's in a node's container.
on() {
    node=$1
    shift
    compose exec -T "garage-$node" /garage "$@" </dev/null
}

# A setting of the environment or of .env.
setting() {
    value=$(printenv "$1" || sed -n "s/^$1=//p" .env | tail -n 1)
    [ -n "$value" ] || { echo "setup.sh: $1 is needed, in the environment or in .env" >&2; exit 1; }
    echo "$value"
}

id=$(setting AWS_ACCESS_KEY_ID)
secret=$(setting AWS_SECRET_ACCESS_KEY)

# At the addresses that docker-compose.garage.yml gives the nodes; the first one knows another a moment later.
for node in 2 3; do
    key=$(on "$node" node id --quiet)
    tries=30
    until on 1 status | grep -q "$(echo "$key" | cut -c 1-16)"; do
        [ $((tries -= 1)) -gt 0 ] || { echo "setup.sh: garage-1 does not reach garage-$node" >&2; exit 1; }
        # The other may not listen yet: the loop tries again, and says so in the end.
        on 1 node connect "$key@172.31.251.1$node:3901" || true
        sleep 1
    done
done
if on 1 layout show | grep -q 'layout version: 0'; then
    for node in 1 2 3; do
        on 1 layout assign --zone "zone$node" --capacity "${GARAGE_CAPACITY:-20G}" "$(on "$node" node id --quiet)"
    done
    on 1 layout apply --version 1
fi
on 1 bucket info incidents >/dev/null 2>&1 || on 1 bucket create incidents
on 1 key info "$id" >/dev/null 2>&1 || on 1 key import --yes -n historian "$id" "$secret"
on 1 bucket allow --read --write incidents --key "$id"
