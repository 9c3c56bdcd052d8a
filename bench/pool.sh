#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./run bench pool: how long a pool of 10 TiB, half of it allocated thin in the
# worst way, takes to start, and how much memory.  A table for
# docs/benchmarks.md.  Options: --quick: one round.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TIB=10
ROUNDS=5
[ "${1:-}" != --quick ] || ROUNDS=1
WORK=$(mktemp -d "${TMPDIR:-/tmp}/penstock-bench.XXXXXX")
trap 'rm -rf "$WORK"' EXIT

for ((round = 0; round < ROUNDS; round++)); do
	build/bench/bench-pool-start "$WORK/device" $TIB
done >"$WORK/out"
# "start: 0.812 s, 5242881 extents mapped, 41.2 MiB of memory"
sed -n 's/^start: \([0-9.]*\) s, \([0-9]*\) extents mapped, \([0-9.]*\) MiB.*/\1 \2 \3/p' \
	"$WORK/out" | sort -n >"$WORK/rounds"
[ "$(wc -l <"$WORK/rounds")" = $ROUNDS ] || {
	cat "$WORK/out"
	exit 1
}

printf 'Measured %s at commit %s with ./run bench pool on %s, kernel %s: %s rounds, median (lowest to highest).\n\n' \
	"$(date +%F)" "$(git rev-parse --short=12 HEAD 2>/dev/null || echo '?')" \
	"$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" \
	"$(uname -r)" $ROUNDS
echo '| figure | penstock | bar | met |'
echo '| --- | --- | --- | --- |'
awk -v tib=$TIB '
{ seconds[NR] = $1; mapped = $2; memory[NR] = $3 }
END {
	middle = int((NR + 1) / 2)
	printf "| start with %d TiB of thin metadata, half allocated (%d mappings, none beside another) | %.2f s (%.2f s to %.2f s) | 1 s | %s |\n",
		tib, mapped, seconds[middle], seconds[1], seconds[NR],
		seconds[middle] <= 1 ? "yes" : "no"
	printf "| memory of it | %.1f MiB, %.1f MiB for each TiB | - | - |\n",
		memory[middle], memory[middle] / tib
}' "$WORK/rounds"
