/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slow.h - requests that a look-up in the volume does not answer
 *
 * More than one extent, holes, first writes, discards, write-zeroes, flushes.
 * The request is past its limits and stays one to the statistics and to its
 * front.  Its pieces are requests of their own to the schedulers of the
 * devices that they go to, each once it is known where: what waits for the pool
 * (an open extent, a mapping, a copy) waits nowhere else, and takes up no one's
 * turn.
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_SLOW_H
#define VDEV_SLOW_H

#include "vdev/device.h"

#define VDEV_PIECES	64U	/* of a vdev, under way at a time */

struct vdev_slow;

/* Returns 0 or -ENOMEM. */
int vdev_slow_create(struct vdev_slow **ret_slow, struct error *reterr);
void vdev_slow_destroy(struct vdev_slow *slow);	/* NULL is allowed */

/* In range, and past its limits; vdev_device_end ends it, maybe before this
 * returns. */
void vdev_slow_begin(struct vdev_request *request);
/* A piece that waits for its turn goes on as one of 'process'. */
void vdev_slow_resubmit(struct vdev_request *piece,
			struct vdev_process *process);
/* It is a piece's turn at its device. */
void vdev_slow_issue(struct vdev_request *piece);

#endif
