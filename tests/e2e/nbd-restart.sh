#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# NBD connections outlive penstockd, which finds them again; after an endpoint
# that is killed clients find somebody at the same socket (E12, E15).
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}
pools: [{name: mem, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 32MiB, nbd: unix:$TEST_DIR/vd0.nbd}
processes:
  - {pasid: 5, name: db, vdev: vd0}
"
# Does what the lines that it gets say: wX writes X, rX reads it; answers each.
cat >client.py <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("connected", flush=True)
for line in sys.stdin:
    if line[0] == "w":
        h.pwrite(line[1:2].encode() * 512, 0, nbd.CMD_FLAG_FUA)
    else:
        assert h.pread(512, 0) == line[1:2].encode() * 512, line
    print(line.strip(), flush=True)
h.shutdown()
EOF2

# told ANSWER: the client's next line.
told()
{
	local line

	read -r -t 30 -u "${CLIENT[0]}" line ||
		fail "the client does not say '$1' within 30 s"
	equal "$1" "$line" "client"
}

# tell LINE: until it is done.
tell()
{
	echo "$1" >&"${CLIENT[1]}"
	told "$1"
}

URI="nbd+unix:///vd0/5?socket=$TEST_DIR/vd0.nbd"
penstockd_start
# It ends in another way than it would: that it says so is in order.
coproc CLIENT { exec $PYTHON client.py "$URI" 2>client.log; }
told connected
tell wa
wait_for 10 holds '.[] | select(.pasid == 5) | .sessions == 1' process list ||
	fail "the session is not told"

note "penstockd is killed, and another one finds the endpoint"
endpoint=$(endpoint_pid)
killed "$PENSTOCKD_PID"
tell wb
penstockd_start
equal "$endpoint" "$(endpoint_pid)" "the endpoint"
tell rb
wait_for 10 holds '.[] | select(.pasid == 5) | .sessions == 1' process list ||
	fail "the session is not found again"

note "the endpoint is killed, and the socket leads to the next"
kill -9 "$endpoint"
# What it asks for now nobody answers; its connection may end a little later.
echo rb >&"${CLIENT[1]}"
expect 1 wait "$CLIENT_PID"
coproc CLIENT { exec $PYTHON client.py "$URI"; }
told connected
tell rb
eval "exec ${CLIENT[1]}>&-"
expect 0 wait "$CLIENT_PID"
wait_for 10 holds '.[] | select(.pasid == 5) | .sessions == 0' process list ||
	fail "the session does not end"
penstockd_stop
