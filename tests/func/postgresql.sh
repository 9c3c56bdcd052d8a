#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# postgresql.sh PROGRAM [ARGUMENT...]: runs it beside a PostgreSQL server of its
# own, which listens on a socket in a temporary directory only and runs as
# another user where this one is root.  The program is told PENSTOCK_PG, a
# connection string without user (superuser: admin; passwords are asked for),
# and PENSTOCK_PG_CTL, a command to which "start" or "stop" is added.
set -eu
PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
command -v initdb >/dev/null || exit 77

dir=$(mktemp -d /tmp/penstock-pg.XXXXXX)
ctl="$dir/ctl"
finish()
{
	# Whether it runs yet or not.
	set +e
	"$ctl" stop
	rm -rf "$dir"
}
trap finish EXIT

as=""
if [ "$(id -u)" = 0 ]; then
	as="setpriv --reuid=nobody --regid=nogroup --clear-groups"
	chown nobody:nogroup "$dir"
fi
# A server that is started stays without our descriptors.
cat >"$ctl" <<EOF
#!/bin/sh
cd "$dir"
case \$1 in
start) set -- start -l "$dir/log" \
	-o "-F -k $dir -c listen_addresses= -c max_connections=20" ;;
stop) set -- stop -m immediate ;;
esac
exec $as env PATH="$PATH" pg_ctl -s -w -D "$dir/data" "\$@" </dev/null >/dev/null 2>&1
EOF
chmod 755 "$ctl"
echo "word of admin" >"$dir/password"
chmod 644 "$dir/password"
(cd "$dir" && $as env PATH="$PATH" initdb -N -D data -U admin \
	-A scram-sha-256 --pwfile=password -E UTF8 --no-locale) >"$dir/initdb" ||
	{ cat "$dir/initdb"; exit 1; }
"$ctl" start || { cat "$dir/log"; exit 1; }

export PENSTOCK_PG="host=$dir dbname=postgres" PENSTOCK_PG_CTL="$ctl"
"$@"
