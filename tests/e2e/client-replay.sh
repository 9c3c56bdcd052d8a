#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the endpoint, five times, while our own client keeps 32 requests
# in flight on a file and 16 on memory: it reconnects, what was in flight is
# done once, and every block reads back as it was last written (E15).
. "$(dirname "$0")/../lib.sh"

load="$ROOT/build/bench/bench-load"
[ -x "$load" ] || skip "bench-load is not built"
truncate -s 256M disk.img
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: d0, kind: file, path: $TEST_DIR/disk.img, size: 256MiB}
      - {name: m0, kind: memory, size: 128MiB}
pools:
  - {name: files, devices: [ep0/d0]}
  - {name: memories, devices: [ep0/m0]}
vdevs:
  - {name: vd0, endpoint: ep0, pool: files, size: 128MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: memories, size: 64MiB, vhost-user: $TEST_DIR/vd1.sock}
"
penstockd_start
# A small working set, so that blocks are written again and again.
"$load" --json --reconnect --sleep --duration 600 --warmup 0 \
	"name=file,socket=$TEST_DIR/vd0.sock,depth=32,read=50,span=4194304,verify" \
	"name=memory,socket=$TEST_DIR/vd1.sock,depth=16,read=50,span=1048576,verify,event-index,indirect" \
	>load.json &
client=$!
attached()
{
	holds 'all(.attached)' vdev list
}

for round in 1 2 3 4 5; do
	wait_for 20 attached || fail "round $round: no client"
	victim=$(endpoint_pid)
	kill -KILL "$victim"
	wait_for 20 holds ".endpoints[0] | .state == \"running\" and .pid != $victim" \
		status || fail "round $round: endpoint not restarted"
done
wait_for 20 attached || fail "the client did not come back"
kill -TERM "$client"
wait "$client" || fail "the client ended with $?"
jq -c '{reconnects, outage_worst_ns, jobs: [.jobs[] | {name, requests, errors, verified}]}' \
	load.json
# Two connections, five deaths each.
equal 10 "$(jq .reconnects load.json)" "reconnects"
equal 0 "$(jq '[.jobs[] | .errors + .verified.mismatches] | add' load.json)" \
	"errors and wrong blocks"
penstockd_stop
