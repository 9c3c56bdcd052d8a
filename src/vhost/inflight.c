/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inflight.c - see inflight.h
 *
 * Theory of operation
 *
 * A guest that lives on when its back-end dies wants each of its requests
 * answered exactly once.  The ring alone can't tell which were taken but not
 * answered: answers come out of order.  So the back-end notes it in a region
 * that it makes once, hands to the front-end, and gets back from it at every
 * connection.  For each descriptor that can begin a request there is
 *
 *	inflight	taken and not answered
 *	counter		the order of taking
 *	next		the head before it in its batch of answers
 *
 * and for the ring: last_batch_head, where the latest batch begins, and
 * used_idx, the used index after the latest batch that was noted completely.
 *
 *	taking a request		answering a batch
 *	T1  counter			A1  used element
 *	T2  inflight = 1		A2  next = last_batch_head
 *					A3  last_batch_head = head
 *					    ... A1 to A3 for each
 *					A4  used->idx		(the guest sees)
 *					A5  inflight = 0, for each
 *					A6  used_idx = used->idx
 *
 * Dying before T2: not taken; heads are marked in the order of the ring, so
 * the next one to take is used->idx + (number of flags), and nothing else
 * needs to be stored.  Between T2 and A4: it is done again, by counter; the
 * guest has not seen an answer.  What A2 and A3 left in the list is followed
 * only as far as the batch is long, so entries of an unfinished batch behind
 * it are never reached.  Between A4 and A6: used_idx differs from used->idx,
 * by just the length of the batch that last_batch_head begins; those flags
 * are cleared.  (That A5 may have been half done does not matter.)
 *
 * x86 and compilers apart, a process that is killed has done its stores in
 * program order; the release stores keep the compiler from changing it.
 *
 * The front-end can write all of this.  Nothing read here is used as an index
 * without a check, and while a ring runs nothing is read at all.
 */
#include "vhost/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost/access.h"

static uint64_t queue_bytes(uint16_t queue_size)
{
	const uint64_t bytes = sizeof(struct vhost_user_inflight_queue) +
		queue_size * sizeof(struct vhost_user_inflight_desc);

	return (bytes + VHOST_USER_INFLIGHT_ALIGN - 1) &
		~(uint64_t)(VHOST_USER_INFLIGHT_ALIGN - 1);
}

int inflight_create(uint16_t queues, uint16_t queue_size,
		    struct vhost_user_inflight *ret_description, int *ret_fd,
		    struct error *reterr)
{
	const uint64_t bytes = queues * queue_bytes(queue_size);
	int rc;
	int fd;

	fd = memfd_create("penstock-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(reterr, -errno, "inflight region: %s",
				 strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
		    0) {
		rc = error_set(reterr, -errno, "inflight region: %s",
			       strerror(errno));
		close(fd);
		return rc;
	}
	*ret_description = (struct vhost_user_inflight){
		.mmap_size = bytes,
		.queues = queues,
		.queue_size = queue_size,
	};
	*ret_fd = fd;
	return 0;
}

int inflight_open(const struct vhost_user_inflight *description, int fd,
		  struct inflight **ret_inflight, struct error *reterr)
{
	const uint64_t bytes =
		description->queues * queue_bytes(description->queue_size);
	struct inflight *inflight;
	int rc;

	if (description->mmap_size < bytes ||
	    description->mmap_offset % VHOST_USER_INFLIGHT_ALIGN != 0)
		return error_set(
			reterr, -EINVAL,
			"inflight region of %llu bytes can't hold %u queues of %u",
			(unsigned long long)description->mmap_size,
			description->queues, description->queue_size);
	inflight = calloc(1, sizeof(*inflight));
	if (!inflight)
		return error_set(reterr, -ENOMEM, "inflight region: no memory");
	inflight->queues = description->queues;
	inflight->queue_size = description->queue_size;
	/* What more it claims to be is not needed. */
	rc = shared_map(fd, description->mmap_offset, bytes, &inflight->lost,
			&inflight->shared, reterr);
	if (rc < 0) {
		free(inflight);
		return rc;
	}
	*ret_inflight = inflight;
	return 0;
}

void inflight_close(struct inflight *inflight)
{
	if (!inflight)
		return;
	shared_unmap(&inflight->shared);
	free(inflight);
}

/* Steps A5 and A6 of the batch that was under way, see above. */
static int finish_batch(struct vhost_user_inflight_queue *queue, uint16_t size,
			uint16_t used_idx, struct error *reterr)
{
	uint16_t left =
		(uint16_t)(used_idx - access_read_u16(&queue->used_idx));
	uint16_t head = access_read_u16(&queue->last_batch_head);

	if (left > size)
		return error_set(
			reterr, -EINVAL,
			"inflight region is not of this ring: %u answers behind",
			left);
	for (; left > 0; left--) {
		if (head >= size)
			return error_set(
				reterr, -EINVAL,
				"inflight region is damaged: head %u of %u",
				head, size);
		access_write_u8(&queue->desc[head].inflight, 0);
		head = access_read_u16(&queue->desc[head].next);
	}
	access_write_u16(&queue->used_idx, used_idx);
	return 0;
}

struct taken {
	uint64_t counter;
	uint16_t head;
};

static int compare_taken(const void *a, const void *b)
{
	const struct taken *left = a;
	const struct taken *right = b;

	return (left->counter > right->counter) -
		(left->counter < right->counter);
}

/* The heads that were taken and not answered, in the order of taking. */
static void collect(const struct vhost_user_inflight_queue *queue,
		    uint16_t size, struct inflight_ring *ring,
		    uint16_t *ret_heads, unsigned int *ret_count)
{
	struct taken taken[VHOST_USER_QUEUE_SIZE_MAX];
	unsigned int count = 0;

	for (uint16_t head = 0; head < size; head++)
		if (*(const volatile uint8_t *)&queue->desc[head].inflight)
			taken[count++] = (struct taken){
				.counter = access_read_u64(
					&queue->desc[head].counter),
				.head = head,
			};
	qsort(taken, count, sizeof(taken[0]), compare_taken);
	for (unsigned int i = 0; i < count; i++)
		ret_heads[i] = taken[i].head;
	ring->counter = count > 0 ? taken[count - 1].counter + 1 : 0;
	*ret_count = count;
}

int inflight_start(struct inflight *inflight, unsigned int index,
		   uint16_t ring_size, uint16_t used_idx, uint64_t features,
		   struct inflight_ring *ret_ring, uint16_t *ret_heads,
		   unsigned int *ret_count, bool *ret_known,
		   struct error *reterr)
{
	struct inflight_ring ring = {
		.size = ring_size,
		.lost = &inflight->lost,
	};
	struct vhost_user_inflight_queue *queue;
	int rc;

	if (index >= inflight->queues || ring_size > inflight->queue_size)
		return error_set(
			reterr, -EINVAL,
			"inflight region has no room for queue %u of %u", index,
			ring_size);
	queue = (struct vhost_user_inflight_queue
			 *)(void *)(inflight->shared.data +
				    index * queue_bytes(inflight->queue_size));
	ring.queue = queue;
	*ret_known = access_read_u16(&queue->version) != 0;
	if (!*ret_known) {
		memset(queue, 0,
		       sizeof(*queue) + ring_size * sizeof(queue->desc[0]));
		access_write_u64(&queue->features, features);
		access_write_u16(&queue->desc_num, ring_size);
		access_write_u16(&queue->used_idx, used_idx);
		__atomic_store_n(&queue->version, VHOST_USER_INFLIGHT_VERSION,
				 __ATOMIC_RELEASE);
		*ret_count = 0;
	} else if (access_read_u16(&queue->version) !=
			   VHOST_USER_INFLIGHT_VERSION ||
		   access_read_u16(&queue->desc_num) != ring_size) {
		return error_set(reterr, -EINVAL,
				 "inflight region is of another kind of ring");
	} else {
		rc = finish_batch(queue, ring_size, used_idx, reterr);
		if (rc < 0)
			return rc;
		collect(queue, ring_size, &ring, ret_heads, ret_count);
	}
	ring.last_batch_head = access_read_u16(&queue->last_batch_head);
	*ret_ring = ring;
	return 0;
}
