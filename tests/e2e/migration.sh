#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Live migration between two QEMUs on one vdev, under load, there and back:
# the dirty log is complete (or memory would be stale), the target's session
# acquires only at its ring start, nothing is lost, the source is fenced.
#
# QEMU 7.2 emulating a CPU loses writes of the guest's own to its memory while it
# migrates, where cores are short: on a machine with twice as many guests as
# cores two in sixteen guests with QEMU's own disk, nothing of ours, panicked or
# held old data.  So these two, and nothing else, are tried again, and the last
# line says how often; a log of ours that is not complete would fail every time
# (and test-vhost-log).
. "$(dirname "$0")/../lib.sh"

GUEST_BROKE=75
if [ -z "${ATTEMPT:-}" ]; then
	for ATTEMPT in 1 2 3; do
		mkdir "$TEST_DIR/$ATTEMPT"
		export ATTEMPT
		status=0
		TEST_DIR="$TEST_DIR/$ATTEMPT" "$ROOT/tests/e2e/migration.sh" ||
			status=$?
		case $status in
		0) echo "passed, $((ATTEMPT - 1)) retries"; exit 0 ;;
		$GUEST_BROKE) note "attempt $ATTEMPT: the guest broke" ;;
		*) fail "attempt $ATTEMPT, which is final: exit status $status" ;;
		esac
	done
	fail "the guest broke in three attempts of three"
fi

# guest_fail WHAT: the guest's own failure if it panicked, or read what it did
# not write; else final.
guest_fail()
{
	if grep -qs 'Kernel panic' guest-*/console ||
		grep -qs '^result .*errors=0 wrong=[1-9]' guest-io.log; then
		echo "$1: the guest panicked, or holds wrong data"
		exit $GUEST_BROKE
	fi
	fail "$1"
}
trap leave EXIT

penstock_disk 256 128 "" "$DB_PROCESS"
# The next attempt begins with nothing of this one running.  Some have ended, or
# end by the signal: neither is a failure.
leave()
{
	kill $(jobs -p) 2>/dev/null || true
	wait
}

CAPABILITIES='{"capabilities": [{"capability": "events", "state": true},
	{"capability": "pause-before-switchover", "state": true}]}'
CAPABILITIES=$(printf '%s' "$CAPABILITIES" | tr -d '\n\t')

# migration_is NAME STATUS: events won't do, a target has had its own.
migration_is()
{
	case $(qmp "$1" query-migrate) in
	*'"status": "failed"'*) fail "migration of $1 failed" ;;
	*"\"status\": \"$2\""*) return 0 ;;
	esac
	return 1
}

# migrate FROM TO
migrate()
{
	local from=$1 to=$2 uri="unix:$TEST_DIR/migrate-$2.sock"

	guest_start "$to" -c 2 -q 2 "$TEST_DIR/vd0.sock" -- -incoming defer -S
	qmp "$to" qmp_capabilities >/dev/null
	qmp "$to" migrate-set-capabilities "$CAPABILITIES" >/dev/null
	qmp "$to" migrate-incoming "{\"uri\": \"$uri\"}" >/dev/null
	wait_for 10 holds '.sessions == 2' vdev show vd0 ||
		fail "no second session while migrating"
	qmp "$from" migrate-set-capabilities "$CAPABILITIES" >/dev/null
	qmp "$from" migrate "{\"uri\": \"$uri\"}" >/dev/null
	wait_for 60 migration_is "$from" pre-switchover || {
		qmp "$from" query-migrate
		fail "no pre-switchover"
	}
	qmp "$from" migrate-continue '{"state": "pre-switchover"}' >/dev/null
	wait_for 30 migration_is "$from" completed || fail "not completed"
	qmp "$to" cont >/dev/null
	guest_moved "$from" "$to"
	guest_kill "$from"
}

penstockd_start
guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
qmp a qmp_capabilities >/dev/null
guest_spawn a guest-io /dev/vda depth=4 read=60 rate=800 report-ms=250
load=$GUEST_ID
guest_wait a "$load" 20 report
source=a
for target in b c; do
	note "from $source to $target"
	migrate $source $target
	guest_works $target "$load" 20 || guest_fail "no I/O: $?"
	source=$target
done
guest_run c 10 killall guest-io || guest_fail "the guest does not answer"
guest_wait c "$load" 60 >guest-io.log || {
	cat guest-io.log
	guest_fail "guest's data"
}
cat guest-io.log
guest_run c 60 guest-io /dev/vda depth=16 seconds=2 offset=64M >guest-io.log || {
	cat guest-io.log
	guest_fail "load after migration"
}
cat guest-io.log
guest_stop c
penstockd_stop
