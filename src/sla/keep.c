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

#include "sla/keep-internal.h"

#define SPAN_WINDOWS_MAX	100U	/* 10 s */

/* What the meter counts of one flow. */
static void add_flow(const struct keep_meter *meter,
		     const struct keep_flow *flow, uint64_t *waiting,
		     uint64_t *done, uint64_t *failed)
{
	*waiting +=
		meter->counts_bytes ? keep_waiting_bytes(flow) : flow->waiting;
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
	meter->owed_until = keep_cost_many(meter, waiting - young);
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
		young += keep_waiting_part(meter, flow, flow->young);
	}
	meter->windows++;
	meter->conform_until -= meter->conform_until < KEEP_WINDOW_TICKS ?
		meter->conform_until :
		KEEP_WINDOW_TICKS;
	if (meter->owed_until < KEEP_WINDOW_TICKS) {
		meter->idle += KEEP_WINDOW_TICKS - meter->owed_until;
		meter->owed_until = 0;
	} else {
		meter->owed_until -= KEEP_WINDOW_TICKS;
	}
	span_ns = meter->windows * KEEP_WINDOW_NS;
	if (meter->windows < SPAN_WINDOWS_MAX &&
	    (unsigned __int128)meter->rate_per_s * span_ns <
		    (unsigned __int128)one * 2 * KEEP_SECOND_NS)
		return SPAN_OPEN;

	idle_ns = (meter->idle + (UINT64_C(1) << KEEP_TICK_BITS) - 1) >>
		KEEP_TICK_BITS;
	owed = idle_ns >= span_ns ?
		0 :
		(uint64_t)((unsigned __int128)meter->rate_per_s *
			   (span_ns - idle_ns) / KEEP_SECOND_NS);
	offered = keep_less(waiting + meter->done + meter->failed,
			    meter->young_at_start);
	done = keep_less(meter->done + young, meter->young_at_start);
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
	uint64_t seconds = start_ns / KEEP_SECOND_NS - old_ns / KEEP_SECOND_NS;

	if (start_ns / (KEEP_SECONDS * KEEP_SECOND_NS) !=
	    old_ns / (KEEP_SECONDS * KEEP_SECOND_NS)) {
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
	flow->waiting_bytes = keep_waiting_bytes(flow);
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
	if (now_ns - keep->window_end_ns >
		    (KEEP_SECONDS + 1) * KEEP_SECOND_NS &&
	    now_ns > keep->window_end_ns)
		enter_window(keep,
			     now_ns - now_ns % KEEP_SECOND_NS -
				     KEEP_SECONDS * KEEP_SECOND_NS);
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
		[SLA_TOTAL] = KEEP_BOTH,
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
					(KEEP_SECOND_NS << 32) / spec->value;
			else
				meter->per_request =
					(KEEP_SECOND_NS << KEEP_TICK_BITS) /
					spec->value;
		}
	}
	for (unsigned int d = 0; d < 2; d++)
		keep->flows[d].burst = strictest_ns[d] == UINT64_MAX ?
			0 :
			keep_cap((unsigned __int128)strictest_ns[d]
				 << (KEEP_TICK_BITS - 1));
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
		keep->flows[i].waiting_bytes = keep_waiting_bytes(&flows[i]);
		keep->flows[i].largest_bytes = flows[i].largest_bytes;
	}
	at = keep_ticks(keep, now_ns);
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
			keep_cap((unsigned __int128)meter->owed_until + at);
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
