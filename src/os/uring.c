/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.c - see uring.h
 *
 * Made disabled and enabled by the thread that first runs the loop, because a
 * ring with a single issuer belongs to the thread that enables it.  With
 * deferred task work (6.1 and later) completions appear only when the kernel
 * is entered for events; the kernel raises a flag in shared memory when there
 * are some, so a round that only polls loads two words and makes no system
 * call.  Older kernels get what they support.
 */
#include "os/uring.h"

#include <errno.h>
#include <sys/prctl.h>

#define COMPLETIONS_MIN		4096U

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

int uring_init(struct uring *uring, unsigned int entries, bool restricted)
{
	int rc;

	*uring = (struct uring){0};
	rc = ring_setup(&uring->ring, entries);
	if (rc < 0 || !restricted)
		return rc;
	rc = restrict_ring(&uring->ring);
	if (rc < 0)
		io_uring_queue_exit(&uring->ring);
	return rc;
}

void uring_finish(struct uring *uring)
{
	io_uring_queue_exit(&uring->ring);
}

int uring_start(struct uring *uring)
{
	int rc;

	if (uring->started)
		return 0;
	rc = io_uring_register((unsigned int)uring->ring.ring_fd,
			       IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (rc < 0)
		return rc;
	/* Spares a look-up per call; older kernels do without. */
	(void)io_uring_register_ring_fd(&uring->ring);
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	uring->started = true;
	return 0;
}

void uring_entered(struct uring *uring, int rc)
{
	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY &&
	    rc != -ETIME)
		uring->failure = rc;
}

void uring_submit(struct uring *uring)
{
	uring_entered(uring, io_uring_submit_and_get_events(&uring->ring));
}

struct io_uring_sqe *uring_sqe(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe && uring->started) {
		uring_submit(uring);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	return sqe;
}
