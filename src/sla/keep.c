/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.c - see keep.h
 *
 * For each promised rate runs an imaginary server of exactly that rate, as
 * one time tag: 'owed_until', when it would have done all that came.
 *
 *   window starts   owed_until = what really waits, at the promised rate
 *   request comes   server idle until now?  count that as idle;
 *                   owed_until += cost of the request
 *   nothing waits   owed_until = now: what was done early is not owed again
 *   window ends     owed = rate * (window - idle)
 *
 * It is idle only when it has done all that came, so 'owed' is at most what
 * was offered; and it never runs when nothing really waits.  A process that
 * falls behind is owed its real backlog again in the next window.
 *
 * A request that came so late in a window that its latency may well lie in the
 * next counts there as if it had been done ("young"), and not again in the
 * next, so the sum over windows is exact.  Requests are taken to end in order:
 * of those that wait at the end, the youngest are those that came last.
 *
 * Conformance is GCRA with its own tag, 'conform_until', which those that
 * conform advance.  Those that do not are before later ones as long as they
 * wait, so until then they count as well.  Tags are relative to the window's
 * start, so that they need few bits and no clock origin.
 */
#include "sla/keep.h"

#include <stddef.h>
#include <string.h>

#define SECOND_NS		UINT64_C(1000000000)
#define TICK_BITS		16	/* tags count 1/65536 ns */
#define WINDOW_TICKS		(KEEP_WINDOW_NS << TICK_BITS)
#define TAG_MAX			(UINT64_C(1) << 60)
#define SPAN_WINDOWS_MAX	100U	/* 10 s */

#define BOTH			3U	/* directions, as a mask */

static uint64_t ticks(const struct keep *keep, uint64_t now_ns)
{
	const uint64_t start_ns = keep->window_end_ns - KEEP_WINDOW_NS;

	/* Callers may read the clock once for several requests. */
	return now_ns > start_ns ? (now_ns - start_ns) << TICK_BITS : 0;
}

static uint64_t less(uint64_t amount, uint64_t by)
{
	return amount > by ? amount - by : 0;
}

static uint64_t cap(unsigned __int128 tag)
{
	return tag < TAG_MAX ? (uint64_t)tag : TAG_MAX;
}

/* How long a server of the promised rate takes for one request, ... */
static inline uint64_t cost(const struct keep_meter *meter, uint32_t bytes)
{
	if (!meter->counts_bytes)
		return meter->per_request;
	return cap(((unsigned __int128)meter->per_byte * bytes) >> TICK_BITS);
}

/* ... and for 'amount' of what the meter counts. */
static uint64_t cost_many(const struct keep_meter *meter, uint64_t amount)
{
	return meter->counts_bytes ?
		cap(((unsigned __int128)meter->per_byte * amount) >>
		    TICK_BITS) :
		cap((unsigned __int128)meter->per_request * amount);
}

/* What waits at the end of the window. */
static uint64_t waiting_bytes(const struct keep_flow *flow)
{
	const uint64_t came = flow->waiting_bytes + flow->arrived_bytes;
	const uint64_t gone = flow->done_bytes + flow->failed_bytes;

	/* More may end than came, if it came before the promise. */
	return flow->waiting > 0 && came > gone ? came - gone : 0;
}

/* What the meter counts of 'part' of the requests of a flow that wait; bytes:
 * as if all were of one size. */
static uint64_t waiting_part(const struct keep_meter *meter,
			     const struct keep_flow *flow, uint32_t part)
{
	if (part >= flow->waiting)
		return meter->counts_bytes ? waiting_bytes(flow) :
					     flow->waiting;
	if (!meter->counts_bytes)
		return part;
	return (uint64_t)((unsigned __int128)waiting_bytes(flow) * part /
			  flow->waiting);
}

/* What the meter counts of one flow. */
static void add_flow(const struct keep_meter *meter,
		     const struct keep_flow *flow, uint64_t *waiting,
		     uint64_t *done, uint64_t *failed)
{
	*waiting += meter->counts_bytes ? waiting_bytes(flow) : flow->waiting;
	*done += meter->counts_bytes ? flow->done_bytes : flow->done;
	*failed += meter->counts_bytes ? flow->failed_bytes : flow->failed;
}

/* The largest request that concerns the meter; 1 if it counts requests. */
static uint64_t one_request(const struct keep *keep,
			    const struct keep_meter *meter)
{
	uint64_t largest = 1;

	if (!meter->counts_bytes)
		return 1;
	for (unsigned int i = 0; i < 2; i++) {
		const struct keep_flow *flow = &keep->flows[i];

		if (!(meter->directions >> i & 1))
			continue;
		if (flow->largest_bytes > largest)
			largest = flow->largest_bytes;
		if (flow->largest_before_bytes > largest)
			largest = flow->largest_before_bytes;
	}
	return largest;
}

static void start_span(struct keep_meter *meter, uint64_t waiting,
		       uint64_t young)
{
	meter->waiting_at_start = waiting;
	meter->young_at_start = young;
	meter->done = 0;
	meter->failed = 0;
	meter->idle = 0;
	meter->windows = 0;
	meter->owed_until = cost_many(meter, waiting - young);
}

enum span { SPAN_OPEN, SPAN_NOTHING_OWED, SPAN_GOOD, SPAN_BROKEN };

/* The window ends: judge the span if it ends too. */
static enum span close_meter(const struct keep *keep, struct keep_meter *meter)
{
	const uint64_t one = one_request(keep, meter);
	uint64_t span_ns, idle_ns, owed, offered, done, waiting = 0, young = 0;
	bool is_untouched, is_broken;

	for (unsigned int i = 0; i < 2; i++) {
		const struct keep_flow *flow = &keep->flows[i];

		if (!(meter->directions >> i & 1))
			continue;
		add_flow(meter, flow, &waiting, &meter->done, &meter->failed);
		young += waiting_part(meter, flow, flow->young);
	}
	meter->windows++;
	meter->conform_until -= meter->conform_until < WINDOW_TICKS ?
		meter->conform_until :
		WINDOW_TICKS;
	if (meter->owed_until < WINDOW_TICKS) {
		meter->idle += WINDOW_TICKS - meter->owed_until;
		meter->owed_until = 0;
	} else {
		meter->owed_until -= WINDOW_TICKS;
	}
	span_ns = meter->windows * KEEP_WINDOW_NS;
	if (meter->windows < SPAN_WINDOWS_MAX &&
	    (unsigned __int128)meter->rate_per_s * span_ns <
		    (unsigned __int128)one * 2 * SECOND_NS)
		return SPAN_OPEN;

	idle_ns = (meter->idle + (UINT64_C(1) << TICK_BITS) - 1) >> TICK_BITS;
	owed = idle_ns >= span_ns ?
		0 :
		(uint64_t)((unsigned __int128)meter->rate_per_s *
			   (span_ns - idle_ns) / SECOND_NS);
	offered = less(waiting + meter->done + meter->failed,
		       meter->young_at_start);
	done = less(meter->done + young, meter->young_at_start);
	if (owed > offered)
		owed = offered;
	is_untouched = meter->done == 0 && meter->failed == 0 && waiting > 0 &&
		waiting == meter->waiting_at_start;
	if (is_untouched)	/* one more: 'owed' was rounded down */
		is_broken = owed + 1 >= (one < waiting ? one : waiting);
	else
		is_broken = owed > one && done < owed - one;
	owed = meter->done > 0 ? owed : 0;
	start_span(meter, waiting, young);
	if (is_broken)
		return SPAN_BROKEN;
	return owed > 0 ? SPAN_GOOD : SPAN_NOTHING_OWED;
}

/* Make 'start_ns' the start of the window that runs. */
static void enter_window(struct keep *keep, uint64_t start_ns)
{
	const uint64_t old_ns = keep->window_end_ns - KEEP_WINDOW_NS;
	uint64_t seconds = start_ns / SECOND_NS - old_ns / SECOND_NS;

	if (start_ns / (KEEP_SECONDS * SECOND_NS) !=
	    old_ns / (KEEP_SECONDS * SECOND_NS)) {
		for (unsigned int i = 0; i < 2; i++) {
			struct keep_flow *flow = &keep->flows[i];

			flow->largest_before_bytes = flow->largest_bytes;
			flow->largest_bytes = 0;
		}
	}
	if (seconds > KEEP_SECONDS)
		seconds = KEEP_SECONDS;
	for (; seconds > 0; seconds--) {
		keep->second_index = (keep->second_index + 1) % KEEP_SECONDS;
		memset(&keep->seconds[keep->second_index], 0,
		       sizeof(keep->seconds[0]));
	}
	keep->window_end_ns = start_ns + KEEP_WINDOW_NS;
}

/* Put what was counted in the window where it is remembered. */
static void close_flow(struct keep_flow *flow, uint32_t *conforming,
		       uint64_t end_ns)
{
	const uint32_t gone = flow->conforming_done + flow->conforming_failed;
	uint32_t waiting = flow->conforming_waiting + flow->conforming_arrived;

	waiting = flow->waiting > 0 && waiting > gone ? waiting - gone : 0;
	if (waiting == 0 || flow->done + flow->failed > 0 ||
	    flow->conforming_waiting == 0) {
		flow->stuck_since_ns = end_ns;
		flow->stuck = waiting;
	}
	*conforming += flow->conforming_done;
	flow->waiting_bytes = waiting_bytes(flow);
	flow->conforming_waiting = waiting;
	flow->done = 0;
	flow->done_bytes = 0;
	flow->arrived_bytes = 0;
	flow->failed = 0;
	flow->failed_bytes = 0;
	flow->conforming_arrived = 0;
	flow->conforming_done = 0;
	flow->conforming_failed = 0;
	flow->young = 0;
}

static void close_window(struct keep *keep)
{
	struct keep_second *second = &keep->seconds[keep->second_index];
	bool is_judged = false, is_broken = false;

	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];
		const enum span span = close_meter(keep, meter);

		if (span == SPAN_GOOD || span == SPAN_BROKEN) {
			second->judged[meter->spec]++;
			is_judged = true;
		}
		if (span == SPAN_BROKEN) {
			second->bad[meter->spec]++;
			is_broken = true;
		}
	}
	for (unsigned int i = 0; i < keep->bounds_count; i++) {
		second->bad[keep->bounds[i].spec] += keep->bounds[i].late;
		keep->bounds[i].late = 0;
	}
	second->windows = (uint8_t)(second->windows + is_judged);
	second->windows_broken = (uint8_t)(second->windows_broken + is_broken);
	for (unsigned int i = 0; i < 2; i++)
		close_flow(&keep->flows[i], &second->conforming[i],
			   keep->window_end_ns);
	enter_window(keep, keep->window_end_ns);
}

/* Whether further windows with no call in them would change nothing. */
static bool is_at_rest(const struct keep *keep)
{
	if ((keep->flows[0].waiting | keep->flows[1].waiting) != 0)
		return false;
	for (unsigned int i = 0; i < keep->meters_count; i++)
		if (keep->meters[i].windows != 0 ||
		    keep->meters[i].conform_until != 0)
			return false;
	return true;
}

/* Readers copy again while the version is odd, or if it has changed. */
static void start_writing(struct keep *keep)
{
	__atomic_store_n(&keep->version, keep->version | 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_writing(struct keep *keep)
{
	__atomic_store_n(&keep->version, keep->version + 1, __ATOMIC_RELEASE);
}

__attribute__((noinline)) void keep_close_windows(struct keep *keep,
						  uint64_t now_ns)
{
	if (now_ns < keep->window_end_ns)
		return;
	start_writing(keep);
	close_window(keep);
	/* What is older than all that is remembered needs no looking at. */
	if (now_ns - keep->window_end_ns > (KEEP_SECONDS + 1) * SECOND_NS &&
	    now_ns > keep->window_end_ns)
		enter_window(keep,
			     now_ns - now_ns % SECOND_NS -
				     KEEP_SECONDS * SECOND_NS);
	while (now_ns >= keep->window_end_ns) {
		if (is_at_rest(keep)) {
			enter_window(keep, now_ns - now_ns % KEEP_WINDOW_NS);
			break;
		}
		close_window(keep);
	}
	end_writing(keep);
}

/* What 'sla' promises, into meters and bounds. */
static void promise(struct keep *keep, const struct sla *sla)
{
	uint64_t strictest_ns[2] = {UINT64_MAX, UINT64_MAX};
	static const uint8_t masks[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = BOTH,
		[SLA_READ] = 1,
		[SLA_WRITE] = 2,
	};

	keep->sla = *sla;
	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];
		const uint8_t mask = masks[spec->direction];

		if (spec->metric == SLA_LATENCY) {
			keep->bounds[keep->bounds_count++] =
				(struct keep_bound){.latency_ns = spec->value,
						    .directions = mask,
						    .spec = (uint8_t)i};
			for (unsigned int d = 0; d < 2; d++)
				if ((mask >> d & 1) &&
				    spec->value < strictest_ns[d])
					strictest_ns[d] = spec->value;
		} else if (spec->metric == SLA_IOPS ||
			   spec->metric == SLA_OPS ||
			   spec->metric == SLA_BANDWIDTH) {
			struct keep_meter *meter =
				&keep->meters[keep->meters_count++];

			meter->rate_per_s = spec->value;
			meter->directions = mask;
			meter->spec = (uint8_t)i;
			meter->counts_bytes = spec->metric == SLA_BANDWIDTH;
			if (meter->counts_bytes)
				meter->per_byte =
					(SECOND_NS << 32) / spec->value;
			else
				meter->per_request =
					(SECOND_NS << TICK_BITS) / spec->value;
		}
	}
	for (unsigned int d = 0; d < 2; d++)
		keep->flows[d].burst = strictest_ns[d] == UINT64_MAX ?
			0 :
			cap((unsigned __int128)strictest_ns[d]
			    << (TICK_BITS - 1));
	keep->is_promised = keep->meters_count + keep->bounds_count > 0;
	keep->is_simple = keep->meters_count == 0 ||
		(keep->meters_count == 1 && !keep->meters[0].counts_bytes);
}

/* Promise 'sla' with 'flows' waiting, and remember nothing else. */
static void start(struct keep *keep, const struct sla *sla,
		  const struct keep_flow flows[2], uint64_t now_ns)
{
	const size_t kept = offsetof(struct keep, is_promised);
	uint64_t at;

	start_writing(keep);
	memset((char *)keep + kept, 0, sizeof(*keep) - kept);
	keep->since_ns = now_ns;
	keep->window_end_ns = now_ns - now_ns % KEEP_WINDOW_NS + KEEP_WINDOW_NS;
	if (sla)
		promise(keep, sla);
	/* Nobody counts them while nothing is promised. */
	for (unsigned int i = 0; flows && keep->is_promised && i < 2; i++) {
		keep->flows[i].waiting = flows[i].waiting;
		keep->flows[i].waiting_bytes = waiting_bytes(&flows[i]);
		keep->flows[i].largest_bytes = flows[i].largest_bytes;
	}
	at = ticks(keep, now_ns);
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];
		uint64_t waiting = 0, none = 0;

		for (unsigned int d = 0; d < 2; d++)
			if (meter->directions >> d & 1)
				add_flow(meter, &keep->flows[d], &waiting,
					 &none, &none);
		/* Nothing is owed for the part of the window that is over. */
		start_span(meter, waiting, 0);
		meter->owed_until =
			cap((unsigned __int128)meter->owed_until + at);
		meter->idle = at;
	}
	end_writing(keep);
}

void keep_reset(struct keep *keep, const struct sla *sla, uint64_t now_ns)
{
	start(keep, sla, NULL, now_ns);
}

void keep_update(struct keep *keep, const struct sla *sla, uint64_t now_ns)
{
	const struct keep_flow flows[2] = {keep->flows[0], keep->flows[1]};

	if (!sla || sla->count == 0 || !sla_equal(sla, &keep->sla))
		start(keep, sla, flows, now_ns);
}

/* How long a server of the promised rate takes for what was sent beyond the
 * promise and still waits. */
static uint64_t excess_cost(const struct keep *keep,
			    const struct keep_meter *meter)
{
	uint64_t excess = 0;

	for (unsigned int i = 0; i < 2; i++) {
		const struct keep_flow *flow = &keep->flows[i];

		if (meter->directions >> i & 1)
			excess += waiting_part(meter, flow, flow->excess);
	}
	return cost_many(meter, excess);
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
		step = cost(meter, bytes);
		if (until < at) {
			meter->idle += at - until;
			until = at;
		}
		if (until < TAG_MAX)
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
	if (latest >= WINDOW_TICKS)
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
	const uint64_t at = ticks(keep, now_ns);
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
		at = ticks(keep, now_ns);
		latest = at + flow->burst;
		if (keep->bounds_count > 0)
			conforming =
				conform_many(keep, meter, count, at, latest);
		until = meter->owed_until;
		if (until < at) {
			meter->idle += at - until;
			until = at;
		}
		if (until < TAG_MAX)
			meter->owed_until = until + cost_many(meter, count);
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
	at = ticks(keep, now_ns);
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		if ((meter->directions >> direction & 1) &&
		    meter->owed_until > at &&
		    (meter->directions != BOTH ||
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
