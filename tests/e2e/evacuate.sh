#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device is evacuated while it is written to, and penstockd and the endpoint
# are killed in between: what was acknowledged is there (issue 3).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/writer.sh"

writes_config 64 d0 d1

penstockd_start
writes_begin vd0 64

note "evacuated slowly; penstockd is killed, then the endpoint"
expect 1 p device evacuate none
expect 0 p device evacuate d0 --bandwidth "1 MiB/s"
device_is d0 '.state == "leaving" and .left_bytes > 0' ||
	fail "it is not leaving"
killed "$PENSTOCKD_PID"
penstockd_start
wait_for 20 device_is d0 '.state == "leaving" and .left_bytes > 0' ||
	fail "it is forgotten, or faster than was asked for"
kill -9 "$(endpoint_pid)"
wait_for 20 device_is d0 '.state == "leaving"' || fail "it is forgotten"

note "it goes on, and its rate is another one"
expect 0 p device evacuate d0 --bandwidth "1 GiB/s" --wait
device_is d0 '.left_bytes == 0' || fail "something is left"

note "what is free is on the device that stays"
wait_for 20 holds '.free_bytes == 33554432' pool show p ||
	fail "free: $(ask .free_bytes pool show p)"
expect 3 p vdev create more 64MiB --pool p 2>refused
grep -q "32 MiB of it is free" refused || fail "$(cat refused)"

writes_end
penstockd_stop
expect 0 p pool check "$TEST_DIR/d0" "$TEST_DIR/d1"
