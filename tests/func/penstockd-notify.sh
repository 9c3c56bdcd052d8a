#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What systemd is told, and what its signals do: READY=1 when vdevs are served, a
# status in words, signs of life, RELOADING=1, STOPPING=1; SIGUSR1 leaves the
# endpoints to the next penstockd, SIGTERM ends them.  Then packaging's unit:
# that it says the same, and that systemd finds nothing wrong in it.
# (Contract: Type=notify; a restart is a pause that guests survive.)
# penstockd-notify.sh PENSTOCKD PENSTOCK NOTIFY-LISTEN PACKAGING
set -eu
PENSTOCKD=$(realpath "$1")
PENSTOCK=$(realpath "$2")
LISTEN=$(realpath "$3")
PACKAGING=$(realpath "$4")
. "$(dirname "$(realpath "$0")")/command.sh"
DIR=$(mktemp -d /tmp/penstock-notify-XXXXXX)
LISTENER=""
finish()
{
	# It may have ended, and what it ended with was looked at before.
	set +e
	[ -z "$LISTENER" ] || kill "$(pid_of)" 2>/dev/null
	wait
	rm -rf "$DIR"
}
trap finish EXIT
cd "$DIR"
: >out
: >err

pid_of()
{
	sed -n 's/^PID=//p' told
}

# told TIMES EXPRESSION: so many lines are, within 20 s.
told()
{
	local left=400

	until [ "$(grep -cE "$2" told)" -ge "$1" ]; do
		left=$((left - 1))
		[ $left -gt 0 ] || { cat told log; fail "not told: $2"; }
		read -rt 0.05 <>/dev/zero || true
	done
}

start()
{
	# What the one before was told is not read as this one's.
	: >told
	"$LISTEN" "$DIR/notify" "$PENSTOCKD" --config c.yaml >told 2>log &
	LISTENER=$!
	told 1 '^READY=1$'
}

# end SIGNAL: it says so, and ends with 0.
end()
{
	kill -"$1" "$(pid_of)"
	wait $LISTENER || fail "penstockd ended with $? after $1"
	LISTENER=""
	grep -qx 'STOPPING=1' told || fail "$1: STOPPING=1 is missing"
}

endpoint()
{
	"$PENSTOCK" --api api.sock status --json |
		sed 's/.*"endpoints":\[{[^]]*"pid":\([0-9]*\).*/\1/'
}

cat >c.yaml <<-EOF
	host: a
	state: $DIR/state
	api: {unix: $DIR/api.sock}
	endpoints:
	  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}
	pools: [{name: p0, devices: [ep0/m0]}]
	vdevs: [{name: v0, pool: p0, size: 16MiB, vhost-user: $DIR/v0}]
	processes: [{pasid: 1, vdev: v0}]
EOF
export WATCHDOG_USEC=200000
start
[ -S v0 ] || fail "ready before the vdev is served"
told 1 '^STATUS=1 processes bound: 0 kept, 0 broken, '
told 3 '^WATCHDOG=1$'
kill -HUP "$(pid_of)"
told 1 '^RELOADING=1$'
told 1 '^MONOTONIC_USEC=[0-9]+$'
told 2 '^READY=1$'

# As the unit stops it: the endpoint stays, with what memory devices have.
first=$(endpoint)
end USR1
grep -qx 'STATUS=endpoints go on serving' told || fail "what stays is not said"
kill -0 "$first" || fail "the endpoint went with penstockd"
[ -S v0 ] || fail "the vdev's socket went with penstockd"
unset WATCHDOG_USEC
start
[ "$(endpoint)" = "$first" ] || fail "the endpoint was not adopted"
! grep -q 'WATCHDOG' told || fail "a watchdog that nobody wants is fed"
end TERM
# Whoever reaps it may not have done so yet.
! readlink "/proc/$first/exe" >/dev/null || fail "the endpoint outlived SIGTERM"

# --- The unit ----------------------------------------------------------------
unit=$PACKAGING/penstockd.service
for line in Type=notify KillMode=process KillSignal=SIGUSR1; do
	grep -qx "$line" "$unit" || fail "$unit lacks $line"
done
if command -v systemd-analyze >/dev/null; then
	sed "s|/usr/bin/penstockd|$PENSTOCKD|; s|^Documentation=.*||" "$unit" \
		>penstockd.service
	# Of other units on this machine it may say something, too.
	if ! systemd-analyze verify ./penstockd.service >out 2>&1; then
		echo "systemd-analyze is not content; with ours:"
	fi
	! grep -F penstockd.service out || fail "systemd-analyze verify"
else
	echo "skipped: systemd-analyze is not installed"
fi
mkdir -p root/etc root/run
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers --root="$DIR/root" "$PACKAGING/penstock.sysusers" \
		>out 2>err || fail "systemd-sysusers"
	grep -q '^penstock:' root/etc/passwd || fail "systemd-sysusers: no user"
fi
if command -v systemd-tmpfiles >/dev/null; then
	systemd-tmpfiles --root="$DIR/root" --create \
		"$PACKAGING/penstock.tmpfiles" >out 2>err ||
		fail "systemd-tmpfiles"
	[ -d root/run/penstock ] || fail "systemd-tmpfiles: no directory"
fi
echo "systemd: everything is as it should be"
