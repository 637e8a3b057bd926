#!/bin/sh
# Starts Redis with the two users of the service and no other: whoever does not log in may only ask
# whether it is there. Their rights are those of docs/deployment.md.
#
# start.sh SECRETS DATA [OPTIONS OF redis-server...]
#   SECRETS  a folder with REDIS_URL_REFRESHER and REDIS_URL_COMPONENT: redis://USER:PASSWORD@redis:6379
#   DATA     a folder to write to
set -eu
umask 077
secrets=$1 data=$2
shift 2

# The hash by which Redis knows the password of a user, as its address in the Secret has it.
password() {
  url=$(cat "$secrets/$2")
  password=${url#redis://"$1":}
  password=${password%%@*}
  case $password in
    changeit | '' | *[!0-9A-Za-z._~-]*)
      echo "$2 in the Secret must be redis://$1:PASSWORD@redis:6379, with a password of your own in letters and digits" >&2
      exit 1
      ;;
  esac
  printf %s "$password" | sha256sum | cut -c 1-64
}

refresher=$(password refresher REDIS_URL_REFRESHER)
component=$(password component REDIS_URL_COMPONENT)
# This Redis is for this service alone, whatever its REDIS_KEY_PREFIX.
cat > "$data/users.acl" <<END
user default on nopass resetkeys resetchannels -@all +ping
user refresher on #$refresher ~{*}:* -@all +get +set +del +unlink +exists +psetex +pttl +pexpire +persist +hget +hmget +hset +hdel +hgetall +hincrby +getrange +rpush +lrange +llen +ltrim +xadd +xack +xrevrange +xreadgroup +xgroup|create +time +evalsha +script|load +info
user component on #$component ~{*}:* -@all +get +mget +set +del +exists +incr +decr +hincrby +pttl +pexpire +time +strlen +getrange +xadd +xlen +hget +hlen +hkeys +hstrlen +eval +evalsha
END
exec redis-server --dir "$data" --aclfile "$data/users.acl" --protected-mode no \
  --save '' --appendonly no --maxmemory-policy noeviction "$@"
