/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - event descriptors of a front-end: kicks come in, calls go out
 *
 * The descriptor is shared with a stranger, who may clear its O_NONBLOCK,
 * fill or empty its counter at any moment: a plain read or write could then
 * block the reactor for ever.  So both go through the loop's ring, where the
 * one that has to wait waits alone.  At the end such a one is cancelled, and
 * what it needs is freed when the kernel has let go of it.
 *
 * Threads: the loop's.
 */
#ifndef VHOST_NOTIFY_H
#define VHOST_NOTIFY_H

#include <stdbool.h>

#include "os/loop.h"

struct notify;

/* Take over 'fd' to ring it.  Returns 0, -EINVAL (not an event descriptor:
 * it stays the caller's) or -ENOMEM. */
int notify_create_out(struct loop *loop, int fd, struct notify **ret_notify);
/* Take over 'fd' and empty it whenever it was rung; the loop's pollers run
 * after each wake-up, so nobody needs to be called.  Same errors, and those
 * of loop_watch_add. */
int notify_create_in(struct loop *loop, int fd, struct notify **ret_notify);
void notify_destroy(struct notify *notify);	/* NULL is allowed */

/* Ring it.  Never blocks; several rings may become one. */
void notify_ring(struct notify *notify);
/* The loop's ring was full: ring again in the next round.  NULL: false. */
bool notify_unsent(const struct notify *notify);
/* The kernel refused to read or write it: 0 or -errno.  NULL: 0. */
int notify_failure(const struct notify *notify);

#endif
