#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Live resize: the guest sees the new size and can use it; the data stay.
. "$(dirname "$0")/../lib.sh"

penstock_disk 256 64
penstockd_start
guest_start a "$TEST_DIR/vd0.sock"
guest_ready a
equal 131072 "$(guest_run a 10 cat /sys/block/vda/size)" "size before"
guest_load a /dev/vda depth=8 size=32M report-ms=250
load=$GUEST_ID

p vdev resize vd0 --size 128MiB
# The kernel says so in its log; the guest waits for the change by itself.
guest_run a 20 'until [ "$(cat /sys/block/vda/size)" = 262144 ]; do :; done' ||
	fail "guest does not see the new size"
guest_run a 30 guest-io /dev/vda name=new offset=96M size=32M seconds=1 ||
	fail "the new space cannot be used"
guest_run a 10 killall guest-io
guest_wait a "$load" 60 || fail "guest's data"

note "more than there is"
! p vdev resize vd0 --size 10GiB || fail "more than the device has"
equal 134217728 "$(ask .size_bytes vdev show vd0)" "size afterwards"
guest_stop a
penstockd_stop
