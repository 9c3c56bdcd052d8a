#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How many instructions the server spends on a request, beside the budget that
# it must not exceed (bench/budget.txt): ring, scheduler, nullio, statistics.
# Nearly the same on every machine: a slow one does more of what is done at
# certain times, so one that exceeds it may try again.
# usage: budget.sh [BENCH-BUDGET]; exits 1 if a budget is exceeded
set -eu
program=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../build/bench/bench-budget}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requests=20000
command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 77; }
[ -x "$program" ] || { echo "skipped: $program is not built"; exit 77; }

status=0
while read -r what depth budget; do
	case $what in '' | '#'*) continue ;; esac
	for attempt in 1 2 3; do
		out=$(valgrind --tool=callgrind \
			--callgrind-out-file=/dev/null \
			--toggle-collect=budget_serve \
			"$program" "$what" "$depth" $requests 2>&1) ||
			{ printf '%s\n' "$out"; exit 1; }
		count=$(printf '%s\n' "$out" |
			sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
		each=$((count / requests))
		[ "$each" -gt "$budget" ] || break
	done
	verdict="within"
	[ "$each" -gt 0 ] || { printf '%s\n' "$out"; exit 1; }
	[ "$each" -le "$budget" ] || { verdict="EXCEEDS"; status=1; }
	echo "$what, QD $depth: $each instructions a request," \
		"$verdict the budget of $budget"
done <bench/budget.txt
exit $status
