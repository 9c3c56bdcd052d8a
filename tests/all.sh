#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every test and counts.  Called by ./run test, as root, after the
# builds.  The last line is always "N passed, N failed, N skipped".
#
# usage: all.sh quick|whole [SECONDS SPENT BUILDING [BUILD THAT FAILED...]]
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/isolate.sh

WHAT=$1
STARTED=$((SECONDS - ${2:-0}))
FUZZ_SECONDS=20
SCRIPT_LIMIT_S=600
# What "quick" runs of the scripts that start guests.
QUICK_SCRIPTS="tests/e2e/guest-disk.sh tests/e2e/endpoint-killed.sh"

PASSED=0
FAILED=0
SKIPPED=0
RESULTS=$(mktemp -d "${TMPDIR:-/tmp}/penstock-results.XXXXXX")

finish()
{
	trap - EXIT INT TERM
	isolate_kill_all
	rm -rf "$RESULTS"
	printf '\n%s in %d min %d s\n' "$WHAT" \
		$(((SECONDS - STARTED) / 60)) $(((SECONDS - STARTED) % 60))
	echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ] && exit "${1:-0}"
	exit 1
}
trap 'finish 1' EXIT INT TERM

section()
{
	printf '\n== %s (%d s)\n' "$1" $((SECONDS - STARTED))
}

# result STATUS NAME SECONDS [LOG]: one line, and the log of a failure.
result()
{
	local status=$1 name=$2 took=$3 log=${4:-}

	case $status in
	0)
		PASSED=$((PASSED + 1))
		printf '  ok    %-44s %3d s\n' "$name" "$took"
		# What passed with less than all of it says so.
		[ -z "$log" ] || grep -E \
			'^passed, [1-9][0-9]* retries$|^skipped: ' "$log" |
			sed 's/^/        | /'
		;;
	77)
		SKIPPED=$((SKIPPED + 1))
		printf '  skip  %-44s %s\n' "$name" \
			"$([ -z "$log" ] || tail -1 "$log")"
		;;
	*)
		FAILED=$((FAILED + 1))
		printf '  FAIL  %-44s %3d s (exit %d)\n' "$name" "$took" \
			"$status"
		[ -z "$log" ] || tail -40 "$log" | sed 's/^/        | /'
		;;
	esac
}

# meson_suite BUILD SUITE [OPTION...]: every test of a suite counts as one.
meson_suite()
{
	local dir=$1 suite=$2 log="$1/meson-logs/testlog.json" line name status
	local wanted

	shift 2
	section "$suite tests, $dir"
	rm -f "$log"
	meson test -C "$dir" --no-rebuild --suite "$suite" "$@" \
		>"$RESULTS/meson.log" 2>&1
	# No test, or fewer results than tests: nothing that passed.
	wanted=$(meson test -C "$dir" --no-rebuild --suite "$suite" --list \
		2>/dev/null | grep -c ' / ')
	if [ ! -s "$log" ] || [ "$(wc -l <"$log")" -lt "$wanted" ]; then
		result 1 "$suite in $dir: results of all $wanted tests" 0 \
			"$RESULTS/meson.log"
		[ -s "$log" ] || return
	fi
	while IFS= read -r line; do
		name=$(field name "$line")
		name=${name##* / }
		case $(field result "$line") in
		OK | EXPECTEDFAIL) status=0 ;;
		SKIP) status=77 ;;
		*) status=1 ;;
		esac
		# JSON's escapes are printf's.
		{
			field stdout "$line"
			field stderr "$line"
		} | sed 's/%/%%/g; s/\\"/"/g' |
			{ printf "$(cat)\n"; } >"$RESULTS/log" 2>/dev/null
		result $status "$name" "$(field duration "$line")" \
			"$RESULTS/log"
	done <"$log"
}

# field NAME JSON-LINE: a string, or the whole part of a number.
field()
{
	printf '%s\n' "$2" |
		sed -nE "s/.*\"$1\": (\"(([^\"\\\\]|\\\\.)*)\"|([0-9]+)).*/\2\4/p"
}

# script FILE: a test of its own, in a world of its own.
script()
{
	local file=$1 name started=$SECONDS status

	name=${file#tests/}
	isolate "$SCRIPT_LIMIT_S" "$file" >"$RESULTS/log" 2>&1
	status=$?
	result $status "${name%.sh}" $((SECONDS - started)) "$RESULTS/log"
}

# fuzz TARGET: in the background, two at a time; results at the end.
fuzz()
{
	local target=$1 name corpus

	name=$(basename "$target")
	corpus="$RESULTS/$name.corpus"
	mkdir "$corpus"
	set -- "$corpus"
	[ ! -d "tests/fuzz/corpus/${name#fuzz-}" ] ||
		set -- "$@" "tests/fuzz/corpus/${name#fuzz-}"
	"$target" -max_total_time=$FUZZ_SECONDS -rss_limit_mb=2048 -timeout=10 \
		-artifact_prefix="$RESULTS/$name." -print_final_stats=1 "$@" \
		>"$RESULTS/$name.log" 2>&1
	echo $? >"$RESULTS/$name.status"
}

fuzz_all()
{
	local target name running=0 targets=""

	section "fuzz targets, $FUZZ_SECONDS s each"
	for target in build-fuzz/bin/fuzz-* build-fuzz/tests/fuzz/fuzz-*; do
		[ -f "$target" ] && [ -x "$target" ] || continue
		targets="$targets $(basename "$target")"
		fuzz "$target" &
		running=$((running + 1))
		if [ $running = 2 ]; then
			wait -n
			running=1
		fi
	done
	wait
	[ -n "$targets" ] || result 1 "fuzz targets: none is built" 0
	for name in $targets; do
		result "$(cat "$RESULTS/$name.status" 2>/dev/null || echo 1)" \
			"$name" $FUZZ_SECONDS "$RESULTS/$name.log"
	done
}

isolate_clean_stale
[ $# -le 2 ] || for name in "${@:3}"; do
	result 1 "build of $name" 0
done
# Limits are for what hangs, not for a machine whose CPUs others take.
meson_suite build unit -t 4
meson_suite build func -t 4
if [ "$WHAT" = whole ]; then
	meson_suite build-asan unit -t 8
	meson_suite build-asan func -t 8
	fuzz_all
fi
section "end to end, with guests"
for file in tests/e2e/*.sh; do
	[ "$WHAT" = whole ] || case " $QUICK_SCRIPTS " in
	*" $file "*) ;;
	*) continue ;;
	esac
	script "$file"
done
if [ "$WHAT" = whole ]; then
	section "faults"
	for file in tests/fault/*.sh; do
		script "$file"
	done
fi
finish
