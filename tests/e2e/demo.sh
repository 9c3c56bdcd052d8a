#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo runs to its end: promises admitted, one refused, guests' data right.
# Whether its promises are kept is left to look at: it depends on the machine.
. "$(dirname "$0")/../lib.sh"

env -u TEST_DIR "$ROOT/examples/demo/demo.sh" 2>&1 | tee demo.txt
[ "${PIPESTATUS[0]}" = 0 ] || fail "the demo failed"
grep -q 'guest web: .* 0 wrong, 0 errors' demo.txt || fail "web's data"
grep -q 'guest db: .* 0 wrong, 0 errors' demo.txt || fail "db's data"
grep -q 'iops >= 1200, bandwidth >= 62.5 MB/s, latency p99 <= 1 ms' demo.txt || fail "combined (E5)"
grep -q 'iops >= 800, bandwidth >= 62.5 MB/s, latency p99 <= 2 ms' demo.txt ||
	fail "combined after process 2 ended (E5)"
