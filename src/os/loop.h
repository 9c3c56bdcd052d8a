/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one thread's event loop on io_uring: watches, timers, I/O, pollers
 *
 * An endpoint's reactor and penstockd's control thread are each one loop.
 * A round: run every poller; reap completions; run due timers; and when
 * nothing was found for as long as the spin budget allows, arm every poller
 * and sleep in the kernel until an event or the next timer.  While pollers
 * find work, a round makes no system call unless I/O was prepared.
 *
 * Threads: a loop belongs to the thread that runs it; nothing here locks.
 * Ownership: watches, timers, operations and pollers are embedded in their
 * owner's struct; the loop only links them.
 */
#ifndef OS_LOOP_H
#define OS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct io_uring_sqe;
struct loop;

struct loop_config {
	unsigned int entries;		/* submission ring, a power of two */
	/* Longest time to poll after the last work, before sleeping (more than
	 * 30 us is taken as that).  0: never poll.  The loop adapts below it,
	 * so that an idle loop costs < 1 % of a core and a busy one does not
	 * sleep. */
	uint64_t spin_max_ns;
	/* The ring does only what polling and block devices need, whoever
	 * takes the process over: no files, no sockets by name. */
	bool restricted;
};

/* Readiness of a descriptor (level: called again while readable). */
struct loop_watch {
	void (*ready)(struct loop_watch *watch);
	unsigned int slot;		/* the loop's */
	int fd;				/* the loop's */
};

struct loop_timer {
	void (*expired)(struct loop_timer *timer, uint64_t now_ns);
	uint64_t due_ns;		/* the loop's; CLOCK_MONOTONIC */
	unsigned int heap_index;	/* the loop's; 0 = not set */
};

/* One io_uring operation in flight.  'done' gets the kernel's result. */
struct loop_op {
	void (*done)(struct loop_op *op, int result);
};

/* Something that is looked at each round (a virtqueue, a scheduler). */
struct loop_poller {
	/* Do a bounded amount of work; returns how much was found, 0 = idle.
	 * Required. */
	unsigned int (*poll)(struct loop_poller *poller, uint64_t now_ns);
	/* The loop is about to sleep: ask for wake-ups.  Returns the time by
	 * which poll must be called again at the latest (UINT64_MAX: only on
	 * an event, 0: work is there already, don't sleep).  Required. */
	uint64_t (*arm)(struct loop_poller *poller, uint64_t now_ns);
	/* A round found nothing: until when can polling on find nothing either,
	 * whatever comes?  0 or in the past: it may any time.  The loop does
	 * not poll on while all pollers are quiet; it sleeps at once, for the
	 * deadlines that arm returns.  Optional: 0. */
	uint64_t (*quiet_until)(struct loop_poller *poller, uint64_t now_ns);
	struct loop_poller *next;	/* the loop's */
	struct loop_poller **link;	/* the loop's */
};

/* Returns 0, -EINVAL, -ENOMEM, or what io_uring_setup says. */
int loop_create(const struct loop_config *config, struct loop **ret_loop,
		struct error *reterr);
void loop_destroy(struct loop *loop);

/* CLOCK_MONOTONIC, read now; and as read at the start of this round. */
uint64_t loop_clock_ns(void);
uint64_t loop_now_ns(const struct loop *loop);
/* When the last absence of this thread ended (absence.h); 0: there was none.
 * A sleep that an event was to end shows none. */
uint64_t loop_back_ns(const struct loop *loop);

/* Watch 'fd' (stays the caller's, and open until removed) for POLLIN or
 * hang-up.  Returns 0, -ENOMEM or -ENOSPC. */
int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd);
/* From then on 'ready' is not called; safe from inside any callback.
 * A watch that was never added or was removed is left alone. */
void loop_watch_remove(struct loop *loop, struct loop_watch *watch);

/* Set or move; an earlier setting is replaced.  Never fails: the timer heap
 * grows when a timer is initialised, see loop_timer_init. */
int loop_timer_init(struct loop *loop, struct loop_timer *timer,
		    void (*expired)(struct loop_timer *timer, uint64_t now_ns));
void loop_timer_set(struct loop *loop, struct loop_timer *timer,
		    uint64_t due_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
void loop_timer_finish(struct loop *loop, struct loop_timer *timer);

/* Pollers run in the order in which they were added. */
void loop_poller_add(struct loop *loop, struct loop_poller *poller);
void loop_poller_remove(struct loop *loop, struct loop_poller *poller);

/* An empty submission entry for 'op', to be filled with io_uring_prep_*;
 * submitted together with others at the end of the round.  NULL when the
 * ring is full even after submitting: try again after a completion. */
struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op);

/* Run until loop_stop.  loop_run_once: one round, sleeping at most until
 * 'until_ns' (0: do not sleep); for tests.  Both return 0 or -errno. */
int loop_run(struct loop *loop);
int loop_run_once(struct loop *loop, uint64_t until_ns);
void loop_stop(struct loop *loop);

/* How late a sleep to a deadline ended; what is beyond falls to the last. */
#define LOOP_LATE_CLASSES	4U
extern const uint64_t loop_late_below_ns[LOOP_LATE_CLASSES - 1];

/* For statistics: time slept and spun since creation. */
struct loop_times {
	uint64_t asleep_ns;
	uint64_t rounds;
	uint64_t sleeps;
	uint64_t late[LOOP_LATE_CLASSES];	/* sleeps that no event ended */
	uint64_t late_ns;		/* of those together */
	uint64_t away_ns;		/* absence.h */
};
void loop_times(const struct loop *loop, struct loop_times *ret_times);

#endif
