#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device of a pool is missing at start and comes when guests run (E2, E3): who
# waits for what is on it gets it, be it by retry or because it is stopped, what
# was deleted meanwhile is deleted there, and the endpoint is the same.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: d0, kind: file, path: $TEST_DIR/d0.img, size: 32MiB}
      - {name: d1, kind: file, path: $TEST_DIR/d1.img, size: 32MiB}
pools:
  - {name: thin, devices: [ep0/d0, ep0/d1], provisioning: thin}
vdevs:
  - {name: retries, pool: thin, size: 16MiB, on-error: retry, nbd: unix:$TEST_DIR/retries.nbd}
  - {name: stops, pool: thin, size: 16MiB, on-error: stop, nbd: unix:$TEST_DIR/stops.nbd}
  - {name: gone, pool: thin, size: 16MiB, nbd: unix:$TEST_DIR/gone.nbd}
"
# client.py VDEV WORD: each MiB has its own number in it.
cat >client.py <<'EOF2'
import os, struct, sys
import nbd
MIB = 1 << 20
vdev, word = sys.argv[1:3]
h = nbd.NBD()
h.connect_uri("nbd+unix:///%s?socket=%s/%s.nbd" % (vdev, os.getcwd(), vdev))
for i in range(16):
    data = struct.pack("<Q", i * 2654435761 + len(vdev)) * (MIB // 8)
    if word == "write":
        h.pwrite(data, i * MIB, nbd.CMD_FLAG_FUA)
    else:
        assert h.pread(MIB, i * MIB) == data, i
h.shutdown()
EOF2

serves()
{
	holds 'all(.state == "serving")' vdev list
}

halted()
{
	holds '.state == "stopped"' vdev show stops
}

free_mib()
{
	holds ".free_bytes == $1 * 1048576" pool show thin
}

penstockd_start
serves || fail "vdevs are not served"
$PYTHON client.py retries write
$PYTHON client.py stops write
$PYTHON client.py gone write
wait_for 10 free_mib 16 || fail "not 48 MiB are used"
holds 'all(.allocated_bytes > 0)' device list ||
	fail "the data are not on both devices"
penstockd_stop

note "without one of its devices"
mv d1.img away.img
penstockd_start
serves || fail "vdevs are not served without the device"
endpoint=$(endpoint_pid)
$PYTHON client.py stops check >stops.log 2>&1 &
stops=$!
wait_for 10 halted || fail "vdev 'stops' does not stop"
expect 1 p vdev delete gone >delete.log 2>&1
expect 1 p vdev show gone >show.log 2>&1

# It waits for half a minute.
$PYTHON client.py retries check >retries.log 2>&1 &
retries=$!

note "it is back"
mv away.img d1.img
expect 0 wait $retries
expect 0 wait $stops
wait_for 10 holds '.state == "ready"' pool show thin ||
	fail "its pool is not whole"
equal "$endpoint" "$(endpoint_pid)" "endpoint"
$PYTHON client.py stops check
wait_for 20 free_mib 32 || fail "what was deleted is there still"
penstockd_stop
p pool check d0.img d1.img >check.log || fail "the pool is not in order"
equal 2 "$(grep -c ', 2 volumes' check.log)" "devices with 2 volumes"
