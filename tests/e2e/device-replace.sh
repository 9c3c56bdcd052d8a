#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device is replaced by another one while its pool is written to; penstockd
# and the endpoint are killed in between, and it goes on (issue 3).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/writer.sh"

writes_config 64 d0 d1 d2

is_moving() { device_is d0 '.state == "leaving" and .replaced_by == "ep0/d2" and .left_bytes > 0'; }
refused() {
	expect "$1" p device replace "$2" "$3" 2>told
	grep -q "$4" told || fail "$(cat told)"
}

penstockd_start
writes_begin vd0 64
note "what cannot be is said"
refused 1 d0 d0 'the one to be replaced'
refused 1 d0 none 'there is no device'
refused 1 none d0 'there is no such\|not found\|there is no device'

note "cancelled, it stays"
expect 0 p device replace d0 d2 --bandwidth "1 MiB/s"
is_moving || fail "it is not being replaced"
refused 1 d0 d1 'goes to ep0/d2 already'
expect 1 p device evacuate d0
expect 0 p device replace d0 d2 --cancel
device_is d0 '.state == "ready" and .replaced_by == null' || fail "it is still leaving"

note "killed, one after the other and both: it goes on, at its rate"
expect 0 p device replace d0 d2 --bandwidth "1 MiB/s"
expect 0 p device show d0 >shown
grep -q 'Moved %' shown || fail "$(cat shown)"
killed "$PENSTOCKD_PID"
penstockd_start
wait_for 20 is_moving || fail "penstockd has forgotten it"
kill -9 "$(endpoint_pid)"
wait_for 20 is_moving || fail "the endpoint has forgotten it"
kill -9 "$(endpoint_pid)"
killed "$PENSTOCKD_PID"
penstockd_start
wait_for 20 is_moving || fail "both have forgotten it"
wait_for 20 device_is d0 '.moving' || fail "it does not go on"
device_is d0 '.moved_bytes + .left_bytes > 0 and .moved_percent < 100' ||
	fail "how far it is is not known"

note "it ends, and the device is gone"
expect 0 p device replace d0 d2 --bandwidth "1 GiB/s" --wait
is_gone d0 || fail "it is still there"
device_is d2 '.allocated_bytes > 0' || fail "nothing went to d2"
wait_event 10 '.kind == "device-removed" and (.text | contains("replaced by ep0/d2"))' ||
	fail "no event says so"
killed "$PENSTOCKD_PID"
penstockd_start
is_gone d0 || fail "it is back"

note "killed at its end: it is gone all the same"
for who in penstockd endpoint both; do
	killed "$PENSTOCKD_PID"
	# Another entry: an empty device again.
	size=$((${size:-96} + 1))
	sed -i "/name: d0/s/size: [0-9]*MiB/size: ${size}MiB/" "$TEST_DIR/alpha.yaml"
	penstockd_start
	wait_for 20 device_is d0 '.state == "ready"' || fail "it is not taken in"
	expect 0 p device replace d0 d1 --bandwidth "1 GiB/s"
	[ $who = penstockd ] || kill -9 "$(endpoint_pid)"
	if [ $who != endpoint ]; then
		killed "$PENSTOCKD_PID"
		penstockd_start
	fi
	if ! wait_for 15 is_gone d0; then
		tail -n 20 penstockd.log
		fail "$who: it is still there"
	fi
done
writes_end
penstockd_stop
expect 0 p pool check "$TEST_DIR/d1" "$TEST_DIR/d2"
