#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Live migration between two QEMUs on one vdev, under load, there and back:
# the dirty log is complete (or memory would be stale), the target's session
# acquires only at its ring start, nothing is lost, the source is fenced.
#
# QEMU 7.2 emulating a CPU loses writes of the guest's own to its memory while it
# migrates, where cores are short: on a machine with twice as many guests as
# cores two in sixteen guests with QEMU's own disk, nothing of ours, panicked or
# held old data.  So a failure is tried again; a log of ours that is not
# complete would fail every time (and test-vhost-log).
. "$(dirname "$0")/../lib.sh"

if [ -z "${ATTEMPT:-}" ]; then
	for ATTEMPT in 1 2 3; do
		mkdir "$TEST_DIR/$ATTEMPT"
		export ATTEMPT
		! TEST_DIR="$TEST_DIR/$ATTEMPT" "$ROOT/tests/e2e/migration.sh" ||
			exit 0
	done
	fail "three attempts of three"
fi
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT

truncate -s 256M disk.img
penstock_config "
endpoints:
  - {name: ep0, devices: [{name: d0, kind: file, path: $TEST_DIR/disk.img, size: 256MiB}]}
pools: [{name: main, devices: [ep0/d0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
processes:
  - {pasid: 1, name: db, vdev: vd0, sla: {iops: '>= 200', latency: '<= 50 ms'}}
"
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
	guest_works $target "$load" 20 || fail "no I/O: $?"
	source=$target
done
guest_run c 10 killall guest-io
guest_wait c "$load" 60 || fail "guest's data"
guest_run c 60 guest-io /dev/vda depth=16 seconds=2 offset=64M ||
	fail "load after migration"
guest_stop c
penstockd_stop
