/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial.h - a connection to an export of another server, on its way
 *
 * Names are resolved and connections made on a thread that nobody waits for:
 * see errand.h.  Threads: the loop's.
 */
#ifndef HOST_DIAL_H
#define HOST_DIAL_H

#include "base/error.h"
#include "host/uri.h"

struct dial;
struct loop;

struct dial_config {
	struct loop *loop;
	struct uri uri;
	/* Once, unless it is abandoned; the dial is gone then.  'fd' is the
	 * caller's; or < 0 (-errno), with a reason. */
	void (*done)(void *arg, int fd, const struct error *why);
	void *arg;
};

/* Returns 0 or -errno. */
int dial_start(const struct dial_config *config, struct dial **ret_dial);
/* 'done' is not called any more.  NULL is allowed. */
void dial_abandon(struct dial *dial);

#endif
