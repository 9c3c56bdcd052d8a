#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A promise beside a neighbour at full depth, on a device with a service model
# (8 servers of 200 us): kept while enforced, broken without (E8); admission
# knows the device and refuses what it cannot hold (E8); released, it is free.
# Strictly at real-time priority.  An ordinary endpoint waits for its CPU behind
# the loads, for milliseconds each time, and no scheduler of requests can undo
# that: it is judged by the windows in which neither it nor the load waited.
. "$(dirname "$0")/../lib.sh"

penstock_config "
endpoints:
  - name: ep0
    realtime: true      # the loads share its cores
    devices:
      - {name: n0, kind: nullio, size: 1GiB, model: {latency: {read: 200us, write: 200us, sigma: 0.2, servers: 8}, seed: 3}}
  - name: ep1
    devices:
      - {name: n1, kind: nullio, size: 1GiB, model: {latency: {read: 200us, write: 200us, sigma: 0.2, servers: 8}, seed: 3}}
pools: [{name: main, devices: [ep0/n0]}, {name: other, devices: [ep1/n1]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd1.sock}
  - {name: vd2, endpoint: ep1, pool: other, size: 128MiB, vhost-user: $TEST_DIR/vd2.sock}
  - {name: vd3, endpoint: ep1, pool: other, size: 128MiB, vhost-user: $TEST_DIR/vd3.sock}
"
LOADS=()
# run_load SOCKET JOB [OPTION...]: until loads_end, or the test ends.
run_load()
{
	"$ROOT/build/bench/bench-load" --sleep --json --duration 900 "${@:3}" \
		"socket=$TEST_DIR/$1,$2" >"$1.json" 2>"$1.err" &
	LOADS+=($!)
}

loads_end()
{
	kill -TERM "${LOADS[@]}"
	wait "${LOADS[@]}" || fail "a load: $(cat ./*.err)"
	LOADS=()
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
loads_end

note "an ordinary endpoint"
p process add 2 --name victim --vdev vd2 --sla 'iops >= 2000, latency <= 3 ms'
run_load vd3.sock depth=256,read=70 --server "$(endpoint_pid ep1)"
run_load vd2.sock rate=1900,depth=32,read=70,promise=2000,promise-latency=3000000 \
	--server "$(endpoint_pid ep1)"
wait_for 40 holds '.[0].windows >= 50' process list ||
	{ p process list --json; fail "50 windows are not over"; }
loads_end
jq -c '.jobs[0] | {iops, clean_latency_ns, iops_kept, latency_kept}' vd2.sock.json
for what in iops_kept latency_kept; do
	judged=$(jq ".jobs[0].$what.judged" vd2.sock.json)
	if [ "$judged" -lt 20 ]; then
		echo "skipped: $what of an ordinary endpoint: the machine was away in all but $judged windows, 20 are judged at least"
		continue
	fi
	[ "$(jq ".jobs[0].$what | .judged_kept >= 0.99 * .judged" \
		vd2.sock.json)" = true ] ||
		fail "not kept in 99 % of $judged windows while the machine was there: $what"
done
penstockd_stop
