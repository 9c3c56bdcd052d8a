#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What of a large vdev is holes and what data (E3, E15): told in few replies, and
# one extent at a time to who asks so.
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
$PYTHON -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 512MiB}]}
pools: [{name: mem, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 256MiB, nbd: unix:$TEST_DIR/vd0.nbd}
"
penstockd_start
cat >map.py <<'E2'
import nbd, sys
MIB = 1 << 20
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
for i in range(0, 200, 2):
    h.pwrite(b"x" * 4096, i * MIB)
replies, extents, at = 0, [], 0
while at < 256 * MIB:
    got = []
    h.block_status(256 * MIB - at, at, lambda m, o, e, err: got.extend(e))
    replies += 1
    extents += list(zip(got[::2], got[1::2]))
    at += sum(got[::2])
assert at == 256 * MIB, at
want = [(MIB, 3 * (i % 2)) for i in range(199)] + [(57 * MIB, 3)]
assert extents == want, extents
assert replies <= 200 // 32 + 1, replies
got = []
h.block_status(256 * MIB, 0, lambda m, o, e, err: got.extend(e),
               nbd.CMD_FLAG_REQ_ONE)
assert got == [MIB, 0], got
E2
$PYTHON map.py "nbd+unix:///?socket=$TEST_DIR/vd0.nbd" ||
	fail "holes and data are told otherwise"
penstockd_stop
