#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The command line against the REST server on a host that is only data:
# exit statuses, --json, messages.  cli.sh PENSTOCK FAKE-PENSTOCKD
set -eu
PENSTOCK=$(realpath "$1")
FAKE=$(realpath "$2")
. "$(dirname "$(realpath "$0")")/command.sh"
if [ -z "${CLI_TEST_DIR:-}" ]; then
	CLI_TEST_DIR=$(mktemp -d /tmp/penstock-cli-XXXXXX)
	export CLI_TEST_DIR
	trap 'rm -rf "$CLI_TEST_DIR"' EXIT
	export PENSTOCK_API="$CLI_TEST_DIR/api.sock"
	# The server lives as long as this script's second half.
	"$FAKE" "$PENSTOCK_API" "$(realpath "$0")" "$PENSTOCK" "$FAKE"
	exit
fi
cd "$CLI_TEST_DIR"

# run STATUS ARGUMENT...: and only an error says something on standard error.
run()
{
	command_run "$1" "$PENSTOCK" "${@:2}"
	if [ "$1" = 0 ]; then
		[ ! -s err ] || fail "penstock ${*:2}: said something on standard error"
	else
		grep -q '^penstock' err ||
			fail "penstock ${*:2}: does not say who speaks"
	fi
}

says()
{
	grep -qF -- "$1" err || fail "does not say '$1'"
}

prints()
{
	grep -qF -- "$1" out || fail "does not print '$1'"
}

# json EXPRESSION ARGUMENT...: one value on one line, of which it is true.
json()
{
	local expression=$1

	shift
	run 0 "$@" --json
	[ "$(wc -l <out)" = 1 ] || fail "penstock $*: not one line"
	jq -e "$expression" out >/dev/null || fail "penstock $*: not $expression"
}

command -v jq >/dev/null || { echo "jq is not installed"; exit 77; }

# --- Help and usage ---------------------------------------------------------
run 0 --help
prints 'process add PASID'
prints 'Known, but not served'
run 0 --version
prints 'penstock 0'
run 0 process --help
prints '--sla'
run 0 process add --help
prints 'Usage: penstock process add PASID'
run 0 vdev --help
run 2
run 2 nonsense
says "'penstock --help'"
run 2 process
run 2 process nonsense
says "'penstock process --help'"
run 2 --nonsense
run 2 status --nonsense
run 2 status --api
run 2 status --json=1
run 2 status more
run 2 vdev show
says 'NAME is missing'
run 2 vdev show a b
run 2 top --count 0
run 2 top --interval 0
run 2 top --interval x
run 2 events --after x
run 2 enforce
run 2 enforce perhaps

# --- The manual has every verb ----------------------------------------------
manual="$(dirname "$(realpath "$0")")/../../man/penstock.1.scd"
run 0 --help
sed -n '/^Usage/,/^Known/s/^  \([a-z]* *[a-z|]*\).*/\1/p' out |
while read -r group verb; do
	case $verb in
	list|show|add|update|release|stats|derive|create|snapshot|resize|resume|delete|calibrate|evacuate|replace|remove|check|import|export)
		grep -q "\*$group $verb\*" "$manual" ;;
	*)
		grep -q "\*$group\*" "$manual" ;;
	esac || fail "$group $verb is not in penstock.1"
done

# --- The rest of the contract is known --------------------------------------
for verb in \
	'process migrate 1 --to beta' 'handover vd0 --to ep1 --mode take --wait' \
	'handover vd0 --back' upgrade 'vm define f' 'vm start v' 'vm stop v' \
	'vm suspend v' 'vm resume v' 'vm list' 'vm show v' 'vm stats v' \
	'vm set v' 'vm attach v' 'vm detach v' 'vm save v' 'vm restore v' \
	'vm migrate v --to beta --cold' 'host list' 'host drain beta' \
	'net status' 'net flows' 'net queues' 'net rules' 'net rules apply f' \
	'net probe p' 'net clear' 'app check f' 'app apply f --dry-run' \
	'app list' 'app show a' 'app delete a' 'simulate s.yaml' 'lab up f' \
	'lab status' 'lab down' 'lab exec h -- true'; do
	# shellcheck disable=SC2086
	run 1 $verb
	says 'not served by this version'
done

# --- Which vdev, by policy (E9) ----------------------------------------------
run 2 process add 1 --vdev auto:fastest
says 'least-loaded'

# --- No penstockd ------------------------------------------------------------
run 1 --api /nowhere/at.sock status
says /nowhere/at.sock
says 'penstockd --config'
PENSTOCK_API=/nowhere/else.sock run 1 status
says /nowhere/else.sock
run 2 --api '' status
: >plain
run 1 --api "$PWD/plain" status

# --- History -----------------------------------------------------------------
run 2 process derive
run 2 process derive 1 --window 1
says 'a span is from 1 min'
run 2 process derive 1 --percentile 101
run 2 process derive 1 --headroom 20
says "'20 %'"
run 2 report --since 1x
run 1 process derive 5
run 0 report
prints '99 %'
json '.processes[0].kept_share == 0.99' report --since 7d

# --- Questions ---------------------------------------------------------------
run 0 status
prints 'iops >= 1200, latency p99 <= 1 ms'
prints 'Not served by this version: alpha.yaml:12'
prints 'Pool main: 90 % of its space is used or reserved, 1 GiB is left.'
prints 'Pool main: a device is missing'
prints "penstock device calibrate ep0/d0"
json '.host == "alpha" and (.processes | type) == "array"' status
run 0 device list
prints 'ep0/d0'
prints 'promised more than it can hold'
json '.[0].name == "ep0/d0"' device list
run 0 pool list
json '.[0].size_bytes == 10737418240' pool list
run 0 pool show main
prints 'clone'
json '.name == "main"' pool show main
run 1 pool show other
says other
run 0 vdev list
json 'type == "array"' vdev list
run 0 vdev show vd0
prints 'Generation'
json '.name == "vd0" and .endpoint == "ep0" and .size_bytes > 0 and
	.allocated_bytes > 0 and .combined.iops == 1200 and
	.combined.latency_ns == 1000000 and
	(.owner | has("endpoint") and has("generation") and has("phase")) and
	(.processes | type) == "array"' vdev show vd0
run 1 vdev show 'a b'
run 1 vdev show ../status

run 2 vdev snapshot vd0
run 1 vdev snapshot none s0
run 0 vdev snapshot vd0 s0 --limit 'bandwidth 5 MB/s'
prints 'Snapshot of'
json '.[] | select(.name == "s0") | .snapshot_of == "vd0" and
	.asked_limit == "bandwidth 5 MB/s"' vdev list
run 0 vdev list
prints SNAPSHOT-OF
run 2 vdev export vd0 out.raw --limit 'iops 5'
says -- '--limit goes with --snapshot'
run 2 vdev export vd0 out.raw --snapshot --pasid 5
says 'no process is bound'

# --- Processes (E4, E8, E9, E12, E13) ----------------------------------------
run 0 process list
run 2 process add 1
says -- '--vdev'
run 2 process add 0 --vdev vd0
run 2 process add x --vdev vd0
run 2 process add 1048576 --vdev vd0
for sla in '' iops 'iops >= ' 'iops <= 5' 'iops >= 5, iops >= 6' \
	'latency <= 2' 'colour >= 5' 'bandwidth >= 5 parsecs' 'iops >= -5'; do
	# Told before anybody is asked.
	PENSTOCK_API=/nowhere.sock run 2 process add 1 --vdev vd0 --sla "$sla"
	says -- '--sla'
done
run 2 process add 1 --vdev vd0 --name $'\xff'
says 'not UTF-8'
# penstockd takes numbers only: names are looked up here.
run 2 process add 1 --vdev vd0 --match uid=no-such-user
says "no user 'no-such-user' on this machine"
run 2 process add 1 --vdev vd0 --match uid
says 'as uid=1000'
run 2 process add 1 --vdev vd0 --match floor=3
run 0 process add 60 --vdev vd0 --match gid=root
run 0 process release 60
run 0 process list
[ "$(wc -l <out)" = 1 ] || fail "a name that is not UTF-8 was dropped"
run 2 process add 1 --vdev vd0 --weight 0
run 2 process add 1 --vdev vd0 --weight 5 --weight 6
says twice
run 2 process add 1 --vdev vd0 --limit 'colour 5'
run 2 process add 1 --vdev vd0 --ioprio be/9
run 2 process add 1 --vdev vd0 --vhost-user relative
run 0 process add 1 --vdev vd0 --sla 'iops >= 500, latency <= 2 ms' --name db \
	--limit 'iops 2000' --burst '100 ms' --weight 5 --ioprio be/4 \
	--vhost-user /run/x.sock --session --best-effort
prints 'process 1 on vd0'
json 'length == 1 and (.[0] | .pasid == 1 and .name == "db" and
	.vdev == "vd0" and .sla.iops == 500 and .delivered.iops == 510 and
	.delivered.bandwidth_bytes_per_s > 0 and
	.delivered.latency_p50_ns > 0 and .delivered.latency_p99_ns > 0 and
	.kept == true and .window_s == 10 and .weight == 5 and
	.limit == "iops 2000" and .burst == "100 ms" and .ioprio == "be/4" and
	.vhost_user == "/run/x.sock" and .session and .best_effort)' process list
run 0 process list
prints 'iops >= 500'
run 0 process stats 1
prints 'P99.9'
json '.latency.read.p99_ns == 150000' process stats 1
run 1 process stats 7
says 7
run 2 process update 1
says 'nothing to change'
json '.sla_text == "iops >= 600"' process update 1 --sla 'iops >= 600'
json '.limit == "none"' process update 1 --limit none
run 3 process add 99 --vdev vd0 --sla 'iops >= 5000'
says 'iops: 5000 asked'
says 'short by 3800'
says 'could be met on ep1/d1'
run 3 process add 99 --vdev vd0 --sla 'iops >= 5000' --json
[ ! -s out ] || fail "a refusal prints a value"
run 1 process add 98 --vdev vd0
run 2 process add 96 --vdev vd0
run 0 process add 97 --vdev vd0
run 0 top --count 2 --interval 0.05
[ "$(grep -c '^PASID' out)" = 2 ] || fail "top does not print twice"
run 0 top --count 2 --interval=0.05 --json
[ "$(jq -s length out)" = 2 ] || fail "top --json does not print twice"
run 0 process release 1
run 1 process release 1
run 2 process release

# --- Other verbs --------------------------------------------------------------
run 0 vdev create vd5 4GiB --queues 2 --pool main
json '.asked_size == "1MiB" and .read_only' vdev create vd6 --size 1MiB --read-only
run 2 vdev create vd6
run 2 vdev create vd6 5parsecs
run 2 vdev create vd6 5GiB --size 5GiB
run 2 vdev create vd6 5GiB --queues 0
run 0 vdev resize vd5 8GiB
json '.asked_size == "9GiB" and (.asked_force | not)' vdev resize --size 9GiB vd5
json '.asked_force' vdev resize vd5 1GiB --force
run 0 vdev update vd5 --on-error stop --limit 'iops 2000'
run 2 vdev update vd5 --on-error perhaps
run 2 vdev update vd5
run 0 vdev resume vd5
run 1 vdev resume none
run 0 vdev delete vd5
run 1 vdev delete none
run 0 device calibrate d0
prints 'DEPTH'
json '.asked_ns == 2000000000' device calibrate d0 --duration '2 s'
run 2 device calibrate d0 --duration 2
run 2 device calibrate d0 --duration 0s
run 1 device calibrate none
run 0 device replace d0 ep0/d0 --bandwidth '1 MB/s'
run 2 device replace d0
run 2 device replace d0 'a b'
run 1 device replace d0 none
run 0 device remove d0
prints 'has left its pool'
run 1 device remove none
run 0 device show d0
run 0 enforce off
prints 'NOT enforced'
run 0 status
prints 'NOT enforced'
prints '987 % of it is promised, it can hold 90 % now'
prints 'Endpoint ep0: what its devices promise, with what is kept free, takes 138 % of its core'
run 0 enforce on
run 0 events --after 0 --count 2
prints 'endpoint-started'
run 0 events --after 0 --count 3 --json
[ "$(jq -s length out)" = 3 ] || fail "events --json"

# What cannot be written is not "done", however long it is.
for words in '--help' '--version' 'process list' 'status --json' \
	'events --after 0 --count 1'; do
	status=0
	# shellcheck disable=SC2086
	"$PENSTOCK" $words >/dev/full 2>err || status=$?
	[ $status = 1 ] || fail "penstock $words into a full disk: $status"
	says 'cannot write'
done

# A terminal that nobody knows gets the plain table; libtinfo forgets to free
# what it made for it.
ASAN_OPTIONS=detect_leaks=0 TERM=nosuch script -qec "'$PENSTOCK' top --count 1" /dev/null \
	</dev/null >out || fail "top on an unknown terminal"
prints PASID

# A reader that leaves ends it, without a noise of its own.
"$PENSTOCK" events --after 0 --count 3 2>err | head -n 1 >out
prints 'endpoint-started'
[ ! -s err ] || fail "events into a closed pipe says something"
echo "cli: everything is as it should be"
