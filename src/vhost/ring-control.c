/* SPDX-License-Identifier: Apache-2.0 */
/* ring-control.c - a ring's life: start, change, quiesce, stop; see ring.h */
#include "vhost/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "vhost/access.h"
#include "vhost/ring-poll.h"
#include "vhost/ring-state.h"
#include "vhost/ring-take.h"
#include "vhost/ring-used.h"

int ring_create(const struct ring_config *config, struct ring **ret_ring)
{
	struct ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	ring->poller.poll = ring_poll;
	ring->poller.arm = ring_arm;
	ring->poller.quiet_until = ring_quiet_until;
	ring->config = *config;
	*ret_ring = ring;
	return 0;
}

void ring_destroy(struct ring *ring)
{
	if (!ring)
		return;
	loop_poller_remove(ring->config.loop, &ring->poller);
	notify_destroy(ring->kick);
	notify_destroy(ring->call);
	notify_destroy(ring->error);
	if (ring->map)
		memory_map_put(ring->map);
	while (ring->pieces) {
		ring->completed[ring->completed_count++] = ring->pieces;
		ring->pieces = ring->pieces->next;
	}
	ring->orphan = true;
	if (ring->completed_count == ring->in_flight)
		ring_free(ring);
}

/* ---- descriptors ---- */

static int set_notify(struct ring *ring, struct notify **which, int fd,
		      int (*create)(struct loop *loop, int fd,
				    struct notify **ret_notify))
{
	struct notify *notify = NULL;
	int rc;

	if (fd >= 0) {
		rc = create(ring->config.loop, fd, &notify);
		if (rc < 0)
			return rc;
	}
	notify_destroy(*which);
	*which = notify;
	return 0;
}

int ring_set_kick(struct ring *ring, int fd)
{
	return set_notify(ring, &ring->kick, fd, notify_create_in);
}

int ring_set_call(struct ring *ring, int fd)
{
	int rc = set_notify(ring, &ring->call, fd, notify_create_out);

	/* What was used before may not have been told to anybody. */
	if (rc == 0 && ring->running && ring->call)
		notify_ring(ring->call);
	return rc;
}

int ring_set_error(struct ring *ring, int fd)
{
	return set_notify(ring, &ring->error, fd, notify_create_out);
}

/* ---- flags ---- */

void ring_enable(struct ring *ring, bool enabled)
{
	ring->enabled = enabled;
	ring_refresh(ring);
}

void ring_quiesce(struct ring *ring, bool leave)
{
	ring->quiescing = true;
	ring->leaving = leave;
	ring->told_idle = false;
	if (leave)
		ring->resubmit_count = ring->resubmit_next;
	ring_refresh(ring);
	if (ring->in_flight > 0)
		ring_hurry(ring, loop_now_ns(ring->config.loop));
}

void ring_forsake(struct ring *ring)
{
	if (!ring->inflight.queue)
		ring->silent = true;
}

bool ring_running(const struct ring *ring)
{
	return ring->running;
}

bool ring_idle(const struct ring *ring)
{
	return !ring->running || ring_quiesced(ring);
}

/* ---- start, change, stop ---- */

static uint8_t *find_part(const struct memory_map *map, uint64_t user_addr,
			  uint64_t length, uintptr_t align)
{
	uint8_t *host = memory_find_user(map, user_addr, length);

	return (uintptr_t)host % align == 0 ? host : NULL;
}

/* Where its three parts are.  Each must lie within one region. */
static int find_parts(struct ring *ring, const struct ring_layout *layout,
		      struct memory_map *map, struct error *reterr)
{
	const uint64_t size = layout->size;
	uint8_t *desc, *avail, *used;

	desc = find_part(map, layout->desc_user_addr,
			 size * sizeof(struct vring_desc),
			 VRING_DESC_ALIGN_SIZE);
	avail = find_part(map, layout->avail_user_addr,
			  sizeof(struct vring_avail) +
				  (size + 1) * sizeof(uint16_t),
			  VRING_AVAIL_ALIGN_SIZE);
	used = find_part(map, layout->used_user_addr,
			 sizeof(struct vring_used) +
				 size * sizeof(struct vring_used_elem) +
				 sizeof(uint16_t),
			 VRING_USED_ALIGN_SIZE);
	if (!desc || !avail || !used)
		return error_set(reterr, -EINVAL,
				 "ring %u is not in the guest's memory",
				 ring->config.index);
	ring->avail = (struct vring_avail *)(void *)avail;
	ring->used = (struct vring_used *)(void *)used;
	ring->source = (struct chain_source){
		.table = (const struct vring_desc *)(void *)desc,
		.size = layout->size,
		.map = map,
		.recent = &map->slots[0],	/* it has the ring: not none */
		.other = &map->slots[0],
	};
	memory_map_get(map);
	if (ring->map)
		memory_map_put(ring->map);
	ring->map = map;
	return 0;
}

static void set_log(struct ring *ring, const struct ring_layout *layout,
		    struct dirty_log *log)
{
	ring->log = log;
	ring->log_used = layout->log_used;
	ring->used_guest_addr = layout->used_guest_addr;
}

/* Where to go on: from the inflight region if it knows, else as said. */
static int find_indexes(struct ring *ring, const struct ring_layout *layout,
			const struct ring_environment *environment,
			struct error *reterr)
{
	bool known = false;
	int rc;

	ring->used_idx = access_acquire_u16(&ring->used->idx);
	ring->next_avail = layout->base;
	ring->resubmit_next = 0;
	ring->resubmit_count = 0;
	ring->inflight = (struct inflight_ring){0};
	if (!environment->inflight)
		return 0;
	rc = inflight_start(environment->inflight, ring->config.index,
			    layout->size, ring->used_idx, environment->features,
			    &ring->inflight, ring->resubmit,
			    &ring->resubmit_count, &known, reterr);
	if (rc == 0 && known)
		ring->next_avail =
			(uint16_t)(ring->used_idx + ring->resubmit_count);
	return rc;
}

int ring_start(struct ring *ring, const struct ring_layout *layout,
	       const struct ring_environment *environment, struct error *reterr)
{
	int rc;

	assert(!ring->running && ring->in_flight == 0);
	if (layout->size == 0)
		return error_set(reterr, -EINVAL,
				 "ring %u was started before its size was set",
				 ring->config.index);
	rc = find_parts(ring, layout, environment->map, reterr);
	if (rc < 0)
		return rc;
	rc = ring_storage_create(ring, layout->size, ring_request_done);
	if (rc < 0)
		return error_set(reterr, rc, "ring %u: no memory",
				 ring->config.index);
	rc = find_indexes(ring, layout, environment, reterr);
	if (rc < 0) {
		ring_storage_free(ring);
		return rc;
	}
	ring->size = layout->size;
	ring->mask = (uint16_t)(layout->size - 1);
	ring->event_idx =
		environment->features & VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	set_log(ring, layout, environment->log);
	ring->pieces = NULL;
	ring->pieces_end = &ring->pieces;
	ring->signalled = false;
	ring->armed = true;	/* as far as the guest knows */
	ring->starved = false;
	ring->broken = false;
	ring->silent = false;
	ring->quiescing = false;
	ring->running = true;
	loop_poller_add(ring->config.loop, &ring->poller);
	ring_refresh(ring);
	return 0;
}

int ring_update(struct ring *ring, const struct ring_layout *layout,
		const struct ring_environment *environment,
		struct error *reterr)
{
	int rc;

	if (!ring->running)
		return 0;
	set_log(ring, layout, environment->log);
	rc = find_parts(ring, layout, environment->map, reterr);
	if (rc < 0) {
		/* The old map stays, so what is in flight still ends well. */
		ring_break(ring, "its memory was taken away");
		return rc;
	}
	return 0;
}

uint16_t ring_stop(struct ring *ring)
{
	assert(ring->in_flight == 0);
	loop_poller_remove(ring->config.loop, &ring->poller);
	ring->running = false;
	ring->quiescing = false;
	ring_refresh(ring);
	memory_map_put(ring->map);
	ring->map = NULL;
	ring->inflight = (struct inflight_ring){0};
	ring->log = NULL;
	ring_storage_free(ring);
	return ring->next_avail;
}
