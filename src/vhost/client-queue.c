/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-queue.c - the driver's side of a split virtqueue
 *
 * Every slot has a fixed place in the ring: descriptors 3s, 3s+1, 3s+2 in
 * direct mode, descriptor s and a table of its own in indirect mode.  They are
 * rewritten only when a request's buffer or kind differs from what the slot
 * held last, so that in steady state the descriptors stay clean in both
 * cores' caches, and a request moves one line (header and status), two bytes
 * of the avail ring and eight of the used ring.
 *
 * The used ring is the server's: indexes and ids are checked before use.
 */
#include "vhost/client-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/eventfd.h>

#define RING_ALIGN	4096U

static size_t round_up(size_t bytes)
{
	return (bytes + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
}

static unsigned int slot_count(unsigned int size, bool indirect)
{
	return indirect ? size : size / CLIENT_CHAIN;
}

static size_t desc_bytes(unsigned int size)
{
	return round_up(size * sizeof(struct vring_desc));
}

static size_t avail_bytes(unsigned int size)
{
	return round_up(sizeof(struct vring_avail) +
			(size + 1) * sizeof(uint16_t));
}

static size_t used_bytes(unsigned int size)
{
	return round_up(sizeof(struct vring_used) +
			size * sizeof(struct vring_used_elem) +
			sizeof(uint16_t));
}

static size_t lines_bytes(unsigned int size, bool indirect)
{
	return round_up(slot_count(size, indirect) *
			sizeof(struct client_line));
}

size_t client_queue_bytes(unsigned int size, bool indirect)
{
	size_t bytes = desc_bytes(size) + avail_bytes(size) + used_bytes(size) +
		lines_bytes(size, indirect);

	if (indirect)
		bytes += round_up(size * CLIENT_TABLE *
				  sizeof(struct vring_desc));
	return bytes;
}

void client_queue_place(struct vhost_client_queue *queue, void *memory)
{
	char *at = memory;

	queue->desc = (void *)at;
	at += desc_bytes(queue->size);
	queue->avail = (void *)at;
	queue->used_event = &queue->avail->ring[queue->size];
	at += avail_bytes(queue->size);
	queue->used = (void *)at;
	queue->avail_event = (void *)&queue->used->ring[queue->size];
	at += used_bytes(queue->size);
	queue->lines = (void *)at;
	at += lines_bytes(queue->size, queue->indirect);
	if (queue->indirect)
		queue->tables = (void *)at;
	vhost_client_disarm(queue);
}

int client_queue_init(struct vhost_client_queue *queue, unsigned int size,
		      bool indirect)
{
	unsigned int i;

	queue->kick_fd = queue->call_fd = -1;
	queue->size = (uint16_t)size;
	queue->indirect = indirect;
	queue->slot_count = slot_count(size, indirect);
	queue->slots = calloc(queue->slot_count, sizeof(*queue->slots));
	queue->free = calloc(queue->slot_count, sizeof(*queue->free));
	if (!queue->slots || !queue->free)
		return -ENOMEM;
	for (i = 0; i < queue->slot_count; i++)
		queue->free[i] = (uint16_t)(queue->slot_count - 1 - i);
	queue->free_count = queue->slot_count;

	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick_fd < 0)
		return -errno;
	queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->call_fd < 0)
		return -errno;
	return 0;
}

void client_queue_finish(struct vhost_client_queue *queue)
{
	free(queue->slots);
	free(queue->free);
	if (queue->kick_fd >= 0)
		close(queue->kick_fd);
	if (queue->call_fd >= 0)
		close(queue->call_fd);
}

static uint16_t used_index(const struct vhost_client_queue *queue)
{
	return __atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE);
}

bool client_queue_unreaped(const struct vhost_client_queue *queue)
{
	return !queue->broken && used_index(queue) != queue->used_next;
}

static struct vring_desc describe(const void *base, size_t length,
				  unsigned int flags, unsigned int next)
{
	return (struct vring_desc){
		.addr = (uint64_t)(uintptr_t)base,
		.len = (uint32_t)length,
		.flags = (uint16_t)flags,
		.next = (uint16_t)next,
	};
}

/* Write the slot's descriptors for 'request': a table of its own, or its
 * three fixed ones, of which a flush skips the middle. */
static void build(struct vhost_client_queue *queue, unsigned int index,
		  const struct vhost_client_request *request,
		  enum client_shape shape)
{
	struct client_line *line = &queue->lines[index];
	unsigned int first = queue->indirect ? 0 : index * CLIENT_CHAIN;
	struct vring_desc *desc = queue->indirect ?
		&queue->tables[index * CLIENT_TABLE] :
		&queue->desc[first];
	unsigned int count = 0, i;

	desc[count] = describe(&line->header, sizeof(line->header),
			       VRING_DESC_F_NEXT, first + count + 1);
	count++;
	if (shape == CLIENT_SHAPE_READ || shape == CLIENT_SHAPE_WRITE) {
		unsigned int flags = VRING_DESC_F_NEXT;

		if (shape == CLIENT_SHAPE_READ)
			flags |= VRING_DESC_F_WRITE;
		for (i = 0; i < request->iov_count; i++, count++)
			desc[count] = describe(request->iov[i].iov_base,
					       request->iov[i].iov_len, flags,
					       first + count + 1);
	} else if (shape == CLIENT_SHAPE_RANGE) {
		desc[count] = describe(&line->range, sizeof(line->range),
				       VRING_DESC_F_NEXT, first + count + 1);
		count++;
	}
	desc[count] = describe(&line->status, sizeof(line->status),
			       VRING_DESC_F_WRITE, 0);
	count++;
	if (queue->indirect)
		queue->desc[index] = describe(desc, count * sizeof(*desc),
					      VRING_DESC_F_INDIRECT, 0);
}

/* The slot's descriptors may say the right thing already. */
static void build_if_changed(struct vhost_client_queue *queue,
			     unsigned int index,
			     const struct vhost_client_request *request,
			     enum client_shape shape)
{
	struct client_slot *slot = &queue->slots[index];
	const void *base = NULL;
	uint32_t length = 0;
	bool many = false;

	if (shape == CLIENT_SHAPE_READ || shape == CLIENT_SHAPE_WRITE) {
		base = request->iov[0].iov_base;
		length = (uint32_t)request->iov[0].iov_len;
		many = request->iov_count > 1;
	}
	if (!many && slot->built_shape == shape && slot->built_base == base &&
	    slot->built_length == length)
		return;
	build(queue, index, request, shape);
	slot->built_base = base;
	slot->built_length = length;
	slot->built_shape = (uint8_t)(many ? CLIENT_SHAPE_NONE : shape);
}

/* How 'request' looks on the wire: its shape and type; -EINVAL if nobody
 * could serve it. */
static int classify(const struct vhost_client_queue *queue,
		    const struct vhost_client_request *request,
		    uint32_t *ret_type)
{
	const unsigned int most =
		queue->indirect ? VHOST_CLIENT_SEGMENTS_MAX : 1;

	if (request->offset_bytes % 512)
		return -EINVAL;
	switch ((enum vhost_client_op)request->op) {
	case VHOST_CLIENT_READ:
	case VHOST_CLIENT_WRITE:
		if (request->iov_count == 0 || request->iov_count > most)
			return -EINVAL;
		if (request->op == VHOST_CLIENT_READ) {
			*ret_type = VIRTIO_BLK_T_IN;
			return CLIENT_SHAPE_READ;
		}
		*ret_type = VIRTIO_BLK_T_OUT;
		return CLIENT_SHAPE_WRITE;
	case VHOST_CLIENT_FLUSH:
		*ret_type = VIRTIO_BLK_T_FLUSH;
		return CLIENT_SHAPE_FLUSH;
	case VHOST_CLIENT_DISCARD:
	case VHOST_CLIENT_WRITE_ZEROES:
		if (request->length_bytes % 512 ||
		    request->length_bytes / 512 > UINT32_MAX)
			return -EINVAL;
		*ret_type = request->op == VHOST_CLIENT_DISCARD ?
			VIRTIO_BLK_T_DISCARD :
			VIRTIO_BLK_T_WRITE_ZEROES;
		return CLIENT_SHAPE_RANGE;
	}
	return -EINVAL;
}

static void show_slot(struct vhost_client_queue *queue, unsigned int index)
{
	const unsigned int head =
		queue->indirect ? index : index * CLIENT_CHAIN;

	queue->avail->ring[queue->avail_next & (queue->size - 1U)] =
		(uint16_t)head;
	queue->avail_next++;
}

int vhost_client_add(struct vhost_client_queue *queue,
		     struct vhost_client_request *request)
{
	struct client_line *line;
	struct client_slot *slot;
	unsigned int index;
	uint32_t type = 0;
	int shape;

	if (queue->broken)
		return -EPROTO;
	if (queue->free_count == 0)
		return -EAGAIN;
	shape = classify(queue, request, &type);
	if (shape < 0)
		return shape;

	index = queue->free[--queue->free_count];
	slot = &queue->slots[index];
	line = &queue->lines[index];
	build_if_changed(queue, index, request, (enum client_shape)shape);
	line->header.type = type;
	line->header.ioprio = request->ioprio;
	line->header.sector =
		shape == CLIENT_SHAPE_FLUSH || shape == CLIENT_SHAPE_RANGE ?
		0 :
		request->offset_bytes / 512;
	line->status = CLIENT_STATUS_NONE;
	if (shape == CLIENT_SHAPE_RANGE) {
		line->range.sector = request->offset_bytes / 512;
		line->range.num_sectors =
			(uint32_t)(request->length_bytes / 512);
		line->range.flags = request->op == VHOST_CLIENT_WRITE_ZEROES &&
				request->flags & VHOST_CLIENT_FLAG_UNMAP ?
			VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP :
			0;
	}
	slot->owner = request;
	slot->order = queue->added++;
	show_slot(queue, index);
	return 0;
}

/* Does the server want to hear of entries 'from' up to 'queue->avail_shown'? */
static bool wants_kick(const struct vhost_client_queue *queue, uint16_t from)
{
	if (queue->event_index)
		return vring_need_event(
			__atomic_load_n(queue->avail_event, __ATOMIC_RELAXED),
			queue->avail_shown, from);
	return !(__atomic_load_n(&queue->used->flags, __ATOMIC_RELAXED) &
		 VRING_USED_F_NO_NOTIFY);
}

void vhost_client_publish(struct vhost_client_queue *queue)
{
	const uint16_t from = queue->avail_shown;

	if (queue->avail_next == from)
		return;
	__atomic_store_n(&queue->avail->idx, queue->avail_next,
			 __ATOMIC_RELEASE);
	queue->avail_shown = queue->avail_next;
	/* The index before the server's wish; it does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wants_kick(queue, from))
		(void)eventfd_write(queue->kick_fd, 1);
}

static int result_of(uint8_t status)
{
	if (status == VIRTIO_BLK_S_OK)
		return 0;
	return status == VIRTIO_BLK_S_UNSUPP ? -EOPNOTSUPP : -EIO;
}

/* The slot that the server means by 'id', or NULL: not one in flight. */
static struct client_slot *slot_of(struct vhost_client_queue *queue,
				   uint32_t id)
{
	unsigned int index = id;

	if (!queue->indirect) {
		index = id / CLIENT_CHAIN;
		if (id % CLIENT_CHAIN)
			return NULL;
	}
	if (index >= queue->slot_count || !queue->slots[index].owner)
		return NULL;
	return &queue->slots[index];
}

int vhost_client_reap(struct vhost_client_queue *queue,
		      struct vhost_client_request **ret_requests,
		      unsigned int max)
{
	unsigned int ready, i;

	if (queue->broken)
		return -EPROTO;
	ready = (uint16_t)(used_index(queue) - queue->used_next);
	if (ready == 0)
		return 0;
	if (ready > vhost_client_in_flight(queue)) {
		queue->broken = true;
		return -EPROTO;
	}
	if (ready > max)
		ready = max;
	for (i = 0; i < ready; i++) {
		const struct vring_used_elem *elem =
			&queue->used
				 ->ring[queue->used_next & (queue->size - 1U)];
		struct client_slot *slot = slot_of(
			queue, __atomic_load_n(&elem->id, __ATOMIC_RELAXED));
		unsigned int index;

		if (!slot) {
			queue->broken = true;
			return i > 0 ? (int)i : -EPROTO;
		}
		index = (unsigned int)(slot - queue->slots);
		slot->owner->result = result_of(queue->lines[index].status);
		ret_requests[i] = slot->owner;
		slot->owner = NULL;
		queue->free[queue->free_count++] = (uint16_t)index;
		queue->used_next++;
	}
	return (int)ready;
}

unsigned int vhost_client_in_flight(const struct vhost_client_queue *queue)
{
	return queue->slot_count - queue->free_count;
}

int vhost_client_queue_fd(const struct vhost_client_queue *queue)
{
	return queue->call_fd;
}

bool vhost_client_arm(struct vhost_client_queue *queue)
{
	__atomic_store_n(queue->used_event, queue->used_next, __ATOMIC_RELAXED);
	__atomic_store_n(&queue->avail->flags, 0, __ATOMIC_RELAXED);
	/* The wish before the index; the server does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !queue->broken && used_index(queue) == queue->used_next;
}

void vhost_client_disarm(struct vhost_client_queue *queue)
{
	eventfd_t count;

	/* Half the circle away: the server won't pass it for a while. */
	__atomic_store_n(queue->used_event,
			 (uint16_t)(queue->used_next + 0x8000U),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&queue->avail->flags,
			 queue->event_index ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
			 __ATOMIC_RELAXED);
	(void)eventfd_read(queue->call_fd, &count);
}

static int by_order(const void *left, const void *right)
{
	const struct client_slot *const *a = left, *const *b = right;

	return (*a)->order < (*b)->order ? -1 : (*a)->order > (*b)->order;
}

void client_queue_refill(struct vhost_client_queue *queue)
{
	struct client_slot *waiting[VHOST_CLIENT_QUEUE_SIZE_MAX];
	unsigned int count = 0, i;

	for (i = 0; i < queue->slot_count; i++)
		if (queue->slots[i].owner)
			waiting[count++] = &queue->slots[i];
	qsort(waiting, count, sizeof(struct client_slot *), by_order);

	memset(queue->used, 0, used_bytes(queue->size));
	queue->used_next = queue->avail_next = queue->avail_shown = 0;
	for (i = 0; i < count; i++) {
		const unsigned int index =
			(unsigned int)(waiting[i] - queue->slots);

		queue->lines[index].status = CLIENT_STATUS_NONE;
		show_slot(queue, index);
	}
	__atomic_store_n(&queue->avail->idx, queue->avail_next,
			 __ATOMIC_RELEASE);
	queue->avail_shown = queue->avail_next;
	queue->broken = false;
	vhost_client_disarm(queue);
}
