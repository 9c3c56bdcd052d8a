#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The QEMU of a libvirt is another user than penstockd: it connects where
# 'socket:' gives it the sockets, and nobody else does (E15).
. "$(dirname "$0")/../lib.sh"

[ "$(id -u)" = 0 ] || skip "needs root, to be somebody else"
setpriv --reuid 4001 --regid 4100 --clear-groups \
	test -r "$ROOT/build/guest/vmlinuz" ||
	skip "other users cannot read $ROOT/build/guest"

# Users and groups by number: nobody has these.
penstock_config "
socket: {group: 4100}
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}
pools: [{name: mem, devices: [ep0/m0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: mem, size: 16MiB, vhost-user: $TEST_DIR/vd0.sock, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, endpoint: ep0, pool: mem, size: 16MiB, vhost-user: $TEST_DIR/vd1.sock, socket: {user: 4001, group: 4101, mode: 0600}}
"
chmod 755 "$TEST_DIR"
penstockd_start

# of SOCKET: whose it is, and for whom.
of()
{
	stat -c '%u:%g %a' "$TEST_DIR/$1"
}

equal "0:4100 660" "$(of vd0.sock)" "whose vd0's socket is"
equal "0:4100 660" "$(of vd0.nbd)" "whose vd0's NBD socket is"
equal "4001:4101 600" "$(of vd1.sock)" "whose vd1's socket is"

note "a QEMU of that user and group writes and reads its disks"
guest_start a -u 4001:4100 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
for disk in vda vdb; do
	guest_run a 30 "guest-io /dev/$disk depth=4 seconds=1 size=8M" ||
		fail "wrong data on $disk"
done
guest_stop a

# may UID GID: is NBD open to them?
may()
{
	setpriv --reuid "$1" --regid "$2" --clear-groups qemu-img info \
		"nbd:unix:$TEST_DIR/vd0.nbd:exportname=vd0" >qemu-img.out 2>&1
}

note "who is not of it does not come in"
may 4002 4100 || fail "the group: $(cat qemu-img.out)"
! may 4002 4109 || fail "a stranger"
grep -q 'Permission denied' qemu-img.out || fail "why: $(cat qemu-img.out)"
penstockd_stop
