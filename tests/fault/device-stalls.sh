#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device that stands still for 1.5 s every five: requests wait and
# are done, none fails; the stall is an event; another device's guest runs on.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: slow, kind: nullio, size: 128MiB, model: {latency: {read: 100us, write: 100us, servers: 8}, stall: {every: 5s, for: 1500ms}, seed: 5}}
      - {name: good, kind: memory, size: 128MiB}
pools: [{name: p0, devices: [ep0/slow]}, {name: p1, devices: [ep0/good]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: p1, size: 96MiB, vhost-user: $TEST_DIR/vd1.sock}
"
penstockd_start
guest_start a -c 2 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
guest_spawn a guest-io /dev/vdb name=good depth=4 seconds=8
good=$GUEST_ID
guest_run a 60 guest-io /dev/vda name=slow depth=4 seconds=8 verify=no | tee out ||
	fail "a request failed"
guest_wait a "$good" 60 | tee out-good || fail "the other guest"
gap=$(sed -n 's/^result.*longest_gap_ms=\([0-9]*\).*/\1/p' out)
good_gap=$(sed -n 's/^result.*longest_gap_ms=\([0-9]*\).*/\1/p' out-good)
[ "$gap" -ge 1200 ] || fail "the device did not stall: $gap ms"
[ "$good_gap" -lt "$gap" ] || fail "the other guest stood still for $good_gap ms"
wait_event 10 '.kind == "stall" and .device == "ep0/slow"' ||
	fail "no event tells of the stall"
guest_stop a
penstockd_stop
