/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdev-rig.h - a vdev, and all that it stands on, over a device of the test's
 */
#ifndef VDEV_RIG_H
#define VDEV_RIG_H

#include "ctl/stats.h"
#include "mapped.h"

struct vdev_rig_config {
	struct block_device *block;	/* blank; completes inside submit yet */
	struct sched_config sched;
	uint64_t thin_bytes; /* of the device are the pool's; 0: all,
					 * and the volume is mapped all over */
	uint64_t volume_bytes, vdev_bytes;
	enum on_error on_error;
};

struct vdev_rig {
	struct loop *loop;
	struct stats_segment *stats;	/* device 0, process 0 */
	struct vdev_device *device;
	struct vdev_gate *gate;
	struct mapped mapped;
	struct vdev *vdev;		/* "vd0" */
};

/* For a cmocka setup and teardown: what fails is asserted. */
void vdev_rig_create(struct vdev_rig *rig,
		     const struct vdev_rig_config *config);
void vdev_rig_destroy(struct vdev_rig *rig);	/* no requests left */

#endif
