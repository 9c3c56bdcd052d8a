/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timers.h - a loop's timers: a binary heap in which each knows its place
 *
 * Called by loop.c only.  Pure.  Nothing allocates but timers_reserve.
 */
#ifndef OS_TIMERS_H
#define OS_TIMERS_H

#include <stdint.h>

#include "os/loop.h"

struct timers_entry {
	uint64_t due_ns;
	struct loop_timer *timer;
};

struct timers {			/* all zero: none */
	struct timers_entry *heap;	/* from 1 */
	unsigned int count;
	unsigned int reserved;
};

/* Room for one more; returns 0 or -ENOMEM. */
int timers_reserve(struct timers *timers);
void timers_release(struct timers *timers);
void timers_finish(struct timers *timers);

/* Set or move; there must be room. */
void timers_set(struct timers *timers, struct loop_timer *timer,
		uint64_t due_ns);
void timers_cancel(struct timers *timers, struct loop_timer *timer);

static inline uint64_t timers_due_ns(const struct timers *timers)
{
	return timers->count > 0 ? timers->heap[1].due_ns : UINT64_MAX;
}

/* There is one. */
static inline struct loop_timer *timers_first(const struct timers *timers)
{
	return timers->heap[1].timer;
}

#endif
