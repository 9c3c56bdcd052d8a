/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.h - what a pool reads and writes for itself, in turn with its guests
 *
 * A long request goes in parts, each with its turn at the device's scheduler
 * as one of a process without a promise: what is promised to others holds.  At
 * a device that completes inside submit there are no turns to wait for.
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_CARRY_H
#define VDEV_CARRY_H

#include "vdev/vdev.h"

#define VDEV_CARRY_BYTES	(UINT64_C(128) << 10)

/* One request on its way; the caller's, until 'whole' is done. */
struct vdev_carry {
	struct vdev_request part;	/* the rest is the vdev's */
	struct iovec iov;
	struct vdev_device *device;
	struct block_request *whole;	/* NULL: idle */
	uint64_t begun_bytes;
};

/* 'whole', a read or write of one segment, or zeroes, which go as one part, to
 * 'device'; 'whole->done' may be called before this returns. */
void vdev_carry(struct vdev_carry *carry, struct vdev_device *device,
		struct block_request *whole);

#endif
