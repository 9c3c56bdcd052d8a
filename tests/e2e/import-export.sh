#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# penstock vdev import and export (E15): raw and qcow2 with holes, what is in
# use, interrupted, killed, and what cannot be.
. "$(dirname "$0")/../lib.sh"

for tool in qemu-img qemu-io; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}, {name: f0, kind: file, path: $TEST_DIR/f0.img, size: 128MiB}]}
pools: [{name: mem, devices: [ep0/m0]}, {name: disk, devices: [ep0/f0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 64MiB, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, endpoint: ep0, pool: disk, size: 32MiB}
  - {name: ro, endpoint: ep0, pool: mem, size: 1MiB, read-only: true}
processes:
  - {pasid: 5, name: db, vdev: vd0, sla: {iops: '>= 100'}}
  - {pasid: 7, name: slow, vdev: vd0, match: {ioprio: be/7}, limit: {bandwidth: 1 MB/s}}
"
truncate -s 128M "$TEST_DIR/f0.img"
penstockd_start

# fails WORDS ARGUMENT...: it does, with one line of which these are part.
fails()
{
	local words=$1

	shift
	expect 1 p "$@" 2>err
	equal 1 "$(wc -l <err)" "lines of errors of '$*'"
	grep -qF -- "$words" err || fail "'$*' says: $(cat err)"
}

# Nothing is left of a transfer: no socket, no file beside the file.
is_over()
{
	! compgen -G "$TEST_DIR/api.sock.transfer-*" >/dev/null
}

written() # PASID: bytes so far
{
	ask .counters.write.bytes process stats "$1"
}

note "a raw image, with holes"
truncate -s 64M image.raw
dd if=/dev/urandom of=image.raw bs=1M seek=7 count=3 conv=notrunc status=none
dd if=/dev/urandom of=image.raw bs=4k seek=9000 count=3 conv=notrunc status=none
p vdev import vd0 image.raw >out || fail "import"
is_over || fail "the socket is still there"
p vdev export vd0 back.raw || fail "export"
cmp image.raw back.raw || fail "what came back differs"
[ "$(stat -c %b back.raw)" -lt 8192 ] || fail "holes were filled"
equal 644 "$(stat -c %a back.raw)" "mode"
equal 0 "$(written 5)" "bytes in the name of the first process"

note "qcow2, made for the image, and back"
qemu-img convert -O qcow2 image.raw image.qcow2
p vdev import vd2 image.qcow2 --create --pool mem --json >out || fail "create"
equal "qcow2 true 67108864" \
	"$(jq -r '"\(.format) \(.created) \(.size_bytes)"' out)" "answer"
equal 1 "$(wc -l <out)" "lines"
p vdev export vd2 back.qcow2 --format qcow2 || fail "export to qcow2"
qemu-img compare -f raw -F qcow2 image.raw back.qcow2 || fail "qcow2 differs"
p vdev export vd2 back.raw --force || fail "over a file"
cmp image.raw back.raw || fail "vd2 differs"
p vdev delete vd2

note "what cannot be"
fails "No such file" vdev import vd0 nothing.raw
fails "holds 64 MiB, and vdev 'vd1' has room for 32 MiB: 'penstock vdev resize vd1 64MiB'" \
	vdev import vd1 image.raw
fails "there is no vdev" vdev import vd9 image.raw
fails "there is no vdev" vdev export vd9 none.raw
fails "exists" vdev import vd0 image.raw --create --pool mem
truncate -s 1M small.raw
fails "is read-only" vdev import ro small.raw
fails "back.raw exists: say --force" vdev export vd0 back.raw
fails "neither a file" vdev export vd0 "$TEST_DIR"
fails "No such file" vdev export vd0 no/where.raw
fails "not bound to vdev" vdev export vd1 none.raw --pasid 5
expect 2 p vdev export vd0 none.raw --format iso 2>err
grep -q "unknown format 'iso': raw, qcow2" err || fail "$(cat err)"
expect 2 p vdev import vd0 image.raw --pool mem 2>err
head -c 1M /dev/urandom >broken.qcow2
printf 'QFI\xfb\0\0\0\x03' | dd of=broken.qcow2 conv=notrunc status=none
fails "broken.qcow2: " vdev import vd0 broken.qcow2
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 over.qcow2
fails "over.qcow2 needs another file, image.qcow2: say --backing" \
	vdev import vd0 over.qcow2
p vdev import vd0 over.qcow2 --backing >out || fail "--backing"
mkdir no-qemu
ln -s "$BIN/penstock" no-qemu
PATH="$TEST_DIR/no-qemu" expect 1 p vdev import vd0 image.raw 2>err
grep -q "qemu-img is not there: install qemu-utils" err || fail "$(cat err)"
[ ! -e none.raw ] || fail "something is left of an export that was refused"

note "a disk that is full"
mkdir full
if mount -t tmpfs -o size=1m none full; then
	fails "No space left on device; nothing is left of it" \
		vdev export vd0 full/out.raw
	equal "" "$(ls full)" "what is left there"
	umount full
fi

note "a vdev in use"
coproc USER { exec qemu-io -f raw "nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd"; }
wait_for 10 holds '.sessions == 1' vdev show vd0 || fail "it is not in use"
fails "is in use, and an import writes over it" vdev import vd0 image.raw
p vdev import vd0 image.raw --force >out || fail "--force"
p vdev export vd0 used.raw >out 2>err || fail "export in use"
grep -q "note: vdev 'vd0' is in use" err || fail "it is not said: $(cat err)"
cmp image.raw used.raw || fail "used.raw differs"
kill "$USER_PID"
wait_for 10 holds '.sessions == 0' vdev show vd0 || fail "it is still used"

note "interrupted"
before=$(written 7)
env --default-signal=INT "$BIN/penstock" vdev import vd0 image.raw --pasid 7 \
	2>err &
import=$!
wait_for 20 holds ".counters.write.bytes > $before" process stats 7 ||
	fail "nothing is written in the name of process 7"
fails "is being imported or exported already" vdev export vd0 none.raw
fails "is being imported or exported" vdev delete vd0
kill -INT $import
expect 1 wait $import
grep -q "image.raw: interrupted; vdev 'vd0' holds a part of it now" err ||
	fail "$(cat err)"
wait_for 10 is_over || fail "the socket outlives the import"

note "export interrupted: nothing is left of it"
reads=$(ask .counters.read.bytes process stats 7)
"$BIN/penstock" vdev export vd0 none.raw --pasid 7 2>err &
export=$!
wait_for 20 holds ".counters.read.bytes > $reads" process stats 7 ||
	fail "nothing is read in the name of process 7"
kill $export
expect 1 wait $export
grep -q "none.raw: interrupted; nothing is left of it" err || fail "$(cat err)"
equal "" "$(compgen -G 'none.raw*')" "what is left"

note "killed: what it opened closes, and so does qemu-img"
before=$(written 7)
"$BIN/penstock" vdev import vd0 image.raw --pasid 7 2>err &
import=$!
wait_for 20 holds ".counters.write.bytes > $before" process stats 7 ||
	fail "nothing is written in the name of process 7"
killed $import
wait_for 20 is_over || fail "the socket outlives who asked for it"

note "penstockd is killed meanwhile: the next one closes it"
before=$(written 7)
head -c 32M /dev/urandom >big.raw
"$BIN/penstock" vdev import vd0 big.raw --pasid 7 2>err &
import=$!
wait_for 20 holds ".counters.write.bytes > $before" process stats 7 ||
	fail "nothing is written in the name of process 7"
killed "$PENSTOCKD_PID"
penstockd_start
is_over || fail "the socket is still there"
expect 1 wait $import
grep -q "holds a part of it now" err || fail "$(cat err)"
p vdev import vd0 image.raw >out || fail "import after that"
p vdev export vd0 last.raw >out || fail "export after that"
cmp image.raw last.raw || fail "last.raw differs"
penstockd_stop
