#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM ends penstockd and its endpoints in order, under a guest's load: the
# guest waits, reconnects to the next one, and has lost nothing.
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
guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "guest's data"
guest_stop a
penstockd_stop
