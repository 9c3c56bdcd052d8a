/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.h - rate and latencies of one phase of a calibration, without what
 * the machine did to it
 *
 * Time that the thread was away (os/absence.h) does not count, nor do the
 * requests that were inside the device then.  Where that leaves fewer than
 * half of all requests, the rest would be the short ones only: then all count
 * as they were seen, which is worse than the device is and never better.
 *
 * Called by calibrate.c.  Pure: reads no clock.  Threads: none.
 */
#ifndef BLOCK_MEASURE_H
#define BLOCK_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"

/* A p99 rests on so many requests, if there is time for them; with fewer than
 * a hundred it is the worst that was seen. */
#define MEASURE_SAMPLES		300U

struct measure {
	uint64_t start_ns, most_ns;	/* ends by then, whatever it has */
	uint64_t want_ns;		/* time in which nobody was away */
	uint64_t end_ns;		/* 0: not over */
	uint64_t away_ns;		/* before it was over */
	uint64_t ramp_ns;		/* see measure.c; together */
	bool ramping;
	uint64_t back_ns;		/* the last absence ended; 0: none */
	uint64_t last_done_ns;
	uint64_t done, done_in_time;	/* all; before end_ns */
	uint64_t clean, clean_in_time;	/* not inside during an absence */
	struct histogram all, undisturbed;
};

struct measure_result {
	double per_s;
	uint64_t p95_ns, p99_ns;
};

void measure_begin(struct measure *measure, uint64_t now_ns, uint64_t want_ns,
		   uint64_t most_ns);
/* The thread was away for 'ns' until 'now_ns'. */
void measure_away(struct measure *measure, uint64_t ns, uint64_t now_ns);
/* A request that was sent at 'sent_ns' is done. */
void measure_done(struct measure *measure, uint64_t sent_ns, uint64_t now_ns);
/* Has it all that it wants?  From then on requests are only to be waited
 * for. */
bool measure_is_over(struct measure *measure, uint64_t now_ns);
/* Over, and nothing in flight; at least one request was done. */
void measure_result(const struct measure *measure,
		    struct measure_result *ret_result);

#endif
