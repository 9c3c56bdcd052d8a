/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.h - a loop's io_uring: made, restricted, taken over, submitted to
 *
 * Called by loop.c and watches.c.  Threads: made by any; from uring_start on
 * it belongs to the thread that called that.
 */
#ifndef OS_URING_H
#define OS_URING_H

#include <liburing.h>
#include <stdbool.h>

struct uring {
	struct io_uring ring;
	bool started;
	int failure;			/* -errno that ends the loop, or 0 */
};

/* 'restricted': see loop.h.  Returns 0 or what io_uring_setup says. */
int uring_init(struct uring *uring, unsigned int entries, bool restricted);
void uring_finish(struct uring *uring);

/* The running thread takes the ring, unless it has it.  Returns 0 or
 * -errno. */
int uring_start(struct uring *uring);

/* An empty entry; NULL: the ring is full even after submitting, or it is full
 * and not started. */
struct io_uring_sqe *uring_sqe(struct uring *uring);
/* Tell the kernel what is prepared, and have it post what is done. */
void uring_submit(struct uring *uring);
/* Take note of what io_uring_enter said.  Busy means that completions must be
 * reaped before more is accepted. */
void uring_entered(struct uring *uring, int rc);

#endif
