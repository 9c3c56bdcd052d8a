#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A pool with a device of its own endpoint and a port to another endpoint (E2,
# E10, E11): either endpoint, both, and penstockd are killed at any instant while
# a guest writes to both devices; what was acknowledged is there.
. "$(dirname "$0")/../lib.sh"

truncate -s 10M "$TEST_DIR/near.img"
truncate -s 96M "$TEST_DIR/far.img"
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: near, kind: file, path: $TEST_DIR/near.img}
      - {name: far, kind: port, vdev: behind}
  - name: ep1
    devices:
      - {name: d1, kind: file, path: $TEST_DIR/far.img}
pools:
  - {name: mixed, devices: [ep0/near, ep0/far]}
  - {name: back, devices: [ep1/d1]}
vdevs:
  - {name: vd0, endpoint: ep0, pool: mixed, size: 48MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: behind, pool: back, size: 64MiB}
processes:
  - {pasid: 1, name: own, vdev: vd0, sla: {iops: '>= 200'}}
  - {pasid: 2, name: port, vdev: behind, sla: {iops: '>= 400'}}
"
penstockd_start
# What was promised to the port is what its device can do.
equal 400 "$(ask '.[] | select(.name == "ep0/far") | .capacity.read[0].iops' \
	device list)" "the port's capacity"
equal true "$(ask 'all(.[]; .state == "bound")' process list)" "processes"

expect 1 p vdev delete behind 2>refused
grep -q 'is what device ep0/far is a port to' refused || fail "$(cat refused)"

guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
guest_load a /dev/vda depth=16 read=30 report-ms=250
load=$GUEST_ID

# restarted ENDPOINT PID
restarted()
{
	wait_for 20 holds ".endpoints[] | select(.name == \"$1\") |
		.state == \"running\" and .pid != $2" status ||
		fail "endpoint $1 is not there again"
}

# kill_endpoints NAME...
kill_endpoints()
{
	local name pids=()

	for name in "$@"; do
		pids+=("$(endpoint_pid "$name")")
	done
	kill -KILL "${pids[@]}"
	for name in "$@"; do
		restarted "$name" "${pids[0]}"
		pids=("${pids[@]:1}")
	done
}

for round in "ep1" "ep0" "ep0 ep1" "ep1"; do
	read -ra names <<<"$round"
	kill_endpoints "${names[@]}"
	guest_works a "$load" 30 || fail "$round killed: no I/O: $?"
	note "$round killed: goes on"
done

# penstockd with one of them, with the other, and with both: it is the next
# penstockd that starts them again.
for round in "ep1" "ep0" "ep0 ep1"; do
	pids=()
	for name in $round; do
		pids+=("$(endpoint_pid "$name")")
	done
	killed "$PENSTOCKD_PID"
	kill -KILL "${pids[@]}"
	penstockd_start
	guest_works a "$load" 30 || fail "penstockd and $round killed: no I/O: $?"
	note "penstockd and $round killed: goes on"
done

# Local first: the port has the rest (E10).
equal "true 0" "$(ask '.members[0] | "\(.is_local) \(.size_bytes - .allocated_bytes)"' \
	pool show mixed)" "free on the local device"
equal "false true" "$(ask '.members[1] | "\(.is_local) \(.allocated_bytes > 0)"' \
	pool show mixed)" "on the port"
guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "guest's data"
guest_stop a
# The one that has the port ends first.
begin=$SECONDS
penstockd_stop
[ $((SECONDS - begin)) -lt 8 ] || fail "it took $((SECONDS - begin)) s to end"
"$BIN/penstock" pool check "$TEST_DIR/far.img" || fail "the pool behind"
