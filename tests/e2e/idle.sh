#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An endpoint with a guest that does nothing costs less than 1 % of a core.
. "$(dirname "$0")/../lib.sh"

INTERVAL_S=5
TICKS_PER_S=$(getconf CLK_TCK)

# cpu_ticks PID
cpu_ticks()
{
	sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: n0, kind: nullio, size: 1GiB}]}
pools: [{name: main, devices: [ep0/n0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
"
penstockd_start
guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
guest_run a 30 guest-io /dev/vda seconds=1 depth=16 verify=no >/dev/null
endpoint=$(endpoint_pid)
best=1000
for attempt in 1 2 3; do
	before=$(cpu_ticks "$endpoint")
	# Not waiting for anything: this is the interval that is measured, and
	# read says that it has passed by failing.
	read -r -t $INTERVAL_S -u "$BEAT_FD" nothing || true
	used=$(($(cpu_ticks "$endpoint") - before))
	note "$used ticks of 1/$TICKS_PER_S s in $INTERVAL_S s"
	[ $used -ge $best ] || best=$used
	[ $((best * 100)) -ge $((INTERVAL_S * TICKS_PER_S)) ] || break
done
[ $((best * 100)) -lt $((INTERVAL_S * TICKS_PER_S)) ] ||
	fail "$best ticks in $INTERVAL_S s: 1 % or more"
guest_stop a
penstockd_stop
