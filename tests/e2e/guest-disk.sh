#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A guest's disk with an SLA, end to end (E1 E4 E9 E15): mkfs, files, fsck,
# four queues, discard, and the same data after a reboot and after a restart.
. "$(dirname "$0")/../lib.sh"

penstock_disk 512 256 "queues: 4, " "$DB_PROCESS"
penstockd_start
guest_start a -c 2 -q 4 "$TEST_DIR/vd0.sock"
guest_ready a

note "four queues"
equal 524288 "$(guest_run a 10 cat /sys/block/vda/size)" "disk size"
# The guest uses no more queues than it has CPUs; QEMU was given all four.
equal 2 "$(guest_run a 10 'ls /sys/block/vda/mq | wc -l')" "queues in use"

note "file system"
guest_run a 60 'mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt &&
	dd if=/dev/urandom of=/mnt/file bs=64k count=200 2>/dev/null &&
	sync' >out || {
	cat out
	fail "a file system is made, filled and written out"
}
sum=$(guest_run a 30 'md5sum </mnt/file; umount /mnt')
[ -n "$sum" ] || fail "no checksum"
guest_run a 60 e2fsck -fn /dev/vda >/dev/null || fail "fsck"

note "discard"
guest_run a 20 'mount -o discard /dev/vda /mnt && cp /mnt/file /mnt/copy &&
	sync && rm /mnt/copy && sync && fstrim /mnt && umount /mnt' ||
	fail "discard"

note "load that is verified"
guest_run a 60 guest-io /dev/vda depth=32 seconds=4 offset=192M size=32M ||
	fail "wrong data"
equal 1 "$(process_field 1 .pasid)" "process"
[ "$(ask '.combined.iops' vdev show vd0)" = 200 ] || fail "combined iops"
[ "$(process_field 1 '.counters.write.requests')" -gt 100 ] || fail "counters"
guest_stop a

note "after a restart of everything"
penstockd_stop
penstockd_start
guest_start b -c 2 -q 4 "$TEST_DIR/vd0.sock"
guest_ready b
equal "$sum" "$(guest_run b 30 'mount /dev/vda /mnt && md5sum </mnt/file;
	umount /mnt')" "checksum after restart"
guest_stop b
penstockd_stop
