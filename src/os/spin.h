/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin.h - whether an idle loop polls on or sleeps, and until when
 *
 * Sleeping costs SPIN_WAKE_NS of CPU and ends late; polling costs all the
 * time it takes.  Three rules:
 *  - After work, poll on for at most 'max_ns' (and SPIN_WORTH_NS), but only
 *    while at least half of the recent idle gaps ended within that time.
 *  - A deadline that is nearer than SPIN_NEAR_NS is polled for while there is
 *    credit for that: sleeping would cost as much.  Without, the loop sleeps
 *    SPIN_STRETCH_NEAR_NS longer: else deadlines that are always near would
 *    keep it polling for ever.
 *  - Waking up for any deadline is paid from a credit that grows by
 *    SPIN_SHARE of real time.  With much credit the loop wakes up early, by
 *    the lateness learned, and polls for the rest; with little it wakes up
 *    about on time; with none it wakes up late, by at most SPIN_STRETCH_NS,
 *    so that frequent deadlines are met several at a time.
 *
 * Called by loop.c.  Pure: reads no clock.  Threads: none.
 */
#ifndef OS_SPIN_H
#define OS_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* Polling longer for one event costs more than the wake-up that it spares. */
#define SPIN_WORTH_NS		UINT64_C(30000)
#define SPIN_WAKE_NS		UINT64_C(6500)
#define SPIN_NEAR_NS		UINT64_C(8000)
#define SPIN_STRETCH_NS		UINT64_C(100000)
#define SPIN_STRETCH_NEAR_NS	UINT64_C(25000)
/* A stretch is up to a quarter longer or shorter, at random: wake-ups at equal
 * distances would release what is spaced evenly in a beat, and the median wait
 * of a closed loop would be off by half a distance. */
#define SPIN_SHARE		20U	/* one part in this many of real time */
#define SPIN_CREDIT_MAX_NS	INT64_C(500000)
#define SPIN_LATE_MAX_NS	UINT64_C(200000)

struct spin {
	uint64_t max_ns;
	uint64_t idle_since_ns;		/* 0: the last round found work */
	uint64_t slept_late_ns;		/* part of this gap owed to sleeping */
	uint32_t short_share;		/* of recent gaps, 0 .. SPIN_ONE */
	uint64_t late_ns;		/* average lateness of wake-ups */
	uint64_t late_least_ns;		/* about the least lateness */
	int64_t credit_ns;
	uint64_t credit_at_ns;
	uint32_t random;		/* of the stretches' lengths */
};

#define SPIN_ONE		1024U

void spin_init(struct spin *spin, uint64_t max_ns, uint64_t now_ns);

/* A round found work: ends the idle gap. */
void spin_end_gap(struct spin *spin, uint64_t now_ns);
static inline void spin_worked(struct spin *spin, uint64_t now_ns)
{
	if (spin->idle_since_ns != 0)
		spin_end_gap(spin, now_ns);
}

/* A round found none.  True: poll on before asking for wake-ups. */
bool spin_poll_on(struct spin *spin, uint64_t now_ns);

/* Wake-ups are asked for and 'due_ns' is the next deadline (UINT64_MAX:
 * none).  Returns until when to sleep; not later than 'now_ns': poll on until
 * 'due_ns'. */
uint64_t spin_sleep_until(struct spin *spin, uint64_t now_ns, uint64_t due_ns);

/* Back from a sleep meant to end at 'until_ns' (UINT64_MAX: by an event
 * only); 'timed_out': nothing else ended it. */
void spin_woke(struct spin *spin, uint64_t until_ns, uint64_t now_ns,
	       bool timed_out);

#endif
