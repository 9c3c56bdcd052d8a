/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-take.c - taking what the guest made available, up to the vdev
 *
 * The stages of a batch, see the head of ring-poll.c; and requests that go to
 * the vdev in several pieces.
 */
#include "vhost/ring-take.h"

#include <errno.h>

#include "vhost/access.h"
#include "vhost/ring-used.h"

/* Halves are worth their while from here on. */
#define HALVED_MIN	8U

struct batch_entry {
	struct ring_request *request;
	struct blk_parts parts;
	int code;			/* see blk_fill */
};

struct batch {
	unsigned int count;
	bool again;			/* from the inflight region */
	bool sits_out;			/* it is the others' turn */
	uint16_t heads[RING_BATCH];
	struct vring_desc first[RING_BATCH];
	struct batch_entry entries[RING_BATCH];
};

/* Stage 1: which heads.  Returns how many. */
static unsigned int take_heads(struct ring *ring, struct batch *batch,
			       uint64_t now_ns)
{
	uint16_t count;

	batch->sits_out = false;
	batch->again = ring->resubmit_next < ring->resubmit_count;
	if (batch->again) {
		unsigned int left = ring->resubmit_count - ring->resubmit_next;

		count = (uint16_t)(left < RING_BATCH ? left : RING_BATCH);
		for (uint16_t i = 0; i < count; i++)
			batch->heads[i] =
				ring->resubmit[ring->resubmit_next + i];
		return count;
	}
	count = (uint16_t)(access_acquire_u16(&ring->avail->idx) -
			   ring->next_avail);
	if (count == 0)
		return 0;
	if (count > ring->size) {
		ring_break(ring, "available index is %u ahead in a ring of %u",
			   count, ring->size);
		return 0;
	}
	if (count > RING_BATCH)
		count = RING_BATCH;
	count = (uint16_t)vdev_turn(ring->config.target->vdev,
				    ring->config.target->process, &ring->seat,
				    count, now_ns);
	batch->sits_out = count == 0;
	for (uint16_t i = 0; i < count; i++) {
		const uint16_t at =
			(uint16_t)(ring->next_avail + i) & ring->mask;

		batch->heads[i] = access_read_u16(&ring->avail->ring[at]);
		__builtin_prefetch(
			&ring->source.table[batch->heads[i] & ring->mask]);
	}
	return count;
}

/* Stage 2: the first descriptors, copied; ask for what they lead to. */
static void describe(struct ring *ring, struct batch *batch)
{
	const struct chain_source *source = &ring->source;

	for (unsigned int i = 0; i < batch->count; i++) {
		struct vring_desc *first = &batch->first[i];

		*first = chain_copy_desc(
			&source->table[batch->heads[i] & ring->mask]);
		if (first->flags & VRING_DESC_F_INDIRECT) {
			const uint8_t *table = chain_find_recent(
				source, first->addr, first->len);

			if (table)
				__builtin_prefetch(table);
		} else {
			__builtin_prefetch(
				&source->table[first->next & ring->mask]);
		}
	}
}

/* Follow one chain with as much room as it needs.  Returns 0, -EAGAIN (no
 * room now) or -EINVAL. */
static int parse(struct ring *ring, struct ring_request *request,
		 const struct vring_desc *first, struct chain *chain)
{
	int rc;

	chain->iov = request->own;
	chain->capacity = RING_IOV_OWN;
	chain->last_resort = false;
	rc = chain_parse(&ring->source, first, chain);
	if (rc != -ENOSPC)
		return rc;
	chain->capacity = RING_IOV_MEDIUM;
	chain->iov = ring_pool_take(&ring->medium);
	if (chain->iov) {
		request->iov = chain->iov;
		rc = chain_parse(&ring->source, first, chain);
		if (rc != -ENOSPC)
			return rc;
		ring_give_iov(ring, request);
	}
	chain->capacity = RING_IOV_LARGE;
	chain->last_resort = true;
	chain->iov = ring_pool_take(&ring->large);
	if (!chain->iov)
		return -EAGAIN;
	request->iov = chain->iov;
	return chain_parse(&ring->source, first, chain);
}

/* Stage 3 for one: a request with its parts.  Returns 0; -EAGAIN: not now;
 * -EINVAL: the ring is broken. */
static int locate(struct ring *ring, uint16_t head,
		  const struct vring_desc *first, struct batch_entry *entry)
{
	struct ring_request *request = ring->free;
	struct chain chain;
	int rc;

	if (head >= ring->size) {
		ring_break(ring, "head %u in a ring of %u", head, ring->size);
		return -EINVAL;
	}
	if (ring->busy[head]) {
		ring_break(ring, "head %u is in flight already", head);
		return -EINVAL;
	}
	if (!request) {
		ring->starved = true;
		return -EAGAIN;
	}
	rc = parse(ring, request, first, &chain);
	if (rc == 0)
		rc = blk_locate(&chain, &entry->parts);
	if (rc < 0) {
		ring_give_iov(ring, request);
		ring->starved = rc == -EAGAIN;
		if (rc == -EINVAL)
			ring_break(
				ring,
				"the chain of head %u has no end or no status byte",
				head);
		return rc;
	}
	__builtin_prefetch(entry->parts.header);
	__builtin_prefetch(entry->parts.status, 1);
	ring->free = request->next;
	ring->busy[head] = 1;
	request->head = head;
	request->status = entry->parts.status;
	request->used_bytes = entry->parts.used_bytes;
	entry->request = request;
	return 0;
}

/* Hand the next piece to the vdev, or all of it if it isn't large. */
static void submit_piece(struct ring *ring, struct ring_request *request,
			 uint64_t now_ns)
{
	struct block_request *block = &request->vdev.block;

	block->iov = request->data;
	block->offset_bytes = request->offset_bytes;
	block->length_bytes = request->left_bytes < RING_PIECE_BYTES ?
		request->left_bytes :
		RING_PIECE_BYTES;
	block->iov_count = chain_cut(request->data, block->length_bytes,
				     &request->rest_bytes);
	request->left_bytes -= block->length_bytes;
	vdev_submit(ring->config.target->vdev, &request->vdev, now_ns);
}

static void begin_pieces(struct ring *ring, struct ring_request *request,
			 struct iovec *data, unsigned int count,
			 uint64_t now_ns)
{
	request->data = data;
	request->data_count = count;
	request->offset_bytes = request->vdev.block.offset_bytes;
	request->left_bytes = request->vdev.block.length_bytes;
	submit_piece(ring, request, now_ns);
}

static void next_piece(struct ring *ring, struct ring_request *request,
		       uint64_t now_ns)
{
	const uint32_t done = request->vdev.block.iov_count;

	if (ring->log && request->logged)
		ring_log_data(ring, request);
	request->offset_bytes += request->vdev.block.length_bytes;
	request->data += done - 1;
	request->data_count -= done - 1;
	if (request->rest_bytes > 0) {
		chain_uncut(request->data, request->rest_bytes);
	} else {
		request->data++;
		request->data_count--;
	}
	blk_bind(ring->config.target, &request->vdev);
	submit_piece(ring, request, now_ns);
}

void ring_next_pieces(struct ring *ring, uint64_t now_ns)
{
	const struct blk_target *target = ring->config.target;
	uint64_t bytes = 0;

	if (vdev_turn(target->vdev, target->process, &ring->seat, 1, now_ns) ==
	    0)
		return;
	while (ring->pieces && bytes < RING_BATCH_BYTES) {
		struct ring_request *request = ring->pieces;

		ring->pieces = request->next;
		if (!ring->pieces)
			ring->pieces_end = &ring->pieces;
		bytes += request->left_bytes;
		next_piece(ring, request, now_ns);
	}
}

/* Stage 4 for one. */
static void fill(struct ring *ring, struct batch_entry *entry)
{
	struct ring_request *request = entry->request;

	entry->code =
		blk_fill(ring->config.target, &entry->parts, &request->vdev);
	request->map = memory_map_get(ring->map);
	request->left_bytes = 0;
}

/* Stage 5 for one. */
static void submit(struct ring *ring, struct batch_entry *entry,
		   uint64_t now_ns)
{
	struct ring_request *request = entry->request;
	struct block_request *block = &request->vdev.block;

	if (entry->code >= 0) {
		vdev_answered(&request->vdev);
		/* Only GET_ID has written anything then. */
		request->logged = entry->code == VIRTIO_BLK_S_OK;
		block->iov = entry->parts.data_in;
		block->iov_count =
			request->logged ? entry->parts.data_in_count : 0;
		request->code = (uint8_t)entry->code;
		ring_complete(ring, request);
		return;
	}
	request->logged = block->op == BLOCK_READ;
	if (block->length_bytes > RING_PIECE_BYTES && block->iov_count > 0)
		begin_pieces(ring, request,
			     request->logged ? entry->parts.data_in :
					       entry->parts.data_out,
			     block->iov_count, now_ns);
	else
		vdev_submit(ring->config.target->vdev, &request->vdev, now_ns);
}

/* Stages 4 and 5: a header is read, and the device told what it will need,
 * while the request before is served. */
static void submit_all(struct ring *ring, struct batch *batch, uint64_t now_ns)
{
	struct vdev *vdev = ring->config.target->vdev;
	const bool prefetches = vdev_prefetches(vdev);
	const unsigned int count = batch->count;
	const unsigned int half =
		count >= HALVED_MIN && !ring->ahead ? count / 2 : 0;

	if (count > 0)
		fill(ring, &batch->entries[0]);
	for (unsigned int i = 0; i < count; i++) {
		if (i + 1 < count) {
			struct batch_entry *next = &batch->entries[i + 1];

			fill(ring, next);
			if (prefetches && next->code < 0)
				vdev_prefetch(vdev, &next->request->vdev);
		}
		submit(ring, &batch->entries[i], now_ns);
		if (i + 1 == half && ring->completed_count > 0)
			ring_show(ring);
	}
	ring->ahead = access_acquire_u16(&ring->avail->idx) != ring->next_avail;
}

/* Stage 3; returns how many went through. */
static unsigned int locate_all(struct ring *ring, struct batch *batch)
{
	uint64_t bytes = 0;
	unsigned int count = 0;

	while (count < batch->count && bytes < RING_BATCH_BYTES) {
		struct batch_entry *entry = &batch->entries[count];

		if (locate(ring, batch->heads[count], &batch->first[count],
			   entry) < 0)
			break;
		bytes += entry->parts.data_in_bytes +
			entry->parts.data_out_bytes;
		count++;
	}
	if (batch->again) {
		ring->resubmit_next += count;
	} else {
		ring->next_avail = (uint16_t)(ring->next_avail + count);
		if (ring->inflight.queue)
			for (unsigned int i = 0; i < count; i++)
				inflight_take(&ring->inflight, batch->heads[i]);
	}
	ring->in_flight += count;
	return count;
}

static void stop_kicks(struct ring *ring)
{
	ring->armed = false;
	if (!ring->event_idx)
		access_write_u16(&ring->used->flags, VRING_USED_F_NO_NOTIFY);
}

unsigned int ring_take(struct ring *ring, uint64_t now_ns)
{
	const struct blk_target *target = ring->config.target;
	struct batch batch;
	unsigned int allowed;

	batch.count = take_heads(ring, &batch, now_ns);
	if (batch.count == 0)
		return batch.sits_out;
	if (ring->armed)
		stop_kicks(ring);
	describe(ring, &batch);
	allowed = batch.count;
	batch.count = locate_all(ring, &batch);
	if (batch.count < allowed && !batch.again)
		vdev_turn_back(target->vdev, target->process, &ring->seat,
			       allowed - batch.count);
	submit_all(ring, &batch, now_ns);
	return batch.count;
}

void ring_hurry(struct ring *ring, uint64_t now_ns)
{
	struct vdev *vdev = ring->config.target->vdev;

	if (ring->leaving && (ring->inflight.queue || ring->silent)) {
		vdev_take_back(vdev, ring, ring_request_left, now_ns);
		return;
	}
	if (ring_may_leave(ring))
		vdev_take_halted(vdev, ring, ring_request_left, now_ns);
	vdev_let_go(vdev, ring, now_ns);
}
