/* SPDX-License-Identifier: Apache-2.0 */
/* foreign.c - see foreign.h */
#include "pool/foreign.h"

#include <string.h>

struct magic {
	const char *name;
	size_t at;
	const char *bytes;
	size_t length;
};

#define MAGIC(name, at, text)	\
	{ \
		(name), (at), (text), sizeof(text) - 1 \
	}

/* The first that fits is the one: a partition table stands last, as other
 * contents may have its two bytes. */
static const struct magic magics[] = {
	MAGIC("a qcow2 image", 0, "QFI\xfb"),
	MAGIC("a VMDK image", 0, "KDMV"),
	MAGIC("a VHDX image", 0, "vhdxfile"),
	MAGIC("a VDI image", 0x40, "\x7f\x10\xda\xbe"),
	MAGIC("a LUKS volume", 0, "LUKS\xba\xbe"),
	MAGIC("an XFS file system", 0, "XFSB"),
	MAGIC("an LVM physical volume", 512, "LABELONE"),
	MAGIC("a GPT partition table", 512, "EFI PART"),
	MAGIC("a GPT partition table", 4096, "EFI PART"),
	MAGIC("an MD RAID member", 4096, "\xfc\x4e\x2b\xa9"),
	MAGIC("an MD RAID member", 0, "\xfc\x4e\x2b\xa9"),
	MAGIC("an ext2/3/4 file system", 1080, "\x53\xef"),
	MAGIC("a btrfs file system", 0x10040, "_BHRfS_M"),
	MAGIC("an F2FS file system", 1024, "\x10\x20\xf5\xf2"),
	MAGIC("a swap area", 4086, "SWAPSPACE2"),
	MAGIC("a bcache device", 4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
	MAGIC("a Ceph BlueStore device", 0, "bluestore block device"),
	MAGIC("an NTFS file system", 3, "NTFS    "),
	MAGIC("an exFAT file system", 3, "EXFAT   "),
	MAGIC("an ISO 9660 image", 0x8001, "CD001"),
	MAGIC("a ZFS device", 0x20000, "\x0c\xb1\xba\x00"),
	MAGIC("a ZFS device", 0x20000, "\x00\x00\x00\x00\x00\xba\xb1\x0c"),
	MAGIC("an MBR partition table or boot sector", 510, "\x55\xaa"),
};

const char *foreign_name(const unsigned char *data, size_t bytes)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *magic = &magics[i];

		if (magic->at + magic->length <= bytes &&
		    memcmp(data + magic->at, magic->bytes, magic->length) == 0)
			return magic->name;
	}
	return "data of somebody else";
}
