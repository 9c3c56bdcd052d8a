/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - latencies, log-linear, at most 3.1 % wide
 *
 * Plain data: it may live in memory shared between processes.  One writer;
 * readers of a live one see each bucket whole, but not all of one instant.
 * Counters wrap at 2^32; differences of two copies are right as long as no
 * bucket gained 2^32 between them.
 * Pure.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS	5	/* 32 buckets for each power of two */
#define HISTOGRAM_MAX_BITS	36	/* beyond, 68 s, values share one */
#define HISTOGRAM_BUCKETS \
	((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

/* Which bucket 'value' falls into. */
static inline unsigned int histogram_index(uint64_t value)
{
	unsigned int shift;

	if (value >> HISTOGRAM_MAX_BITS)
		return HISTOGRAM_BUCKETS - 1;
	if (value < (1U << HISTOGRAM_SUB_BITS))
		return (unsigned int)value;
	shift = 63U - (unsigned int)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned int)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value,
				 uint32_t times)
{
	uint32_t *bucket = &histogram->buckets[histogram_index(value)];

	__atomic_store_n(bucket, *bucket + times, __ATOMIC_RELAXED);
}

/* The largest value that falls into bucket 'index'. */
uint64_t histogram_upper(unsigned int index);
uint64_t histogram_count(const struct histogram *histogram);
/* The value that 'percent' (0 < percent <= 100) of all are at or below,
 * rounded up to its bucket's end; 0 if the histogram is empty. */
uint64_t histogram_percentile(const struct histogram *histogram,
			      double percent);
/* 'ret_since' = 'now' - 'before', bucket by bucket. */
void histogram_subtract(const struct histogram *now,
			const struct histogram *before,
			struct histogram *ret_since);
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
