/* SPDX-License-Identifier: Apache-2.0 */
/* ring-used.h - completions: from the vdev to the used ring */
#ifndef VHOST_RING_USED_H
#define VHOST_RING_USED_H

#include "vhost/ring-state.h"

/* It is to be written to the used ring at the end of the visit. */
static inline void ring_complete(struct ring *ring,
				 struct ring_request *request)
{
	ring->completed[ring->completed_count++] = request;
}

/* The vdev is done with a request, or with a piece of it. */
void ring_request_done(struct vdev_request *vdev);
/* The vdev gives a request back that it has not begun: nothing is said of it,
 * and in the inflight region it stays as taken. */
void ring_request_left(struct vdev_request *vdev);
/* Write what is completed to the used ring, and forget it. */
void ring_show(struct ring *ring);
/* The guest's memory was written: tell the dirty log. */
void ring_log_data(struct ring *ring, const struct ring_request *request);

#endif
