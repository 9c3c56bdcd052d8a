#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo, about a minute: two QEMU guests and a program on this host share
# one disk, each with a promise (the three of requirement E5); a fourth user
# without one takes all it can get.  Then the same without enforcement.
#
# The disk is memory with the times of one (about 21,000 requests/s), so that
# what is seen does not depend on whose disk it is.  With a directory it is a
# file there, on a real one: its latencies are as they are, so the bounds are
# then what its table can hold with room to spare.
#
# Bounds of a millisecond need a machine that is there.  One that shares its
# hardware is away for tens of milliseconds at a time, and no order of requests
# undoes that: where the kernel counts such time ("steal" in /proc/stat), or with
# --coarse, the disk is a slower one (5,000 requests/s) and the bounds are a
# hundred times as long.
#
# usage: demo.sh [--coarse] [DIRECTORY]
# Called by ./run demo.  Everything it starts ends with it.
set -eu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN="$ROOT/build/bin"

AGAIN=75	# the exit status that asks for coarse figures
if [ -z "${TEST_DIR:-}" ]; then
	. "$ROOT/tests/isolate.sh"
	COARSE=""
	[ "${1:-}" != --coarse ] || { COARSE=yes; shift; }
	ISOLATE_PREFIX="${1:-/tmp}/penstock-demo"
	isolate_clean_stale
	export COARSE
	status=0
	isolate 600 "$0" "$@" || status=$?
	if [ $status = $AGAIN ]; then
		COARSE=yes status=0
		isolate 600 "$0" "$@" || status=$?
	fi
	exit $status
fi
cd "$TEST_DIR"

DIRECTORY=${1:-}
NEIGHBOURS="bulk bulk-2 bulk-3 bulk-4"
if [ -t 1 ]; then
	LIVE=yes BOLD=$'\033[1m' PLAIN=$'\033[0m' GREEN=$'\033[32m'
	RED=$'\033[31m' DIM=$'\033[2m'
else
	LIVE="" BOLD="" PLAIN="" GREEN="" RED="" DIM=""
fi

fail()
{
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

. "$ROOT/tests/wait.sh"
. "$ROOT/tests/penstock.sh"
. "$ROOT/tests/guest/guest.sh"

# machine_time: of all CPUs since boot, what others took and all.
machine_time()
{
	awk '/^cpu / { print $9, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' \
		/proc/stat
}

# away_percent MACHINE_TIME: what others took since then.
away_percent()
{
	echo "$1 $(machine_time)" |
		awk '{ print ($4 > $2 ? int(100 * ($3 - $1) / ($4 - $2)) : 0) }'
}

# A second: nothing ever comes there, so the time runs out.
second()
{
	local nothing

	! read -r -t 1 -u "$BEAT_FD" nothing
}

# The disk and the promises: those of requirement E5, or coarse ones.
choose()
{
	local before

	before=$(machine_time)
	[ -n "$COARSE$DIRECTORY" ] || second
	if [ -z "$DIRECTORY" ] && [ "$(away_percent "$before")" -ge 2 ]; then
		COARSE=yes
	fi
	WEB_SLA="iops >= 500, latency <= 2 ms"
	DB_SLA="iops >= 400, latency <= 1 ms"
	LOG_SLA="iops >= 300, latency <= 3 ms, bandwidth >= 500 Mbps"
	BATCH_SLA="iops >= 100, latency <= 5 ms"
	MODEL="model: {latency: {read: 180us, write: 180us, sigma: 0.2, per-kib: 1us, servers: 4}, seed: 1}"
	NEIGHBOUR_DEPTH=32 GUEST_DEPTH=4 LOG_DEPTH=16 LOG_RATE=500
	[ -n "$COARSE" ] || return 0
	WEB_SLA="iops >= 500, latency <= 200 ms"
	DB_SLA="iops >= 400, latency <= 100 ms"
	LOG_SLA="iops >= 300, latency <= 300 ms, bandwidth >= 500 Mbps"
	BATCH_SLA="iops >= 100, latency <= 500 ms"
	MODEL="model: {latency: {read: 1500us, write: 1500us, sigma: 0.2, per-kib: 5us, servers: 8}, seed: 1}"
	# Less than its promise: so it can catch up after an absence.
	NEIGHBOUR_DEPTH=512 GUEST_DEPTH=8 LOG_DEPTH=32 LOG_RATE=400
	say "coarse figures: the CPU of a shared machine is away for milliseconds"
}

headline()
{
	printf '\n%s%3d s  %s%s\n' "$BOLD" $SECONDS "$*" "$PLAIN"
}

say()
{
	printf '       %s\n' "$*"
}

# run_p ARGUMENT...: show the command, do it.
run_p()
{
	local text="" word

	for word in "$@"; do
		case $word in
		*' '*) text="$text '$word'" ;;
		*) text="$text $word" ;;
		esac
	done
	say "${DIM}\$ penstock$text${PLAIN}"
	p "$@" >out 2>&1 || {
		status=$?
		sed 's/^/       /' out
		return $status
	}
}

combined()
{
	p vdev list --json | jq -r '.[] | select(.combined_text != "" and
		.combined_text != null) | "vdev \(.name): \(.combined_text)"' |
		sed 's/^/         /'
	p device list --json | jq -r '.[] |
		"endpoint \(.endpoint), all together: \(.combined_text)"' |
		sed 's/^/         /'
}

# One line for each process, and one for the neighbour, who is not one.
table()
{
	local processes vdevs

	processes=$(p process list --json)
	vdevs=$(p vdev list --json)
	printf '       %s%-8s %-56s %25s %s%s\n' "$DIM" process promised \
		delivered kept "$PLAIN"
	jq -rn --argjson processes "$processes" --argjson vdevs "$vdevs" '
		def ms: if . == null then "-" else "\(. / 10000 | round / 100) ms" end;
		def got: "\(.iops // 0 | round) IOPS\t\(.latency_p99_ns | ms)";
		($processes[] | "\(.pasid) \(.name)\t\(.sla_text)\t" +
			"\(.delivered | got)\t\(.kept)"),
		([$vdevs[] | select(.name | startswith("bulk")) | .delivered] |
			{iops: (map(.iops // 0) | add),
			latency_p99_ns: map(.latency_p99_ns) | max} |
			"- bulk\tnothing\t\(got)\tnull"),
		($vdevs[] | select(.processes | length > 1) |
			"\tcombined for \(.name): \(.combined_text)")' |
		while IFS=$'\t' read -r name promised iops p99 kept; do
			case $kept in
			true) kept="${GREEN}yes${PLAIN}" ;;
			false) kept="${RED}NO${PLAIN}" ;;
			*) kept="${DIM}-${PLAIN}" ;;
			esac
			[ -n "$name" ] || { name=$promised promised=""; }
			printf '       %-8s %-56s %11s %13s %s\n' "$name" \
				"$promised" "$iops" "${p99:+p99 }$p99" "$kept"
		done
}

# watch SECONDS [VERDICT]: the live table; piped, a table at the end.  Goes on,
# half a minute at most, until that is the verdict of all.
watch()
{
	local end=$((SECONDS + $1)) most=$((SECONDS + $1 + 30)) lines=0
	local text

	while [ $SECONDS -lt $end ] || {
		[ -n "${2:-}" ] && [ $SECONDS -lt $most ] &&
			! holds "all(.kept == $2)" process list
	}; do
		text=$(table)
		if [ -n "$LIVE" ]; then
			[ $lines = 0 ] || printf '\033[%dA\033[J' $lines
			printf '%s\n' "$text"
			lines=$(printf '%s\n' "$text" | wc -l)
		fi
		second
	done
	[ -n "$LIVE" ] || table
}

# The neighbour: from four disks, requests of 4 KiB at full depth at any time.
neighbour()
{
	local name

	for name in $NEIGHBOURS; do
		"$ROOT/build/bench/bench-load" --sleep --seed 9 --warmup 0 \
			--duration 600 \
			"socket=$TEST_DIR/$name.sock,name=bulk,depth=$NEIGHBOUR_DEPTH,indirect,read=70" \
			>>neighbour.log 2>&1 &
		LOADS+=($!)
	done
}
LOADS=()

# The program on this host: 64 MB/s in pieces of 128 KiB (coarse: 52).
client()
{
	"$ROOT/build/bench/bench-load" --sleep --json --seed 7 --warmup 0 \
		--duration 600 \
		"socket=$TEST_DIR/log.sock,name=log,depth=$LOG_DEPTH,indirect,bs=131072,rate=$LOG_RATE,read=50,span=67108864,verify" \
		>"client-$PHASE.json" 2>>client.log &
	CLIENT_PID=$!
}

# load GUEST RATE: until it is told to stop; checks what it reads.
load()
{
	guest_spawn "$1" guest-io /dev/vda name="$1" depth=$GUEST_DEPTH rate="$2" \
		size=64M read=90 report-ms=10000
	LOAD[$1]=$GUEST_ID
}
declare -A LOAD

# remember PHASE: for the comparison at the end.
remember()
{
	p process list --json >"processes-$1.json"
	p vdev list --json >"vdevs-$1.json"
}

comparison()
{
	local phase

	printf '       %s%-28s %22s %22s%s\n' "$DIM" "" "enforced" \
		"not enforced" "$PLAIN"
	jq -rn --slurpfile on processes-on.json --slurpfile off processes-off.json \
		--slurpfile von vdevs-on.json --slurpfile voff vdevs-off.json '
		def ms: if . == null then "-" else "\(. / 10000 | round / 100) ms" end;
		def kept: if .windows > 0 then
			"\((.windows - .windows_broken) * 1000 / .windows | floor / 10) %"
			else "-" end;
		($on[0][] | . as $a | ($off[0][] | select(.pasid == $a.pasid)) as $b |
			"\(.pasid) \(.name): promise kept\t\($a.kept)\t\($b.kept)",
			"   rate held, 100 ms windows\t\($a | kept)\t\($b | kept)",
			"   latency p99\t\($a.delivered.latency_p99_ns | ms)\t\($b.delivered.latency_p99_ns | ms)"),
		def bulk: map(select(.name | startswith("bulk")) |
			.delivered.bandwidth_bytes_per_s // 0) | add / 1e6 | round;
		"bulk: MB/s\t\($von[0] | bulk)\t\($voff[0] | bulk)"' |
		while IFS=$'\t' read -r what on off; do
			on=${on/#true/yes} off=${off/#true/yes}
			on=${on/#false/NO} off=${off/#false/NO}
			on=${on/#null/too few to say} off=${off/#null/too few to say}
			printf '       %-28s %22s %22s\n' "$what" "$on" "$off"
		done
	jq -r '.[] | select(.kept == false) | .specs[]? |
		select(.kept == false) | .text // empty' processes-on.json |
		sort -u | sed 's/^/       not kept although enforced: /'
	[ "$(jq 'any(.[]; .kept == false)' processes-on.json)" = false ] ||
		blame
}

# Whose fault it is, as far as one can see from here.
blame()
{
	[ "$(jq -r '.[] | select(.kept == false) | .windows_broken' \
		processes-on.json | sort -n | tail -1)" = 0 ] &&
		say "Rates were held. Some requests took longer than their bound:" ||
		say "Not every 100 ms window had its rate:"
	say "the disk took so long itself (a cache that is written out, other users"
	say "of the same disk), or the machine did not run us: no order of requests"
	say "undoes that. 'penstock device calibrate' shows what the disk can hold."
}

start()
{
	local device="{name: disk, kind: memory, size: 640MiB, $MODEL}"

	headline "a host with one disk, shared by all that follow"
	if [ -n "$DIRECTORY" ]; then
		device="{name: disk, kind: file, path: $TEST_DIR/disk.img}"
		# Written, not only sized: holes would be read in no time.
		dd if=/dev/zero of=disk.img bs=1M count=640 status=none \
			conv=fsync
	fi
	sed -e "s,@DIR@,$TEST_DIR,g" -e "s;@DEVICE@;$device;" \
		"$ROOT/examples/demo/demo.yaml" >alpha.yaml
	penstockd_start
	p device list --json | jq -r '.[] | .capacity as $c | ($c.read[-1] // {}) as $r |
		"disk measured (\(.calibration)): reads " +
		"\($r.iops // 0) IOPS at depth \($r.depth // 0), p99 \(($r.p99_ns // 0) / 1000 | round) us"' |
		sed 's/^/       /'
	guest_start web -n 10 "$TEST_DIR/web.sock"
	guest_start db -n 10 "$TEST_DIR/db.sock"
	say "two guests boot: Debian's cloud kernel, TCG"
}

# The milliseconds of a bound that this disk can hold: those wanted, or ten
# times what 99 of 100 requests took at the depth at which it is busy.
bound_ms()
{
	p device list --json | jq -r --argjson wanted "$1" '
		[.[0].capacity | .read, .write |
			([.[].iops] | max) as $most |
			map(select(.iops >= 0.9 * $most))[0].p99_ns] |
		[$wanted, (max * 10 / 1e6 | ceil)] | max'
}

# Promises that hold on a disk that is what it is.
fit()
{
	local ms

	for name in WEB DB LOG BATCH; do
		local -n sla="${name}_SLA"
		ms=$(printf '%s' "$sla" | sed 's/.*latency <= \([0-9]*\) ms.*/\1/')
		sla=${sla/latency <= $ms ms/latency <= $(bound_ms "$ms") ms}
	done
	say "this disk's own latencies: bounds are ten times what it needs when busy"
}

promises()
{
	[ -z "$DIRECTORY" ] || fit
	headline "three promises, one after the other; what they add up to"
	run_p process add 1 --name web --vdev web --sla "$WEB_SLA"
	run_p process add 2 --name db --vdev db --sla "$DB_SLA"
	run_p process add 3 --name log --vdev log --sla "$LOG_SLA"
	combined
	headline "more than the disk can give is refused, and why is said"
	if run_p process add 9 --vdev bulk --sla 'iops >= 5M, latency <= 1 ms'; then
		fail "admission took five million IOPS"
	else
		[ $? = 3 ] || fail "the refusal ended with another status than 3"
	fi
}

# The main part, the same for both: PHASE, and whether things come and go.
pressure()
{
	local before pid

	PHASE=$1
	before=$(machine_time)
	client
	neighbour
	watch 7
	if [ "$PHASE" = on ]; then
		headline "db's process ends, and what is promised with it"
		run_p process release 2
		combined
		run_p process add 2 --name db --vdev db --sla "$DB_SLA"
		headline "a second process in web's guest, by its I/O priority"
		run_p process add 4 --name batch --vdev web --ioprio be/7 \
			--sla "$BATCH_SLA"
		combined
		run_p process release 4
		watch 10 true
	else
		watch 10 false
	fi
	remember "$PHASE"
	[ "$PHASE" = off ] || fine_enough "$(away_percent "$before")"
	kill -TERM $CLIENT_PID "${LOADS[@]}"
	wait $CLIENT_PID || CLIENT_FAILED="$CLIENT_FAILED $PHASE"
	for pid in "${LOADS[@]}"; do
		wait "$pid" || fail "the neighbour: $(tail -n 1 neighbour.log)"
	done
	LOADS=()
}
CLIENT_FAILED=""

# fine_enough AWAY: of the CPU's time, percent; if that broke a promise, all
# begins anew with figures that have room for it.
fine_enough()
{
	[ -z "$COARSE$DIRECTORY" ] && [ "$1" -ge 1 ] &&
		holds 'any(.kept == false)' process list || return 0
	headline "not kept: others took $1 % of this machine's CPUs meanwhile"
	say "No order of requests undoes that.  Once more, with bounds that have"
	say "room for it."
	exit $AGAIN
}

verify()
{
	local guest wrong=0

	headline "every guest reads back all that it wrote, and compares"
	for guest in web db; do
		guest_run $guest 10 killall guest-io
		guest_wait $guest "${LOAD[$guest]}" 60 >"$guest.txt" || wrong=1
		sed -n "s/^result name=\([a-z]*\) done=\([0-9]*\).*errors=\([0-9]*\) wrong=\([0-9]*\) read_back=\([0-9]*\)/       guest \1: \2 requests, \5 blocks read back, \4 wrong, \3 errors/p" \
			"$guest.txt"
	done
	for phase in on off; do
		jq -r "\"       program on the host ($phase): \" +
			\"\(.jobs[0].requests) requests, \" +
			\"\(.jobs[0].mismatches // 0) wrong, \(.jobs[0].errors) errors\"" \
			"client-$phase.json" || wrong=1
	done
	[ $wrong = 0 ] && [ -z "$CLIENT_FAILED" ] || fail "data are wrong"
	guest_stop web
	guest_stop db
	penstockd_stop
}

choose
start
promises
guest_ready web
guest_ready db
load web 500
load db 400
headline "all at work, and a neighbour without a promise at full depth"
pressure on
headline "the same with enforcement off"
run_p enforce off
pressure off
run_p enforce on
headline "side by side"
comparison
verify
headline "done"
