#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device that stands still for 3 s every seven: requests wait and are done,
# none fails; the stall is an event; another device's guest runs on meanwhile.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: slow, kind: nullio, size: 128MiB, model: {latency: {read: 100us, write: 100us, servers: 8}, stall: {every: 7s, for: 3s}, seed: 5}}
      - {name: good, kind: memory, size: 128MiB}
pools: [{name: p0, devices: [ep0/slow]}, {name: p1, devices: [ep0/good]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: p1, size: 96MiB, vhost-user: $TEST_DIR/vd1.sock}
processes:
  - {pasid: 1, name: slow, vdev: vd0, sla: {iops: '>= 10'}, best-effort: true}
  - {pasid: 2, name: good, vdev: vd1, sla: {iops: '>= 10'}, best-effort: true}
"
requests()
{
	process_field "$1" '.counters.read.requests + .counters.write.requests'
}

# Between two looks within one stall the other guest's requests are done.
good_runs_on()
{
	local slow good

	holds '.[] | select(.device == "slow") | .stalled_ns > 0' device list ||
		return 1
	slow=$(requests 1)
	good=$(requests 2)
	[ "$(requests 2)" -gt "$good" ] && [ "$(requests 1)" = "$slow" ]
}

penstockd_start
guest_start a -c 2 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
guest_spawn a guest-io /dev/vdb name=good depth=4
good=$GUEST_ID
guest_spawn a guest-io /dev/vda name=slow depth=4 verify=no
slow=$GUEST_ID
wait_event 30 '.kind == "device-stalled" and .device == "ep0/slow"' ||
	fail "no event tells of the stall"
wait_for 60 good_runs_on || fail "the other guest stands still as well"
guest_run a 10 killall guest-io
guest_wait a "$slow" 60 >out || {
	cat out
	fail "a request failed"
}
guest_wait a "$good" 60 || fail "the other guest"
gap=$(sed -n 's/^result.*longest_gap_ms=\([0-9]*\).*/\1/p' out)
[ "$gap" -ge 500 ] || fail "the device did not stall: $gap ms"
guest_stop a
penstockd_stop
