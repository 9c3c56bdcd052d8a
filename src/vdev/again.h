/* SPDX-License-Identifier: Apache-2.0 */
/*
 * again.h - requests that failed and are done again, and those that wait for
 *           them
 *
 * By the vdev's policy (enum on_error).  Every request here is whole, as its
 * front submitted it; done again, it goes in pieces (slow.h), so that the
 * others' way knows nothing of it.
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_AGAIN_H
#define VDEV_AGAIN_H

#include "vdev/device.h"

/* Returns 0 or -ENOMEM. */
int vdev_again_init(struct vdev *vdev);
void vdev_again_finish(struct vdev *vdev);	/* nothing waits here */

/* It failed.  True: it waits here, and is not done yet. */
bool vdev_again_takes(struct vdev_request *request);
/* It is done, or nobody wants it any more: it is none of these. */
void vdev_again_over(struct vdev_request *request);

/* It came, or is past its limits: true: it waits here, behind those that
 * failed; or would. */
bool vdev_again_wants(struct vdev_request *request);
bool vdev_again_holds(struct vdev_request *request, bool is_past_limits);

/* Somebody waits for what waits here of 'owner'. */
void vdev_again_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns);
/* What waits here of 'process' is another's from now on. */
void vdev_again_hand_over(struct vdev *vdev, const struct vdev_process *process,
			  struct vdev_process *to, uint64_t now_ns);

#endif
