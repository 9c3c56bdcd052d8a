#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device leaves its pool while that is written to, for good; penstockd and the
# endpoint are killed at any instant of it: done or not done (issue 3).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/writer.sh"

writes_config 48 d0 d1 d2

is_whole() { holds '.[0] | .state == "ready" and .missing_devices == 0' pool list; }
is_there() { device_is "$1" '.state == "ready" or .state == "leaving"'; }
said() { p device remove "$1" 2>told && fail "$1 is removed"; grep -q "$2" told || fail "$(cat told)"; }

penstockd_start
writes_begin vd0 48
note "not while it holds data, and not one that is not there"
expect 1 p device remove none
device_is d0 '.allocated_bytes > 0' || fail "nothing is on d0"
said d0 'holds .* bytes.*evacuate'

note "evacuated, it leaves while it is written to"
expect 0 p device evacuate d0 --bandwidth "1 GiB/s" --wait
expect 0 p device remove d0
is_gone d0 || fail "it is still listed"
is_whole || fail "it is missed"
expect 1 p device remove d0

note "it stays out, whoever dies"
killed "$PENSTOCKD_PID"
penstockd_start
is_gone d0 || fail "the next penstockd has it again"
is_whole || fail "it is missed"
kill -9 "$(endpoint_pid)"
wait_for 20 is_whole || fail "the pool is not whole without it"
is_gone d0 || fail "the next endpoint has it again"

note "killed in the middle: done or not done"
size=96
for who in penstockd endpoint both; do
	for round in 1 2 3; do
		expect 0 p device evacuate d1 --bandwidth "1 GiB/s" --wait
		p device remove d1 2>told &
		removing=$!
		# So far, and no further: as far as it comes meanwhile.
		for ((i = 1; i < round; i++)); do p status >status; done
		[ $who = penstockd ] || kill -9 "$(endpoint_pid)"
		if [ $who != endpoint ]; then
			killed "$PENSTOCKD_PID"
			penstockd_start
		fi
		wait "$removing" && is_done=1 || is_done=0
		wait_for 20 is_whole || fail "$who: $(cat told)"
		if is_gone d1; then
			note "$who: done"
			killed "$PENSTOCKD_PID"
			# Another entry: it is a device again, and an empty one.
			size=$((size + 1))
			sed -i "/name: d1/s/size: [0-9]*MiB/size: ${size}MiB/" \
				"$TEST_DIR/alpha.yaml"
			penstockd_start
			wait_for 20 is_there d1 || fail "it is not taken in"
		else
			[ $is_done = 0 ] || fail "$who: it is there again"
			note "$who: not done"
			wait_for 20 is_there d1 || fail "it is not there"
		fi
	done
done
writes_end
penstockd_stop
expect 0 p pool check "$TEST_DIR/d1" "$TEST_DIR/d2"
