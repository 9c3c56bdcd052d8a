#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device is evacuated while it is written to, and penstockd and the endpoint
# are killed in between: what was acknowledged is there (issue 3).
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"

penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: d0, kind: file, path: $TEST_DIR/d0, size: 96MiB}
      - {name: d1, kind: file, path: $TEST_DIR/d1, size: 96MiB}
pools: [{name: p, devices: [ep0/d0, ep0/d1]}]
vdevs:
  - {name: vd0, pool: p, size: 64MiB, nbd: unix:$TEST_DIR/vd0.nbd}
"
# Writes 64 KiB here and there, each with its number, until it is told to end;
# connects again when it is lost; then everything acknowledged is looked at.
cat >writer.py <<'EOF2'
import nbd, random, select, signal, sys
SIZE, BYTES = 64 << 20, 64 << 10
random.seed(1)
ended = False
def end(*_):
    global ended
    ended = True
signal.signal(signal.SIGTERM, end)
def connect():
    while True:
        try:
            h = nbd.NBD()
            h.connect_uri(sys.argv[1])
            return h
        except nbd.Error:
            select.select([], [], [], 0.05)
def data(number):
    return number.to_bytes(8, "little") * (BYTES // 8)
h = connect()
acknowledged, number, last = {}, 0, None
def doing(what):
    global h
    while True:
        try:
            return what()
        except nbd.Error:
            h = connect()
while not ended:
    number += 1
    at = random.randrange(SIZE // BYTES) * BYTES
    doing(lambda: h.pwrite(data(number), at, nbd.CMD_FLAG_FUA))
    acknowledged[at] = number
    if number == 300:
        print("there", flush=True)
for at, is_number in acknowledged.items():
    if doing(lambda: h.pread(BYTES, at)) != data(is_number):
        sys.exit("write %d at %d is not there" % (is_number, at))
print(number, "writes", flush=True)
h.shutdown()
EOF2

left_is() { holds ".[] | select(.device == \"$1\") | $2" device list; }

penstockd_start
exec {there}< <(exec $PYTHON writer.py "nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd")
WRITER_PID=$!
read -r -t 60 -u "$there" _ || fail "nothing is written"

note "evacuated slowly; penstockd is killed, then the endpoint"
expect 1 p device evacuate none
expect 0 p device evacuate d0 --bandwidth "1 MiB/s"
left_is d0 '.state == "leaving" and .left_bytes > 0' ||
	fail "it is not leaving"
killed "$PENSTOCKD_PID"
penstockd_start
wait_for 20 left_is d0 '.state == "leaving" and .left_bytes > 0' ||
	fail "it is forgotten, or faster than was asked for"
kill -9 "$(endpoint_pid)"
wait_for 20 left_is d0 '.state == "leaving"' || fail "it is forgotten"

note "it goes on, and its rate is another one"
expect 0 p device evacuate d0 --bandwidth "1 GiB/s" --wait
left_is d0 '.left_bytes == 0' || fail "something is left"

note "what is free is on the device that stays"
wait_for 20 holds '.free_bytes == 33554432' pool show p ||
	fail "free: $(ask .free_bytes pool show p)"
expect 3 p vdev create more 64MiB --pool p 2>refused
grep -q "32 MiB of it is free" refused || fail "$(cat refused)"

kill "$WRITER_PID"
read -r -t 60 -u "$there" told || fail "what was written is not there"
note "$told"
expect 0 wait "$WRITER_PID"
penstockd_stop
expect 0 p pool check "$TEST_DIR/d0" "$TEST_DIR/d1"
