/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.h - virtio-blk: what a chain of buffers asks for, and the device's face
 *
 * Threads: the loop's.
 */
#ifndef VHOST_BLK_H
#define VHOST_BLK_H

#include <stdint.h>

#include "base/error.h"
#include "vdev/vdev.h"
#include "vhost/chain.h"
#include "vhost/protocol.h"

#define BLK_SEG_MAX		126U
#define BLK_DISCARD_SECTORS	65536U	/* 32 MiB in one request */
#define BLK_ZEROES_SECTORS	2048U /* 1 MiB: the reactor may do it itself */

struct blk_target {
	struct vdev *vdev;
	struct vdev_process *process;	/* whose every request is, or NULL */
	char id[VIRTIO_BLK_ID_BYTES];	/* GET_ID; padded with zeros */
	unsigned int queues;
};

/* Where the parts of a request are; by blk_locate. */
struct blk_parts {
	const uint8_t *header;		/* of the guest, or 'gathered' */
	uint8_t *status;
	struct iovec *data_out, *data_in;
	unsigned int data_out_count, data_in_count;
	uint64_t data_out_bytes, data_in_bytes;
	uint32_t used_bytes;		/* for the used ring */
	struct virtio_blk_outhdr gathered;
};

/* Find header, data and status however they are spread over the buffers.
 * Returns 0; or -EINVAL: there is no status byte to answer with.  A request
 * that lacks something else has no 'header'. */
int blk_locate(struct chain *chain, struct blk_parts *ret_parts);

/* Fill the vdev's request from what the guest asks.  Returns -1: submit it;
 * or the status to answer with at once. */
int blk_fill(const struct blk_target *target, const struct blk_parts *parts,
	     struct vdev_request *request);

/* Whose 'request', once filled, is now.  Asked again for each of its pieces: a
 * process may be removed while one is not submitted. */
void blk_bind(const struct blk_target *target, struct vdev_request *request);

/* The status for how a request ended at the vdev. */
uint8_t blk_status(int result);

/* Feature bits of the device, without those of the transport. */
uint64_t blk_features(const struct blk_target *target);
void blk_config(const struct blk_target *target,
		struct virtio_blk_config *ret_config);

#endif
