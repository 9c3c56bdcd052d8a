/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - see loop.h
 *
 * Ring.  Made disabled and enabled by the thread that first runs the loop,
 * because a ring with a single issuer belongs to the thread that enables it.
 * With deferred task work (6.1 and later) completions appear only when the
 * kernel is entered for events; the kernel raises a flag in shared memory
 * when there are some, so a round that only polls loads two words and makes
 * no system call.  Older kernels get what they support.
 *
 * Watches are one-shot polls, armed again after each callback: that gives
 * level semantics, where a multishot poll reports edges.  A watch's slot is
 * used again only after its poll's one completion has come, so a late
 * completion can never reach another watch.
 *
 *	        flush            completion          after the callback
 *	WANTED -------> ARMED -------------> RUNNING ------------------> WANTED
 *	  | remove        | remove              | remove
 *	  v               v                     v
 *	CLOSED <------ UNWANTED ---> CANCELLED  (free)
 *	  (free at     completion     (free at completion)
 *	   flush)
 */
#include "os/loop.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "os/absence.h"
#include "os/spin.h"
#include "os/timers.h"

#define ENTRIES_MAX		32768U
#define COMPLETIONS_MIN		4096U
#define WATCHES_MAX		65536U

/* What a completion's user_data says: an operation's address, a watch's slot
 * with the lowest bit set, or nothing. */
#define DATA_NONE		UINT64_C(0)
#define DATA_WATCH		UINT64_C(1)

enum slot_state {
	SLOT_FREE,
	SLOT_WANTED,
	SLOT_ARMED,
	SLOT_RUNNING,
	SLOT_UNWANTED,
	SLOT_CANCELLED,
	SLOT_CLOSED,
};

struct slot {
	struct loop_watch *watch;	/* WANTED, ARMED, RUNNING */
	unsigned int next;		/* in the free or the pending list */
	enum slot_state state;
};

struct loop {
	struct io_uring ring;
	uint64_t now_ns;
	bool started;
	bool stopping;
	int failure;			/* -errno that ends loop_run, or 0 */

	struct loop_poller *pollers;
	struct loop_poller **pollers_end;
	struct loop_poller *pollers_next; /* the walk's, while it goes on */

	struct timers timers;

	struct slot *slots;		/* from 1; 0 ends lists */
	unsigned int slot_count;
	unsigned int slots_free;
	unsigned int pending_first, pending_last;

	struct absence absence;
	struct spin spin;
	uint64_t poll_until_ns;		/* a deadline that is polled for */
	bool gap_known, gap_quiet;	/* of the gap since the last work */
	struct loop_times times;
};

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

/* ---- the ring ---- */

static int ring_setup(struct io_uring *ring, unsigned int entries)
{
	static const unsigned int flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			IORING_SETUP_SUBMIT_ALL,
		0,
	};
	const unsigned int completions =
		entries * 4 > COMPLETIONS_MIN ? entries * 4 : COMPLETIONS_MIN;
	int rc = -EINVAL;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_R_DISABLED |
				IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = completions,
		};

		rc = io_uring_queue_init_params(entries, ring, &params);
		if (rc != -EINVAL)
			break;
	}
	return rc;
}

/* System calls are filtered by seccomp, what goes through the ring is not:
 * so it is told itself, while it is still disabled. */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {
		IORING_OP_NOP,	       IORING_OP_POLL_ADD,
		IORING_OP_POLL_REMOVE, IORING_OP_READ,
		IORING_OP_READV,       IORING_OP_WRITE,
		IORING_OP_WRITEV,      IORING_OP_FSYNC,
		IORING_OP_FALLOCATE,   IORING_OP_ASYNC_CANCEL,
	};
	enum { OPS = sizeof(ops) / sizeof(ops[0]) };
	struct io_uring_restriction rules[OPS + 3] = {};

	for (unsigned int i = 0; i < OPS; i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = ops[i];
	}
	rules[OPS].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[OPS].sqe_flags = 0;
	rules[OPS + 1].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[OPS + 1].register_op = IORING_REGISTER_ENABLE_RINGS;
	rules[OPS + 2].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[OPS + 2].register_op = IORING_REGISTER_RING_FDS;
	/* Debian's liburing 2.3 declares io_uring_register_restrictions but
	 * does not export it. */
	return io_uring_register((unsigned int)ring->ring_fd,
				 IORING_REGISTER_RESTRICTIONS, rules, OPS + 3);
}

/* The running thread takes the ring. */
static int start(struct loop *loop)
{
	int rc;

	rc = io_uring_register((unsigned int)loop->ring.ring_fd,
			       IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (rc < 0)
		return rc;
	/* Spares a look-up per call; older kernels do without. */
	(void)io_uring_register_ring_fd(&loop->ring);
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	loop->started = true;
	return 0;
}

/* Take note of what io_uring_enter said.  Busy means that completions must be
 * reaped before more is accepted. */
static void check_entered(struct loop *loop, int rc)
{
	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY &&
	    rc != -ETIME)
		loop->failure = rc;
}

static void submit(struct loop *loop)
{
	check_entered(loop, io_uring_submit_and_get_events(&loop->ring));
}

static struct io_uring_sqe *sqe_get(struct loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	if (!sqe && loop->started) {
		submit(loop);
		sqe = io_uring_get_sqe(&loop->ring);
	}
	return sqe;
}

/* Watches that were added, removed or called are told to the kernel. */
static void pending_flush(struct loop *loop)
{
	while (loop->pending_first != 0) {
		const unsigned int index = loop->pending_first;
		const uint64_t data = DATA_WATCH | (uint64_t)index << 1;
		struct slot *slot = &loop->slots[index];
		struct io_uring_sqe *sqe;

		if (slot->state == SLOT_CLOSED) {
			loop->pending_first = slot->next;
			slot->state = SLOT_FREE;
			slot->next = loop->slots_free;
			loop->slots_free = index;
			continue;
		}
		sqe = sqe_get(loop);
		if (!sqe)
			return;
		loop->pending_first = slot->next;
		if (slot->state == SLOT_WANTED) {
			io_uring_prep_poll_add(sqe, slot->watch->fd, POLLIN);
			sqe->user_data = data;
			slot->state = SLOT_ARMED;
		} else {
			assert(slot->state == SLOT_UNWANTED);
			io_uring_prep_poll_remove(sqe, data);
			sqe->user_data = DATA_NONE;
			slot->state = SLOT_CANCELLED;
		}
	}
}

struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	if (!sqe)
		return NULL;
	memset(sqe, 0, sizeof(*sqe));
	/* Before the prep call, which leaves user_data alone. */
	sqe->user_data = (uint64_t)(uintptr_t)op;
	return sqe;
}

/* ---- watches ---- */

static void pending_add(struct loop *loop, unsigned int index)
{
	loop->slots[index].next = 0;
	if (loop->pending_first == 0)
		loop->pending_first = index;
	else
		loop->slots[loop->pending_last].next = index;
	loop->pending_last = index;
}

static int slots_grow(struct loop *loop)
{
	const unsigned int count =
		loop->slot_count == 0 ? 64 : loop->slot_count * 2;
	struct slot *slots;

	if (count > WATCHES_MAX)
		return -ENOSPC;
	slots = reallocarray(loop->slots, count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	loop->slots = slots;
	for (unsigned int i = count - 1; i >= loop->slot_count && i > 0; i--) {
		slots[i] = (struct slot){.next = loop->slots_free};
		loop->slots_free = i;
	}
	loop->slot_count = count;
	return 0;
}

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd)
{
	struct slot *slot;

	assert(watch->slot == 0 && watch->ready);
	if (loop->slots_free == 0) {
		int rc = slots_grow(loop);

		if (rc < 0)
			return rc;
	}
	watch->slot = loop->slots_free;
	watch->fd = fd;
	slot = &loop->slots[watch->slot];
	loop->slots_free = slot->next;
	slot->watch = watch;
	slot->state = SLOT_WANTED;
	pending_add(loop, watch->slot);
	return 0;
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch)
{
	struct slot *slot;

	if (watch->slot == 0)
		return;
	slot = &loop->slots[watch->slot];
	assert(slot->watch == watch);
	slot->watch = NULL;
	if (slot->state == SLOT_ARMED) {
		slot->state = SLOT_UNWANTED;
		pending_add(loop, watch->slot);
	} else {
		assert(slot->state == SLOT_WANTED ||
		       slot->state == SLOT_RUNNING);
		slot->state = SLOT_CLOSED;
	}
	watch->slot = 0;
}

static unsigned int watch_completed(struct loop *loop, unsigned int index)
{
	const enum slot_state state = loop->slots[index].state;

	if (state == SLOT_UNWANTED) {
		loop->slots[index].state = SLOT_CLOSED;
		return 0;
	}
	if (state == SLOT_ARMED) {
		loop->slots[index].state = SLOT_RUNNING;
		loop->slots[index].watch->ready(loop->slots[index].watch);
		if (loop->slots[index].state == SLOT_RUNNING)
			loop->slots[index].state = SLOT_WANTED;
		pending_add(loop, index);
		return 1;
	}
	assert(state == SLOT_CANCELLED);
	loop->slots[index].state = SLOT_CLOSED;
	pending_add(loop, index);
	return 0;
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
	struct io_uring *ring = &loop->ring;
	unsigned int found = 0;
	unsigned int left;

	pending_flush(loop);
	if (io_uring_sq_ready(ring) > 0 ||
	    (IO_URING_READ_ONCE(*ring->sq.kflags) &
	     (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0)
		submit(loop);

	for (left = io_uring_cq_ready(ring); left > 0; left--) {
		struct io_uring_cqe *cqe =
			&ring->cq.cqes[*ring->cq.khead & *ring->cq.kring_mask];
		const uint64_t data = cqe->user_data;
		const int result = cqe->res;

		/* Given back first: a callback may enter the kernel. */
		io_uring_cq_advance(ring, 1);
		if (data & DATA_WATCH) {
			found += watch_completed(loop,
						 (unsigned int)(data >> 1));
		} else if (data != DATA_NONE) {
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

static void sleep_until(struct loop *loop, uint64_t until_ns)
{
	struct __kernel_timespec wait, *timeout = NULL;
	struct io_uring_cqe *cqe;
	uint64_t before_ns, after_ns;

	pending_flush(loop);
	before_ns = loop_clock_ns();
	absence_sleep(&loop->absence, before_ns, until_ns);
	if (until_ns != UINT64_MAX) {
		const uint64_t ns =
			until_ns > before_ns ? until_ns - before_ns : 0;

		wait.tv_sec = (int64_t)(ns / UINT64_C(1000000000));
		wait.tv_nsec = (long long)(ns % UINT64_C(1000000000));
		timeout = &wait;
	}
	check_entered(loop,
		      io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1,
						       timeout, NULL));
	after_ns = loop_clock_ns();
	loop->times.asleep_ns += after_ns - before_ns;
	loop->times.sleeps++;
	spin_woke(&loop->spin, until_ns, after_ns,
		  io_uring_cq_ready(&loop->ring) == 0 && after_ns >= until_ns);
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
	int rc = loop->started ? 0 : start(loop);

	if (rc < 0)
		return rc;
	while (!loop->stopping && loop->failure == 0) {
		if (turn(loop) > 0) {
			spin_worked(&loop->spin, loop->now_ns);
			loop->poll_until_ns = 0;
			loop->gap_known = false;
		} else if (!loop->stopping) {
			idle(loop);
		}
	}
	loop->stopping = false;
	return loop->failure;
}

int loop_run_once(struct loop *loop, uint64_t until_ns)
{
	int rc = loop->started ? 0 : start(loop);
	uint64_t due_ns;

	if (rc < 0)
		return rc;
	if (turn(loop) > 0 || until_ns == 0 || loop->failure < 0)
		return loop->failure;
	due_ns = arm_all(loop);
	if (due_ns != 0)
		sleep_until(loop, due_ns < until_ns ? due_ns : until_ns);
	turn(loop);
	return loop->failure;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

void loop_times(const struct loop *loop, struct loop_times *ret_times)
{
	*ret_times = loop->times;
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
	rc = ring_setup(&loop->ring, config->entries);
	if (rc == 0 && config->restricted) {
		rc = restrict_ring(&loop->ring);
		if (rc < 0)
			io_uring_queue_exit(&loop->ring);
	}
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
	io_uring_queue_exit(&loop->ring);
	free(loop->slots);
	timers_finish(&loop->timers);
	free(loop);
}
