/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - what the service manager is told
 *
 * systemd's protocol: datagrams to the address in $NOTIFY_SOCKET; nothing where
 * there is none.  A watchdog that it wants ($WATCHDOG_USEC) is fed twice as
 * often as it asks, from the loop: one that hangs is noticed.
 *
 * Called by main.c.  Threads: the control thread.
 */
#ifndef HOST_NOTIFY_H
#define HOST_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/host.h"
#include "os/loop.h"

struct notify {
	struct loop *loop;		/* NULL: not started */
	struct host *host;
	struct loop_timer timer;
	uint64_t watchdog_ns;		/* between two signs of life; 0: none */
	uint64_t beat_at_ns, status_at_ns;
	bool is_ready;
	char status[256];		/* as it was told last */
};

/* Returns 0 or -ENOMEM. */
int notify_start(struct notify *notify, struct loop *loop, struct host *host);
void notify_finish(struct notify *notify);
void notify_ready(struct notify *notify);
/* It ends: 'why' for people. */
void notify_stopping(struct notify *notify, const char *why);
/* Around reading the configuration's other files again. */
void notify_reloading(struct notify *notify);
void notify_reloaded(struct notify *notify);

#endif
