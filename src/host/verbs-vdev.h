/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-vdev.h - what making a vdev and changing its size have in common
 *
 * Private to verbs-vdev.c and verbs-resize.c.  Threads: the control thread.
 */
#ifndef HOST_VERBS_VDEV_H
#define HOST_VERBS_VDEV_H

#include <stdint.h>

#include "base/error.h"
#include "host/host-data.h"

/* A verb that waits until the store has it; owns itself. */
struct vdev_write {
	struct store_write write;
	struct host *host;
	struct reg_vdev *vdev;
	struct host_call *call;
	uint64_t size_before_bytes;	/* of a change, to be taken back */
	bool was_equal, is_share;
	bool only_empty;	/* shorter only if nothing was written */
	struct error why;
};

/* NULL: out of memory. */
struct vdev_write *verbs_write_new(struct host *host, struct reg_vdev *vdev,
				   struct host_call *call,
				   void (*done)(struct store_write *write));

/* Answer 'call': thick 'pool' has not that much.  Space is admitted as rates
 * are (E8): how much, how much there is, where it could be had. */
void verbs_refuse_space(struct host *host, const struct reg_pool *pool,
			uint64_t wanted_bytes, uint64_t available_bytes,
			const char *text, struct host_call *call);

#endif
