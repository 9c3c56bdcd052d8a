/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choose.h - which of several places a process is bound to (E9)
 *
 * Whoever can hold its SLA is a candidate; a policy says which is taken.
 * Where the policy finds no difference it is the least loaded one, then that
 * with the fewest processes, then the first.
 * Pure.
 */
#ifndef SLA_CHOOSE_H
#define SLA_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum choose_policy {
	CHOOSE_LEAST_LOADED,	/* "auto" alone */
	CHOOSE_BEST_FIT, /* the fullest that still can: the others stay
				 * free for what is large */
	CHOOSE_MOST_ROOM,	/* most free space */
	CHOOSE_LOWEST_LATENCY,	/* its devices answer soonest */
	CHOOSE_SPREAD,		/* the fewest processes */
	CHOOSE_RANDOM,
};

struct choose_candidate {
	bool is_possible;
	/* Of what may be promised there, with this process, millionths. */
	uint32_t load_ppm;
	uint64_t free_bytes;
	uint64_t latency_ns;	/* UINT64_MAX: not known */
	unsigned int processes;
};

/* Is it "auto" or "auto:..."? */
bool choose_is_asked(const char *text);
/* "auto", "auto:best-fit".  Returns 0, or -EINVAL: no such policy. */
int choose_parse(const char *text, enum choose_policy *ret_policy,
		 struct error *reterr);
/* The index of one, or -1: none is possible.  'random' is any number. */
int choose_pick(enum choose_policy policy,
		const struct choose_candidate *candidates, unsigned int count,
		uint64_t random);

#endif
