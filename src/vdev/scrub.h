/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.h - zeroes for what guests gave back, at nobody's expense
 *
 * A pool's device has its free extents zeroed in the background.  They go to
 * the device one at a time, each with its turn as a request of a process
 * without a promise, so that what is promised to others holds; and no faster
 * than VDEV_SCRUB_BYTES_PER_S, so that a device that frees extents at no cost
 * to itself is not kept busy with that.  The pace does not hold while the
 * device has no other free extent (somebody waits for one, or soon will), nor
 * when it is to go.
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_SCRUB_H
#define VDEV_SCRUB_H

#include "pool/member.h"
#include "vdev/carry.h"

#define VDEV_SCRUB_BYTES_PER_S	(UINT64_C(1) << 30)

/* Of a device. */
struct vdev_scrub {
	struct vdev_carry carry;
	struct block_request extent;	/* under way, or done */
	struct block_request *queue[MEMBER_RUNS];
	uint32_t count;
	uint64_t begun_bytes;		/* of the first in the queue */
	struct vdev_device *device;
	struct member *member;		/* of the last request */
	struct loop *loop;
	struct loop_timer pace;
	uint64_t extent_ns;		/* what one has to take */
	uint64_t next_ns;		/* when the next one may begin */
	bool is_under_way, is_looping;
};

/* Returns 0 or -ENOMEM. */
int vdev_scrub_create(struct vdev_device *device, struct loop *loop,
		      struct vdev_scrub **ret_scrub);
void vdev_scrub_destroy(struct vdev_scrub *scrub);

/* member_config.zero, where member_config.user is the vdev_device: not more
 * than MEMBER_RUNS requests at a time, each of whole extents.  'done' may be
 * called before this returns. */
void vdev_scrub(struct member *member, struct block_request *request);

#endif
