# SPDX-License-Identifier: Apache-2.0
#
# Sourced by scripts in which a vdev is written to all the while (writer.py).

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"

# writes_config MIB DEVICE...: vdev vd0 of a pool of files, of 96 MiB each.
writes_config()
{
	local mib=$1 list="" names="" name

	shift
	for name; do
		list="$list
      - {name: $name, kind: file, path: $TEST_DIR/$name, size: 96MiB}"
		names="$names${names:+, }ep0/$name"
	done
	penstock_config "
endpoints:
  - name: ep0
    devices:$list
pools: [{name: p, devices: [$names]}]
vdevs:
  - {name: vd0, pool: p, size: ${mib}MiB, nbd: unix:$TEST_DIR/vd0.nbd}
"
}

# device_is DEVICE FILTER: of its entry in the list.
device_is() { holds ".[] | select(.device == \"$1\") | $2" device list; }
is_gone() { holds "all(.[]; .device != \"$1\")" device list; }

# writes_begin VDEV MIB: at its socket $TEST_DIR/VDEV.nbd; 300 are there.
writes_begin()
{
	exec {WRITES}< <(exec $PYTHON "$ROOT/tests/writer.py" \
		"nbd+unix:///$1?socket=$TEST_DIR/$1.nbd" "$2")
	WRITER_PID=$!
	read -r -t 60 -u "$WRITES" _ || fail "nothing is written"
}

# What was acknowledged is there.
writes_end()
{
	local told

	kill "$WRITER_PID"
	read -r -t 60 -u "$WRITES" told || fail "what was written is not there"
	note "$told"
	expect 0 wait "$WRITER_PID"
}
