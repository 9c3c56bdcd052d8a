/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the dirty log: which guest pages were written, one bit for each
 *
 * A migrating front-end shares it; bits are set by atomic OR, because it
 * clears them meanwhile.
 * Threads: the loop's.
 */
#ifndef VHOST_LOG_H
#define VHOST_LOG_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "vhost/protocol.h"
#include "vhost/shared.h"

/* 256 MiB: the log of a guest of 8 TiB, as much as one may map. */
#define LOG_BYTES_MAX	(UINT64_C(256) << 20)

struct dirty_log {
	uint8_t *bits;
	uint64_t bytes;
	struct shared shared;
	volatile sig_atomic_t lost;	/* it was truncated */
	bool overrun;		/* something lay beyond its end */
};

/* Map the log that 'fd' (stays the caller's) holds.  Returns 0, -EINVAL (its
 * size is impossible, or not a memory file), -ENOMEM or what mmap said. */
int log_create(const struct vhost_user_log *log, int fd,
	       struct dirty_log **ret_log, struct error *reterr);
void log_destroy(struct dirty_log *log);	/* NULL is allowed */

/* These guest bytes were written. */
void log_mark(struct dirty_log *log, uint64_t guest_addr, uint64_t length);

#endif
