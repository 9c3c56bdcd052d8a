/* SPDX-License-Identifier: Apache-2.0 */
/* carry.c - see carry.h */
#include "vdev/carry.h"

#include "vdev/device.h"

static void begin_part(struct vdev_carry *carry);

static void part_done(struct block_request *block)
{
	struct vdev_request *part = vdev_request_of(block);
	struct vdev_carry *carry = container_of(part, struct vdev_carry, part);
	struct block_request *whole = carry->whole;

	vdev_device_done(carry->device, part, block->result);
	if (block->result >= 0 && carry->begun_bytes < whole->length_bytes) {
		begin_part(carry);
		return;
	}
	whole->result = block->result;
	carry->whole = NULL;
	whole->done(whole);
}

void vdev_carry_issue(struct vdev_request *part)
{
	struct vdev_carry *carry = container_of(part, struct vdev_carry, part);

	vdev_device_begin(carry->device, part);
	block_submit(carry->device->block, &part->block);
}

static void begin_part(struct vdev_carry *carry)
{
	const struct block_request *whole = carry->whole;
	const bool is_transfer = whole->op <= BLOCK_WRITE;
	const uint64_t left_bytes = whole->length_bytes - carry->begun_bytes;
	const uint64_t bytes = is_transfer && left_bytes > VDEV_CARRY_BYTES ?
		VDEV_CARRY_BYTES :
		left_bytes;
	struct vdev_device *device = carry->device;
	struct vdev_request *part = &carry->part;

	if (is_transfer)
		carry->iov = (struct iovec){
			.iov_base = (char *)whole->iov->iov_base +
				carry->begun_bytes,
			.iov_len = bytes,
		};
	*part = (struct vdev_request){
		.block =
			{
				.done = part_done,
				.op = whole->op,
				.flags = whole->flags,
				.offset_bytes = whole->offset_bytes +
					carry->begun_bytes,
				.length_bytes = bytes,
				.iov = &carry->iov,
				.iov_count = is_transfer,
			},
		.sched =
			{
				.direction = whole->op != BLOCK_READ,
				.bytes = (uint32_t)bytes,
			},
	};
	carry->begun_bytes += bytes;
	if (device->is_immediate ||
	    sched_submit(device->sched, device->unlimited, &part->sched,
			 loop_clock_ns()) == SCHED_GO)
		vdev_carry_issue(part);
}

void vdev_carry(struct vdev_carry *carry, struct vdev_device *device,
		struct block_request *whole)
{
	carry->device = device;
	carry->whole = whole;
	carry->begun_bytes = 0;
	begin_part(carry);
}
