/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.h - a finer histogram than base/histogram.h, for the benchmarks
 *
 * The bars ask for a median within 1 %, and base/histogram.h's buckets are 3 %
 * wide: these are 0.4 % wide and a percentile is its bucket's middle.
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

#define LATENCY_SUB_BITS	8U
#define LATENCY_MAX_BITS	36U	/* 68 s and more share one */
#define LATENCY_BUCKETS \
	((LATENCY_MAX_BITS - LATENCY_SUB_BITS + 1) << LATENCY_SUB_BITS)

struct latency {
	uint32_t buckets[LATENCY_BUCKETS];
	uint64_t count, sum_ns, max_ns;
};

static inline unsigned int latency_index(uint64_t value)
{
	unsigned int shift;

	if (value >> LATENCY_MAX_BITS)
		return LATENCY_BUCKETS - 1;
	if (value < (1U << LATENCY_SUB_BITS))
		return (unsigned int)value;
	shift = 63U - (unsigned int)__builtin_clzll(value) - LATENCY_SUB_BITS;
	return (shift << LATENCY_SUB_BITS) + (unsigned int)(value >> shift);
}

static inline void latency_add(struct latency *latency, uint64_t ns)
{
	latency->buckets[latency_index(ns)]++;
	latency->count++;
	latency->sum_ns += ns;
	if (ns > latency->max_ns)
		latency->max_ns = ns;
}

static inline void latency_merge(struct latency *into,
				 const struct latency *from)
{
	unsigned int i;

	for (i = 0; i < LATENCY_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	into->sum_ns += from->sum_ns;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
}

/* The middle of bucket 'index'. */
static inline uint64_t latency_value(unsigned int index)
{
	unsigned int shift;

	if (index < (2U << LATENCY_SUB_BITS))
		return index;
	shift = (index >> LATENCY_SUB_BITS) - 1;
	return ((uint64_t)(index - (shift << LATENCY_SUB_BITS)) << shift) +
		(UINT64_C(1) << shift >> 1);
}

static inline uint64_t latency_percentile(const struct latency *latency,
					  double percent)
{
	const double wanted = (double)latency->count * percent / 100;
	uint64_t seen = 0;
	unsigned int i;

	for (i = 0; i < LATENCY_BUCKETS; i++) {
		seen += latency->buckets[i];
		if (seen > 0 && (double)seen >= wanted)
			return latency_value(i);
	}
	return 0;
}

#endif
