/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - one split virtqueue that is served
 *
 * A session configures a ring while it is stopped, starts it, and later
 * quiesces it: then nothing more is taken, what is in flight ends without
 * waiting for limits, and 'idle' is called.  Only then may it be stopped.
 * Destroying needs no waiting: what is in flight then ends silently.
 *
 * Threads: the loop's.
 */
#ifndef VHOST_RING_H
#define VHOST_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "os/loop.h"
#include "vhost/blk.h"
#include "vhost/inflight.h"
#include "vhost/log.h"
#include "vhost/memory.h"

struct ring;

struct ring_config {
	struct loop *loop;
	const struct blk_target *target;
	unsigned int index;
	/* Called from the ring's poller; neither may stop or destroy it. */
	void (*idle)(void *arg);	/* quiesced, and nothing in flight */
	/* It went wrong: the ring is broken (stopped until started anew), or
	 * memory was lost. */
	void (*trouble)(void *arg, const struct error *error);
	void *arg;
};

/* What the front-end said about a ring; kept while it is stopped. */
struct ring_layout {
	uint64_t desc_user_addr, avail_user_addr, used_user_addr;
	uint64_t used_guest_addr;	/* for the log */
	bool log_used;
	uint16_t size;			/* 0: not said yet */
	uint16_t base;			/* the next available index */
};

struct ring_environment {
	struct memory_map *map;
	struct inflight *inflight;	/* NULL: none */
	struct dirty_log *log;		/* NULL: not logging */
	uint64_t features;
};

/* Returns 0 or -ENOMEM. */
int ring_create(const struct ring_config *config, struct ring **ret_ring);
void ring_destroy(struct ring *ring);		/* NULL is allowed */

/* Take over a descriptor; -1: none.  Returns 0, -EINVAL or -ENOMEM; then it
 * stays the caller's. */
int ring_set_kick(struct ring *ring, int fd);
int ring_set_call(struct ring *ring, int fd);
int ring_set_error(struct ring *ring, int fd);

/* Begin to serve it.  Returns 0, or: -EINVAL (no size, addresses outside the
 * memory, indexes impossible, inflight region of another ring), -ENOMEM. */
int ring_start(struct ring *ring, const struct ring_layout *layout,
	       const struct ring_environment *environment,
	       struct error *reterr);
bool ring_running(const struct ring *ring);
/* A disabled ring takes nothing; what is in flight goes on. */
void ring_enable(struct ring *ring, bool enabled);
/* The memory, the addresses or the log have changed while it runs.  Returns
 * 0, or -EINVAL: it is broken now. */
int ring_update(struct ring *ring, const struct ring_layout *layout,
		const struct ring_environment *environment,
		struct error *reterr);
/* 'leave': the connection ends.  What the device was not given stays in the
 * inflight region for the next session; without one it is dropped if the
 * front-end is gone, and let go if it is there. */
void ring_quiesce(struct ring *ring, bool leave);
/* Quiesced and nothing in flight, or not running at all. */
bool ring_idle(const struct ring *ring);
/* The front-end is gone: without an inflight region nothing is written to its
 * memory any more, because it takes up the ring as it finds it. */
void ring_forsake(struct ring *ring);
/* It is idle: end serving.  Returns the next available index. */
uint16_t ring_stop(struct ring *ring);

#endif
