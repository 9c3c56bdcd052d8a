/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdev-pool-rig.h - a vdev over several devices of a pool; time is invented
 */
#ifndef VDEV_POOL_RIG_H
#define VDEV_POOL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/stats.h"
#include "pool/volume.h"
#include "vdev/device.h"

#define MIB		UINT64_C(1048576)
#define MS		UINT64_C(1000000)
#define POOLED_EXTENTS		16U
#define POOLED_DEVICE_BYTES	(24 * MIB)
#define POOLED_VDEV_BYTES	(6 * MIB)
#define POOLED_DEVICES		3U
#define POOLED_HELD_MAX	256U

struct pooled_device {
	struct block_device block;
	unsigned char *data;
	struct block_request *held[POOLED_HELD_MAX];
	uint32_t count;
	bool hold;
	unsigned int ops[5];
	int read_result;
	bool fails_log;			/* cannot write it */
	struct vdev_device *device;
	struct pool_add add;
};

struct pooled {
	struct loop *loop;
	struct vdev_gate *gate;
	struct stats_segment *stats;
	struct pooled_device fakes[POOLED_DEVICES];
	uint32_t count;
	struct pool *pool;
	struct volume *volume;
	struct vdev *vdev;
	unsigned int opened, done;
	uint64_t now_ns;
};

struct pooled_request {
	struct vdev_request vdev;
	struct pooled *bench;
	struct iovec iov;
	bool is_done;
	int result;
	unsigned int count;		/* how often done */
};

/* The member for a first write; -1: the vdev chooses. */
extern int pooled_next;

struct pooled *pooled_create(uint32_t devices, bool is_immediate,
			     uint32_t window,
			     const struct sched_limits *limits);
void pooled_destroy(struct pooled *bench);
/* The pool is closed, and opened again with the first 'devices'; those of the
 * mask 'failing' cannot write their logs when it starts. */
void pooled_again(struct pooled *bench, uint32_t devices, uint32_t failing);
/* Another one comes late, and is taken in. */
void pooled_late(struct pooled *bench, uint32_t device);

/* A round of the loop, at a time of ours. */
void pooled_poll(struct pooled *bench, uint64_t now_ns);
/* The first that came ends. */
void pooled_let_first(struct pooled_device *fake);
void pooled_let_all(struct pooled_device *fake);

struct pooled_request *pooled_requests(uint32_t count);
/* 'process' may be NULL. */
void pooled_submit(struct pooled *bench, struct pooled_request *request,
		   struct vdev_process *process, enum block_op op,
		   uint64_t offset_bytes, uint64_t length_bytes, void *data);
/* The same, and it has ended. */
int pooled_do(struct pooled *bench, enum block_op op, uint64_t offset_bytes,
	      uint64_t length_bytes, void *data);
/* Extent i of the vdev lies on device i modulo how many there are, and is full
 * of i + 1. */
void pooled_spread(struct pooled *bench);
struct vdev_process *pooled_process(struct pooled *bench, uint32_t pasid,
				    const struct sched_params *params,
				    uint64_t members);

#endif
