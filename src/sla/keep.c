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
 * Conformance is GCRA with its own tag, 'conform_until'.  Tags are relative to
 * the window's start, so that they need few bits and no clock origin.
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

static uint64_t cap(unsigned __int128 tag)
{
	return tag < TAG_MAX ? (uint64_t)tag : TAG_MAX;
}

/* How long a server of the promised rate takes for one request, ... */
static uint64_t cost(const struct keep_meter *meter, uint32_t bytes)
{
	return meter->per_request +
		cap(((unsigned __int128)meter->per_byte * bytes) >> TICK_BITS);
}

/* ... and for 'amount' of what the meter counts. */
static uint64_t cost_many(const struct keep_meter *meter, uint64_t amount)
{
	return meter->counts_bytes ?
		cap(((unsigned __int128)meter->per_byte * amount) >> TICK_BITS) :
		cap((unsigned __int128)meter->per_request * amount);
}

/* The part of two amounts by direction that concerns the meter. */
static uint64_t count(const struct keep_meter *meter,
		      const struct keep_amount amounts[2])
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < 2; i++)
		if (meter->directions >> i & 1)
			sum += meter->counts_bytes ? amounts[i].bytes :
				amounts[i].requests;
	return sum;
}

/* The largest request that concerns the meter; 1 if it counts requests. */
static uint64_t one_request(const struct keep *keep,
			    const struct keep_meter *meter)
{
	uint64_t largest = 1;

	if (!meter->counts_bytes)
		return 1;
	for (unsigned int i = 0; i < 2; i++) {
		if (!(meter->directions >> i & 1))
			continue;
		if (keep->largest_bytes[i] > largest)
			largest = keep->largest_bytes[i];
		if (keep->largest_before_bytes[i] > largest)
			largest = keep->largest_before_bytes[i];
	}
	return largest;
}

static void start_span(const struct keep *keep, struct keep_meter *meter)
{
	meter->waiting_at_start = count(meter, keep->waiting);
	meter->done = 0;
	meter->failed = 0;
	meter->idle = 0;
	meter->windows = 0;
	meter->owed_until = cost_many(meter, meter->waiting_at_start);
}

enum span { SPAN_OPEN, SPAN_NOTHING_OWED, SPAN_GOOD, SPAN_BROKEN };

/* The window ends: judge the span if it ends too. */
static enum span close_meter(const struct keep *keep, struct keep_meter *meter)
{
	const uint64_t one = one_request(keep, meter);
	const uint64_t waiting = count(meter, keep->waiting);
	uint64_t span_ns, idle_ns, owed, offered;
	bool is_untouched, is_broken;

	meter->done += count(meter, keep->done);
	meter->failed += count(meter, keep->failed);
	meter->windows++;
	meter->conform_until -= meter->conform_until < WINDOW_TICKS ?
		meter->conform_until : WINDOW_TICKS;
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
	owed = idle_ns >= span_ns ? 0 :
		(uint64_t)((unsigned __int128)meter->rate_per_s *
			   (span_ns - idle_ns) / SECOND_NS);
	offered = waiting + meter->done + meter->failed;
	if (owed > offered)
		owed = offered;
	is_untouched = meter->done == 0 && meter->failed == 0 && waiting > 0 &&
		waiting == meter->waiting_at_start;
	if (is_untouched)	/* one more: 'owed' was rounded down */
		is_broken = owed + 1 >= (one < waiting ? one : waiting);
	else
		is_broken = owed > one && meter->done < owed - one;
	if (!is_broken && (owed == 0 || meter->done == 0)) {
		start_span(keep, meter);
		return SPAN_NOTHING_OWED;
	}
	start_span(keep, meter);
	return is_broken ? SPAN_BROKEN : SPAN_GOOD;
}

/* Make 'start_ns' the start of the window that runs. */
static void enter_window(struct keep *keep, uint64_t start_ns)
{
	const uint64_t old_ns = keep->window_end_ns - KEEP_WINDOW_NS;
	uint64_t seconds = start_ns / SECOND_NS - old_ns / SECOND_NS;

	if (start_ns / (KEEP_SECONDS * SECOND_NS) !=
	    old_ns / (KEEP_SECONDS * SECOND_NS)) {
		for (unsigned int i = 0; i < 2; i++) {
			keep->largest_before_bytes[i] = keep->largest_bytes[i];
			keep->largest_bytes[i] = 0;
		}
	}
	if (seconds > KEEP_SECONDS)
		seconds = KEEP_SECONDS;
	for (; seconds > 0; seconds--) {
		keep->second_index = (uint8_t)
			((keep->second_index + 1U) % KEEP_SECONDS);
		memset(&keep->seconds[keep->second_index], 0,
		       sizeof(keep->seconds[0]));
	}
	keep->window_end_ns = start_ns + KEEP_WINDOW_NS;
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
	second->windows = (uint8_t)(second->windows + is_judged);
	second->windows_broken = (uint8_t)(second->windows_broken + is_broken);
	memset(keep->done, 0, sizeof(keep->done));
	memset(keep->failed, 0, sizeof(keep->failed));
	enter_window(keep, keep->window_end_ns);
}

/* Whether further windows with no call in them would change nothing. */
static bool is_at_rest(const struct keep *keep)
{
	if ((keep->waiting[0].requests | keep->waiting[1].requests) != 0)
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

__attribute__((noinline))
void keep_close_windows(struct keep *keep, uint64_t now_ns)
{
	if (now_ns < keep->window_end_ns)
		return;
	start_writing(keep);
	close_window(keep);
	/* What is older than all that is remembered needs no looking at. */
	if (now_ns - keep->window_end_ns > (KEEP_SECONDS + 1) * SECOND_NS &&
	    now_ns > keep->window_end_ns)
		enter_window(keep, now_ns - now_ns % SECOND_NS -
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
	uint64_t strictest_ns[2] = { UINT64_MAX, UINT64_MAX };
	static const uint8_t masks[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = BOTH, [SLA_READ] = 1, [SLA_WRITE] = 2,
	};

	keep->sla = *sla;
	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];
		const uint8_t mask = masks[spec->direction];

		if (spec->metric == SLA_LATENCY) {
			keep->bounds[keep->bounds_count++] =
				(struct keep_bound){ .latency_ns = spec->value,
					.directions = mask, .spec = (uint8_t)i };
			for (unsigned int d = 0; d < 2; d++)
				if ((mask >> d & 1) &&
				    spec->value < strictest_ns[d])
					strictest_ns[d] = spec->value;
		} else if (spec->metric == SLA_IOPS || spec->metric == SLA_OPS ||
			   spec->metric == SLA_BANDWIDTH) {
			struct keep_meter *meter =
				&keep->meters[keep->meters_count++];

			meter->rate_per_s = spec->value;
			meter->directions = mask;
			meter->spec = (uint8_t)i;
			meter->counts_bytes = spec->metric == SLA_BANDWIDTH;
			if (meter->counts_bytes)
				meter->per_byte = (SECOND_NS << 32) /
					spec->value;
			else
				meter->per_request = (SECOND_NS << TICK_BITS) /
					spec->value;
		}
	}
	for (unsigned int d = 0; d < 2; d++)
		keep->burst[d] = strictest_ns[d] == UINT64_MAX ? 0 :
			cap((unsigned __int128)strictest_ns[d] <<
			    (TICK_BITS - 1));
	keep->is_promised = keep->meters_count + keep->bounds_count > 0;
}

void keep_reset(struct keep *keep, const struct sla *sla, uint64_t now_ns)
{
	memset(keep->waiting, 0, sizeof(keep->waiting));
	memset(&keep->sla, 0, sizeof(keep->sla));
	keep_update(keep, NULL, now_ns);
	keep_update(keep, sla, now_ns);
}

void keep_update(struct keep *keep, const struct sla *sla, uint64_t now_ns)
{
	const size_t kept = offsetof(struct keep, is_promised);
	uint64_t at;

	if (sla && sla->count > 0 && sla_equal(sla, &keep->sla))
		return;
	start_writing(keep);
	memset((char *)keep + kept, 0, sizeof(*keep) - kept);
	keep->since_ns = now_ns;
	keep->window_end_ns = now_ns - now_ns % KEEP_WINDOW_NS + KEEP_WINDOW_NS;
	if (sla)
		promise(keep, sla);
	at = ticks(keep, now_ns);
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		/* Nothing is owed for the part of the window that is over. */
		start_span(keep, meter);
		meter->owed_until = cap((unsigned __int128)meter->owed_until +
					at);
		meter->idle = at;
	}
	end_writing(keep);
}

/* Whether the request is within every promised rate of its direction; charge
 * it to them if it is. */
static bool conform(struct keep *keep, unsigned int direction, uint32_t bytes,
		    uint64_t at)
{
	const uint64_t latest = at + keep->burst[direction];

	for (unsigned int i = 0; i < keep->meters_count; i++)
		if ((keep->meters[i].directions >> direction & 1) &&
		    keep->meters[i].conform_until > latest)
			return false;
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		if (!(meter->directions >> direction & 1))
			continue;
		if (meter->conform_until < at)
			meter->conform_until = at;
		meter->conform_until += cost(meter, bytes);
	}
	return true;
}

bool keep_arrive_promised(struct keep *keep, bool write, uint32_t bytes,
			  uint64_t now_ns)
{
	const unsigned int direction = write;
	bool is_conforming = true;
	uint64_t at;

	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		keep_close_windows(keep, now_ns);
	at = ticks(keep, now_ns);
	if (bytes > keep->largest_bytes[direction])
		keep->largest_bytes[direction] = bytes;
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		if (!(meter->directions >> direction & 1))
			continue;
		if (meter->owed_until < at) {
			meter->idle += at - meter->owed_until;
			meter->owed_until = at;
		}
		meter->owed_until = cap((unsigned __int128)meter->owed_until +
					cost(meter, bytes));
	}
	if (keep->bounds_count > 0) {
		is_conforming = conform(keep, direction, bytes, at);
		keep->conforming_waiting[direction] += is_conforming;
		if (keep->waiting[direction].requests == 0) {
			keep->stuck_since_ns[direction] = now_ns;
			keep->stuck[direction] = is_conforming;
		}
	}
	keep->waiting[direction].requests++;
	keep->waiting[direction].bytes += bytes;
	return is_conforming;
}

/* Nothing of 'direction' waits any more: what was done early is not owed. */
static void rest(struct keep *keep, unsigned int direction, uint64_t now_ns)
{
	const uint64_t at = ticks(keep, now_ns);

	for (unsigned int i = 0; i < keep->meters_count; i++) {
		struct keep_meter *meter = &keep->meters[i];

		if ((meter->directions >> direction & 1) &&
		    meter->owed_until > at &&
		    (meter->directions != BOTH ||
		     keep->waiting[!direction].requests == 0))
			meter->owed_until = at;
	}
}

/* 'requests' no longer wait. */
static void leave(struct keep *keep, unsigned int direction, uint32_t requests,
		  uint64_t bytes, uint32_t conforming, uint64_t now_ns)
{
	uint32_t *waiting = &keep->conforming_waiting[direction];

	keep_leave(keep, direction, requests, bytes);
	if (keep->waiting[direction].requests == 0)
		rest(keep, direction, now_ns);
	*waiting -= conforming < *waiting ? conforming : *waiting;
	keep->stuck[direction] = *waiting;
	keep->stuck_since_ns[direction] = now_ns;
}

void keep_done_promised(struct keep *keep, bool write, uint32_t count_done,
			uint64_t bytes, uint32_t conforming,
			uint64_t latency_ns, uint64_t now_ns)
{
	const unsigned int direction = write;

	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		keep_close_windows(keep, now_ns);
	keep->done[direction].requests += count_done;
	keep->done[direction].bytes += bytes;
	leave(keep, direction, count_done, bytes, conforming, now_ns);
	if (keep->bounds_count > 0 && conforming > 0) {
		struct keep_second *second =
			&keep->seconds[keep->second_index];

		second->conforming[direction] += conforming;
		for (unsigned int i = 0; i < keep->bounds_count; i++) {
			const struct keep_bound *bound = &keep->bounds[i];

			if ((bound->directions >> direction & 1) &&
			    latency_ns > bound->latency_ns)
				second->bad[bound->spec] += conforming;
		}
	}
}

void keep_failed_promised(struct keep *keep, bool write, uint32_t bytes,
			  bool conforming, uint64_t now_ns)
{
	const unsigned int direction = write;

	if (__builtin_expect(now_ns >= keep->window_end_ns, 0))
		keep_close_windows(keep, now_ns);
	keep->failed[direction].requests++;
	keep->failed[direction].bytes += bytes;
	leave(keep, direction, 1, bytes, conforming, now_ns);
}
