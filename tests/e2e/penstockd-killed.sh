#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of penstockd: no guest notices, and the next one adopts the
# endpoints with everything as it was.  Then the endpoint dies while nobody
# watches: the next penstockd starts one.
. "$(dirname "$0")/../lib.sh"

truncate -s 256M disk.img
penstock_config "
endpoints:
  - {name: ep0, devices: [{name: d0, kind: file, path: $TEST_DIR/disk.img, size: 256MiB}, {name: m0, kind: memory, size: 64MiB}]}
pools: [{name: main, devices: [ep0/d0]}, {name: fast, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: fast, size: 32MiB, vhost-user: $TEST_DIR/vd1.sock}
processes:
  - {pasid: 1, name: db, vdev: vd0, sla: {iops: '>= 200', latency: '<= 50 ms'}}
"
penstockd_start
p process add 2 --vdev vd1 --sla 'iops >= 300, latency <= 20 ms' --name web
everything='{vdevs: [.[] | {name, size_bytes, combined, processes: [.processes[] | {pasid, name, sla, limit}]}]}'
before=$(ask "$everything" vdev list)
endpoint=$(endpoint_pid)
guest_start a "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
guest_spawn a guest-io /dev/vda depth=8 report-ms=250 name=file
file_load=$GUEST_ID
guest_spawn a guest-io /dev/vdb depth=4 report-ms=250 name=memory
memory_load=$GUEST_ID
guest_wait a "$file_load" 20 report >/dev/null
guest_wait a "$memory_load" 20 report >/dev/null

for round in 1 2 3; do
	kill -KILL "$PENSTOCKD_PID"
	wait "$PENSTOCKD_PID" 2>/dev/null || true
	guest_works a "$file_load" 10 >/dev/null || fail "guest noticed"
	guest_works a "$memory_load" 10 >/dev/null || fail "guest noticed"
	kill -0 "$endpoint" || fail "endpoint ended with its penstockd"
	penstockd_start
	equal "$endpoint" "$(endpoint_pid)" "adopted endpoint"
	equal true "$(ask '.endpoints[0].adopted' status)" "adopted"
	equal "$before" "$(ask "$everything" vdev list)" "status afterwards"
	guest_works a "$file_load" 10 || fail "no I/O after adoption"
done

note "changes reach the adopted endpoint"
p process update 2 --sla 'iops >= 400'
equal 400 "$(process_field 2 .sla.iops)" "updated SLA"
p process release 2

note "the endpoint dies while there is no penstockd"
guest_run a 10 killall guest-io
guest_wait a "$file_load" 60 || fail "guest's data (file)"
guest_wait a "$memory_load" 60 || fail "guest's data (memory)"
guest_spawn a guest-io /dev/vda depth=8 report-ms=250 name=file
file_load=$GUEST_ID
guest_wait a "$file_load" 20 report >/dev/null
kill -KILL "$PENSTOCKD_PID" "$endpoint"
wait "$PENSTOCKD_PID" 2>/dev/null || true
penstockd_start
[ "$(endpoint_pid)" != "$endpoint" ] || fail "a dead endpoint was adopted"
# What a memory device held is gone, as when a host loses power; files stay.
guest_works a "$file_load" 20 >/dev/null || fail "no I/O"
guest_run a 10 killall guest-io
guest_wait a "$file_load" 60 || fail "guest's data (file)"
guest_run a 30 guest-io /dev/vdb depth=4 seconds=1 || fail "memory device"
guest_stop a
penstockd_stop
