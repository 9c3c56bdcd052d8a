#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A front-end that sends noise, wrong messages and lying rings, beside a good
# guest on the same device: the endpoint lives, the guest's data and service
# are as if it were alone, and the attacked vdev still serves who behaves.
. "$(dirname "$0")/../lib.sh"

truncate -s 256M disk.img
penstock_config "
endpoints:
  - {name: ep0, devices: [{name: d0, kind: file, path: $TEST_DIR/disk.img, size: 256MiB}]}
pools: [{name: main, devices: [ep0/d0]}]
vdevs:
  - {name: good, endpoint: ep0, pool: main, size: 64MiB, vhost-user: $TEST_DIR/good.sock}
  - {name: evil, endpoint: ep0, pool: main, size: 64MiB, vhost-user: $TEST_DIR/evil.sock}
processes:
  - {pasid: 1, name: good, vdev: good, sla: {iops: '>= 200', latency: '<= 50 ms'}}
"
# fewer_descriptors PID COUNT
fewer_descriptors()
{
	[ "$(ls "/proc/$1/fd" | wc -l)" -le "$2" ]
}

penstockd_start
endpoint=$(endpoint_pid)
guest_start a -c 2 "$TEST_DIR/good.sock"
guest_ready a
guest_load a /dev/vda depth=8 rate=500 report-ms=500
load=$GUEST_ID
descriptors=$(ls "/proc/$endpoint/fd" | wc -l)

for seed in 1 2 3 4; do
	"$ROOT/build/tests/fault/hostile" "$TEST_DIR/evil.sock" 90 $seed ||
		fail "the attacked socket is gone"
	guest_works a "$load" 20 || fail "the good guest noticed"
done
equal "$endpoint" "$(endpoint_pid)" "endpoint"
wait_for 10 fewer_descriptors "$endpoint" $((descriptors + 4)) ||
	fail "descriptors are left open: $(ls -l "/proc/$endpoint/fd")"
guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "the good guest's data"
guest_stop a

note "somebody who behaves, where the attack was"
guest_start b "$TEST_DIR/evil.sock"
guest_ready b
guest_run b 30 guest-io /dev/vda depth=8 seconds=1 || fail "attacked vdev"
guest_stop b
penstockd_stop
