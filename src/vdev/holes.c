/* SPDX-License-Identifier: Apache-2.0 */
/* holes.c - where nothing was ever written to a vdev's volume */
#include "vdev/device.h"

#define EXTENT_MASK (FORMAT_EXTENT_BYTES - 1)

static uint32_t extent_of(uint64_t offset_bytes)
{
	return (uint32_t)(offset_bytes >> FORMAT_EXTENT_SHIFT);
}

static bool is_mapped(const struct volume *volume, uint32_t index)
{
	return table_get(&volume->table, index) != 0;
}

bool vdev_is_hole(const struct vdev *vdev, uint64_t offset_bytes,
		  uint64_t length_bytes, uint64_t *ret_bytes)
{
	const struct volume *volume = vdev->volume;
	const uint64_t end_bytes = offset_bytes + length_bytes;
	uint32_t index, end;
	bool is_hole;

	*ret_bytes = length_bytes;
	/* What a device that is missing has, nobody knows. */
	if (volume->missing || length_bytes == 0)
		return false;
	index = extent_of(offset_bytes);
	end = extent_of(end_bytes - 1) + 1;
	is_hole = !is_mapped(volume, index);
	if (is_hole)
		index = table_next(&volume->table, index, end);
	else
		while (index < end && is_mapped(volume, index))
			index++;
	if (index < end)
		*ret_bytes =
			((uint64_t)index << FORMAT_EXTENT_SHIFT) - offset_bytes;
	return is_hole;
}

bool vdev_zeroes_fast(const struct vdev *vdev, uint64_t offset_bytes,
		      uint64_t length_bytes, bool may_unmap)
{
	const uint64_t end_bytes = offset_bytes + length_bytes;
	uint64_t bytes;

	for (uint64_t at = offset_bytes; at < end_bytes; at += bytes) {
		const bool is_hole =
			vdev_is_hole(vdev, at, end_bytes - at, &bytes);
		const uint64_t to = at + bytes;

		if (!is_hole &&
		    (!may_unmap || at & EXTENT_MASK ||
		     (to & EXTENT_MASK && to != vdev->size_bytes)))
			return false;
	}
	return true;
}
