#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo runs to its end: promises admitted and kept, one refused, guests' data
# right; without enforcement none is kept.  With its coarse figures, which hold
# on any machine; those of E5 are the same promises, their latencies a hundredth.
. "$(dirname "$0")/../lib.sh"

env -u TEST_DIR "$ROOT/examples/demo/demo.sh" --coarse 2>&1 | tee demo.txt
[ "${PIPESTATUS[0]}" = 0 ] || fail "the demo failed"
grep -q 'guest web: .* 0 wrong, 0 errors' demo.txt || fail "web's data"
grep -q 'guest db: .* 0 wrong, 0 errors' demo.txt || fail "db's data"
grep -q 'iops >= 1200, bandwidth >= 62.5 MB/s, latency p99 <= 100 ms' demo.txt || fail "combined (E5)"
grep -q 'iops >= 800, bandwidth >= 62.5 MB/s, latency p99 <= 200 ms' demo.txt ||
	fail "combined after process 2 ended (E5)"
grep -q 'penstock: refused: ' demo.txt || fail "nothing was refused"
for name in web db log; do
	grep -q " $name: promise kept  *yes  *NO\$" demo.txt ||
		fail "$name: kept while enforced, and not without"
done
