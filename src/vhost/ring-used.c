/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-used.c - what is completed, from the vdev to the used ring
 *
 * Collecting, and writing it all at once: see the head of ring-poll.c; the
 * order in which the inflight region is written: inflight.c.
 */
#include "vhost/ring-used.h"

#include <errno.h>
#include <stddef.h>

#include "vhost/access.h"

void ring_log_data(struct ring *ring, const struct ring_request *request)
{
	const struct block_request *block = &request->vdev.block;
	uint64_t guest_addr;

	for (uint32_t i = 0; i < block->iov_count; i++) {
		const struct iovec *iov = &block->iov[i];

		if (memory_guest_addr(request->map, iov->iov_base, &guest_addr))
			log_mark(ring->log, guest_addr, iov->iov_len);
	}
}

/* The status of a request that failed. */
static uint8_t failed(const struct ring_request *request)
{
	const int result = request->vdev.block.result;

	/* The kernel found what a SIGBUS says where we copy ourselves. */
	if (result == -EFAULT)
		request->map->account->lost = 1;
	return blk_status(result);
}

void ring_request_done(struct vdev_request *vdev)
{
	struct ring_request *request =
		(struct ring_request *)(void *)((char *)vdev -
						offsetof(struct ring_request,
							 vdev));
	struct ring *ring = request->ring;

	request->code =
		vdev->block.result == 0 ? VIRTIO_BLK_S_OK : failed(request);
	if (request->left_bytes > 0 && vdev->block.result == 0 &&
	    !ring->orphan) {
		request->next = NULL;
		*ring->pieces_end = request;
		ring->pieces_end = &request->next;
		return;
	}
	ring_complete(ring, request);
	if (ring->orphan && ring->completed_count == ring->in_flight)
		ring_free(ring);
}

static void log_used(struct ring *ring, uint16_t first, unsigned int count)
{
	const uint64_t base = ring->used_guest_addr;

	log_mark(ring->log, base, offsetof(struct vring_used, ring));
	for (unsigned int i = 0; i < count; i++) {
		const unsigned int at = (uint16_t)(first + i) & ring->mask;

		log_mark(ring->log,
			 base + offsetof(struct vring_used, ring) +
				 at * sizeof(struct vring_used_elem),
			 sizeof(struct vring_used_elem));
	}
}

/* Write what is completed to the used ring: see inflight.c for the order. */
static void publish(struct ring *ring)
{
	const unsigned int count = ring->completed_count;
	const uint16_t first = ring->used_idx;
	uint16_t idx = first;

	for (unsigned int i = 0; i < count; i++, idx++) {
		const struct ring_request *request = ring->completed[i];

		access_write_u8(request->status, request->code);
		if (ring->log) {
			uint64_t guest_addr;

			if (request->logged)
				ring_log_data(ring, request);
			if (memory_guest_addr(request->map, request->status,
					      &guest_addr))
				log_mark(ring->log, guest_addr, 1);
		}
		access_write_u64(&ring->used->ring[idx & ring->mask],
				 request->head |
					 (uint64_t)request->used_bytes << 32);
		if (ring->inflight.queue)
			inflight_batch(&ring->inflight, request->head);
	}
	ring->used_idx = idx;
	access_release_u16(&ring->used->idx, idx);
	if (ring->inflight.queue) {
		for (unsigned int i = 0; i < count; i++)
			inflight_clear(&ring->inflight,
				       ring->completed[i]->head);
		inflight_commit(&ring->inflight, idx);
	}
	if (ring->log && ring->log_used)
		log_used(ring, first, count);
	ring->shown = true;
}

static void forget(struct ring *ring, struct ring_request *request)
{
	ring->busy[request->head] = 0;
	ring_give_iov(ring, request);
	memory_map_put(request->map);
	request->next = ring->free;
	ring->free = request;
}

void ring_request_left(struct vdev_request *vdev)
{
	struct ring_request *request =
		(struct ring_request *)(void *)((char *)vdev -
						offsetof(struct ring_request,
							 vdev));
	struct ring *ring = request->ring;

	forget(ring, request);
	ring->in_flight--;
	ring->starved = false;
}

void ring_show(struct ring *ring)
{
	const unsigned int count = ring->completed_count;

	if (!ring->silent)
		publish(ring);
	for (unsigned int i = 0; i < count; i++)
		forget(ring, ring->completed[i]);
	ring->completed_count = 0;
	ring->in_flight -= count;
	ring->starved = false;
}
