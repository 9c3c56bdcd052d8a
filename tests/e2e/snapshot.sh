#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A vdev over two devices is kept as it is at one instant while it is written
# to: exported as raw and qcow2, served read-only by NBD with its holes, with a
# limit of its own; penstockd and the endpoint are killed at any instant of it;
# a pool that has no room for copies (E3, E15).
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
for tool in qemu-img nbdinfo; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done

MIB=1048576
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: f0, kind: file, path: $TEST_DIR/f0.img, size: 48MiB}
      - {name: f3, kind: file, path: $TEST_DIR/f3.img, size: 48MiB}
      - {name: f1, kind: file, path: $TEST_DIR/f1.img, size: 64MiB}
      - {name: f2, kind: file, path: $TEST_DIR/f2.img, size: 20MiB}
pools:
  - {name: thin, devices: [ep0/f0, ep0/f3], provisioning: thin}
  - {name: thick, devices: [ep0/f1]}
  - {name: small, devices: [ep0/f2], provisioning: thin}
vdevs:
  - {name: vd0, pool: thin, size: 32MiB, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, pool: thick, size: 40MiB}
  - {name: vd2, pool: small, size: 12MiB, nbd: unix:$TEST_DIR/vd2.nbd}
"

# Writes one block after the other, in an order that is known: write N holds
# the number N.  Each that is acknowledged is a line of the file.
cat >writer.py <<'EOF2'
import nbd, random, struct, sys
BLOCKS = 16 * 256    # the second half of the vdev stays a hole
order = random.Random(int(sys.argv[2]))
h = nbd.NBD()
h.connect_uri(sys.argv[1])
number = 0
with open("acked", "w", buffering=1) as acked:
    while True:
        number += 1
        h.pwrite(struct.pack("<Q", number) * 512, order.randrange(BLOCKS) * 4096)
        acked.write("%d\n" % number)
EOF2
# An image is what was written up to some write between the two that are named.
cat >judge.py <<'EOF2'
import random, struct, sys
BLOCKS = 16 * 256
path, seed, low, high = sys.argv[1], *map(int, sys.argv[2:])
data = open(path, "rb").read()
assert len(data) == 32 << 20, len(data)
has = [struct.unpack_from("<Q", data, b * 4096)[0] for b in range(BLOCKS)]
last = max(has)
assert low <= last <= high, "write %d is in it: not of %d to %d" % (last, low, high)
order, want = random.Random(seed), [0] * BLOCKS
for number in range(1, last + 1):
    want[order.randrange(BLOCKS)] = number
for b in range(BLOCKS):
    assert data[b * 4096:b * 4096 + 4096] == struct.pack("<Q", want[b]) * 512, \
        "block %d has %d, not %d, of %d" % (b, has[b], want[b], last)
assert not any(data[BLOCKS * 4096:]), "the hole"
print("up to write %d, asked for after %d" % (last, low))
EOF2

acked()
{
	tail -n 1 acked
}

has_written() # at least so many
{
	[ -s acked ] && [ "$(acked)" -ge "$1" ]
}

URI="nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd"

write_with() # SEED
{
	: >acked
	$PYTHON writer.py "$URI" "$1" 2>writer.err &
	WRITER=$!
	wait_for 30 has_written 200 || fail "nothing is written: $(cat writer.err)"
}

# snapshot NAME: of vd0, while it is written; it is what it has to be.
snapshot()
{
	local low high

	low=$(acked)
	p vdev snapshot vd0 "$1" >out || fail "snapshot $1"
	high=$(acked)
	SNAPSHOT_LOW=$low
	SNAPSHOT_HIGH=$((high + 1))
	wait_for 30 has_written $((high + 500)) || fail "the writer stands still"
}

judge() # IMAGE SEED
{
	$PYTHON judge.py "$1" "$2" "$SNAPSHOT_LOW" "$SNAPSHOT_HIGH" >judged ||
		fail "$1 is not of one instant"
	note "$1: $(cat judged)"
}

is_over()
{
	[ ! -e "$(cat way)" ]
}

gone() # NAME: the vdev
{
	expect 1 p vdev show "$1" >/dev/null 2>&1
}

penstockd_start

note "kept while it is written to, exported as raw and qcow2"
write_with 1
for i in 1 2 3; do
	snapshot s0
	equal "vd0 true 33554432" \
		"$(ask '"\(.snapshot_of) \(.read_only) \(.size_bytes)"' vdev show s0)" \
		"the snapshot"
	p vdev export s0 s0.raw --force >out || fail "export to raw"
	p vdev export s0 s0.qcow2 --format qcow2 --force >out ||
		fail "export to qcow2"
	judge s0.raw 1
	qemu-img compare -f raw -F qcow2 s0.raw s0.qcow2 >out || fail "$(cat out)"
	p vdev delete s0 >out || fail "delete"
	gone s0
done
[ "$(stat -c %b s0.raw)" -lt 34000 ] || fail "the hole was filled"

note "export --snapshot: one instant, and nothing is left"
SNAPSHOT_LOW=$(acked)
p vdev export vd0 once.raw --snapshot --limit 'bandwidth 100 MB/s' >out ||
	fail "export --snapshot"
SNAPSHOT_HIGH=$(acked)
judge once.raw 1
equal 1 "$(ask '[.[] | select(.pool == "thin")] | length' vdev list)" "vdevs"

note "by NBD: read-only, with its holes, and a reader with a limit"
snapshot s0
p process add 9 --vdev s0 --limit 'bandwidth 8 MB/s' >out || fail "process"
"$PYTHON" - "$TEST_DIR/api.sock" >way <<'EOF2' || fail "a way in"
import http.client, json, socket, sys
class Api(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
api = Api("localhost")
api.request("POST", "/v1/vdevs/s0/export", b"{}")
answer = api.getresponse()
assert answer.status == 200, answer.read()
print(json.loads(answer.read())["socket"])
EOF2
"$PYTHON" - "nbd+unix:///s0?socket=$(cat way)" <<'EOF2' || fail "by NBD"
import errno, nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.set_strict_mode(0)    # we want to hear it from the server
h.connect_uri(sys.argv[1])
assert h.is_read_only() and h.get_size() == 32 << 20
for refused in (lambda: h.pwrite(b"x" * 4096, 0), lambda: h.zero(4096, 0),
                lambda: h.trim(1 << 20, 0)):
    try:
        refused()
        sys.exit("it can be written to")
    except nbd.Error as why:
        assert why.errnum == errno.EPERM, why
extents = []
def add(context, offset, entries, error):
    extents.append(list(entries))
while sum(e[0] for e in sum([list(zip(x[::2], x[1::2])) for x in extents], [])) < 32 << 20:
    done = sum(e for x in extents for e in x[::2])
    h.block_status((32 << 20) - done, done, add)
holes = sum(l for x in extents for l, f in zip(x[::2], x[1::2]) if f & 3 == 3)
assert holes == 16 << 20, holes
h.shutdown()
EOF2
# The client came and went at once: it is not waited for.
wait_for 5 is_over || fail "the way in is still there"
p vdev export s0 s0.raw --force --pasid 9 >out || fail "in the name of a process"
judge s0.raw 1
[ "$(ask .counters.read.bytes process stats 9)" -ge $((16 * MIB)) ] ||
	fail "it was not read in its name"
p process release 9 >out || fail "release"

note "killed at any instant: there is one, or there is none"
kill "$WRITER"
expect 143 wait "$WRITER"
killed_while_made()
{
	local low pid victim status=0

	qemu-io -f raw -c 'discard 0 32M' "$URI" >out || fail "$(cat out)"
	write_with "$1"
	victim=$(endpoint_pid)
	low=$(acked)
	"$BIN/penstock" vdev snapshot vd0 k0 >out 2>&1 &
	pid=$!
	# At another instant each time.
	read -r -t "0.0$(($1 * 37 % 100))" -u "$BEAT_FD" || note "killed now"
	if [ $(($1 % 2)) = 0 ]; then
		kill -9 "$victim"
	else
		killed "$PENSTOCKD_PID"
		penstockd_start
	fi
	# What it says is of no matter: it was interrupted.
	wait $pid || status=$?
	wait_for 30 holds '[.[] | select(.name == "vd0" or .name == "k0")] |
		all(.state == "serving")' vdev list || fail "not served again"
	# It may have lost its server: how it ends is of no matter.
	kill "$WRITER" 2>kill.err || note "writer: $(tail -n 1 writer.err)"
	wait "$WRITER" || note "the writer ended with $?"
	if holds 'any(.name == "k0")' vdev list; then
		SNAPSHOT_LOW=$low
		SNAPSHOT_HIGH=$(($(acked) + 1))
		p vdev export k0 k0.raw --force >out || fail "export"
		judge k0.raw "$1"
		p vdev delete k0 >out || fail "delete"
	else
		[ "$status" != 0 ] || fail "it was said to be there"
	fi
	wait_for 30 holds '.allocated_bytes == '$((2 * 16 * MIB)) pool show thin ||
		fail "space is lost: $(ask .allocated_bytes pool show thin)"
}
for i in 4 5 6 7 8 9 10 11; do
	killed_while_made $i
done

note "the endpoint is killed, then penstockd: it is what it was"
kill -9 "$(ask '.endpoints[0].pid' status)"
wait_for 30 holds 'all(.state == "serving")' vdev list || fail "not served again"
p vdev export s0 again.raw >out || fail "after the endpoint's death"
cmp s0.raw again.raw || fail "it is another one"
killed "$PENSTOCKD_PID"
penstockd_start
p vdev export s0 again.raw --force >out || fail "after penstockd's death"
cmp s0.raw again.raw || fail "it is another one"

note "it outlives what it is of"
p vdev delete vd0 >out || fail "delete of the origin"
p vdev export s0 again.raw --force >out || fail "without its origin"
cmp s0.raw again.raw || fail "it is another one"
p vdev delete s0 >out || fail "delete"
wait_for 30 holds '.allocated_bytes == 0' pool show thin ||
	fail "space is lost: $(ask .allocated_bytes pool show thin)"

note "a thick pool has room for copies, or no snapshot"
expect 3 p vdev snapshot vd1 s1 2>err
grep -q "has no space for vdev 's1' of 40 MiB: 24 MiB" err || fail "$(cat err)"

note "no room for a copy: who writes hears of it, the snapshot stays whole"
URI2="nbd+unix:///vd2?socket=$TEST_DIR/vd2.nbd"
qemu-io -f raw -c 'write -P 5 0 12M' "$URI2" >out || fail "write"
p vdev snapshot vd2 s2 >out || fail "snapshot"
p vdev export s2 s2.raw >out || fail "export"
p events --after 0 --count 100000 >events.log 2>&1 &
EVENTS=$!
qemu-io -f raw -c 'write -P 6 0 5M' "$URI2" >out || fail "write with room"
wait_for 20 grep -q 'pool small.* of its space is used' events.log ||
	fail "no alarm before it is full"
qemu-io -f raw -c 'write -P 6 5M 3M' "$URI2" >out || fail "the last room"
expect 1 qemu-io -f raw -c 'write -P 6 8M 64k' "$URI2" >out 2>&1
grep -q 'No space left' out || fail "$(cat out)"
wait_for 20 grep -q 'no-space' events.log || fail "no event of it"
kill $EVENTS
expect 143 wait $EVENTS
p vdev export s2 s2-after.raw >out || fail "export"
cmp s2.raw s2-after.raw || fail "the snapshot changed"

note "who is to wait for room waits, until the snapshot is deleted"
p vdev update vd2 --on-error stop >out || fail "update"
qemu-io -f raw -c 'write -P 7 8M 64k' -c 'read -P 7 8M 64k' "$URI2" >late 2>&1 &
WRITER=$!
wait_for 20 holds '.state == "no-space"' vdev show vd2 || fail "it does not wait"
p vdev export s2 s2-after.raw --force >out || fail "export"
cmp s2.raw s2-after.raw || fail "the snapshot changed"
p vdev delete s2 >out || fail "delete"
wait $WRITER || fail "the writer: $(cat late)"
wait_for 30 holds '.allocated_bytes == '$((12 * MIB)) pool show small ||
	fail "space is lost: $(ask .allocated_bytes pool show small)"
penstockd_stop
for file in f0 f1 f2; do
	"$BIN/penstock" pool check "$TEST_DIR/$file.img" >out || fail "$(cat out)"
done
