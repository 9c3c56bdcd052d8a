/* SPDX-License-Identifier: Apache-2.0 */
/* extents.c - which parts of a device are taken; see extents.h */
#include "host/extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET_MAX	(UINT64_C(1) << 62)

uint64_t extents_round(uint64_t size_bytes)
{
	return (size_bytes + EXTENT_BYTES - 1) / EXTENT_BYTES * EXTENT_BYTES;
}

static uint64_t end_of(const struct extent *extent)
{
	return extent->offset_bytes + extent->size_bytes;
}

/* Put a range in at 'index'. */
static int insert(struct extents *extents, unsigned int index,
		  uint64_t offset_bytes, uint64_t size_bytes)
{
	struct extent *grown = reallocarray(extents->taken, extents->count + 1U,
					    sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	extents->taken = grown;
	memmove(&grown[index + 1], &grown[index],
		(extents->count - index) * sizeof(*grown));
	grown[index].offset_bytes = offset_bytes;
	grown[index].size_bytes = extents_round(size_bytes);
	extents->count++;
	return 0;
}

int extents_take(struct extents *extents, uint64_t total_bytes,
		 uint64_t size_bytes, uint64_t *ret_offset_bytes)
{
	uint64_t start = 0;
	unsigned int i;
	int ret;

	for (i = 0; i <= extents->count && !extents->is_closed; i++) {
		uint64_t end = i < extents->count ?
			extents->taken[i].offset_bytes :
			total_bytes;

		if (end > start && size_bytes <= end - start) {
			ret = insert(extents, i, start, size_bytes);
			if (ret == 0)
				*ret_offset_bytes = start;
			return ret;
		}
		if (i < extents->count)
			start = end_of(&extents->taken[i]);
	}
	return -ENOSPC;
}

int extents_take_at(struct extents *extents, uint64_t offset_bytes,
		    uint64_t size_bytes)
{
	uint64_t end;
	unsigned int i = 0;

	if (offset_bytes % EXTENT_BYTES || size_bytes == 0 ||
	    offset_bytes > OFFSET_MAX || size_bytes > OFFSET_MAX)
		return -EINVAL;
	end = offset_bytes + extents_round(size_bytes);
	while (i < extents->count && end_of(&extents->taken[i]) <= offset_bytes)
		i++;
	if (i < extents->count && extents->taken[i].offset_bytes < end)
		return -EEXIST;
	return insert(extents, i, offset_bytes, size_bytes);
}

uint64_t extents_room(const struct extents *extents, uint64_t total_bytes,
		      uint64_t offset_bytes)
{
	unsigned int i = 0;
	uint64_t end = total_bytes;

	while (i < extents->count &&
	       extents->taken[i].offset_bytes <= offset_bytes)
		i++;
	if (i < extents->count)
		end = extents->taken[i].offset_bytes;
	return end > offset_bytes ? end - offset_bytes : 0;
}

int extents_resize(struct extents *extents, uint64_t total_bytes,
		   uint64_t offset_bytes, uint64_t size_bytes)
{
	unsigned int i;

	if (size_bytes > extents_room(extents, total_bytes, offset_bytes))
		return -ENOSPC;
	for (i = 0; i < extents->count; i++) {
		if (extents->taken[i].offset_bytes != offset_bytes)
			continue;
		if (extents->is_closed &&
		    size_bytes > extents->taken[i].size_bytes)
			return -ENOSPC;
		extents->taken[i].size_bytes = extents_round(size_bytes);
		return 0;
	}
	return -ENOSPC;
}

int extents_split(struct extents *extents, uint64_t offset_bytes,
		  uint64_t size_bytes)
{
	uint64_t first_bytes = extents_round(size_bytes);
	unsigned int i = 0;
	int ret;

	while (i < extents->count &&
	       extents->taken[i].offset_bytes != offset_bytes)
		i++;
	if (i == extents->count || first_bytes == 0 ||
	    first_bytes >= extents->taken[i].size_bytes)
		return -EINVAL;
	ret = insert(extents, i + 1, offset_bytes + first_bytes,
		     extents->taken[i].size_bytes - first_bytes);
	if (ret == 0)
		extents->taken[i].size_bytes = first_bytes;
	return ret;
}

void extents_release(struct extents *extents, uint64_t offset_bytes)
{
	unsigned int i;

	for (i = 0; i < extents->count; i++) {
		if (extents->taken[i].offset_bytes != offset_bytes)
			continue;
		extents->count--;
		memmove(&extents->taken[i], &extents->taken[i + 1],
			(extents->count - i) * sizeof(*extents->taken));
		return;
	}
}

uint64_t extents_taken_bytes(const struct extents *extents)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < extents->count; i++)
		sum += extents->taken[i].size_bytes;
	return sum;
}

struct extent extents_largest_free(const struct extents *extents,
				   uint64_t total_bytes)
{
	struct extent best = {0, 0};
	uint64_t start = 0;
	unsigned int i;

	for (i = 0; i <= extents->count && !extents->is_closed; i++) {
		uint64_t end = i < extents->count ?
			extents->taken[i].offset_bytes :
			total_bytes;

		if (end > start && end - start > best.size_bytes) {
			best.offset_bytes = start;
			best.size_bytes = end - start;
		}
		if (i < extents->count)
			start = end_of(&extents->taken[i]);
	}
	return best;
}

void extents_finish(struct extents *extents)
{
	free(extents->taken);
	memset(extents, 0, sizeof(*extents));
}
