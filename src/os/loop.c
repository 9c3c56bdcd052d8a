/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - see loop.h
 *
 * The parts: uring.h the ring, watches.h and timers.h what is waited for,
 * spin.h and absence.h the arithmetic of time; here the pollers, and the
 * round that goes over all of them.
 */
#include "os/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os/absence.h"
#include "os/spin.h"
#include "os/timers.h"
#include "os/uring.h"
#include "os/watches.h"

#define ENTRIES_MAX		32768U

struct loop {
	struct uring uring;
	uint64_t now_ns;
	bool stopping;

	struct loop_poller *pollers;
	struct loop_poller **pollers_end;
	struct loop_poller *pollers_next; /* the walk's, while it goes on */

	struct timers timers;
	struct watches watches;

	struct absence absence;
	struct spin spin;
	uint64_t poll_until_ns;		/* a deadline that is polled for */
	bool gap_known, gap_quiet;	/* of the gap since the last work */
	struct loop_times times;
};

const uint64_t loop_late_below_ns[] = {50000, 200000, 1000000};
static_assert(sizeof(loop_late_below_ns) / sizeof(loop_late_below_ns[0]) ==
		      LOOP_LATE_CLASSES - 1,
	      "a bound between any two classes");

uint64_t loop_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
		(uint64_t)now.tv_nsec;
}

uint64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

uint64_t loop_back_ns(const struct loop *loop)
{
	return loop->absence.back_ns;
}

struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe = uring_sqe(&loop->uring);

	if (!sqe)
		return NULL;
	memset(sqe, 0, sizeof(*sqe));
	/* Before the prep call, which leaves user_data alone. */
	sqe->user_data = (uint64_t)(uintptr_t)op;
	return sqe;
}

/* ---- watches ---- */

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd)
{
	return watches_add(&loop->watches, watch, fd);
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch)
{
	watches_remove(&loop->watches, watch);
}

/* ---- timers ---- */

int loop_timer_init(struct loop *loop, struct loop_timer *timer,
		    void (*expired)(struct loop_timer *timer, uint64_t now_ns))
{
	const int rc = timers_reserve(&loop->timers);

	if (rc < 0)
		return rc;
	*timer = (struct loop_timer){.expired = expired};
	return 0;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer,
		    uint64_t due_ns)
{
	timers_set(&loop->timers, timer, due_ns);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	timers_cancel(&loop->timers, timer);
}

void loop_timer_finish(struct loop *loop, struct loop_timer *timer)
{
	if (!timer->expired)
		return;
	timers_cancel(&loop->timers, timer);
	timer->expired = NULL;
	timers_release(&loop->timers);
}

static unsigned int timers_run(struct loop *loop)
{
	/* Bounded: a callback may set its timer for now again and again. */
	unsigned int left = loop->timers.count;
	unsigned int found = 0;

	while (left > 0 && timers_due_ns(&loop->timers) <= loop->now_ns) {
		struct loop_timer *timer = timers_first(&loop->timers);

		timers_cancel(&loop->timers, timer);
		timer->expired(timer, loop->now_ns);
		found++;
		left--;
	}
	return found;
}

/* ---- pollers ---- */

void loop_poller_add(struct loop *loop, struct loop_poller *poller)
{
	assert(!poller->link && poller->poll && poller->arm);
	poller->next = NULL;
	poller->link = loop->pollers_end;
	*loop->pollers_end = poller;
	loop->pollers_end = &poller->next;
}

void loop_poller_remove(struct loop *loop, struct loop_poller *poller)
{
	if (!poller->link)
		return;
	*poller->link = poller->next;
	if (poller->next)
		poller->next->link = poller->link;
	else
		loop->pollers_end = poller->link;
	if (loop->pollers_next == poller)
		loop->pollers_next = poller->next;
	poller->next = NULL;
	poller->link = NULL;
}

static unsigned int pollers_run(struct loop *loop)
{
	struct loop_poller *poller;
	unsigned int found = 0;

	for (poller = loop->pollers; poller; poller = loop->pollers_next) {
		loop->pollers_next = poller->next;
		found += poller->poll(poller, loop->now_ns);
	}
	return found;
}

/* Is there no use in polling on? */
static bool all_quiet(const struct loop *loop)
{
	struct loop_poller *poller = loop->pollers;

	while (poller && poller->quiet_until &&
	       poller->quiet_until(poller, loop->now_ns) > loop->now_ns)
		poller = poller->next;
	return !poller;
}

/* Returns the earliest deadline of pollers and timers; 0: work is there. */
static uint64_t arm_all(struct loop *loop)
{
	uint64_t due_ns = UINT64_MAX;
	struct loop_poller *poller;

	for (poller = loop->pollers; poller; poller = loop->pollers_next) {
		uint64_t its_ns;

		loop->pollers_next = poller->next;
		its_ns = poller->arm(poller, loop->now_ns);
		if (its_ns < due_ns)
			due_ns = its_ns;
	}
	if (timers_due_ns(&loop->timers) < due_ns)
		due_ns = timers_due_ns(&loop->timers);
	return due_ns;
}

/* ---- rounds ---- */

static unsigned int reap(struct loop *loop)
{
	struct io_uring *ring = &loop->uring.ring;
	unsigned int found = 0;
	unsigned int left;

	watches_flush(&loop->watches, &loop->uring);
	if (io_uring_sq_ready(ring) > 0 ||
	    (IO_URING_READ_ONCE(*ring->sq.kflags) &
	     (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0)
		uring_submit(&loop->uring);

	for (left = io_uring_cq_ready(ring); left > 0; left--) {
		struct io_uring_cqe *cqe =
			&ring->cq.cqes[*ring->cq.khead & *ring->cq.kring_mask];
		const uint64_t data = cqe->user_data;
		const int result = cqe->res;

		/* Given back first: a callback may enter the kernel. */
		io_uring_cq_advance(ring, 1);
		/* Neither: a poll was taken back. */
		if (data & WATCHES_DATA) {
			found += watches_completed(&loop->watches, data);
		} else if (data != 0) {
			struct loop_op *op = (struct loop_op *)(uintptr_t)data;

			op->done(op, result);
			found++;
		}
	}
	return found;
}

/* Everything that can be done without sleeping; returns how much it was. */
static unsigned int turn(struct loop *loop)
{
	unsigned int found;

	loop->now_ns = loop_clock_ns();
	(void)absence_round(&loop->absence, loop->now_ns);
	loop->times.rounds++;
	found = pollers_run(loop);
	found += reap(loop);
	if (timers_due_ns(&loop->timers) <= loop->now_ns)
		found += timers_run(loop);
	return found;
}

/* No event ended a sleep, which was to end 'late_ns' ago. */
static void count_late(struct loop_times *times, uint64_t late_ns)
{
	unsigned int i = 0;

	while (i < LOOP_LATE_CLASSES - 1 && late_ns >= loop_late_below_ns[i])
		i++;
	times->late[i]++;
	times->late_ns += late_ns;
}

static void sleep_until(struct loop *loop, uint64_t until_ns)
{
	struct __kernel_timespec wait, *timeout = NULL;
	struct io_uring_cqe *cqe;
	uint64_t before_ns, after_ns;
	bool timed_out;

	watches_flush(&loop->watches, &loop->uring);
	before_ns = loop_clock_ns();
	absence_sleep(&loop->absence, before_ns, until_ns);
	if (until_ns != UINT64_MAX) {
		const uint64_t ns =
			until_ns > before_ns ? until_ns - before_ns : 0;

		wait.tv_sec = (int64_t)(ns / UINT64_C(1000000000));
		wait.tv_nsec = (long long)(ns % UINT64_C(1000000000));
		timeout = &wait;
	}
	uring_entered(&loop->uring,
		      io_uring_submit_and_wait_timeout(&loop->uring.ring, &cqe,
						       1, timeout, NULL));
	after_ns = loop_clock_ns();
	loop->times.asleep_ns += after_ns - before_ns;
	loop->times.sleeps++;
	timed_out = io_uring_cq_ready(&loop->uring.ring) == 0 &&
		after_ns >= until_ns;
	if (timed_out)
		count_late(&loop->times, after_ns - until_ns);
	spin_woke(&loop->spin, until_ns, after_ns, timed_out);
}

/* A round found nothing: poll on, or sleep. */
static void idle(struct loop *loop)
{
	uint64_t due_ns, until_ns, now_ns;

	if (loop->now_ns < loop->poll_until_ns)
		return;
	/* Quiet gaps say nothing of how quick clients are. */
	if (!loop->gap_known) {
		loop->gap_known = true;
		loop->gap_quiet = all_quiet(loop);
	}
	if (!loop->gap_quiet && spin_poll_on(&loop->spin, loop->now_ns))
		return;
	loop->poll_until_ns = 0;
	due_ns = arm_all(loop);
	if (due_ns == 0)
		return;
	now_ns = loop_clock_ns();
	until_ns = spin_sleep_until(&loop->spin, now_ns, due_ns);
	if (until_ns <= now_ns)
		loop->poll_until_ns = due_ns;
	else
		sleep_until(loop, until_ns);
}

int loop_run(struct loop *loop)
{
	int rc = uring_start(&loop->uring);

	if (rc < 0)
		return rc;
	while (!loop->stopping && loop->uring.failure == 0) {
		if (turn(loop) > 0) {
			spin_worked(&loop->spin, loop->now_ns);
			loop->poll_until_ns = 0;
			loop->gap_known = false;
		} else if (!loop->stopping) {
			idle(loop);
		}
	}
	loop->stopping = false;
	return loop->uring.failure;
}

int loop_run_once(struct loop *loop, uint64_t until_ns)
{
	int rc = uring_start(&loop->uring);
	uint64_t due_ns;

	if (rc < 0)
		return rc;
	if (turn(loop) > 0 || until_ns == 0 || loop->uring.failure < 0)
		return loop->uring.failure;
	due_ns = arm_all(loop);
	if (due_ns != 0)
		sleep_until(loop, due_ns < until_ns ? due_ns : until_ns);
	turn(loop);
	return loop->uring.failure;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

void loop_times(const struct loop *loop, struct loop_times *ret_times)
{
	*ret_times = loop->times;
	ret_times->away_ns = loop->absence.away_ns;
}

int loop_create(const struct loop_config *config, struct loop **ret_loop,
		struct error *reterr)
{
	struct loop *loop;
	int rc;

	if (config->entries == 0 || config->entries > ENTRIES_MAX ||
	    (config->entries & (config->entries - 1)) != 0)
		return error_set(
			reterr, -EINVAL,
			"event loop: %u ring entries: must be a power of two up to %u",
			config->entries, ENTRIES_MAX);
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return error_set(reterr, -ENOMEM, "event loop: out of memory");
	rc = uring_init(&loop->uring, config->entries, config->restricted);
	if (rc < 0) {
		free(loop);
		return error_set(
			reterr, rc,
			"event loop: io_uring: %s; is it disabled (kernel.io_uring_disabled, seccomp)?",
			strerror(-rc));
	}
	loop->pollers_end = &loop->pollers;
	loop->now_ns = loop_clock_ns();
	spin_init(&loop->spin, config->spin_max_ns, loop->now_ns);
	*ret_loop = loop;
	return 0;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	uring_finish(&loop->uring);
	watches_finish(&loop->watches);
	timers_finish(&loop->timers);
	free(loop);
}
