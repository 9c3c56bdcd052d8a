/* SPDX-License-Identifier: Apache-2.0 */
/* ranges.c - see ranges.h */
#include "block/ranges.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int ranges_check(const struct range *list, unsigned int count,
		 uint64_t size_bytes, struct error *reterr)
{
	if (count > RANGES_MAX)
		return error_set(reterr, -EINVAL,
				 "%u ranges of data: at most %u", count,
				 RANGES_MAX);
	for (unsigned int i = 0; i < count; i++) {
		const struct range *range = &list[i];

		if (range->offset_bytes % RANGES_ALIGN != 0 ||
		    range->size_bytes % RANGES_ALIGN != 0 ||
		    range->size_bytes < RANGES_BYTES ||
		    range->size_bytes > size_bytes ||
		    range->offset_bytes > size_bytes - range->size_bytes)
			return error_set(
				reterr, -EINVAL,
				"range %u of data is not one of the device's",
				i + 1);
	}
	return 0;
}

void ranges_set(struct ranges *ranges, const struct range *list,
		unsigned int count)
{
	assert(count <= RANGES_MAX);
	memcpy(ranges->list, list, count * sizeof(*list));
	ranges->count = count;
	ranges->at = 0;
	ranges->next_bytes = 0;
}

uint64_t ranges_sum(const struct ranges *ranges)
{
	uint64_t sum_bytes = 0;

	for (unsigned int i = 0; i < ranges->count; i++)
		sum_bytes += ranges->list[i].size_bytes;
	return sum_bytes;
}

uint64_t ranges_offset(const struct ranges *ranges, uint64_t at)
{
	const struct range *range = ranges->list;

	for (; at >= range->size_bytes; range++)
		at -= range->size_bytes;
	return range->offset_bytes + at;
}

uint64_t ranges_next(struct ranges *ranges, uint64_t step_bytes)
{
	uint64_t at = ranges->next_bytes;

	if (at + step_bytes > ranges->list[ranges->at].size_bytes) {
		ranges->at = (ranges->at + 1) % ranges->count;
		at = 0;
	}
	ranges->next_bytes = at + step_bytes;
	return ranges->list[ranges->at].offset_bytes + at;
}
