/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - devices that volumes share
 *
 *	pool_create; pool_add for each device that is there; pool_start
 *
 * pool_start puts together what the devices' logs say, which may differ after
 * a crash: of a volume's description the greatest version holds and goes to the
 * others; of an index that two devices map one says that it may have gone to the
 * other, and so it has (doubt.c); else it belongs to the one that is not leaving
 * (evacuate.h), else to the first (both are what it was at some time since its
 * volume was last flushed, see docs/decisions.md);
 * a volume that was being made or deleted is deleted.
 *
 * A device that is missing: what it holds is not known.  An unmapped index of a
 * volume that may have extents there is neither zero nor free, but missing
 * (EIO); what is mapped elsewhere goes on.  It may come later: then it is put
 * together with the rest while that is used.
 *
 * Numbers.  Each device gets a range of extent numbers, whole chunks of 2^20
 * (1 TiB), so that a number leads to its device by one look into a table.
 *
 * Threads: one loop.  Memory: for each TiB that is mapped 4 MiB, for each TiB
 * of device 258 KiB, and 2 MiB more once there was a snapshot.
 */
#ifndef POOL_POOL_H
#define POOL_POOL_H

#include "pool/member.h"
#include "pool/usage.h"

#define POOL_MEMBERS_MAX	64U
#define POOL_CHUNK_SHIFT	20U
#define POOL_CHUNKS	(FORMAT_EXTENTS_MAX >> POOL_CHUNK_SHIFT)

struct pool;
struct volume;

struct pool_ops {
	/* Where shall a first write's extent be?  One of 'candidates' (a bit
	 * for each member that has an open extent, or for each that will soon
	 * have one; not zero), or -1: none of them satisfies 'writer' (E10).
	 * Optional: pool_prefer. */
	int (*choose)(struct pool *pool, const struct volume *volume,
		      const void *writer, uint64_t candidates);
	/* The level has changed.  Optional. */
	void (*level)(struct pool *pool, enum usage_level level);
};

struct pool_wait {
	/* Ask again (0), or fail. */
	void (*woken)(struct pool_wait *wait, int result);
	uint32_t index;			/* the volume's */
	struct pool_wait *next;		/* the pool's */
};

/* Where the extents of a chunk of numbers lie. */
struct pool_chunk {
	struct member *member;		/* NULL: nobody's */
	uint64_t base_bytes;	/* of number 0, on its device; modulo 2^64 */
};

struct pool {
	const struct pool_ops *ops;
	void *arg;			/* the owner's */
	struct member *members[POOL_MEMBERS_MAX];
	bool is_local[POOL_MEMBERS_MAX];
	uint32_t member_count;
	struct member *adds[POOL_MEMBERS_MAX];	/* the refused ones too */
	uint32_t add_count;
	struct pool_chunk chunks[POOL_CHUNKS];
	struct volume *volumes;
	struct pool_wait *starved, **starved_end;	/* for an open extent */
	struct pool_loser *losers;	/* mappings taken back at start */
	struct pool_copier *copier;	/* NULL: there was no snapshot */
	struct evacuate *evacuate;	/* under way */
	struct pool_leave *leave;	/* the same */
	uint64_t index_wakes;		/* see pool_wake_index */
	uint64_t reserved;		/* extents */
	enum usage_level level;
	bool is_started, is_waking, wakes;
};

int pool_create(const struct pool_ops *ops, void *arg, struct pool **ret_pool);
/* Nothing is under way, or nothing of it will ever end.  The devices stay. */
void pool_destroy(struct pool *pool);

/* Stays until 'done'. */
struct pool_add {
	void (*done)(struct pool_add *add, int result,
		     const struct error *error);
	struct pool *pool;		/* the pool's, as is the next */
	struct member *member;
	uint32_t chunk, chunks;
	bool is_local;
};

/* Open a device: 'config' without ops and numbers.  'done' gets what
 * member_open says, or -EEXIST: a device with this UUID is there, so this is a
 * copy; or -EBUSY: the pool is started, and cannot put together now what the
 * device has with what it has; ask again.  A device that is refused is no part
 * of the pool.  Returns 0, -ENOMEM or -ENOSPC (too many). */
int pool_add(struct pool *pool, const struct member_config *config,
	     bool is_local, struct pool_add *add);
/* The device goes, or what is left of one that was refused; not inside 'done'.
 * Returns 0 (then 'add' is the caller's), or -EBUSY: volumes may be on it
 * (pool_leave), or something is under way on it (member_stop, and ask again).
 * The place of one that has left is kept until another one takes it. */
int pool_remove(struct pool *pool, struct pool_add *add);

/* Stays until 'done'. */
struct pool_leave {
	/* 0: no other device names it any more, on stable storage, nothing is
	 * under way on it, and nothing will be: pool_remove.  Else it stays. */
	void (*done)(struct pool_leave *leave, int result);
	struct pool *pool;		/* the pool's, as is the rest */
	struct member *member;
	struct member_grace grace;
	struct member_super mark;
	int result;
	bool is_going, is_again, is_ending;
};

/* A device that holds nothing leaves a pool with volumes; not inside 'done'.
 * Returns 0, or -EBUSY: member_used says how much is on it, or the pool changes
 * otherwise; -ENOSPC: the others have not so much as is reserved; -ENODEV: it
 * is the last.  'done' may be called before this returns. */
int pool_leave(struct pool *pool, struct pool_add *add,
	       struct pool_leave *leave);
/* For this room: a volume's change has ended. */
void pool_leave_kick(struct pool *pool);

/* Put together; 0 or -ENOMEM.  What is then to be written to the logs is under
 * way (volume_is_changing). */
int pool_start(struct pool *pool, struct error *reterr);
/* No more background work is begun; pool_is_idle: and none is under way. */
void pool_stop(struct pool *pool);
bool pool_is_idle(const struct pool *pool);

static inline struct member *pool_member_of(const struct pool *pool,
					    uint32_t number)
{
	return pool->chunks[number >> POOL_CHUNK_SHIFT].member;
}

static inline uint32_t pool_index_of(const struct pool *pool, uint32_t number)
{
	return pool_member_of(pool, number)->index;
}

/* ---- space ---- */

void pool_usage(const struct pool *pool, struct usage *ret_usage);
/* What has no mapping and is promised to nobody, in extents. */
uint64_t pool_unpromised(const struct pool *pool);
/* Look at the level, after what is used or reserved has changed. */
void pool_look(struct pool *pool);

/* An extent of one of the members in 'mask'.  'near' is a number that would be
 * best (0: none).  Returns 0; -EAGAIN: one will be open soon, or the volume is
 * about to join members: pool_wait for it; -ENOSPC; -EDQUOT: there are, and
 * none satisfies 'writer'; -EIO: the logs have failed. */
int pool_take(struct pool *pool, const struct volume *volume,
	      const void *writer, uint64_t mask, uint32_t near,
	      uint32_t *ret_number);
/* What is done without pool_ops.choose. */
int pool_prefer(const struct pool *pool, uint64_t candidates);
void pool_wait(struct pool *pool, struct pool_wait *wait);
void pool_wake(struct pool *pool);
/* It waits no more.  Returns false: it is being woken now. */
bool pool_unwait(struct pool *pool, struct pool_wait *wait);

/* pool-start.c: may a device that has been read join a pool that is started?
 * Returns 0 or -EBUSY with a reason.  Then, when it has its place: what it has
 * of volumes is theirs again. */
int pool_may_join(const struct pool *pool, const struct member *member,
		  const char **reterr_why);
void pool_join(struct pool *pool, struct member *member);
/* pool-start.c, for pool_destroy. */
void pool_free_losers(struct pool *pool);

#endif
