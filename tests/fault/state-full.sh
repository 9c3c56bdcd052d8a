#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The file system of the state directory is full: each verb that has to write
# something down fails with one line and has changed nothing, guests and
# questions go on, and when there is space again the same verbs are done;
# another penstockd starts from what was written.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
mkdir state
mount -t tmpfs -o size=6m none state 2>/dev/null ||
	skip "file systems cannot be mounted here"

penstock_config "
endpoints:
  - name: ep0
    devices: [{name: d0, kind: file, path: $TEST_DIR/d0.img, size: 64MiB}]
pools: [{name: main, devices: [ep0/d0], provisioning: thin}]
vdevs:
  - {name: vd0, pool: main, size: 16MiB, nbd: unix:$TEST_DIR/vd0.nbd}
processes:
  - {pasid: 1, name: db, vdev: vd0, sla: {iops: '>= 10'}}
"
cat >client.py <<'EOF2'
import os
import nbd
h = nbd.NBD()
h.connect_uri("nbd+unix:///vd0?socket=%s/vd0.nbd" % os.getcwd())
h.pwrite(b"x" * 65536, 1 << 20, nbd.CMD_FLAG_FUA)
assert h.pread(65536, 1 << 20) == b"x" * 65536
h.shutdown()
EOF2

# What there is, without what moves by itself.
shape()
{
	ask '[.[] | [.pasid, .name, .vdev, .sla_text, .limit, .weight, .state]] | sort' \
		process list
	ask '[.[] | [.name, .size_bytes, .limit, .state]] | sort' vdev list
}

fill()
{
	# It ends when there is no space left: that is what it is for.
	dd if=/dev/zero of=state/ballast bs=4096 2>dd.log &&
		fail "the file system is not full"
	grep -q "No space" dd.log || fail "it is not for space that dd ended"
}

verbs()
{
	"$@" process add 7 --vdev vd0 --sla 'iops >= 5' --name added
	"$@" process update 1 --sla 'iops >= 20'
	"$@" vdev create new --pool main --size 8MiB
	"$@" vdev resize vd0 24MiB
}

# refused VERB...: with one line, of which it can be told what is wrong.
refused()
{
	expect 1 p "$@" >verb.log 2>&1
	equal 1 "$(wc -l <verb.log)" "lines of: $*"
	grep -q "full" verb.log || fail "$*: $(cat verb.log)"
	equal "$before" "$(shape)" "after: $*"
}

penstockd_start
wait_for 10 holds 'all(.state == "serving")' vdev list || fail "not served"
p process add 8 --vdev vd0 --sla 'iops >= 1' --name first
p vdev create old --pool main --size 8MiB
$PYTHON client.py
before=$(shape)

note "full"
fill
verbs refused
refused process release 8
refused vdev delete old
$PYTHON client.py || fail "guests do not go on"
p status >status.log || fail "questions are not answered"

note "with another endpoint"
endpoint=$(endpoint_pid)
kill -9 "$endpoint"
wait_for 20 "$PYTHON" client.py 2>client.log ||
	fail "guests do not go on with another endpoint"
equal "$before" "$(shape)" "with another endpoint"

note "there is space again"
rm state/ballast
verbs p
after=$(shape)
[ "$before" != "$after" ] || fail "nothing was done"
$PYTHON client.py
penstockd_stop
penstockd_start
wait_for 10 holds 'all(.state == "serving")' vdev list || fail "not served"
equal "$after" "$(shape)" "after a start"
p vdev delete new
p vdev delete old
p process release 8
penstockd_stop

note "full at start"
fill
expect 1 "$BIN/penstockd" --config alpha.yaml >start.log 2>&1
equal 1 "$(grep -c "file system is full" start.log)" "lines that say why"
rm state/ballast
penstockd_start
equal 1 "$(ask length vdev list)" "vdevs"
penstockd_stop
