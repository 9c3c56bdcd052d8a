#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A promise on memory, which completes inside submit, so that what is short is
# the reactor's time (E8): beside four neighbours with far more requests under
# way it is held while enforced and not without; the neighbours get the rest;
# weights count there, too (E9).  And the core is sold once: what one device was
# promised is not there for another on the same endpoint.
#
# One load drives all of them, so shares of its total are judged and not rates.
# A machine that takes the CPU away from load or reactor for a while lets rings run
# empty whose depth is small: what should be is waited for, a few seconds at a time.
. "$(dirname "$0")/../lib.sh"

NAMES="v a b c d"

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}, {name: n0, kind: nullio, size: 64MiB}]}
pools: [{name: p0, devices: [ep0/m0]}, {name: p1, devices: [ep0/n0]}]
vdevs:
$(for name in $NAMES; do
	echo "  - {name: $name, endpoint: ep0, pool: p0, size: 32MiB, vhost-user: $TEST_DIR/$name.sock}"
done)
  - {name: n, endpoint: ep0, pool: p1, size: 32MiB, vhost-user: $TEST_DIR/n.sock}
"

# load JOB...: leaves load.json.
load()
{
	"$ROOT/build/bench/bench-load" --json --warmup 0.5 --duration 2 "$@" \
		>load.json || fail "the load failed"
}

# beside_all: v at a depth of 16, the others at 128.  Sets 'share', percent.
beside_all()
{
	local jobs=() name

	for name in $NAMES; do
		jobs+=("name=$name,socket=$TEST_DIR/$name.sock,depth=128,indirect")
	done
	jobs[0]=${jobs[0]/depth=128/depth=16}
	load "${jobs[@]}"
	jq -c '[.jobs[] | {name, iops}]' load.json
	share=$(jq '[.jobs[].iops] | .[0] * 100 / add | floor' load.json)
}

# share_is COMPARISON PERCENT
share_is()
{
	beside_all
	[ "$share" "$1" "$2" ]
}

# weighted: b gets twice what a gets, roughly.
weighted()
{
	beside_all
	[ "$(jq '.jobs | .[2].iops * 10 / .[1].iops | floor' load.json)" -ge 15 ]
}

# measured: what can be promised now is more than v gets unpromised.  Calibration
# or load may each have met a minute in which others had the machine.
measured()
{
	p device calibrate ep0/m0 >calibrated
	held=$(ask '.[] | select(.name == "ep0/m0") | .capacity
		| [.read[-1].iops, .write[-1].iops] | min * 7 / 10 | floor' device list)
	beside_all
	promise=$(jq '[.jobs[].iops] | add * 35 / 100 | floor' load.json)
	[ "$share" -lt 18 ] && [ "$promise" -le "$held" ]
}

# written: everything is there to be read; holes are answered without the device.
written()
{
	local jobs=() name

	for name in $NAMES; do
		jobs+=("name=$name,socket=$TEST_DIR/$name.sock,depth=8,bs=1048576,sequential,read=0")
	done
	load "${jobs[@]}"
	holds 'all(.[] | select(.name != "n"); .allocated_bytes == .size_bytes)' vdev list
}

penstockd_start
wait_for 60 written || fail "not all is written"
wait_for 120 measured ||
	fail "unpromised it has $share % of the core; $held IOPS can be promised, and 35 % are $promise"
p process add 1 --vdev v --sla "iops >= $promise"
note "promised: iops >= $promise"
wait_for 120 share_is -gt 25 || fail "promised it has $share % of the core"
starving=$(jq '[.jobs[1:][].iops] | min < 1000' load.json)
[ "$starving" = false ] || fail "a neighbour starves"

p enforce off
note "not enforced"
wait_for 60 share_is -lt 18 || fail "not enforced it has $share % of the core"
p enforce on
note "enforced again"
wait_for 120 share_is -gt 25 || fail "enforced again it has $share % of the core"

note "weights"
p process release 1
p process add 2 --vdev a --weight 1
p process add 3 --vdev b --weight 2
wait_for 60 weighted || fail "weights count for nothing"

note "the core is sold once"
p process add 1 --vdev v --sla "iops >= $promise"
left=$(ask '.[] | select(.name == "ep0/n0") | .capacity.read[-1].iops * 85 / 100 | floor' device list)
expect 3 p process add 4 --vdev n --sla "read iops >= $left" 2>refusal
cat refusal
grep -q 'core of endpoint ep0' refusal || fail "the refusal does not name the core"
holds '.endpoints[0].admission | .promised_share > 0.1 and .is_over == false' status ||
	fail "the status does not show what is promised of the core"
p process release 1
p process add 4 --vdev n --sla "read iops >= $left"
penstockd_stop
