#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A device that is an export of another program's server: the server is killed
# at any instant while a client writes, penstockd and the endpoint are, too, and
# what was acknowledged is there, each write once and in order (E15).
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
command -v nbdkit >/dev/null || skip "nbdkit is not installed"
command -v qemu-nbd >/dev/null || skip "qemu-nbd is not installed"

SOCKET=$TEST_DIR/remote.nbd
truncate -s 64M "$TEST_DIR/remote.img"
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: r0, kind: nbd, uri: 'nbd+unix:///?socket=$SOCKET', unflushed: kept}
pools: [{name: far, devices: [ep0/r0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: far, size: 16MiB, nbd: unix:$TEST_DIR/vd0.nbd}
"
# Writes, many at a time, each block one after the other with a number that
# grows; says so now and then, so often; in the end every block has the last
# number that was acknowledged for it.
cat >writer.py <<'EOF2'
import nbd, random, struct, sys, time
DEPTH, BLOCKS = 16, 512
h = nbd.NBD()
h.connect_uri(sys.argv[1])
marks, next_mark = int(sys.argv[2]), 1
numbers, number, busy, longest, count = {}, 0, {}, 0.0, 0
while busy or marks:
    while len(busy) < DEPTH and marks:
        block = random.randrange(BLOCKS)
        if block in [b for b, _, _ in busy.values()]:
            continue
        number += 1
        data = nbd.Buffer.from_bytearray(
            bytearray(struct.pack("<Q", number) * 512))
        cookie = h.aio_pwrite(data, block * 4096)
        busy[cookie] = (block, number, time.monotonic())
    h.poll(1000)
    for cookie in list(busy):
        if not h.aio_command_completed(cookie):
            continue
        block, n, since = busy.pop(cookie)
        numbers[block] = n
        count += 1
        longest = max(longest, time.monotonic() - since)
        if marks and count >= next_mark:
            next_mark = count + random.randrange(20, 2000)
            marks -= 1
            print("mark", flush=True)
h.flush()
for block, n in numbers.items():
    data = h.pread(4096, block * 4096)
    assert data == struct.pack("<Q", n) * 512, (block, n, data[:8])
h.shutdown()
print("%d writes, %.3f s at most" % (count, longest), flush=True)
EOF2

serve_nbdkit()
{
	rm -f "$SOCKET"
	nbdkit -f -U "$SOCKET" file "$TEST_DIR/remote.img" 2>>server.log &
	SERVER=$!
}

serve_qemu()
{
	rm -f "$SOCKET"
	qemu-nbd -t -f raw -k "$SOCKET" -e 8 --cache=writeback --discard=unmap \
		"$TEST_DIR/remote.img" 2>>server.log &
	SERVER=$!
}

URI="nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd"

# write_through TIMES COMMAND...: at so many instants while it writes.
write_through()
{
	local times=$1 line status=0 said writer

	shift
	coproc WRITER { exec $PYTHON writer.py "$URI" "$times" 2>writer.err; }
	# Bash forgets them when it has ended.
	exec {said}<&"${WRITER[0]}"
	writer=$WRITER_PID
	while read -r -t 60 -u "$said" line; do
		[ "$line" = mark ] || break
		"$@"
	done
	exec {said}<&-
	wait "$writer" || status=$?
	[ "$status" = 0 ] || fail "the writer: $status $(tail -1 writer.err)"
	note "$line"
}

kill_and_serve()
{
	killed "$SERVER"
	"$1"
}

serve_nbdkit
penstockd_start
for serve in serve_nbdkit serve_qemu; do
	note "$serve: killed again and again"
	kill_and_serve "$serve"
	write_through 10 kill_and_serve "$serve"
done

without_penstockd()
{
	killed "$PENSTOCKD_PID"
	killed "$SERVER"
	serve_nbdkit
	penstockd_start
}
note "penstockd dies, then the server: the next penstockd connects"
endpoint=$(endpoint_pid)
write_through 2 without_penstockd
equal "$endpoint" "$(endpoint_pid)" "the endpoint"
penstockd_stop
