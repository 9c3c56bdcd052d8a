#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A promise beside a neighbour at full depth, on a device with a service model
# (8 servers of 200 us): kept while enforced, broken without (E8); admission
# knows the device and refuses what it cannot hold (E8); released, it is free.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    realtime: true      # the loads share its cores
    devices:
      - {name: n0, kind: nullio, size: 1GiB, model: {latency: {read: 200us, write: 200us, sigma: 0.2, servers: 8}, seed: 3}}
pools: [{name: main, devices: [ep0/n0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd1.sock}
"
# run_load SOCKET JOB: until the test ends.
run_load()
{
	"$ROOT/build/bench/bench-load" --sleep --json --duration 120 \
		"socket=$TEST_DIR/$1,$2" >"$1.json" 2>"$1.err" &
}

penstockd_start
expect 3 p process add 9 --vdev vd0 --sla 'iops >= 200k' 2>refusal
cat refusal
grep -q iops refusal || fail "the refusal does not name the metric"
expect 3 p process add 9 --vdev vd0 --sla 'latency <= 10 us'
expect 2 p process add 9 --vdev vd0 --sla 'iops >= many'
equal 0 "$(ask length process list)" "processes after refusals"

p process add 1 --name victim --vdev vd0 --sla 'iops >= 2000, latency <= 3 ms'
run_load vd1.sock depth=256,read=70
run_load vd0.sock rate=1900,depth=32,read=70
wait_for 40 holds '.[0].kept == true' process list || {
	p process list
	fail "not kept beside a neighbour at full depth"
}
p process list
neighbour=$(ask '.delivered.iops | floor' vdev show vd1)
note "neighbour: $neighbour IOPS"
[ "$neighbour" -gt 5000 ] || fail "the neighbour starves: $neighbour IOPS"

note "without enforcement"
p enforce off
wait_event 40 '.kind == "sla-broken"' || fail "not broken without enforcement"
wait_for 40 holds '.[0].kept == false' process list ||
	fail "said to be kept without enforcement"
p process list
p enforce on
wait_event 90 '.kind == "sla-restored"' || fail "not restored"
p process release 1
equal 0 "$(ask length process list)" "processes after release"
penstockd_stop
