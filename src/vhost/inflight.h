/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inflight.h - the shared table of requests in flight, for crash and reconnect
 *
 * See inflight.c for how it works and why the order of stores matters.
 * Threads: the loop's.
 */
#ifndef VHOST_INFLIGHT_H
#define VHOST_INFLIGHT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "vhost/protocol.h"
#include "vhost/shared.h"

/* The region of a session, for all its queues. */
struct inflight {
	struct shared shared;
	unsigned int queues;
	uint16_t queue_size;
	volatile sig_atomic_t lost;	/* it was truncated */
};

/* One ring's part of it, while the ring runs. */
struct inflight_ring {
	struct vhost_user_inflight_queue *queue;	/* NULL: none */
	const volatile sig_atomic_t *lost;		/* of the region */
	uint64_t counter;
	uint16_t last_batch_head;
	uint16_t size;
};

/* A new region: '*ret_fd' is to be given away with '*ret_description'.  The
 * caller has checked queues and queue_size.  Returns 0 or -errno. */
int inflight_create(uint16_t queues, uint16_t queue_size,
		    struct vhost_user_inflight *ret_description, int *ret_fd,
		    struct error *reterr);
/* Map the region that a front-end gave back; 'fd' stays the caller's.
 * Returns 0, -EINVAL, -ENOMEM or what mmap said. */
int inflight_open(const struct vhost_user_inflight *description, int fd,
		  struct inflight **ret_inflight, struct error *reterr);
void inflight_close(struct inflight *inflight);		/* NULL is allowed */

/* Take up ring 'index', whose used ring says 'used_idx'.  Writes the heads
 * that must be done again, in their order, to 'ret_heads' (at least
 * 'ring_size' of them), and says whether the region had been in use before:
 * then the next head to be taken is used_idx plus their number.
 * Returns 0 or -EINVAL (it does not belong to this ring). */
int inflight_start(struct inflight *inflight, unsigned int index,
		   uint16_t ring_size, uint16_t used_idx, uint64_t features,
		   struct inflight_ring *ret_ring, uint16_t *ret_heads,
		   unsigned int *ret_count, bool *ret_known,
		   struct error *reterr);

/* 'head' was taken from the ring. */
static inline void inflight_take(struct inflight_ring *ring, uint16_t head)
{
	struct vhost_user_inflight_desc *desc = &ring->queue->desc[head];

	__atomic_store_n(&desc->counter, ring->counter++, __ATOMIC_RELAXED);
	__atomic_store_n(&desc->inflight, 1, __ATOMIC_RELEASE);
}

/* 'head' is done: its used element is written, the index not yet. */
static inline void inflight_batch(struct inflight_ring *ring, uint16_t head)
{
	struct vhost_user_inflight_desc *desc = &ring->queue->desc[head];

	__atomic_store_n(&desc->next, ring->last_batch_head, __ATOMIC_RELAXED);
	ring->last_batch_head = head;
	__atomic_store_n(&ring->queue->last_batch_head, head, __ATOMIC_RELEASE);
}

/* After the used index was stored: first this for every head of the batch, */
static inline void inflight_clear(struct inflight_ring *ring, uint16_t head)
{
	__atomic_store_n(&ring->queue->desc[head].inflight, 0,
			 __ATOMIC_RELEASE);
}

/* then this with the index. */
static inline void inflight_commit(struct inflight_ring *ring,
				   uint16_t used_idx)
{
	__atomic_store_n(&ring->queue->used_idx, used_idx, __ATOMIC_RELEASE);
}

#endif
