/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-count.h - what keep.h judges is counted: requests come and go
 *
 * On the way of every request; its one writer calls these.  Where nothing is
 * promised they do nothing.  Pure.
 */
#ifndef SLA_KEEP_COUNT_H
#define SLA_KEEP_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "sla/keep-data.h"

/* What the functions below do where something is promised. */
uint32_t keep_arrive_promised(struct keep *keep, bool write, uint32_t count,
			      uint32_t bytes, uint64_t now_ns);
void keep_done_promised(struct keep *keep, bool write, uint32_t count,
			uint64_t bytes, uint32_t conforming,
			uint64_t latency_ns, uint64_t now_ns);
void keep_failed_promised(struct keep *keep, bool write, uint32_t bytes,
			  bool conforming, uint64_t now_ns);

/* 'count' requests of 'bytes' each came together.  Returns how many conform to
 * the promised rates (all, if no latency is promised), the first of them; the
 * caller hands that back when they end. */
static inline uint32_t keep_arrive_many(struct keep *keep, bool write,
					uint32_t count, uint32_t bytes,
					uint64_t now_ns)
{
	if (keep->is_promised)
		return keep_arrive_promised(keep, write, count, bytes, now_ns);
	return count;
}

static inline bool keep_arrive(struct keep *keep, bool write, uint32_t bytes,
			       uint64_t now_ns)
{
	return keep_arrive_many(keep, write, 1, bytes, now_ns) != 0;
}

/* 'count' requests of 'bytes' together, all of this latency, of which
 * 'conforming' conformed, were completed without error (the endpoint times
 * inline completions by rounds). */
static inline void keep_done_many(struct keep *keep, bool write, uint32_t count,
				  uint64_t bytes, uint32_t conforming,
				  uint64_t latency_ns, uint64_t now_ns)
{
	if (keep->is_promised)
		keep_done_promised(keep, write, count, bytes, conforming,
				   latency_ns, now_ns);
}

static inline void keep_done(struct keep *keep, bool write, uint32_t bytes,
			     bool conforming, uint64_t latency_ns,
			     uint64_t now_ns)
{
	keep_done_many(keep, write, 1, bytes, conforming, latency_ns, now_ns);
}

/* One that came has ended with an error, or was taken away (its process
 * was released): it is no longer waiting, and was not delivered.  'bytes' and
 * 'conforming' as they were with keep_arrive. */
static inline void keep_failed(struct keep *keep, bool write, uint32_t bytes,
			       bool conforming, uint64_t now_ns)
{
	if (keep->is_promised)
		keep_failed_promised(keep, write, bytes, conforming, now_ns);
}

#endif
