#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM ends penstockd and its endpoints in order, under a guest's load: the
# guest waits, reconnects to the next one, and has lost nothing.  Neither that
# nor QEMU's stop waits for a limit that the guest's requests are behind.
. "$(dirname "$0")/../lib.sh"

penstock_disk 256 128 "" "$DB_PROCESS"
penstockd_start
p process add 7 --vdev vd0 --sla 'iops >= 50' --name added
guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
guest_load a /dev/vda depth=16 read=50 report-ms=250
load=$GUEST_ID

for round in 1 2; do
	endpoint=$(endpoint_pid)
	penstockd_stop
	! kill -0 "$endpoint" 2>/dev/null || fail "endpoint outlived SIGTERM"
	penstockd_start
	guest_works a "$load" 20 || fail "round $round: no I/O"
done
equal "db added" "$(ask '[.[].name] | join(" ")' process list)" "processes"

note "behind a limit of a request in minutes"
# hold: requests wait for days of it from now on.
hold()
{
	p process update 1 --limit 'bandwidth 10 B/s'
	guest_wait a "$load" 20 'report name=* iops=0' >/dev/null ||
		fail "the limit is not kept"
}
# go_on WHAT
go_on()
{
	p process update 1 --limit none
	guest_works a "$load" 20 || fail "$1: no I/O"
}
qmp a qmp_capabilities >/dev/null
hold
qmp a stop >/dev/null
qmp a cont >/dev/null
go_on "stop and cont"
hold
penstockd_stop
! grep "did not drain" penstockd.log || fail "the endpoint was killed"
penstockd_start
go_on "SIGTERM"

guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "guest's data"
guest_stop a
penstockd_stop
