/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate.h - a device's extents go to the pool's others, while they are used
 *
 * The device's superblock says first that it is leaving: from then on it gets
 * no new extents, a restart knows, and where another device maps an index too,
 * that one is right.  Then each extent, some at a time:
 *
 *	grace -> read -> write -> flush -> read again, compare
 *	      -> the old place's device knows that it may be elsewhere (doubt.c)
 *	      -> MAP at the new place -> flush -> UNMAP at the old, the table
 *
 * Reads go on at the old place until the table changes.  Writes, discards and
 * snapshots wait from the start to the UNMAP, as for a copy.  An extent that
 * volumes share moves once, for all of them.
 *
 * An extent that cannot be read, or not be written, stays, and is named.
 *
 * Going on after a crash is beginning anew: what is still mapped is moved.
 *
 * Threads: the pool's loop.  Memory: 1 MiB for each extent on its way, and a
 * bit for each of the device's.  At the start of each pass all tables are
 * passed over once (4 ms for each TiB that is mapped).
 */
#ifndef POOL_EVACUATE_H
#define POOL_EVACUATE_H

#include "pool/volume.h"

#define EVACUATE_MOVES	4U	/* at a time */
#define EVACUATE_NAMED	64U	/* extents that stayed; more are counted */

struct evacuate;

struct evacuate_config {
	uint32_t from;			/* index of the member */
	uint64_t to;			/* a bit for each; 0: all others */
	const void *writer;		/* for pool_ops.choose */
	bool is_unverified;		/* do not read again and compare */
	/* May so much be moved now?  If not, evacuate_go_on when it may.
	 * Optional. */
	bool (*may_move)(struct evacuate *evacuate, uint64_t bytes);
	/* A request of it to a device of the pool; 'request' ends as if it had
	 * gone to block_submit.  Optional: that. */
	void (*submit)(struct evacuate *evacuate, struct member *member,
		       struct block_request *request);
	/* The end, once; it may be freed inside.  0: nothing is left.  -EIO:
	 * some have stayed, or the device cannot be marked.  -ENOSPC.
	 * -ECANCELED, -EINTR: see below.  Required. */
	void (*done)(struct evacuate *evacuate, int result);
};

/* What has stayed: one extent of one volume. */
struct evacuate_stayed {
	struct format_uuid uuid;
	char name[FORMAT_NAME_MAX];
	uint32_t index;
	int result;
};

struct evacuate_move {
	struct evacuate *evacuate;
	uint32_t index, from, to;	/* from: 0: idle */
	uint32_t sharers;
	uint32_t parity, crc;
	struct block_request request;
	struct iovec iov;
	struct member_flush flush;
	struct member_grace grace;
	struct member_ghost ghost, doubt;
	struct log_entry entry;
	struct format_record *records;	/* one for each sharer */
};

struct evacuate {
	struct evacuate_config config;
	void *arg;			/* the owner's */
	/* To look at.  'left' counts those that have stayed too. */
	uint32_t moved, left, stayed_count;
	struct evacuate_stayed stayed[EVACUATE_NAMED];
	/* Its own. */
	struct pool *pool;
	struct member *from;
	struct evacuate_move moves[EVACUATE_MOVES];
	struct member_super mark;
	struct member_flush flush;
	struct pool_wait starved, blocked;
	struct format_uuid blocked_by;
	uint64_t *skip;			/* a bit for each that stays */
	uint32_t under_way;
	uint32_t volume, index;		/* where this pass is */
	uint32_t seen, begun;		/* of this pass */
	bool is_marking, is_starved, is_blocked;
	bool is_going, is_again;
	bool is_news;			/* what was passed over may move now */
	bool is_stopping, is_staying;	/* staying: clear the mark */
	int result;
};

/* Begin.  Returns 0; -EBUSY: an evacuation is under way, or another device is
 * leaving; -ENOTCONN: a device is missing; -ENOSPC: the others have not so much
 * that is promised to nobody; -EINVAL: no such device, or nowhere to go;
 * -ENOMEM.  'done' may be called before this returns. */
int evacuate_start(struct pool *pool, const struct evacuate_config *config,
		   struct evacuate *evacuate);
/* The device is not leaving any more (of 'config' 'from' and 'done' count):
 * 'done' says -ECANCELED.  For one that no evacuation is under way on; as
 * evacuate_start. */
int evacuate_undo(struct pool *pool, const struct evacuate_config *config,
		  struct evacuate *evacuate);
void evacuate_go_on(struct evacuate *evacuate);
/* What is on its way ends.  Cancel: the device stays, with what is still there
 * (-ECANCELED).  Stop: it is still leaving (-EINTR). */
void evacuate_cancel(struct evacuate *evacuate);
void evacuate_stop(struct evacuate *evacuate);

/* ---- for this room ---- */

bool evacuate_is_moving(const struct pool *pool, uint32_t number);
/* The index of one of the volume's; false: none is on its way. */
bool evacuate_moves_of(const struct volume *volume, uint32_t *ret_index);
/* A volume's change has ended. */
void evacuate_kick(struct pool *pool);
/* For pool_destroy. */
void evacuate_free(struct pool *pool);

#endif
