/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents.h - which parts of a device are taken
 *
 * A sorted list of ranges in units of EXTENT_BYTES; first fit.  While it is
 * closed no place is found and nothing grows.
 * Pure.
 */
#ifndef HOST_EXTENTS_H
#define HOST_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#define EXTENT_BYTES	(UINT64_C(1) << 20)

struct extent {
	uint64_t offset_bytes, size_bytes;	/* multiples of EXTENT_BYTES */
};

struct extents {		/* zeroed: nothing is taken */
	struct extent *taken;	/* rising offsets, never overlapping */
	unsigned int count;
	bool is_closed;		/* while set, what is free stays so */
};

/* 'size_bytes' rounded up to whole extents. */
uint64_t extents_round(uint64_t size_bytes);
/* Take the first free place of 'size_bytes' on a device of 'total_bytes'.
 * Returns 0, -ENOSPC or -ENOMEM.  The end of a device may be shorter than an
 * extent: it is usable. */
int extents_take(struct extents *extents, uint64_t total_bytes,
		 uint64_t size_bytes, uint64_t *ret_offset_bytes);
/* Take this place.  Returns 0, -EEXIST (something is there), -EINVAL or
 * -ENOMEM. */
int extents_take_at(struct extents *extents, uint64_t offset_bytes,
		    uint64_t size_bytes);
/* Make the range that begins at 'offset_bytes' this long.  0 or -ENOSPC. */
int extents_resize(struct extents *extents, uint64_t total_bytes,
		   uint64_t offset_bytes, uint64_t size_bytes);
/* Make two of the range that begins at 'offset_bytes': the first keeps
 * 'size_bytes'.  Returns 0; -EINVAL: that leaves nothing of one; -ENOMEM. */
int extents_split(struct extents *extents, uint64_t offset_bytes,
		  uint64_t size_bytes);
/* How long the range that begins at 'offset_bytes' could be. */
uint64_t extents_room(const struct extents *extents, uint64_t total_bytes,
		      uint64_t offset_bytes);
void extents_release(struct extents *extents, uint64_t offset_bytes);
uint64_t extents_taken_bytes(const struct extents *extents);
/* The largest free range; size 0: none. */
struct extent extents_largest_free(const struct extents *extents,
				   uint64_t total_bytes);
void extents_finish(struct extents *extents);

#endif
