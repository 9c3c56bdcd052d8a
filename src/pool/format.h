/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.h - what a pool keeps on each of its devices
 *
 *	0        4 KiB                                       metadata_bytes
 *	| super 1 | log 0 A | log 1 A | log 0 B | log 1 B | .. | super 2 | data
 *
 * All integers are little-endian.  The data area follows the metadata and is
 * cut into extents of 1 MiB.
 *
 * Superblock.  Two copies, the first and the last block of the metadata, which
 * are a power of two MiB long: when the first copy is damaged the second is
 * looked for at each power of two.  A copy lies within one sector of 512 bytes,
 * so that the device writes it whole or not.  The valid copy with the greater
 * counter holds.  Magic, version and the place of the checksum stay for ever:
 * who meets a newer version can say so.
 *
 * Log.  Two areas, one of them current (the superblock says which); compaction
 * writes the other one.  Each is kept twice, A and B.  An area is a sequence of
 * blocks of 4 KiB from its start.  A block says whose it is (device, epoch of
 * the area), its sequence (its place), the checksum of the block before, and
 * how many blocks of this area were known to be on stable storage when it was
 * written.  The log ends before the first block that neither copy continues.
 * Where a block behind says that the missing one was on stable storage, it is
 * damage, and not the end.
 *
 * No block can follow one that it was not written after: a block's checksum
 * covers the epoch, which no two attempts at an area share, and the generation
 * of the owner that wrote it, which no two owners share.
 *
 * Extents.  Of an extent that no record names nothing is known: it is dirty.
 *
 *	dirty --CLEAN--> clean --OPEN--> open --MAP--> mapped --UNMAP--> dirty
 *
 * A clean one reads as zeroes.  An open one may be written to at any time, so
 * after a crash it is dirty, unless it was mapped.  This is why the first write
 * to an extent need not wait for its MAP: an extent that a crash forgot is
 * never taken for clean.
 *
 * Pure.
 */
#ifndef POOL_FORMAT_H
#define POOL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define FORMAT_VERSION		1U
#define FORMAT_BLOCK_BYTES	4096U
#define FORMAT_SECTOR_BYTES	512U
#define FORMAT_EXTENT_SHIFT	20U
#define FORMAT_EXTENT_BYTES	(UINT64_C(1) << FORMAT_EXTENT_SHIFT)
#define FORMAT_EXTENTS_MAX	(UINT32_C(1) << 30)
#define FORMAT_AREAS		2U
#define FORMAT_COPIES		2U
#define FORMAT_AREA_BLOCKS_MIN	16U
#define FORMAT_METADATA_SHIFT_MIN 20U	/* log2 of the least metadata */
#define FORMAT_METADATA_SHIFT_MAX 40U
#define FORMAT_VOLUMES_MAX	4096U	/* on one device */
#define FORMAT_NAME_MAX		64U	/* with the terminating zero */
#define FORMAT_GROWTH		8U	/* times, that metadata allow for */

struct format_uuid {
	uint8_t bytes[16];
};

struct format_super {
	struct format_uuid uuid;	/* the device's */
	uint32_t version;
	uint32_t incompatible;		/* features; one not known: refuse */
	uint32_t compatible;		/* features; one not known: no matter */
	uint64_t counter;		/* the greater one of two holds */
	uint64_t generation;		/* one more with each owner */
	uint64_t capacity_bytes;	/* as configured */
	uint64_t metadata_bytes;	/* where the data area begins */
	uint64_t epoch;			/* of the current area */
	uint32_t extent_count;
	uint32_t area_blocks;		/* of each of the four */
	uint32_t area;			/* the current one */
	uint32_t synced_blocks;		/* of it; at least so many are there */
};

/* 'compatible': its extents go to other devices: where another one maps an
 * index too, that one is right. */
#define FORMAT_LEAVING		0x1U

/* ---- geometry ---- */

uint32_t format_extents(uint64_t capacity_bytes);	/* rounded up */
/* How long the metadata of a device of 'capacity_bytes' are. */
uint64_t format_metadata_bytes(uint64_t capacity_bytes);
/* How long a file is that has room for 'capacity_bytes' and the metadata. */
uint64_t format_device_bytes(uint64_t capacity_bytes);
/* The most that fits on a device whose size cannot change, in whole extents;
 * 0: too small. */
uint64_t format_capacity_bytes(uint64_t device_bytes);
uint32_t format_area_blocks(uint64_t metadata_bytes);	/* the most */
uint64_t format_area_offset(const struct format_super *super, uint32_t area,
			    uint32_t copy);
uint64_t format_super_offset(const struct format_super *super, uint32_t copy);

/* ---- superblock ---- */

void format_super_encode(const struct format_super *super,
			 unsigned char block[FORMAT_BLOCK_BYTES]);
/* Returns 0; -ENODATA (zeroes), -ENOMSG (somebody else's), -EBADMSG (ours,
 * damaged), -EPROTONOSUPPORT (newer, or with features that are not known:
 * '*reterr' names them). */
int format_super_decode(const unsigned char block[FORMAT_BLOCK_BYTES],
			struct format_super *ret_super, struct error *reterr);

/* ---- records ---- */

enum format_kind {
	FORMAT_VOLUME = 1,	/* volume: now 'is' */
	FORMAT_VOLUME_MEMBER, /* volume: may have extents on device 'uuid' (or,
				 * FORMAT_MEMBER_LEFT, has none there) */
	FORMAT_VOLUME_DELETE,	/* volume: never was; all of it is dirty */
	FORMAT_MAP,		/* volume, index, extent, count */
	FORMAT_UNMAP,		/* volume, index, count: what is mapped of it */
	FORMAT_OPEN,		/* extent, count */
	FORMAT_CLEAN,		/* extent, count */
	FORMAT_BAD,		/* extent, count: never to be used again */
	FORMAT_KINDS
};

#define FORMAT_MAP_SHARED	0x1U	/* others may map the extent too */
#define FORMAT_MAP_REPLACE	0x2U	/* the index was mapped: unmap that */
#define FORMAT_MAP_MOVING	\
	0x4U /* another device may have it by now:
					 * then that one is right */
#define FORMAT_MAP_COUNT_MAX	0xffffU

#define FORMAT_MEMBER_LEFT	0x1U	/* it has left the pool */

#define FORMAT_VOLUME_THICK	0x1U
#define FORMAT_VOLUME_SNAPSHOT	0x2U	/* of 'origin'; read only */
#define FORMAT_VOLUME_CREATING	0x4U	/* found at start: delete it */
#define FORMAT_VOLUME_DELETING	0x8U	/* found at start: go on */
#define FORMAT_VOLUME_FLAGS	0xfU

struct format_volume {
	struct format_uuid uuid;
	struct format_uuid origin;	/* of a snapshot; else zeroes */
	uint64_t size_bytes;
	uint64_t version;		/* the greatest on any device holds */
	uint32_t flags;
	char name[FORMAT_NAME_MAX];
};

struct format_record {
	uint8_t kind;		/* enum format_kind */
	uint8_t flags;		/* MAP, VOLUME_MEMBER */
	uint32_t volume;	/* a number of this device's own, from 1 */
	uint32_t index;		/* first one; extent of the volume */
	uint32_t extent;	/* first one; extent of the device */
	uint32_t count;		/* > 0 */
	union {
		const struct format_volume *is;		/* VOLUME; to encode */
		const struct format_uuid *uuid;		/* VOLUME_MEMBER */
	};
};

/* ---- blocks of the log ---- */

#define FORMAT_HEADER_BYTES	64U
#define FORMAT_SLOT_BYTES	16U
#define FORMAT_SLOTS	\
	((FORMAT_BLOCK_BYTES - FORMAT_HEADER_BYTES) / FORMAT_SLOT_BYTES)
#define FORMAT_SLOTS_MAX	8U	/* of one record */

struct format_header {
	struct format_uuid uuid;	/* of the device */
	uint64_t epoch;
	uint64_t generation;		/* of the owner that wrote it */
	uint32_t sequence;
	uint32_t synced_blocks;
	uint32_t previous_crc;		/* of the block before; 0: none */
	uint32_t used;			/* slots */
};

uint32_t format_slots(const struct format_record *record);
/* Add 'record' behind the '*used' slots of 'block'; a MAP that continues the
 * last one makes that longer.  Returns false: there is no room. */
bool format_block_add(unsigned char *block, uint32_t *used,
		      const struct format_record *record);
/* Finish the block; returns its checksum. */
uint32_t format_block_seal(unsigned char *block,
			   const struct format_header *header);
/* Is it a block of a log, whole?  Returns 0 or -EBADMSG; '*ret_crc' is its
 * checksum. */
int format_block_decode(const unsigned char *block,
			struct format_header *ret_header, uint32_t *ret_crc);
/* The record at '*at' slots (0 at first), which moves on.  Returns 1, 0 (that
 * was all) or -EBADMSG.  '*ret_volume' and '*ret_uuid' are filled, and pointed
 * to by the record, where its kind has them. */
int format_record_next(const unsigned char *block,
		       const struct format_header *header, uint32_t *at,
		       struct format_record *ret_record,
		       struct format_volume *ret_volume,
		       struct format_uuid *ret_uuid);

/* Where the next MAP at or behind '*at' slots, which moves on, begins to map.
 * For a look ahead: nothing of it was checked.  False: there is none. */
bool format_map_next(const unsigned char *block,
		     const struct format_header *header, uint32_t *at,
		     struct format_record *ret_map);

bool format_uuid_equal(const struct format_uuid *a,
		       const struct format_uuid *b);
bool format_uuid_is_zero(const struct format_uuid *uuid);
bool format_is_zero(const unsigned char *data, uint64_t bytes);

#endif
