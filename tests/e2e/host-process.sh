#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Programs on the host that are told apart by who connects (E12, E15): each gets
# what it is promised or held to without naming anything; who was released
# goes on without; a process that dies is released after its hold time.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
[ "$(id -u)" = 0 ] || skip "only root can be several users"

SOCKET=$TEST_DIR/vd0.nbd
chmod 755 "$TEST_DIR"
penstock_config "
session-hold: 1 s
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}]}
pools: [{name: mem, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 64MiB, nbd: unix:$SOCKET, socket: {mode: 0666}}
processes:
  - {pasid: 1, name: daemon, vdev: vd0, match: {uid: daemon}, limit: {iops: 1000}}
"
penstockd_start

# Connects, says so, asks for a read for each line, and ends with its input.
cat >client.py <<'E2'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("there", flush=True)
for line in sys.stdin:
    h.pread(4096, 0)
    print("read", flush=True)
E2

# client NAME UID [PASID]: a coprocess; its ends are ${NAME[0]}, ${NAME[1]}.
client()
{
	eval "coproc $1 { exec setpriv --reuid $2 --regid $2 --clear-groups \
		$PYTHON client.py 'nbd+unix:///vd0${3:+/$3}?socket=$SOCKET'; }"
}

# reads FD_IN FD_OUT
reads()
{
	local line

	echo >&"$2"
	read -r line <&"$1"
	equal read "$line" "what the client says"
}

# of PASID FIELD; nothing: it isn't there.
of()
{
	ask ".[] | select(.pasid == $1) | .$2" process list
}

has_sessions()
{
	[ "$(of "$1" sessions)" = "$2" ]
}

is_released()
{
	[ -z "$(of "$1" pasid)" ]
}

note "by uid, from the configuration, and nobody else by its name"
client MINE 1
read -r said <&"${MINE[0]}"
equal there "$said" "the first client"
wait_for 10 has_sessions 1 1 || fail "it is not daemon's: $(p process list)"
reads "${MINE[0]}" "${MINE[1]}"
expect 1 setpriv --reuid 2 --regid 2 --clear-groups $PYTHON client.py \
	"nbd+unix:///vd0/1?socket=$SOCKET" 2>refused </dev/null
grep -q "policy" refused || fail "refused otherwise: $(cat refused)"

note "by pid, while it is connected: another process's, and back"
p process add 2 --vdev vd0 --match "pid=$MINE_PID" --limit "iops 2000" ||
	fail "a match by pid is refused"
wait_for 10 has_sessions 2 1 || fail "it is not its own: $(p process list)"
wait_for 10 has_sessions 1 0 || fail "it is still daemon's: $(p process list)"
reads "${MINE[0]}" "${MINE[1]}"
p process release 2 || fail "release"
wait_for 10 has_sessions 1 1 || fail "it is not daemon's again: $(p process list)"
reads "${MINE[0]}" "${MINE[1]}"

note "a process that dies is released after its hold time"
p process add 3 --vdev vd0 --match gid=3 --session --sla "iops >= 100" \
	--best-effort || fail "a match by gid is refused"
client OTHER 3
other=$OTHER_PID
read -r said <&"${OTHER[0]}"
wait_for 10 has_sessions 3 1 || fail "it is not its own: $(p process list)"
kill -9 "$other"
expect 137 wait "$other"
wait_for 20 is_released 3 || fail "it is not released"

note "the next penstockd knows it, and who is connected stays"
p process add 4 --vdev vd0 --match "pid=$MINE_PID" --session ||
	fail "a match by pid is refused"
wait_for 10 has_sessions 4 1 || fail "it is not its own: $(p process list)"
kill -9 "$PENSTOCKD_PID"
expect 137 wait "$PENSTOCKD_PID"
penstockd_start
wait_for 10 has_sessions 4 1 || fail "it is forgotten: $(p process list)"
equal "pid=$MINE_PID" "$(of 4 match)" "what it is told apart by"
reads "${MINE[0]}" "${MINE[1]}"
penstockd_stop
