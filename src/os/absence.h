/* SPDX-License-Identifier: Apache-2.0 */
/*
 * absence.h - was this thread away?
 *
 * Other threads and other machines on the same hardware take the CPU for
 * milliseconds at a time.  To the thread it looks as if a device, or a client,
 * had been slow.  A thread that reads the clock all the time sees it: between
 * two looks lies far more time than a round of its own takes.
 *
 * Called by loop.c and by calibration.  Pure: reads no clock.  Threads: none.
 */
#ifndef OS_ABSENCE_H
#define OS_ABSENCE_H

#include <stdbool.h>
#include <stdint.h>

/* A round of this length says nothing: it is not even learned from. */
#define ABSENCE_QUICK_NS	UINT64_C(50000)
/* Shorter gaps are nobody's: rounds, wake-ups and interrupts take as long. */
#define ABSENCE_LEAST_NS	UINT64_C(250000)

struct absence {
	uint64_t looked_ns;		/* 0: never */
	uint64_t began_ns;		/* this round; 0: it was ended */
	uint64_t due_ns;		/* a sleep was to end then */
	uint64_t typical_ns;		/* the median round, about */
	uint64_t away_ns;		/* all absences together */
	uint64_t back_ns;		/* when the last one ended; 0: none */
};

/* Returns whether the thread was away just before 'now_ns'. */
bool absence_look(struct absence *absence, uint64_t now_ns);
/* The same, once in each round: learns how long rounds are. */
bool absence_learn(struct absence *absence, uint64_t now_ns);
static inline bool absence_round(struct absence *absence, uint64_t now_ns)
{
	if (now_ns - absence->began_ns > ABSENCE_QUICK_NS ||
	    (absence->typical_ns | absence->due_ns) != 0)
		return absence_learn(absence, now_ns);
	absence->looked_ns = absence->began_ns = now_ns;
	return false;
}
/* The thread sleeps now, to 'due_ns' at the latest (UINT64_MAX: until an
 * event); the next look is no absence if it comes by then. */
void absence_sleep(struct absence *absence, uint64_t now_ns, uint64_t due_ns);

#endif
