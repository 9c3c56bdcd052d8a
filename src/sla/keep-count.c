/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-count.c - requests come and go; the theory is at the head of keep.c
 *
 * On the way of every request, or every round's, of a process that something
 * is promised to.
 */
#include "sla/keep-count.h"

#include "sla/keep-internal.h"
#include "sla/keep.h"

/* How long a server of the promised rate takes for what was sent beyond the
 * promise and still waits. */
static uint64_t excess_cost(const struct keep *keep,
			    const struct keep_meter *meter)
{
	uint64_t excess = 0;

	for (unsigned int i = 0; i < 2; i++) {
		const struct keep_flow *flow = &keep->flows[i];

		if (meter->directions >> i & 1)
			excess += keep_waiting_part(meter, flow, flow->excess);
	}
	return keep_cost_many(meter, excess);
}

static inline bool has_excess(const struct keep *keep)
{
	return (keep->flows[0].excess | keep->flows[1].excess) != 0;
}

static bool conforms(const struct keep *keep, const struct keep_meter *meter,
		     uint64_t at, uint64_t latest)
{
	const uint64_t until =
		meter->conform_until > at ? meter->conform_until : at;

	return until + excess_cost(keep, meter) <= latest;
}

/* The meters' part of an arrival.  'ret_conforming' is NULL where no latency is
 * promised: nobody asks then. */
static inline void arrive(struct keep *keep, uint8_t mask, uint32_t bytes,
			  uint64_t at, uint64_t latest, bool *ret_conforming)
{
	struct keep_meter *const end = &keep->meters[keep->meters_count];
	bool is_conforming = true;

	if (ret_conforming) {
		for (struct keep_meter *meter = keep->meters; meter < end;
		     meter++)
			if ((meter->directions & mask) &&
			    !conforms(keep, meter, at, latest))
				is_conforming = false;
		*ret_conforming = is_conforming;
	}
	for (struct keep_meter *meter = keep->meters; meter < end; meter++) {
		uint64_t until = meter->owed_until, step;

		if (!(meter->directions & mask))
			continue;
		step = keep_cost(meter, bytes);
		if (until < at) {
			meter->idle += at - until;
			until = at;
		}
		if (until < KEEP_TAG_MAX)
			meter->owed_until = until + step;
		if (ret_conforming && is_conforming) {
			until = meter->conform_until;
			meter->conform_until = (until < at ? at : until) + step;
		}
	}
}

/* 'count' came together, of which the first 'conforming' did. */
static inline void count_arrivals(struct keep_flow *flow, uint32_t count,
				  uint32_t bytes, uint32_t conforming,
				  uint64_t latest)
{
	flow->waiting += count;
	flow->arrived_bytes += (uint64_t)count * bytes;
	if (__builtin_expect(bytes > flow->largest_bytes, 0))
		flow->largest_bytes = bytes;
	flow->conforming_arrived += conforming;
	flow->excess += count - conforming;
	if (latest >= KEEP_WINDOW_TICKS)
		flow->young += count;
}

/* Several rates, or bytes: one after the other. */
static __attribute__((noinline)) uint32_t arrive_any(struct keep *keep,
						     bool write, uint32_t count,
						     uint32_t bytes,
						     uint64_t now_ns)
{
	struct keep_flow *flow = &keep->flows[write];
	const uint8_t mask = (uint8_t)(1U << write);
	const uint64_t at = keep_ticks(keep, now_ns);
	const uint64_t latest = at + flow->burst;
	uint32_t conforming = 0;

	for (uint32_t i = 0; i < count; i++) {
		bool is_conforming = true;

		arrive(keep, mask, bytes, at, latest,
		       keep->bounds_count > 0 ? &is_conforming : NULL);
		count_arrivals(flow, 1, bytes, is_conforming, latest);
		conforming += is_conforming;
	}
	return conforming;
}

/* How many of 'count' that come at once conform to the one promised rate.  As
 * soon as one does not, none after it does. */
static inline uint32_t conform_many(const struct keep *keep,
				    struct keep_meter *meter, uint32_t count,
				    uint64_t at, uint64_t latest)
{
	const uint64_t step = meter->per_request;
	uint64_t until = meter->conform_until, from;

	if (until < at)
		until = at;
	from = until;
	if (has_excess(keep))
		from += excess_cost(keep, meter);
	if (from > latest)
		return 0;
	if ((unsigned __int128)step * (count - 1) > latest - from)
		count = 1 + (uint32_t)((latest - from) / step);
	meter->conform_until = until + step * count;
	return count;
}

/* One promised rate of requests, or none: what arrive() does, but straight on
 * and for all of them. */
uint32_t keep_arrive_promised(struct keep *keep, bool write, uint32_t count,
			      uint32_t bytes, uint64_t now_ns)
{
	struct keep_flow *flow = &keep->flows[write];
	struct keep_meter *meter = &keep->meters[0];
	uint64_t at, latest = 0, until;
	uint32_t conforming = count;

	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		keep_close_windows(keep, now_ns);
	if (!keep->is_simple)
		return arrive_any(keep, write, count, bytes, now_ns);
	if (meter->directions >> write & 1) {
		at = keep_ticks(keep, now_ns);
		latest = at + flow->burst;
		if (keep->bounds_count > 0)
			conforming =
				conform_many(keep, meter, count, at, latest);
		until = meter->owed_until;
		if (until < at) {
			meter->idle += at - until;
			until = at;
		}
		if (until < KEEP_TAG_MAX)
			meter->owed_until =
				until + keep_cost_many(meter, count);
	}
	count_arrivals(flow, count, bytes, conforming, latest);
	return conforming;
}

/* 'requests' of one direction no longer wait, 'excess' of them did not
 * conform. */
static inline void leave(struct keep *keep, unsigned int direction,
			 uint32_t requests, uint32_t excess, uint64_t now_ns)
{
	struct keep_flow *flow = &keep->flows[direction];
	uint64_t at;

	if (excess != 0)
		flow->excess -= excess < flow->excess ? excess : flow->excess;
	if (requests < flow->waiting) {
		flow->waiting -= requests;
		return;
	}
	/* Nothing waits any more: what was done early is not owed. */
	flow->waiting = 0;
	flow->excess = 0;
	at = keep_ticks(keep, now_ns);
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		if ((meter->directions >> direction & 1) &&
		    meter->owed_until > at &&
		    (meter->directions != KEEP_BOTH ||
		     keep->flows[!direction].waiting == 0))
			meter->owed_until = at;
	}
}

static inline void done_in_window(struct keep *keep, bool write, uint32_t count,
				  uint64_t bytes, uint32_t conforming,
				  uint64_t latency_ns, uint64_t now_ns)
{
	struct keep_flow *flow = &keep->flows[write];
	struct keep_bound *const end = &keep->bounds[keep->bounds_count];

	flow->done += count;
	flow->done_bytes += bytes;
	flow->conforming_done += conforming;
	for (struct keep_bound *bound = keep->bounds; bound < end; bound++)
		if (latency_ns > bound->latency_ns &&
		    (bound->directions >> write & 1))
			bound->late += conforming;
	leave(keep, write, count, count - conforming, now_ns);
}

static __attribute__((noinline, cold)) void done_in_next(
	struct keep *keep, bool write, uint32_t count, uint64_t bytes,
	uint32_t conforming, uint64_t latency_ns, uint64_t now_ns)
{
	keep_close_windows(keep, now_ns);
	done_in_window(keep, write, count, bytes, conforming, latency_ns,
		       now_ns);
}

void keep_done_promised(struct keep *keep, bool write, uint32_t count,
			uint64_t bytes, uint32_t conforming,
			uint64_t latency_ns, uint64_t now_ns)
{
	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		done_in_next(keep, write, count, bytes, conforming, latency_ns,
			     now_ns);
	else
		done_in_window(keep, write, count, bytes, conforming,
			       latency_ns, now_ns);
}

void keep_failed_promised(struct keep *keep, bool write, uint32_t bytes,
			  bool conforming, uint64_t now_ns)
{
	struct keep_flow *flow = &keep->flows[write];

	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		keep_close_windows(keep, now_ns);
	flow->failed++;
	flow->failed_bytes += bytes;
	flow->conforming_failed += conforming;
	leave(keep, write, 1, !conforming, now_ns);
}
