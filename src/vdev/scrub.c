/* SPDX-License-Identifier: Apache-2.0 */
/* scrub.c - see scrub.h */
#include "vdev/scrub.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vdev/device.h"

#define SECOND_NS	UINT64_C(1000000000)

static void go_on(struct vdev_scrub *scrub, uint64_t now_ns);

static bool may_begin(struct vdev_scrub *scrub, uint64_t now_ns)
{
	const struct member *member = scrub->member;

	if (now_ns < scrub->next_ns && member->is_running &&
	    !member_is_short(member)) {
		loop_timer_set(scrub->loop, &scrub->pace, scrub->next_ns);
		return false;
	}
	/* Late by one at the most: what was not used is not made up for. */
	if (scrub->next_ns + scrub->extent_ns < now_ns)
		scrub->next_ns = now_ns;
	scrub->next_ns += scrub->extent_ns;
	return true;
}

/* The first one ends. */
static void end_first(struct vdev_scrub *scrub, int result)
{
	struct block_request *first = scrub->queue[0];

	scrub->count--;
	memmove(scrub->queue, scrub->queue + 1,
		scrub->count * sizeof(scrub->queue[0]));
	scrub->begun_bytes = 0;
	first->result = result;
	first->done(first);
}

static void extent_done(struct block_request *request)
{
	struct vdev_scrub *scrub =
		container_of(request, struct vdev_scrub, extent);

	scrub->is_under_way = false;
	if (request->result < 0 ||
	    scrub->begun_bytes == scrub->queue[0]->length_bytes)
		end_first(scrub, request->result);
	go_on(scrub, loop_clock_ns());
}

static void begin_extent(struct vdev_scrub *scrub)
{
	const struct block_request *first = scrub->queue[0];

	scrub->extent = (struct block_request){
		.done = extent_done,
		.op = BLOCK_WRITE_ZEROES,
		.flags = first->flags,
		.offset_bytes = first->offset_bytes + scrub->begun_bytes,
		.length_bytes = FORMAT_EXTENT_BYTES,
	};
	scrub->begun_bytes += FORMAT_EXTENT_BYTES;
	scrub->is_under_way = true;
	vdev_carry(&scrub->carry, scrub->device, &scrub->extent);
}

/* Those that end inside are followed by the loop, not inside of it. */
static void go_on(struct vdev_scrub *scrub, uint64_t now_ns)
{
	if (scrub->is_looping)
		return;
	scrub->is_looping = true;
	while (scrub->count > 0 && !scrub->is_under_way &&
	       may_begin(scrub, now_ns))
		begin_extent(scrub);
	scrub->is_looping = false;
}

static void pace_expired(struct loop_timer *timer, uint64_t now_ns)
{
	go_on(container_of(timer, struct vdev_scrub, pace), now_ns);
}

void vdev_scrub(struct member *member, struct block_request *request)
{
	struct vdev_device *device = member->config.user;
	struct vdev_scrub *scrub = device->scrub;

	assert(scrub->count < MEMBER_RUNS);
	assert(request->length_bytes > 0 &&
	       request->length_bytes % FORMAT_EXTENT_BYTES == 0);
	scrub->member = member;
	scrub->queue[scrub->count++] = request;
	go_on(scrub, loop_clock_ns());
}

int vdev_scrub_create(struct vdev_device *device, struct loop *loop,
		      struct vdev_scrub **ret_scrub)
{
	struct vdev_scrub *scrub = calloc(1, sizeof(*scrub));

	if (!scrub)
		return -ENOMEM;
	if (loop_timer_init(loop, &scrub->pace, pace_expired) < 0) {
		free(scrub);
		return -ENOMEM;
	}
	scrub->device = device;
	scrub->loop = loop;
	scrub->extent_ns =
		SECOND_NS * FORMAT_EXTENT_BYTES / VDEV_SCRUB_BYTES_PER_S;
	*ret_scrub = scrub;
	return 0;
}

void vdev_scrub_destroy(struct vdev_scrub *scrub)
{
	if (!scrub)
		return;
	loop_timer_finish(scrub->loop, &scrub->pace);
	free(scrub);
}
