#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device that fails one request in fifty, under two guests' disks: one whose
# requests are tried again, one that stops each time until somebody lets it go
# on, also those that wait when the endpoint is killed.  Neither guest sees an
# error.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: bad, kind: nullio, size: 256MiB, model: {latency: {read: 100us, write: 100us, servers: 8}, error: 2%, seed: 5}}
pools: [{name: p0, devices: [ep0/bad]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd0.sock, on-error: retry}
  - {name: vd1, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd1.sock}
"
vdev_is()
{
	holds ".[] | select(.name == \"$1\") | $2" vdev list
}

# Let it go on whenever it is stopped; true: its guest's command has ended.
keep_going()
{
	if vdev_is vd1 '.state == "stopped"'; then
		p vdev resume vd1 >/dev/null
	fi
	while guest_take a 0.05; do :; done
	[ -f "$TEST_DIR/guest-a/log.$stopping.status" ]
}

restarted()
{
	[ "$(endpoint_pid)" != "$endpoint" ] && vdev_is vd1 '.state != "pending"'
}

penstockd_start
equal report "$(ask '.on_error' vdev show vd1)" "policy of the file"
p vdev update vd1 --on-error stop
guest_start a -c 2 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
guest_run a 60 guest-io /dev/vda name=retry depth=8 ops=4000 verify=no >out ||
	fail "an error came through: $(cat out)"
equal 0 "$(sed -n 's/^result.*errors=\([0-9]*\).*/\1/p' out)" "errors of vd0"
vdev_is vd0 '.errors > 0 and .retries == .errors' ||
	fail "vd0: errors and retries are not counted"

guest_spawn a guest-io /dev/vdb name=stop depth=8 ops=1500 verify=no
stopping=$GUEST_ID
wait_event 30 '.kind == "vdev-stopped" and .vdev == "vd1"' ||
	fail "no event tells that vd1 is stopped"
vdev_is vd1 '.state == "stopped" and .stopped_by == "Input/output error"' ||
	fail "vd1 does not say that it is stopped"
endpoint=$(endpoint_pid)
kill -9 "$endpoint"
wait_for 20 restarted || fail "no other endpoint"
wait_for 90 keep_going || fail "vd1 does not go on: $(p vdev show vd1)"
guest_wait a "$stopping" 10 >out || fail "an error came through: $(cat out)"
equal 0 "$(sed -n 's/^result.*errors=\([0-9]*\).*/\1/p' out)" "errors of vd1"
equal stop "$(ask '.on_error' vdev show vd1)" "policy of vd1"
guest_stop a
penstockd_stop
