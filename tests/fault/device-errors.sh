#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device that fails one request in fifty: whoever asked gets an error for
# that request, requests go on, a guest on another device notices nothing.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: bad, kind: nullio, size: 128MiB, model: {latency: {read: 100us, write: 100us, servers: 8}, error: 2%, seed: 5}}
      - {name: good, kind: memory, size: 128MiB}
pools: [{name: p0, devices: [ep0/bad]}, {name: p1, devices: [ep0/good]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: p1, size: 96MiB, vhost-user: $TEST_DIR/vd1.sock}
"
penstockd_start
p process add 1 --vdev vd0 --sla 'iops >= 100' --best-effort
p process add 2 --vdev vd1 --sla 'iops >= 100'
endpoint=$(endpoint_pid)
guest_start a -c 2 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
guest_spawn a guest-io /dev/vdb name=good depth=4 report-ms=250
good=$GUEST_ID
# It is told of errors, so it ends with one: how many is looked at below.
guest_run a 60 guest-io /dev/vda name=bad depth=8 ops=4000 verify=no >out ||
	true
cat out
errors=$(sed -n 's/^result.*errors=\([0-9]*\).*/\1/p' out)
[ "$errors" -ge 20 ] || fail "errors seen by the guest: $errors"
[ "$errors" -le 400 ] || fail "errors seen by the guest: $errors"
[ "$(ask '.[] | select(.device == "bad") | .errors' device list)" -ge "$errors" ] ||
	fail "errors of the device not counted"
equal 0 "$(process_field 2 '.counters.read.errors + .counters.write.errors')" \
	"errors of the other guest"
equal "$endpoint" "$(endpoint_pid)" "endpoint"
guest_run a 10 killall guest-io
guest_wait a "$good" 60 || fail "the other guest's data"
guest_stop a
penstockd_stop
