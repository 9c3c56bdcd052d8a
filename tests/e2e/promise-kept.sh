#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A promise beside a neighbour at full depth, on a device with a service model
# (8 servers of 8 ms: 1,000 requests/s): kept while enforced, broken without
# (E8); admission knows the device and refuses what it cannot hold (E8);
# released, it is free.  At real-time priority and, beside it, on an ordinary
# endpoint, which waits for its CPU behind the loads.
#
# The figures are coarse, so that the answer does not depend on the machine.  Not
# enforced, the 2,048 of the neighbours are one queue of two seconds on any
# machine.  Enforced, at most 128 requests are let into the device (fewer, unless
# it was measured while the CPU was taken away): 128 ms, so that absences of
# 200 ms break no bound of 800 ms, nor a rate: what came within half of the bound
# may still wait.  How finely promises are kept is for the benchmark to say
# (bench/block), which can tell when the machine was away.
. "$(dirname "$0")/../lib.sh"

MODEL="model: {latency: {read: 8ms, write: 8ms, sigma: 0.2, servers: 8}, seed: 3}"
SLA='iops >= 150, latency <= 800 ms'
NEIGHBOURS="a b c d"

# vdevs ENDPOINT: one with a promise, and the neighbours.
vdevs()
{
	for name in vd $NEIGHBOURS; do
		echo "  - {name: $name$1, endpoint: ep$1, pool: p$1, size: 64MiB, vhost-user: $TEST_DIR/$name$1.sock}"
	done
}

penstock_config "
endpoints:
  - {name: ep0, realtime: true, devices: [{name: n0, kind: nullio, size: 1GiB, $MODEL}]}
  - {name: ep1, devices: [{name: n1, kind: nullio, size: 1GiB, $MODEL}]}
pools: [{name: p0, devices: [ep0/n0]}, {name: p1, devices: [ep1/n1]}]
vdevs:
$(vdevs 0)
$(vdevs 1)
"
LOADS=()
# run_load VDEV JOB: until loads_end, or the test ends.
run_load()
{
	"$ROOT/build/bench/bench-load" --sleep --json --duration 900 \
		"socket=$TEST_DIR/$1.sock,$2" >"$1.json" 2>"$1.err" &
	LOADS+=($!)
}

loads_end()
{
	kill -TERM "${LOADS[@]}"
	wait "${LOADS[@]}" || fail "a load: $(cat ./*.err)"
	LOADS=()
}

# all_are true|false: what is said of both promises, after at least 8 s.
all_are()
{
	holds "length == 2 and all(.kept == $1 and .windows >= 80)" process list
}

# both_are true|false OR-ELSE: it is said within the time that it may take.
both_are()
{
	wait_for 40 all_are "$1" || {
		p process list --json
		p device list
		fail "$2"
	}
	p process list
}

# told KIND: how many events of it there are for each of the processes, of the
# one with the fewest; it never becomes less.
told()
{
	jq -s "[.[] | select(.kind == \"$1\") | .pasid] |
		[(map(select(. == 1)), map(select(. == 2))) | length] | min" \
		events.json
}

# told_more KIND THAN
told_more()
{
	[ "$(told "$1")" -gt "$2" ]
}

penstockd_start
expect 3 p process add 9 --vdev vd0 --sla 'iops >= 200k' 2>refusal
cat refusal
grep -q iops refusal || fail "the refusal does not name the metric"
expect 3 p process add 9 --vdev vd0 --sla 'latency <= 10 us'
expect 2 p process add 9 --vdev vd0 --sla 'iops >= many'
equal 0 "$(ask length process list)" "processes after refusals"

p events --json --after 0 >events.json &
p process add 1 --name realtime --vdev vd0 --sla "$SLA"
p process add 2 --name ordinary --vdev vd1 --sla "$SLA"
for endpoint in 0 1; do
	for name in $NEIGHBOURS; do
		run_load $name$endpoint depth=512,indirect,read=70
	done
	run_load vd$endpoint rate=135,depth=64,read=70
done
both_are true "not kept beside a neighbour at full depth"
for endpoint in 0 1; do
	p vdev list --json >vdevs.json
	rest=$(jq "[.[] | select(.endpoint == \"ep$endpoint\" and
		.name != \"vd$endpoint\") | .delivered.iops] | add | floor" vdevs.json)
	note "neighbours on ep$endpoint: $rest IOPS"
	[ "$rest" -gt 250 ] || fail "the neighbours starve: $rest IOPS"
done

note "without enforcement"
broken=$(told sla-broken)
p enforce off
both_are false "said to be kept without enforcement"
wait_for 10 told_more sla-broken "$broken" ||
	fail "no event tells that it is broken"

note "with enforcement again"
restored=$(told sla-restored)
p enforce on
both_are true "not kept again with enforcement"
wait_for 10 told_more sla-restored "$restored" ||
	fail "no event tells that it is restored"
p process release 1
p process release 2
equal 0 "$(ask length process list)" "processes after release"
loads_end
penstockd_stop
