/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what was delivered lately, and whether what was promised was kept
 *
 * Threads: the control thread's.
 */
#ifndef HOST_WATCH_H
#define HOST_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "ctl/stats.h"
#include "sla/keep.h"

#define WATCH_SECONDS	10U

struct watch_sample {
	uint64_t at_ns;
	uint64_t requests[2], bytes[2];
};

struct watch_latency {
	uint64_t at_ns;			/* 0: none yet */
	struct histogram direction[2];
};

/* Of one slot of the statistics. */
struct watch_slot {
	struct watch_sample samples[WATCH_SECONDS + 1];	/* a ring */
	unsigned int count, newest;
	struct watch_latency before, between;	/* 5 to 10 s ago; since then */
	struct keep_judgement judgement;
	enum keep_verdict told;
};

struct watch_delivered {
	double requests_per_s[2], bytes_per_s[2];
	double window_s;		/* 0: nothing known yet */
	struct histogram latency[2];
};

/* Take a sample of a slot.  '*slot' is made at first; NULL if there is no
 * memory. */
void watch_sample(struct watch_slot **slot, const struct stats_process *stats,
		  uint64_t now_ns);
/* What it says about the time until now.  'slot' may be NULL. */
void watch_delivered(const struct watch_slot *slot,
		     const struct stats_process *stats,
		     struct watch_delivered *ret_delivered);

#endif
