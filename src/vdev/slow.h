/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slow.h - requests of a volume that a look-up does not answer
 *
 * More than one extent, holes, first writes, discards, write-zeroes, flushes.
 * device.c comes here with what the scheduler has let pass; the request stays
 * one to the scheduler, to the statistics and to its front.
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_SLOW_H
#define VDEV_SLOW_H

#include <stdbool.h>

#include "vdev/device.h"

#define VDEV_PIECES	64U	/* of a vdev, under way at a time */

struct vdev_slow;

/* Returns 0 or -ENOMEM. */
int vdev_slow_create(struct vdev_slow **ret_slow, struct error *reterr);
void vdev_slow_destroy(struct vdev_slow *slow);	/* NULL is allowed */

/* In range, and counted as in flight; vdev_device_end ends it, maybe before
 * this returns. */
void vdev_slow_begin(struct vdev_request *request);

/* Beyond the end of its volume's vdev, since that has shrunk? */
static inline bool vdev_slow_is_beyond(const struct vdev_request *request)
{
	const struct vdev *vdev = request->process->vdev;
	const struct block_request *block = &request->block;

	return vdev->volume && block->op != BLOCK_FLUSH &&
		block->offset_bytes + block->length_bytes > vdev->size_bytes;
}

#endif
