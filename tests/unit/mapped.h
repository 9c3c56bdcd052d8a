/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapped.h - a volume that is mapped all over, in a pool of one device that
 *            completes inside submit: for who wants a vdev and no pool
 */
#ifndef MAPPED_H
#define MAPPED_H

#include "pool/volume.h"
#include "vdev/vdev.h"

struct mapped {
	struct pool *pool;
	struct volume *volume;
};

/* The device is blank, and 'device' is made of it.  Volatile: nothing is
 * written to it.  Returns 0 or -errno. */
int mapped_create(struct mapped *mapped, struct block_device *block,
		  struct vdev_device *device, uint64_t size_bytes,
		  bool is_volatile);
/* The same, with nothing mapped; 'capacity_bytes' are the device's end, what
 * is before them is the log's. */
int mapped_create_thin(struct mapped *mapped, struct block_device *block,
		       struct vdev_device *device, uint64_t capacity_bytes,
		       uint64_t size_bytes);
void mapped_destroy(struct mapped *mapped);	/* no vdevs left */

#endif
