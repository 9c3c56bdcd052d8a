/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-internal.h - times and costs, for keep.c and keep-count.c only
 */
#ifndef SLA_KEEP_INTERNAL_H
#define SLA_KEEP_INTERNAL_H

#include "sla/keep-data.h"

#define KEEP_SECOND_NS		UINT64_C(1000000000)
#define KEEP_TICK_BITS		16	/* tags count 1/65536 ns */
#define KEEP_WINDOW_TICKS	(KEEP_WINDOW_NS << KEEP_TICK_BITS)
#define KEEP_TAG_MAX		(UINT64_C(1) << 60)

#define KEEP_BOTH		3U	/* directions, as a mask */

static inline uint64_t keep_ticks(const struct keep *keep, uint64_t now_ns)
{
	const uint64_t start_ns = keep->window_end_ns - KEEP_WINDOW_NS;

	/* Callers may read the clock once for several requests. */
	return now_ns > start_ns ? (now_ns - start_ns) << KEEP_TICK_BITS : 0;
}

static inline uint64_t keep_less(uint64_t amount, uint64_t by)
{
	return amount > by ? amount - by : 0;
}

static inline uint64_t keep_cap(unsigned __int128 tag)
{
	return tag < KEEP_TAG_MAX ? (uint64_t)tag : KEEP_TAG_MAX;
}

/* How long a server of the promised rate takes for one request, ... */
static inline uint64_t keep_cost(const struct keep_meter *meter, uint32_t bytes)
{
	if (!meter->counts_bytes)
		return meter->per_request;
	return keep_cap(((unsigned __int128)meter->per_byte * bytes) >>
			KEEP_TICK_BITS);
}

/* ... and for 'amount' of what the meter counts. */
static inline uint64_t keep_cost_many(const struct keep_meter *meter,
				      uint64_t amount)
{
	return meter->counts_bytes ?
		keep_cap(((unsigned __int128)meter->per_byte * amount) >>
			 KEEP_TICK_BITS) :
		keep_cap((unsigned __int128)meter->per_request * amount);
}

/* What waits at the end of the window. */
static inline uint64_t keep_waiting_bytes(const struct keep_flow *flow)
{
	const uint64_t came = flow->waiting_bytes + flow->arrived_bytes;
	const uint64_t gone = flow->done_bytes + flow->failed_bytes;

	/* More may end than came, if it came before the promise. */
	return flow->waiting > 0 && came > gone ? came - gone : 0;
}

/* What the meter counts of 'part' of the requests of a flow that wait; bytes:
 * as if all were of one size. */
static inline uint64_t keep_waiting_part(const struct keep_meter *meter,
					 const struct keep_flow *flow,
					 uint32_t part)
{
	if (part >= flow->waiting)
		return meter->counts_bytes ? keep_waiting_bytes(flow) :
					     flow->waiting;
	if (!meter->counts_bytes)
		return part;
	return (uint64_t)((unsigned __int128)keep_waiting_bytes(flow) * part /
			  flow->waiting);
}

#endif
