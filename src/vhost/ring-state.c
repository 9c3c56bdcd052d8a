/* SPDX-License-Identifier: Apache-2.0 */
/* ring-state.c - a ring's memory, and how it is broken; see ring-state.h */
#include "vhost/ring-state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- flags ---- */

void ring_refresh(struct ring *ring)
{
	const bool again = ring->resubmit_next < ring->resubmit_count;

	ring->taking = ring->running && !ring->broken &&
		(ring->quiescing ? again : ring->enabled);
}

void ring_break(struct ring *ring, const char *format, ...)
{
	struct error why, error;
	va_list args;

	va_start(args, format);
	error_vset(&why, 0, format, args);
	va_end(args);
	error_set(&error, 0, "ring %u is stopped: %s", ring->config.index,
		  why.text);
	ring->broken = true;
	ring_refresh(ring);
	if (ring->error)
		notify_ring(ring->error);
	ring->config.trouble(ring->config.arg, &error);
}

/* ---- buffers of long chains ---- */

struct iovec *ring_pool_take(struct ring_pool *pool)
{
	if (pool->free_count == 0)
		return NULL;
	pool->free_count--;
	return &pool->memory[pool->free[pool->free_count] * pool->each];
}

static bool pool_give(struct ring_pool *pool, const struct iovec *iov)
{
	const size_t at = (size_t)((uintptr_t)iov - (uintptr_t)pool->memory) /
		sizeof(*iov);

	if (at >= (size_t)pool->total * pool->each)
		return false;
	pool->free[pool->free_count++] = (uint16_t)(at / pool->each);
	return true;
}

void ring_pool_give(struct ring *ring, struct ring_request *request)
{
	if (!pool_give(&ring->medium, request->iov))
		(void)pool_give(&ring->large, request->iov);
	request->iov = request->own;
}

/* ---- memory of a running ring ---- */

static int pool_create(struct ring_pool *pool, unsigned int each,
		       unsigned int total)
{
	pool->memory = calloc((size_t)each * total, sizeof(*pool->memory));
	if (!pool->memory)
		return -ENOMEM;
	pool->each = each;
	pool->total = total;
	for (unsigned int i = 0; i < total; i++)
		pool->free[i] = (uint16_t)(total - 1 - i);
	pool->free_count = total;
	return 0;
}

void ring_storage_free(struct ring *ring)
{
	free(ring->requests);
	free(ring->completed);
	free(ring->resubmit);
	free(ring->busy);
	free(ring->medium.memory);
	free(ring->large.memory);
	ring->requests = NULL;
	ring->completed = NULL;
	ring->resubmit = NULL;
	ring->busy = NULL;
	ring->free = NULL;
	ring->medium = (struct ring_pool){0};
	ring->large = (struct ring_pool){0};
}

/* While nobody waits for the ring to end. */
static bool may_wait(struct vdev_request *vdev)
{
	const struct ring *ring =
		((const struct ring_request *)(void *)vdev)->ring;

	return !ring->orphan && (!ring->quiescing || ring_may_leave(ring));
}

int ring_storage_create(struct ring *ring, uint16_t size,
			void (*done)(struct vdev_request *vdev))
{
	const unsigned int medium =
		size < RING_MEDIUM_MAX ? size : RING_MEDIUM_MAX;

	ring->requests = aligned_alloc(64, size * sizeof(*ring->requests));
	ring->completed = calloc(size, sizeof(struct ring_request *));
	ring->resubmit = calloc(size, sizeof(*ring->resubmit));
	ring->busy = calloc(size, sizeof(*ring->busy));
	if (!ring->requests || !ring->completed || !ring->resubmit ||
	    !ring->busy ||
	    pool_create(&ring->medium, RING_IOV_MEDIUM, medium) < 0 ||
	    pool_create(&ring->large, RING_IOV_LARGE, RING_LARGE_MAX) < 0) {
		ring_storage_free(ring);
		return -ENOMEM;
	}
	for (unsigned int i = size; i-- > 0;) {
		struct ring_request *request = &ring->requests[i];

		*request = (struct ring_request){
			.ring = ring,
			.iov = request->own,
			.next = ring->free,
			.vdev.done = done,
			.vdev.may_wait = may_wait,
			.vdev.owner = ring,
		};
		ring->free = request;
	}
	return 0;
}

void ring_free(struct ring *ring)
{
	for (unsigned int i = 0; i < ring->completed_count; i++)
		memory_map_put(ring->completed[i]->map);
	ring_storage_free(ring);
	free(ring);
}
