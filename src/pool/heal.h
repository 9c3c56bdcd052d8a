/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heal.h - what a crash left in one copy of a log, in both again
 *
 * A crash comes between the two copies of the last step, or takes one of what
 * was not flushed.  The log goes on behind it, and would have one copy of that
 * part until it is compacted.  So before an owner goes on, each block that was
 * not known to be on stable storage is compared, and written where it lacks.
 * Only that is written which is there already: a crash meanwhile harms nothing.
 *
 * Threads: the device's loop; never blocks.
 */
#ifndef POOL_HEAL_H
#define POOL_HEAL_H

#include "pool/replay.h"

struct heal {
	struct replay *replay;		/* has ended; its buffers are used */
	void (*done)(void *arg);
	void *arg;
	uint32_t first, count;		/* blocks in the buffers */
	uint32_t requests;		/* under way */
	uint32_t healed;		/* the result: blocks, of a copy */
	int read[FORMAT_COPIES];
	struct iovec iov[FORMAT_COPIES];
	struct heal_request {
		struct block_request request;
		struct heal *heal;
	} copies[FORMAT_COPIES];
};

/* 'done' may be called before this returns.  What cannot be written stays as
 * it is: one copy is there. */
void heal_start(struct heal *heal, struct replay *replay,
		void (*done)(void *arg), void *arg);

#endif
