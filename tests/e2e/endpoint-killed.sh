#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the endpoint under load, three times: it is restarted, the guest
# reconnects, requests in flight are done once, the SLAs are as before.  Then it
# hangs (kill -STOP), with the same end.  As root, endpoints have another user.
. "$(dirname "$0")/../lib.sh"

penstock_disk 256 128 "" "$DB_PROCESS"
options=()
[ "$(id -u)" != 0 ] || options=(--endpoint-user nobody)
penstockd_start "${options[@]}"
p process add 2 --vdev vd0 --sla 'iops >= 100' --limit 'iops 5000'
before=$(ask '[.[] | {pasid, sla, limit, weight}]' process list)
guest_start a -c 2 -q 2 "$TEST_DIR/vd0.sock"
guest_ready a
guest_load a /dev/vda depth=16 read=30 report-ms=250
load=$GUEST_ID

for round in 1 2 3; do
	victim=$(endpoint_pid)
	kill -KILL "$victim"
	wait_for 20 holds ".endpoints[0] | .state == \"running\" and .pid != $victim" \
		status || fail "round $round: endpoint not restarted"
	note "round $round: endpoint $victim killed, $(endpoint_pid) serves"
	guest_works a "$load" 20 || fail "round $round: no I/O: $?"
done

# One that hangs is as good as dead, and noticed in 12 s.
victim=$(endpoint_pid)
kill -STOP "$victim"
wait_for 30 holds ".endpoints[0] | .state == \"running\" and .pid != $victim" \
	status || fail "the endpoint that hung was not ended"
guest_wait a "$load" 20 report >/dev/null || fail "no I/O: $?"
guest_wait a "$load" 20 report || fail "after the hang: no I/O: $?"
equal 4 "$(ask '.endpoints[0].restarts' status)" "restarts"
equal "$before" "$(ask '[.[] | {pasid, sla, limit, weight}]' process list)" \
	"SLAs afterwards"
guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "guest's data"
guest_stop a
penstockd_stop
