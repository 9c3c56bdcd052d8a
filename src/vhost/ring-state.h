/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-state.h - a ring's state, for the files of the ring only
 *
 * What they all stand on: the ring and its requests, the memory that both
 * take, and how a ring is broken.  The layers, each called by those above it
 * only:
 *
 *	ring-control.c	start, change, quiesce, stop (ring.h)
 *	ring-poll.c	a visit; calls and kicks
 *	ring-take.c	from the available ring up to the vdev
 *	ring-used.c	from the vdev down to the used ring
 *	ring-state.c
 */
#ifndef VHOST_RING_STATE_H
#define VHOST_RING_STATE_H

#include "sched/turns.h"
#include "vhost/chain.h"
#include "vhost/notify.h"
#include "vhost/ring.h"

#define RING_BATCH		TURNS_MAX	/* requests in one visit */
#define RING_BATCH_BYTES	131072U	/* of data, before the last of them */
#define RING_PIECE_BYTES	(UINT64_C(4) << 20)	/* one go at the vdev */

/* Room for buffers: in the request, and for longer chains from two pools. */
#define RING_IOV_OWN		6U
#define RING_IOV_MEDIUM		136U
#define RING_IOV_LARGE		1032U
#define RING_MEDIUM_MAX		64U
#define RING_LARGE_MAX		4U

#define RING_NO_KICK_POLL_NS	UINT64_C(100000)

struct ring_request {
	struct vdev_request vdev;
	struct ring *ring;
	struct memory_map *map;		/* held while in flight */
	uint8_t *status;
	struct iovec *iov;		/* own, or out of a pool */
	struct ring_request *next; /* free, or waiting for its next piece */
	uint32_t used_bytes;
	uint16_t head;
	uint8_t code;			/* VIRTIO_BLK_S_* */
	bool logged;			/* data go to the guest */
	/* Of a request that is larger than a piece; 'left' is 0 for others. */
	uint64_t left_bytes, offset_bytes, rest_bytes;
	struct iovec *data;
	unsigned int data_count;
	struct iovec own[RING_IOV_OWN];
} __attribute__((aligned(64)));

struct ring_pool {			/* of buffers for 'each' entries */
	struct iovec *memory;
	uint16_t free[RING_MEDIUM_MAX];
	unsigned int free_count;
	unsigned int each, total;
};

struct ring {
	struct loop_poller poller;

	/* Looked at in every visit. */
	struct vring_avail *avail;
	struct vring_used *used;
	struct chain_source source;	/* table, map */
	uint16_t size, mask;
	uint16_t next_avail;
	uint16_t used_idx;
	bool taking;			/* follows from the flags below */
	bool event_idx;
	bool armed;			/* kicks are asked for */
	bool starved;			/* until something completes */
	unsigned int completed_count;
	struct ring_request *free;
	struct ring_request **completed;
	struct ring_request *pieces, **pieces_end;
	struct memory_map *map;
	struct inflight_ring inflight;
	struct dirty_log *log;
	struct notify *call;
	unsigned int in_flight;
	uint16_t signalled_idx;
	bool signalled;			/* signalled_idx is valid */
	bool shown;			/* since it was last asked for a call */
	bool ahead;			/* the guest shows more while we work */
	struct turns_seat seat;

	bool running, enabled, quiescing, broken, silent, orphan;
	bool leaving;			/* quiescing, for the connection ends */
	bool told_idle;
	bool log_used;
	uint64_t used_guest_addr;
	struct notify *kick, *error;
	struct ring_config config;

	uint16_t *resubmit;		/* heads to be done again */
	unsigned int resubmit_count, resubmit_next;
	uint8_t *busy;			/* by head: in flight */
	struct ring_request *requests;
	struct ring_pool medium, large;
};

/* Room for 'size' requests, each with 'done' for the vdev.  Returns 0 or
 * -ENOMEM. */
int ring_storage_create(struct ring *ring, uint16_t size,
			void (*done)(struct vdev_request *vdev));
void ring_storage_free(struct ring *ring);
/* The ring and all it has, also what completed in it. */
void ring_free(struct ring *ring);

/* Tell the world and take no more until it is started anew. */
void ring_break(struct ring *ring, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* 'taking' follows from the flags. */
void ring_refresh(struct ring *ring);
/* Asked to quiesce, and nothing is left. */
static inline bool ring_quiesced(const struct ring *ring)
{
	return ring->quiescing && ring->in_flight == 0 && !ring->taking;
}

/* What a stopped vdev holds up may stay undone in the inflight region, for when
 * the ring goes on; with a log the guest goes elsewhere, without it. */
static inline bool ring_may_leave(const struct ring *ring)
{
	return ring->inflight.queue && (ring->leaving || !ring->log);
}

/* Room for a longer chain; NULL: not now. */
struct iovec *ring_pool_take(struct ring_pool *pool);
/* Buffers that came from a pool go back there. */
void ring_pool_give(struct ring *ring, struct ring_request *request);
static inline void ring_give_iov(struct ring *ring,
				 struct ring_request *request)
{
	if (request->iov != request->own)
		ring_pool_give(ring, request);
}

#endif
