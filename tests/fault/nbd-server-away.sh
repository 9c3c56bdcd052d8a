#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The server of a device goes away for longer than requests wait for it: it is
# told, they fail, and when it is back all goes on; a flush over writes that it
# may have lost fails once (E15, H6).  Over TCP, by a name.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
command -v nbdkit >/dev/null || skip "nbdkit is not installed"

# Nobody else has it now; soon nbdkit does.
PORT=$($PYTHON -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
truncate -s 64M "$TEST_DIR/remote.img"
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: r0, kind: nbd, uri: 'nbd://localhost:$PORT/', reconnect: 2 s, unflushed: lost}
pools: [{name: far, devices: [ep0/r0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: far, size: 16MiB, nbd: unix:$TEST_DIR/vd0.nbd}
"
# Does what the lines that it gets say: w writes, r reads, f flushes; says how
# that went.
cat >client.py <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("connected", flush=True)
for line in sys.stdin:
    try:
        if line[0] == "w":
            h.pwrite(line[1:2].encode() * 4096, 0)
        elif line[0] == "f":
            h.flush()
        else:
            assert h.pread(4096, 0) == line[1:2].encode() * 4096, line
        print("done", flush=True)
    except nbd.Error as error:
        print(error.errno, flush=True)
h.shutdown()
EOF2

serve()
{
	nbdkit -f -i 127.0.0.1 -p "$PORT" file "$TEST_DIR/remote.img" \
		2>>server.log &
	SERVER=$!
}

# told ANSWER WHAT: the client's next line.
told()
{
	local line

	read -r -t 60 -u "${CLIENT[0]}" line ||
		fail "$2: the client does not say '$1' within 60 s"
	equal "$1" "$line" "$2"
}

# tell LINE ANSWER
tell()
{
	echo "$1" >&"${CLIENT[1]}"
	told "$2" "$1"
}

serve
penstockd_start
coproc CLIENT { exec $PYTHON client.py "nbd+unix:///vd0?socket=$TEST_DIR/vd0.nbd"; }
told connected "the client"
tell wa done
tell f done
tell wb done

note "the server dies: it is told, and then requests fail"
killed "$SERVER"
tell wc EIO
wait_event 10 '.kind == "device-stalled"' || fail "no event of a stall"
wait_event 10 '.kind == "device-error"' || fail "no event of the error"
wait_event 10 '.kind == "device-failed" and (.text | test("refused"))' ||
	fail "no event says why: $(p events | tail -3)"
tell ra EIO

note "it is back: what may be lost is not called safe"
serve
back()
{
	echo rb >&"${CLIENT[1]}"
	read -r -t 10 -u "${CLIENT[0]}" line
	[ "$line" = done ]
}
wait_for 10 back || fail "nothing goes on"
tell f EIO
tell f done
tell wd done
tell f done
eval "exec ${CLIENT[1]}>&-"
wait "$CLIENT_PID"
penstockd_stop
