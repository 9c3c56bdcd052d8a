/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-fake.h - a vdev over plain memory that can hold requests back
 *
 * Implements what of vdev/vdev.h the vhost and NBD servers use, so that their
 * tests decide when and how each request ends.
 */
#ifndef TESTS_FUNC_VHOST_FAKE_H
#define TESTS_FUNC_VHOST_FAKE_H

#include "vdev/vdev.h"

#define FAKE_HELD_MAX	4096U

struct vdev_process {
	uint32_t ioprio;
	unsigned int requests;
	bool bound;			/* found by its PASID: its index */
	struct match match;		/* by who connected, or none */
};

struct vdev {
	uint8_t *data;
	uint64_t size_bytes;
	uint32_t block_size;
	bool read_only;
	bool hold;		/* keep requests until fake_complete */
	bool waiting;	/* what is held waits for its turn: can be taken back */
	unsigned int let_go;		/* calls of vdev_let_go */
	int fail;		/* -errno for every request, 0: none */
	uint64_t quiet_until_ns;
	struct vdev_process processes[8];	/* by I/O priority level */
	struct vdev_listener *listeners;
	struct vdev_request *held[FAKE_HELD_MAX];
	unsigned int held_count;
	unsigned int counts[BLOCK_WRITE_ZEROES + 1];	/* by operation */
	void (*submitted)(void);	/* called before a request is done */
	uint64_t largest_bytes;
};

struct vdev *fake_create(uint64_t size_bytes);
void fake_destroy(struct vdev *vdev);
/* Do and end the held request 'index' (they move up). */
void fake_complete(struct vdev *vdev, unsigned int index);
void fake_complete_all(struct vdev *vdev);

#endif
