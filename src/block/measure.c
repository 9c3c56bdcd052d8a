/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - see measure.h
 *
 *	in flight   ===   ====|~~~~~~~~|=
 *	              ===  ===|~~~~~~~~|====   ====    discarded: = with ~
 *	                 ===                =====   ==
 *	clean time  ----------+        +--+-----------
 *	                       absence  ramp
 *
 * The requests that were cut off are missing at first, so the rate is counted
 * from the first that was not: neither it nor the time before it are.
 */
#include "block/measure.h"

#include <string.h>

void measure_begin(struct measure *measure, uint64_t now_ns, uint64_t want_ns,
		   uint64_t most_ns)
{
	memset(measure, 0, sizeof(*measure));
	measure->start_ns = now_ns;
	measure->want_ns = want_ns;
	measure->most_ns = now_ns + (most_ns > want_ns ? most_ns : want_ns);
}

static void end_ramp(struct measure *measure, uint64_t now_ns)
{
	if (measure->ramping && measure->end_ns == 0)
		measure->ramp_ns += now_ns - measure->back_ns;
	measure->ramping = false;
}

void measure_away(struct measure *measure, uint64_t ns, uint64_t now_ns)
{
	const uint64_t since_ns =
		measure->back_ns != 0 ? measure->back_ns : measure->start_ns;

	/* It may have begun before the phase did. */
	if (ns > now_ns - since_ns)
		ns = now_ns - since_ns;
	end_ramp(measure, now_ns - ns);
	measure->ramping = true;
	measure->back_ns = now_ns;
	if (measure->end_ns == 0)
		measure->away_ns += ns;
}

void measure_done(struct measure *measure, uint64_t sent_ns, uint64_t now_ns)
{
	const bool in_time = measure->end_ns == 0;

	measure->last_done_ns = now_ns;
	measure->done++;
	measure->done_in_time += in_time;
	histogram_add(&measure->all, now_ns - sent_ns, 1);
	if (measure->back_ns != 0 && sent_ns <= measure->back_ns)
		return;
	measure->clean++;
	measure->clean_in_time += in_time && !measure->ramping;
	end_ramp(measure, now_ns);
	histogram_add(&measure->undisturbed, now_ns - sent_ns, 1);
}

bool measure_is_over(struct measure *measure, uint64_t now_ns)
{
	const uint64_t passed_ns = now_ns - measure->start_ns;

	if (measure->end_ns != 0)
		return true;
	if (now_ns < measure->most_ns &&
	    (passed_ns - measure->away_ns < measure->want_ns ||
	     measure->clean < MEASURE_SAMPLES))
		return false;
	end_ramp(measure, now_ns);
	measure->end_ns = now_ns;
	return true;
}

void measure_result(const struct measure *measure,
		    struct measure_result *ret_result)
{
	const bool clean = measure->clean_in_time > 0 &&
		measure->clean * 2 >= measure->done;
	const struct histogram *latency =
		clean ? &measure->undisturbed : &measure->all;
	uint64_t count = measure->done_in_time;
	uint64_t ns = measure->end_ns - measure->start_ns;

	if (clean) {
		count = measure->clean_in_time;
		ns -= measure->away_ns + measure->ramp_ns;
	}
	/* A very slow device: none was in time. */
	if (count == 0 || ns == 0) {
		count = measure->done;
		ns = measure->last_done_ns - measure->start_ns;
	}
	ret_result->per_s = (double)count * 1e9 / (double)(ns > 0 ? ns : 1);
	ret_result->p95_ns = histogram_percentile(latency, 95);
	ret_result->p99_ns = histogram_percentile(latency, 99);
}
