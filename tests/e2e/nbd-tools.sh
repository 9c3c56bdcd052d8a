#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# NBD as other people's programs use it (E9, E12, E15): libnbd's and nbdkit's
# tools, qemu-img, qemu-io and fio, over a unix socket and TCP.
. "$(dirname "$0")/../lib.sh"

for tool in nbdinfo nbdcopy nbdkit qemu-img qemu-io fio; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done
# The one that Debian has libnbd for.
PYTHON=/usr/bin/python3

penstock_config "
session-hold: 1 s
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}, {name: f0, kind: file, path: $TEST_DIR/f0.img, size: 128MiB}]}
pools: [{name: mem, devices: [ep0/m0]}, {name: disk, devices: [ep0/f0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 64MiB, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, endpoint: ep0, pool: disk, size: 64MiB, nbd: 'tcp:127.0.0.1:10829', connections: 8, vhost-user: $TEST_DIR/vd1.sock}
processes:
  - {pasid: 5, name: db, vdev: vd0, sla: {iops: '>= 100'}}
"
truncate -s 128M "$TEST_DIR/f0.img"
penstockd_start
UNIX="nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd"
TCP=nbd://127.0.0.1:10829/vd1

note "what it says of itself"
nbdinfo "$UNIX" >info || fail "nbdinfo"
grep -q "export-size: 67108864 " info || fail "the size is not told"
grep -q "can_multi_conn: true" info || fail "multi-conn is not told"
nbdinfo --list "$TCP" | grep -q 'export="vd1"' || fail "it is not listed"
# Extents that the map tells as TYPE, in bytes together (E3: holes are told).
mapped_as()
{
	nbdinfo --map --json "$UNIX" |
		jq "[.[] | select(.type == $1) | .length] | add // 0"
}
equal "67108864 0" "$(mapped_as 3) $(mapped_as 0)" "holes and data at first"
equal "false true" \
	"$(ask .shared vdev show vd0) $(ask .shared vdev show vd1)" "shared"

note "copies"
head -c 64M /dev/urandom >random
nbdcopy random "$UNIX" || fail "nbdcopy to the unix socket"
nbdcopy "$UNIX" "$TCP" || fail "nbdcopy from one to the other"
nbdcopy "$TCP" back || fail "nbdcopy back"
cmp random back || fail "what was copied differs"
equal "0 67108864" "$(mapped_as 3) $(mapped_as 0)" "holes and data when full"
qemu-img compare -f raw -F raw random "$UNIX" || fail "qemu-img compare"
qemu-img convert -n -O raw back "$TCP" || fail "qemu-img convert"
qemu-img compare -f raw -F raw random "$TCP" || fail "the file's content"

note "commands"
qemu-io -f raw "$UNIX" -c "write -P 7 0 4M" -c "write -z -u 1M 64k" \
	-c "discard 2M 64k" -c "write -f -P 9 4k 4k" -c flush \
	-c "read -P 7 8k 8k" -c "read -P 0 1M 64k" -c "read -P 9 4k 4k" \
	>io.log 2>&1 || fail "qemu-io: $(cat io.log)"
! grep -q "failed" io.log || fail "qemu-io: $(cat io.log)"
qemu-io -f raw "$UNIX" -c "discard 8M 4M" -c "read -P 0 8M 4M" >io.log 2>&1 ||
	fail "qemu-io: $(cat io.log)"
equal 4194304 "$(mapped_as 3)" "holes after a discard"

note "in python: many at a time, errors, the ends of the device"
UNIX=$UNIX $PYTHON - <<-'PYTHON' || fail "libnbd"
	import nbd, os, errno
	h = nbd.NBD()
	h.connect_uri(os.environ["UNIX"])
	size = h.get_size()
	pending = []
	for i in range(200):
	    data = nbd.Buffer.from_bytearray(bytearray([i]) * 4096)
	    pending.append(h.aio_pwrite(data, i * 4096))
	while h.aio_in_flight() > 0:
	    h.poll(-1)
	    while True:
	        try:
	            done = h.aio_peek_command_completed()
	        except nbd.Error:
	            break
	        if done <= 0:
	            break
	        h.aio_command_completed(done)
	for i in range(200):
	    assert h.pread(4096, i * 4096) == bytes([i]) * 4096
	h.set_strict_mode(0)
	for call, code in ((lambda: h.pread(512, size), "EINVAL"),
	                   (lambda: h.pwrite(b"x" * 512, size), "ENOSPC"),
	                   (lambda: h.zero(512, size), "ENOSPC"),
	                   (lambda: h.trim(512, size), "EINVAL")):
	    try:
	        call()
	        raise SystemExit("not refused")
	    except nbd.Error as error:
	        assert error.errnum == getattr(errno, code), error
	h.pwrite(b"z" * 512, size - 512, nbd.CMD_FLAG_FUA)
	h.flush()
	h.shutdown()
PYTHON

note "a process by its name: counted in its name, others are refused"
qemu-io -f raw "nbd+unix:///vd0/5?socket=$TEST_DIR/vd0.nbd" \
	-c "write 0 1M" >/dev/null || fail "vd0/5"
! nbdinfo "nbd+unix:///vd0/6?socket=$TEST_DIR/vd0.nbd" 2>/dev/null ||
	fail "vd0/6 is not bound and was let in"

note "a process that ends with its last connection"
p process add 9 --vdev vd0 --sla "iops >= 10" --session
$PYTHON - "nbd+unix:///vd0/9?socket=$TEST_DIR/vd0.nbd" <<-'PYTHON' || fail "vd0/9"
	import nbd, sys
	h = nbd.NBD()
	h.connect_uri(sys.argv[1])
	h.pwrite(b"9" * 512, 0)
	h.shutdown()
PYTHON
wait_for 20 holds 'all(.pasid != 9)' process list ||
	fail "process 9 outlives its connection"

note "nbdkit in front, and fio"
nbdkit -U - nbd "$UNIX" --run 'nbdinfo --size "$uri"' >size ||
	fail "nbdkit's nbd plugin"
equal 67108864 "$(cat size)" "size through nbdkit"
fio --name=nbd --ioengine=nbd --uri="$UNIX" --rw=randrw --bs=4k --iodepth=32 \
	--size=32M --verify=crc32c --io_size=16M --output=fio.log ||
	fail "fio: $(tail -5 fio.log)"

note "resize: the next handshake tells"
p vdev resize vd0 --size 96MiB
nbdinfo --size "$UNIX" | grep -qx 100663296 || fail "the new size is not told"

note "shorter: nothing is cut off that nobody said to"
qemu-io -f raw -c 'write -P 9 80M 1M' "$UNIX" >/dev/null || fail "a write"
expect 1 p vdev resize vd0 64MiB 2>err.log
grep -q "would lose what lies beyond its new end: that takes --force" err.log ||
	fail "what is refused: $(cat err.log)"
qemu-io -f raw -c 'read -P 9 80M 1M' "$UNIX" | grep -q "read 1048576" ||
	fail "what was written is gone"
p vdev resize vd0 64MiB --force
nbdinfo --size "$UNIX" | grep -qx 67108864 || fail "it is not shorter"
p vdev resize vd0 96MiB
qemu-io -f raw -c 'read -P 0 80M 1M' "$UNIX" | grep -q "read 1048576" ||
	fail "what was cut off comes back"

note "end in order"
penstockd_stop
