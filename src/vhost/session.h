/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - one front-end instance: its connection, features and rings
 *
 * A session's rings serve only while it holds the attachment epoch.  It asks
 * its front for it at its first ring start; if another session holds it, the
 * start is remembered and takes effect when the front offers it.
 *
 * Whatever has to wait for requests in flight (GET_VRING_BASE, a reset, the
 * end) is pending: meanwhile the session reads no further message, and the
 * loop goes on with everybody else.
 *
 * Threads: the loop's.
 */
#ifndef VHOST_SESSION_H
#define VHOST_SESSION_H

#include <stdbool.h>

#include "base/error.h"
#include "os/loop.h"
#include "vhost/blk.h"

struct session;

/* What a session needs from its front. */
struct session_ops {
	/* May it serve now?  True if it holds the epoch already, or gets it. */
	bool (*acquire)(void *arg, struct session *session);
	/* All its rings are stopped; it held the epoch. */
	void (*release)(void *arg, struct session *session);
	/* It has ended: destroy it. */
	void (*ended)(void *arg, struct session *session);
	void (*report)(void *arg, const struct error *error);
};

struct session_config {
	struct loop *loop;
	const struct blk_target *target;
	int fd;				/* taken over on success */
	const struct session_ops *ops;
	void *arg;
};

/* Returns 0, -ENOMEM or -ENOSPC. */
int session_create(const struct session_config *config,
		   struct session **ret_session);
/* At once; what is in flight ends silently.  NULL is allowed. */
void session_destroy(struct session *session);
/* Orderly: take no more, let what is in flight at the device end, flush,
 * release, 'ended'.  The front-end then connects again; what waited is left to
 * the next session in the inflight region, or if there is none let go. */
void session_close(struct session *session);
/* Nobody holds the epoch: start what waits for it. */
void session_offer(struct session *session);
/* The device's size has changed. */
void session_resized(struct session *session);

#endif
