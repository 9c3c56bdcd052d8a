/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.c - a request's way to its device
 *
 *	vdev_submit --> gate --> look-up --------> turn --> device
 *	                         or pieces, each --^
 *
 * Limits hold at the gate (gate.c).  The turn is the device's scheduler's:
 * reservation, weight, latency.  A device that completes inside submit has no
 * turns to give: requests go there at once.
 *
 * A request is looked up before its turn, and from then on its extent stays
 * what it is until it is done (member_grace).
 */
#include "vdev/device.h"

#include <errno.h>

#include "ctl/stats.h"
#include "vdev/again.h"
#include "vdev/slow.h"

#define SECTOR_BYTES	512U
/* A flush is counted, and paid for, as one write of nothing. */
#define CHARGE_MAX	UINT32_MAX

/* What each request runs through: in line, without what a call saves. */
#define ALWAYS __attribute__((always_inline))

/* It is all at this place. */
static inline ALWAYS void put(struct vdev_request *request,
			      const struct volume_place *place)
{
	struct block_request *block = &request->block;
	struct vdev_way *way = &request->process->ways[place->member->index];

	if (!way->device)
		way = vdev_process_way(request->process, place->member);
	request->at.way = way;
	request->at.offset_bytes = block->offset_bytes;
	block->offset_bytes = place->offset_bytes;
	request->at.parity = member_enter(place->member);
	request->at.member = place->member;
}

/* Returns false when it is not inside of one extent. */
static inline ALWAYS bool look_up(const struct volume *volume,
				  struct vdev_request *request)
{
	const struct block_request *block = &request->block;
	struct volume_place place;

	if (block->op > BLOCK_WRITE ||
	    !volume_map(volume, block->offset_bytes, block->length_bytes,
			block->op == BLOCK_WRITE, &place))
		return false;
	put(request, &place);
	return true;
}

static inline ALWAYS void submit_mapped(struct vdev_request *request,
					uint64_t now_ns)
{
	const struct vdev_way *way = request->at.way;
	struct vdev_device *device = way->device;

	if (device->is_immediate) {
		request->sched.start_ns = now_ns;
		request->block.done = vdev_device_done_at_once;
	} else {
		request->block.done = vdev_device_done_mapped;
		if (sched_submit(device->sched, way->client, &request->sched,
				 now_ns) != SCHED_GO) {
			vdev_device_waits(request, now_ns);
			return;
		}
	}
	vdev_device_issue(device, request);
}

/* Two extents that are beside each other are one place, too. */
static __attribute__((noinline)) void submit_others(
	const struct volume *volume, struct vdev_request *request,
	uint64_t now_ns)
{
	const struct block_request *block = &request->block;
	struct volume_place place;

	if (block->op <= BLOCK_WRITE &&
	    volume_map_two(volume, block->offset_bytes, block->length_bytes,
			   block->op == BLOCK_WRITE, &place)) {
		put(request, &place);
		submit_mapped(request, now_ns);
	} else {
		vdev_slow_begin(request);
	}
}

static inline ALWAYS void submit_volume(const struct volume *volume,
					struct vdev_request *request,
					uint64_t now_ns)
{
	if (look_up(volume, request))
		submit_mapped(request, now_ns);
	else
		submit_others(volume, request, now_ns);
}

void vdev_gate_passed(struct vdev_request *request, uint64_t now_ns)
{
	submit_volume(request->process->vdev->volume, request, now_ns);
}

/* By its limits, if there are any. */
static inline ALWAYS void submit_to_gate(struct vdev *vdev,
					 struct vdev_request *request,
					 uint64_t now_ns)
{
	struct vdev_process *process = request->process;
	struct sched_passes *passes = &process->passes;

	/* A vdev that is stopped is limited, too, and pays nothing ahead: what
	 * may not wait there lets nothing else pass. */
	if (process->is_limited && !sched_pass_paid(passes, now_ns) &&
	    ((vdev->again.error && vdev_again_holds(request, false)) ||
	     ((vdev->again.error ||
	       !sched_pass(vdev->gate->sched, process->client, passes,
			   now_ns)) &&
	      !vdev_gate_lets(vdev->gate, request, now_ns))))
		return;
	submit_volume(vdev->volume, request, now_ns);
}

void vdev_gate_submit(struct vdev_request *request, uint64_t now_ns)
{
	submit_to_gate(request->process->vdev, request, now_ns);
}

/* Fails what its vdev has no room for any more. */
bool vdev_device_is_beyond(const struct vdev_request *request,
			   uint64_t offset_bytes)
{
	const struct vdev *vdev = request->process->vdev;

	return request->block.op != BLOCK_FLUSH &&
		offset_bytes + request->block.length_bytes > vdev->size_bytes;
}

bool vdev_device_refuses(struct vdev_request *request)
{
	if (!vdev_device_is_beyond(request, request->block.offset_bytes))
		return false;
	request->block.result = -EIO;
	vdev_device_give_up(request);
	return true;
}

void vdev_device_forget(struct vdev_request *request)
{
	request->block.offset_bytes = request->at.offset_bytes;
	member_leave(request->at.member, request->at.parity);
}

/* What is wrong with a request of a front: 0 or -errno. */
static inline int check(const struct vdev *vdev,
			const struct block_request *block)
{
	const uint64_t end_bytes = block->offset_bytes + block->length_bytes;

	if (block->op == BLOCK_FLUSH)
		return 0;
	if (block->op != BLOCK_READ && vdev->read_only)
		return -EROFS;
	if ((block->offset_bytes | block->length_bytes) & vdev->block_mask)
		return -EINVAL;
	if (end_bytes < block->offset_bytes || end_bytes > vdev->size_bytes)
		return block->op == BLOCK_WRITE ? -ENOSPC : -EINVAL;
	return 0;
}

static uint32_t charge_bytes(const struct block_request *block)
{
	if (block->op == BLOCK_FLUSH || block->op == BLOCK_DISCARD)
		return 0;
	return block->length_bytes > CHARGE_MAX ? CHARGE_MAX :
						  (uint32_t)block->length_bytes;
}

static __attribute__((noinline)) void end_at_once(struct vdev_request *request,
						  int result)
{
	const struct block_request *block = &request->block;

	if (result < 0)
		stats_add(&vdev_counters_of(request, block->op != BLOCK_READ)
				   ->errors,
			  1);
	turns_served(&request->process->turns, block->op != BLOCK_READ, 1, 0);
	request->block.result = result;
	request->done(request);
}

/* Returns false when it has ended with an error, or with nothing to do. */
static inline ALWAYS bool begin(const struct vdev *vdev,
				struct vdev_request *request, uint64_t now_ns)
{
	struct block_request *block = &request->block;
	const int result = check(vdev, block);

	if (result < 0 ||
	    (block->length_bytes == 0 && block->op != BLOCK_FLUSH)) {
		end_at_once(request, result);
		return false;
	}
	request->sched.bytes = charge_bytes(block);
	request->sched.direction = block->op != BLOCK_READ;
	request->told = false;
	request->conforming = false;
	request->is_piece = false;
	request->follows = false;
	request->is_hungry = false;
	request->epoch = 0;
	request->failed_ns = 0;
	request->arrival_ns = now_ns;
	request->process->outstanding++;
	return true;
}

void vdev_submit(struct vdev *vdev, struct vdev_request *request,
		 uint64_t now_ns)
{
	if (begin(vdev, request, now_ns))
		submit_to_gate(vdev, request, now_ns);
}

void vdev_answered(struct vdev_request *request)
{
	for (unsigned int d = 0; d < 2; d++)
		turns_served(&request->process->turns, d, 1, 0);
}

bool vdev_prefetches(const struct vdev *vdev)
{
	return vdev->device->block->ops->prefetch != NULL;
}

void vdev_prefetch(const struct vdev *vdev, const struct vdev_request *request)
{
	const struct block_request *block = &request->block;
	struct block_device *device;
	struct volume_place place;

	if (block->op > BLOCK_WRITE || block->length_bytes == 0 ||
	    check(vdev, block) < 0 ||
	    !volume_map(vdev->volume, block->offset_bytes, block->length_bytes,
			block->op == BLOCK_WRITE, &place))
		return;
	device = place.member->config.device;
	if (device->ops->prefetch)
		device->ops->prefetch(device, block, place.offset_bytes);
}
