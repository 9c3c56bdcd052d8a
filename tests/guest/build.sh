#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the guest: Debian's cloud kernel, and an initramfs of Debian's busybox
# and e2fsprogs with our guest-io, in build/guest.  Downloads the kernel's
# package once; nothing is installed.  Quick when nothing has changed.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

OUT=build/guest
# In the order in which they are loaded.
MODULES="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev
	virtio_pci virtio_blk virtio_console"
PROGRAMS="/sbin/mkfs.ext4 /sbin/e2fsck"
SOURCES="tests/guest/build.sh tests/guest/init build/tests/guest/guest-io"

die()
{
	printf 'guest: %s\n' "$*" >&2
	exit 1
}

fetch_kernel()
{
	local package

	[ -f "$OUT/vmlinuz" ] && [ -d "$OUT/modules" ] && return
	package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1)
	if [ -z "$package" ]; then
		# One list of several that cannot be had need not be this one.
		apt-get -q update >/dev/null 2>&1 || true
		package=$(apt-cache depends linux-image-cloud-amd64 |
			sed -n 's/.*Depends: \(linux-image-[0-9].*\)$/\1/p' |
			head -1)
	fi
	[ -n "$package" ] || die "apt knows no linux-image-cloud-amd64"
	echo "guest: fetching $package"
	rm -rf "$OUT/package" "$OUT/modules"
	mkdir -p "$OUT/package"
	(cd "$OUT/package" && apt-get -q -q download "$package" 2>log) || {
		cat "$OUT/package/log" >&2
		die "cannot download $package"
	}
	dpkg-deb -x "$OUT"/package/*.deb "$OUT/package/tree"
	mkdir "$OUT/modules"
	for module in $MODULES; do
		find "$OUT/package/tree/lib/modules" -name "$module.ko" \
			-exec cp {} "$OUT/modules/" \;
		[ -f "$OUT/modules/$module.ko" ] ||
			die "$package has no $module.ko"
	done
	cp "$OUT"/package/tree/boot/vmlinuz-* "$OUT/vmlinuz.new"
	rm -rf "$OUT/package"
	mv "$OUT/vmlinuz.new" "$OUT/vmlinuz"
}

# copy_program FILE ROOT: with the libraries that it needs.
copy_program()
{
	local file

	for file in "$1" $(ldd "$1" | grep -o '/[^ ]*'); do
		mkdir -p "$2$(dirname "$file")"
		cp -L "$file" "$2$file"
	done
}

build_initramfs()
{
	local root="$OUT/root" program

	rm -rf "$root"
	mkdir -p "$root/bin" "$root/sbin" "$root/lib/modules" "$root/proc" \
		"$root/sys" "$root/dev" "$root/mnt" "$root/run" "$root/etc"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp tests/guest/init "$root/init"
	cp build/tests/guest/guest-io "$root/bin/guest-io"
	for program in $PROGRAMS; do
		copy_program "$program" "$root"
	done
	echo "$MODULES" | tr -s ' \t\n' '\n' >"$root/lib/modules/order"
	cp "$OUT"/modules/*.ko "$root/lib/modules/"
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) \
		>"$OUT/initramfs.new"
	rm -rf "$root"
	mv "$OUT/initramfs.new" "$OUT/initramfs"
}

mkdir -p "$OUT"
[ -x build/tests/guest/guest-io ] || die "run './run build' first"
exec 9>"$OUT/lock"
flock 9
fetch_kernel
for source in $SOURCES "$OUT/vmlinuz"; do
	if [ ! -f "$OUT/initramfs" ] || [ "$source" -nt "$OUT/initramfs" ]; then
		build_initramfs
		break
	fi
done
