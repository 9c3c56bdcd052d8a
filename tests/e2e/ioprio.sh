#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Processes inside one guest told apart by I/O priority (E9): each has its own
# limit and counters; requests without a match go to the common process.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}]}
pools: [{name: main, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
processes:
  - {pasid: 1, name: rest, vdev: vd0, sla: {iops: '>= 100'}}
  - {pasid: 2, name: db, vdev: vd0, match: {ioprio: be/2}, sla: {iops: '>= 300'}}
  - {pasid: 3, name: backup, vdev: vd0, match: {ioprio: be/7}, limit: {iops: 100}}
"
requests()
{
	process_field "$1" '.counters.read.requests + .counters.write.requests'
}

penstockd_start
guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
rest=$(requests 1)
guest_run a 30 guest-io /dev/vda prio=be/2 ops=500 verify=no depth=4 ||
	fail "guest-io"
equal 500 "$(requests 2)" "requests of db"
equal 0 "$(requests 3)" "requests of backup"
began_us=${EPOCHREALTIME/[.,]/}
guest_run a 30 guest-io /dev/vda prio=be/7 seconds=3 verify=no depth=8 >out ||
	fail "guest-io of backup"
took_ms=$(((${EPOCHREALTIME/[.,]/} - began_us) / 1000))
equal "$(sed -n 's/.*done=\([0-9]*\).*/\1/p' out)" "$(requests 3)" \
	"requests of backup"
# Its limit of 100, and the burst.  A guest's seconds are longer than ours when
# it does not get its CPU.
note "$(requests 3) requests of backup in $took_ms ms"
[ "$(requests 3)" -le $((took_ms / 10 + 40)) ] ||
	fail "limit of backup: $(requests 3) requests in $took_ms ms"
guest_run a 30 guest-io /dev/vda ops=200 verify=no >/dev/null
equal 200 "$(($(requests 1) - rest))" "requests of the rest"
guest_stop a
penstockd_stop
