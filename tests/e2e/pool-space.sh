#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A thin pool of two devices under a vdev that is larger than either, and one
# more than it can hold: alarms before it is full, ENOSPC to who writes more and
# to nobody else, space that a discard gives back, everything there after both
# programs are killed (E2, E3); a device with a file system on it is refused, one
# that is made longer is used to its new end, one that was cut off is refused.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
PATH=$PATH:/sbin:/usr/sbin
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not installed"

truncate -s 40M ext4.img d3.img
mkfs.ext4 -q -F ext4.img
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: d0, kind: file, path: $TEST_DIR/d0.img, size: 32MiB}
      - {name: d1, kind: file, path: $TEST_DIR/d1.img, size: 32MiB}
      - {name: d2, kind: file, path: $TEST_DIR/ext4.img, size: 32MiB}
      - {name: d3, kind: file, path: $TEST_DIR/d3.img}
pools:
  - {name: thin, devices: [ep0/d0, ep0/d1], provisioning: thin}
  - {name: other, devices: [ep0/d2]}
  - {name: growing, devices: [ep0/d3]}
vdevs:
  - {name: big, pool: thin, size: 48MiB, nbd: unix:$TEST_DIR/big.nbd}
  - {name: more, pool: thin, size: 48MiB, nbd: unix:$TEST_DIR/more.nbd}
"
# client.py VDEV WORD FIRST COUNT: MiB by MiB, each with its own number in it.
# "write" says each that is safe, "check" reads, "trim" gives back, "full" writes
# until there is no space and says how many there were.
cat >client.py <<'EOF2'
import errno, os, struct, sys
import nbd
MIB = 1 << 20
vdev, word, first, count = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
h = nbd.NBD()
h.connect_uri("nbd+unix:///%s?socket=%s/%s.nbd" % (vdev, os.getcwd(), vdev))

def pattern(i):
    return struct.pack("<Q", i * 2654435761 + len(vdev)) * (MIB // 8)

for i in range(first, first + count):
    if word == "write":
        h.pwrite(pattern(i), i * MIB, nbd.CMD_FLAG_FUA)
        print(i, flush=True)
    elif word == "check":
        assert h.pread(MIB, i * MIB) == pattern(i), i
    elif word == "trim":
        h.trim(MIB, i * MIB)
    else:
        try:
            h.pwrite(pattern(i), i * MIB, nbd.CMD_FLAG_FUA)
        except nbd.Error as e:
            assert e.errnum == errno.ENOSPC, e
            print(i - first)
            break
else:
    assert word != "full"
h.shutdown()
EOF2

client()
{
	$PYTHON client.py "$@"
}

# used MIB: so much of the pool is.
used()
{
	holds ".allocated_bytes == $1 * 1048576" pool show thin
}

# Not all its vdevs are served: a pool has no device.
serves()
{
	holds 'length == 2 and all(.state == "serving")' vdev list
}

# both_killed: both programs, at this instant; then others.
both_killed()
{
	local endpoint

	endpoint=$(endpoint_pid)
	kill -9 "$endpoint"
	killed "$PENSTOCKD_PID"
	penstockd_start
}

penstockd_start
serves || fail "vdevs are not served"

note "a device with a file system on it"
equal foreign "$(ask '.[] | select(.device == "d2") | .fault' device list)" \
	"fault"
ask '.[] | select(.device == "d2") | .error' device list | grep -q ext ||
	fail "it is not said what it holds"
expect 0 e2fsck -fn ext4.img >e2fsck.log 2>&1

note "a vdev that is larger than a device"
client big write 0 40 >/dev/null
wait_for 10 used 40 || fail "not 40 MiB are used"
wait_for 10 holds \
	'map(select(.pool == "thin")) | all(.allocated_bytes >= 8 * 1048576)' \
	device list || fail "its data are not on both devices"

note "alarms, then no space, for who writes more"
client more write 0 12 >/dev/null
wait_event 10 '.kind == "space" and (.text | contains("80 %"))' ||
	fail "no alarm at 80 %"
p status | grep "Pool thin:" || fail "status says nothing of it"
client more write 12 6 >/dev/null
wait_event 10 '.kind == "space" and (.text | contains("90 %"))' ||
	fail "no alarm at 90 %"
! grep "no-space:" penstockd.log || fail "no space before the alarm"
equal 6 "$(client more full 18 30)" "MiB until it is full"
wait_event 10 '.kind == "no-space" and .vdev == "more"' ||
	fail "it is not said"
client big write 0 8 >/dev/null
client big check 0 40
client more check 0 24

note "both programs are killed"
both_killed
client big check 0 40
client more check 0 24
wait_for 10 used 64 || fail "not all is used after that"

note "what is discarded is free again"
client big trim 20 16
wait_for 30 used 48 || fail "discards give nothing back"
client big check 0 20
client more write 24 8 >acknowledged
wait_for 10 used 56 || fail "it is not used again"

note "both programs are killed while somebody writes"
# It ends with its connection, in whatever state that leaves it.
client more write 32 8 >acknowledged 2>client.log &
writer=$!
wait_for 10 test -s acknowledged || fail "nothing is written"
both_killed
status=0
wait $writer || status=$?
[ $status -le 1 ] || fail "the client ended with $status"
client more check 0 32
client more check 32 "$(wc -l <acknowledged)"
client big check 0 20
client big check 36 4

note "a file is made longer"
truncate -s 96M d3.img
wait_event 10 '.kind == "device-grown" and .device == "ep0/d3"' ||
	fail "it is not said"
holds '.[] | select(.device == "d3") | .size_bytes > 80 * 1048576' device list ||
	fail "its new end is not used"

penstockd_stop
p pool check "$TEST_DIR/d0.img" "$TEST_DIR/d1.img" ||
	fail "what lies on the devices is not in order"

note "a file was cut off"
truncate -s 48M d3.img
penstockd_start
equal shrunk "$(ask '.[] | select(.device == "d3") | .fault' device list)" \
	"fault"
penstockd_stop
