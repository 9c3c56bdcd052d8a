#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of penstockd, also while it resizes or measures: no guest notices, and
# the next one adopts the endpoints with everything as it was.  Then the endpoint dies while nobody
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
guest_load a /dev/vda depth=8 report-ms=250 name=file
file_load=$GUEST_ID
guest_load a /dev/vdb depth=4 report-ms=250 name=memory
memory_load=$GUEST_ID

# Each is killed while something is going on: nothing, a resize that the
# endpoint has not answered (it is stopped meanwhile), a measurement.
kill_in_between()
{
	killed "$PENSTOCKD_PID"
}

kill_in_resize()
{
	local verb

	kill -STOP "$endpoint"
	p vdev resize vd0 --size 160MiB >/dev/null 2>&1 &
	verb=$!
	wait_for 10 holds '.size_bytes == 167772160' vdev show vd0 ||
		fail "no resize begins"
	kill_in_between
	kill -CONT "$endpoint"
	! wait "$verb" || fail "a resize that nobody answered was done"
}

kill_in_calibrate()
{
	local verb

	p device calibrate ep0/d0 --duration '2 s' >/dev/null 2>&1 &
	verb=$!
	wait_for 10 holds '.[0].measuring' device list ||
		fail "no measurement begins"
	kill_in_between
	! wait "$verb" || fail "a measurement that nobody answered was done"
}

# The old size or the new one, and the guest's is the same.
after_resize()
{
	local size

	size=$(ask .size_bytes vdev show vd0)
	case $size in
	134217728 | 167772160) ;;
	*) fail "size afterwards: $size" ;;
	esac
	guest_has_size "$size"
	p vdev resize vd0 --size 160MiB >/dev/null
	guest_has_size 167772160
	before=$(ask "$everything" vdev list)
}

guest_has_size()
{
	guest_run a 20 "until [ \$((512 * \$(cat /sys/block/vda/size))) = $1 ]; do :; done" ||
		fail "guest does not see $1 bytes"
}

# It goes on in the endpoint, and its result is not lost.
after_calibrate()
{
	wait_event 20 '.kind == "calibrated"' || fail "no result"
	equal full "$(ask '.[0].calibration' device list)" "calibration"
	wait_for 10 holds '.free_bytes == 100663296' pool show main ||
		fail "what was measured stays taken"
	equal "$before" "$(ask "$everything" vdev list)" "status afterwards"
}

for moment in between resize calibrate; do
	note "kill -9: $moment"
	"kill_in_$moment"
	guest_works a "$file_load" 10 >/dev/null || fail "guest noticed"
	kill -0 "$endpoint" || fail "endpoint ended with its penstockd"
	penstockd_start
	equal "$endpoint" "$(endpoint_pid)" "adopted endpoint"
	equal true "$(ask '.endpoints[0].adopted' status)" "adopted"
	[ $moment = resize ] ||
		equal "$before" "$(ask "$everything" vdev list)" "status"
	[ $moment = between ] || "after_$moment"
	guest_works a "$file_load" 10 >/dev/null || fail "no I/O afterwards"
	guest_works a "$memory_load" 10 >/dev/null || fail "no I/O afterwards"
done

note "changes reach the adopted endpoint"
p process update 2 --sla 'iops >= 400'
equal 400 "$(process_field 2 .sla.iops)" "updated SLA"
p process release 2

note "the endpoint dies while there is no penstockd"
guest_run a 10 killall guest-io
guest_wait a "$file_load" 60 || fail "guest's data (file)"
guest_wait a "$memory_load" 60 || fail "guest's data (memory)"
guest_load a /dev/vda depth=8 report-ms=250 name=file
file_load=$GUEST_ID
kill -KILL "$PENSTOCKD_PID" "$endpoint"
expect 137 wait "$PENSTOCKD_PID"
penstockd_start
[ "$(endpoint_pid)" != "$endpoint" ] || fail "a dead endpoint was adopted"
# What a memory device held is gone, as when a host loses power; files stay.
guest_works a "$file_load" 20 >/dev/null || fail "no I/O"
guest_run a 10 killall guest-io
guest_wait a "$file_load" 60 || fail "guest's data (file)"
guest_run a 30 guest-io /dev/vdb depth=4 seconds=1 || fail "memory device"
guest_stop a
penstockd_stop
