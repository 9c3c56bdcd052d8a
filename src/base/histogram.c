/* SPDX-License-Identifier: Apache-2.0 */
/* histogram.c - see histogram.h */
#include "base/histogram.h"

static uint32_t bucket_read(const struct histogram *histogram, unsigned int i)
{
	return __atomic_load_n(&histogram->buckets[i], __ATOMIC_RELAXED);
}

uint64_t histogram_upper(unsigned int index)
{
	unsigned int shift;

	if (index < (2U << HISTOGRAM_SUB_BITS))
		return index;
	shift = (index >> HISTOGRAM_SUB_BITS) - 1;
	return ((uint64_t)(index - (shift << HISTOGRAM_SUB_BITS) + 1)
		<< shift) -
		1;
}

uint64_t histogram_count(const struct histogram *histogram)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += bucket_read(histogram, i);
	return count;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	const uint64_t count = histogram_count(histogram);
	const double share = (double)count * percent / 100.0;
	uint64_t wanted = (uint64_t)share;
	uint64_t seen = 0;

	if (count == 0)
		return 0;
	if ((double)wanted < share || wanted == 0)
		wanted++;
	if (wanted > count)
		wanted = count;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += bucket_read(histogram, i);
		if (seen >= wanted)
			return histogram_upper(i);
	}
	return histogram_upper(HISTOGRAM_BUCKETS - 1);
}

void histogram_subtract(const struct histogram *now,
			const struct histogram *before,
			struct histogram *ret_since)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		ret_since->buckets[i] =
			bucket_read(now, i) - before->buckets[i];
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += bucket_read(from, i);
}
