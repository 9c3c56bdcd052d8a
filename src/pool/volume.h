/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - what a virtual device stands on: extents of a pool's devices
 *
 * Looking up is inline: one entry of a table, an addition.  What that cannot
 * answer is a first write (volume_write), or a hole that reads as zeroes.
 *
 * First write to an extent.  An open extent is taken at once.  The caller
 * writes its data there while the MAP is appended, and acknowledges when both
 * are done.  Others that write to the same extent meanwhile wait for the MAP.
 * A caller that tells how its data went (volume_wrote) has them wait for the
 * data, too; and if the device could not write them (EIO), the extent is bad,
 * and the caller asks for another one:
 *
 *	            +-- MAP -----+
 *	PLACED ---->|            |----> done: 0
 *	   ^        +-- data ----+
 *	   |                |EIO
 *	   +---- -EAGAIN ---+ UNMAP, BAD
 *
 * A snapshot is a volume with the same extents; both have their entries marked
 * shared, and a write copies the extent first.
 *
 * Flush.  member_flush of each device that the volume is on covers data and
 * mappings: both lie there.
 *
 * One change (size, name, snapshot, deletion) of a volume at a time; the others
 * get -EBUSY.
 *
 * Threads: the pool's loop.  The data path allocates nothing.
 */
#ifndef POOL_VOLUME_H
#define POOL_VOLUME_H

#include "pool/pool.h"

#define VOLUME_BUCKETS	64U
#define VOLUME_RUNS	16U	/* of a discard, under way at a time */

struct volume_change {
	void (*done)(struct volume_change *change, int result);
};

/* A discard of whole extents, or a part of a deletion or of a shrinking. */
struct volume_unmap {
	void (*done)(struct volume_unmap *unmap, int result);
	/* The volume's. */
	struct volume *volume;
	uint32_t at, end;
	struct pool_wait wait;
	struct volume_unmap_run {
		struct log_entry entry;
		struct format_record record;
		struct volume_unmap *unmap;
	} runs[VOLUME_RUNS];
	uint32_t under_way;
	int result;
};

/* A write to an extent that is not simply there. */
struct volume_alloc {
	/* PLACED: the mapping is there (0), or will never be (-EIO: fail the
	 * write).  WAIT: ask again (0), or fail the write.
	 * PLACED, if 'tells': the mapping and the data are there (0); ask again
	 * and write them elsewhere (-EAGAIN); or fail the write. */
	void (*done)(struct volume_alloc *alloc, int result);
	const void *writer;		/* for pool_ops.choose */
	bool tells;			/* volume_wrote will be called */
	/* Of one that tells; 0 before it asks for the first time. */
	uint64_t avoid;			/* members that failed it */
	uint32_t moves;
	/* The volume's. */
	struct volume *volume;
	uint32_t index, number;
	uint32_t under_way;		/* MAP, data */
	int result, map_result;
	bool is_shown;
	struct log_entry entry;
	struct format_record records[2];
	struct member_ghost ghost;
	struct pool_wait wait;
};

/* What a device has of a volume, unless one that is missing has it too: until
 * that comes its entry is pending, and it is neither read nor written to. */
struct volume_doubt {
	struct volume_doubt *next;
	uint32_t number;
	struct member_ghost ghost;
};

struct volume {
	struct pool *pool;
	struct volume *next;
	struct format_volume is;
	struct table table;
	uint32_t extent_count;		/* of its size */
	uint32_t missing;		/* devices that may hold some of it */
	uint64_t joined;		/* members that it may take space on */
	struct member_volume *parts[POOL_MEMBERS_MAX];
	uint32_t mapped_on[POOL_MEMBERS_MAX];	/* of table.mapped */
	struct pool_wait *waiting[VOLUME_BUCKETS];	/* by index */
	struct volume_copy *copies;	/* under way */
	struct volume_doubt *doubts;	/* while devices are missing */
	uint64_t woken;			/* see pool_wake_index */
	uint64_t reserved;		/* extents: thick, not mapped yet */
	bool is_closed;			/* takes no first writes any more */
	bool is_in_doubt;		/* and some entries stay pending */
	bool is_changing;
	/* The change under way. */
	struct volume_change *change;
	struct volume_settle *settle;
	struct volume_unmap trim;
	uint64_t old_bytes;		/* 0 unless it shrinks */
	struct volume_alloc zero_alloc;
	struct block_request zero;
	struct member_flush zero_flush;
	struct member *zero_member;
	uint32_t zero_parity;
	struct volume *origin;		/* whose snapshot this becomes */
	struct volume_share *share;
	int result;
};

/* ---- looking up ---- */

enum volume_where {
	VOLUME_MAPPED,	/* 'ret_place' says where */
	VOLUME_ZERO,	/* nothing was written there */
	VOLUME_MISSING,	/* on a device that is not there, if anywhere: EIO */
};

struct volume_place {
	struct member *member;
	uint64_t offset_bytes;	/* on its device */
};

static inline void volume_place_of(const struct volume *volume, uint32_t number,
				   uint64_t offset_bytes,
				   struct volume_place *ret_place)
{
	const struct pool_chunk *chunk =
		&volume->pool->chunks[number >> POOL_CHUNK_SHIFT];

	ret_place->member = chunk->member;
	ret_place->offset_bytes = chunk->base_bytes +
		((uint64_t)number << FORMAT_EXTENT_SHIFT) +
		(offset_bytes & (FORMAT_EXTENT_BYTES - 1));
}

/* All of a request inside one extent that is mapped and may be read, or if
 * 'is_write' written?  In range: the caller checked.  length_bytes > 0. */
static inline bool volume_map(const struct volume *volume,
			      uint64_t offset_bytes, uint64_t length_bytes,
			      bool is_write, struct volume_place *ret_place)
{
	const uint32_t entry =
		volume->table.entries[offset_bytes >> FORMAT_EXTENT_SHIFT];

	if ((offset_bytes & (FORMAT_EXTENT_BYTES - 1)) + length_bytes >
	    FORMAT_EXTENT_BYTES)
		return false;
	/* Mostly a number and nothing else. */
	if (entry - 1 >= TABLE_NUMBER && (is_write || !(entry & TABLE_NUMBER)))
		return false;
	volume_place_of(volume, entry & TABLE_NUMBER, offset_bytes, ret_place);
	return true;
}

/* The same for one that crosses into the next extent: are both beside each
 * other on their device, too? */
bool volume_map_two(const struct volume *volume, uint64_t offset_bytes,
		    uint64_t length_bytes, bool is_write,
		    struct volume_place *ret_place);

/* The same for a read of anything: '*ret_bytes' is how much of it, from the
 * start, is so. */
enum volume_where volume_read(const struct volume *volume,
			      uint64_t offset_bytes, uint64_t length_bytes,
			      struct volume_place *ret_place,
			      uint64_t *ret_bytes);

/* The devices that know it: what it has is there, or on one that is missing.
 * A flush goes to all of them. */
uint64_t volume_devices(const struct volume *volume);

/* ---- writing ---- */

enum volume_write {
	VOLUME_READY,	/* mapped: write; 'done' is not called */
	VOLUME_PLACED,	/* write, and wait for 'done' */
	VOLUME_WAIT,	/* wait for 'done' */
};

/* Who wants to write into the extent of 'offset_bytes', calls this first, if
 * volume_map said no.  READY and PLACED fill '*ret_place'.  'done' may be
 * called before this returns.  Or returns -ENOSPC, -EDQUOT (no space that
 * satisfies the writer), -EROFS, -EINVAL (beyond the end), -EIO (missing,
 * deleted, or the log has failed): fail the write. */
int volume_write(struct volume *volume, uint64_t offset_bytes,
		 struct volume_alloc *alloc, struct volume_place *ret_place);

/* The data of one that tells have been written at its place, or have not
 * (< 0).  'done' may be called before this returns. */
void volume_wrote(struct volume_alloc *alloc, int result);

/* Unmap 'count' extents from 'first' on, in range.  'done' may be called before
 * this returns: 0 or -EIO. */
void volume_unmap(struct volume *volume, uint32_t first, uint32_t count,
		  struct volume_unmap *unmap);

/* ---- changes ---- */

struct volume_config {
	const char *name;		/* shorter than FORMAT_NAME_MAX */
	struct format_uuid uuid;	/* not zero, of no other volume */
	uint64_t size_bytes;		/* > 0 */
	bool is_thick;
};

struct volume *volume_find(const struct pool *pool,
			   const struct format_uuid *uuid);
struct volume *volume_find_name(const struct pool *pool, const char *name);

/* Make a volume.  Known to all devices, on stable storage, when 'done' says 0;
 * else delete it.  Returns 0, -EINVAL, -EEXIST (name or UUID), -ENOSPC (thick,
 * and not so much is unpromised), -ENODEV (a pool without devices), -ENOMEM. */
int volume_create(struct pool *pool, const struct volume_config *config,
		  struct volume_change *change, struct volume **ret_volume);
/* Returns 0, -EBUSY, -EINVAL, -ENOSPC, -ENOTCONN (to be shorter, and some of
 * its devices are missing) or -EROFS (a snapshot).  What is cut off is given
 * back before 'done', and reads as zeroes if the volume grows. */
int volume_resize(struct volume *volume, uint64_t size_bytes,
		  struct volume_change *change);
/* The volume is no more when 'done' says 0.  Nobody reads or writes it.
 * Returns 0, -EBUSY, or -ENOTCONN: some of its devices are missing. */
int volume_delete(struct volume *volume, struct volume_change *change);
/* A read-only volume with what 'volume' holds now.  As volume_create. */
int volume_snapshot(struct volume *volume, const struct volume_config *config,
		    struct volume_change *change, struct volume **ret_snapshot);

static inline bool volume_is_changing(const struct volume *volume)
{
	return volume->is_changing;
}

/* ---- parts of this room only ---- */

/* volume.c */
int volume_make(struct pool *pool, const struct format_volume *is,
		struct volume **ret_volume);
void volume_free(struct volume *volume);
void volume_reserve(struct volume *volume);
void volume_set(struct volume *volume, uint32_t index, uint32_t entry);
void volume_wait(struct volume *volume, uint32_t index, struct pool_wait *wait);
/* Those that wait for just this index get 'result'. */
void volume_wake(struct volume *volume, uint32_t index, int result);

/* doubt.c: what is pending in 'part' is set apart; when the others' parts are
 * merged, and 'missing' is known, it is put where it belongs. */
int volume_set_apart(struct volume *volume, struct member_volume *part);
int volume_decide(struct volume *volume);
bool volume_is_doubted(const struct volume *volume, uint32_t index);
void volume_free_doubts(struct volume *volume);
/* pool-start.c: a mapping of the device's that is another's.  Returns 0 or
 * -ENOMEM. */
int pool_take_back(struct pool *pool, struct member *member,
		   const struct member_volume *part, uint32_t index,
		   uint32_t number);

/* volume-settle.c: all devices that are there know the volume as it is, and one
 * another, on stable storage; then 'then'. */
void volume_settle(struct volume *volume,
		   void (*then)(struct volume *volume, int result));
/* The same, and after it, it is unknown. */
void volume_forget(struct volume *volume,
		   void (*then)(struct volume *volume, int result));

/* volume-change.c: a volume that is not in any log yet; a change is under
 * way. */
int volume_prepare(struct pool *pool, const struct volume_config *config,
		   uint32_t flags, struct volume_change *change,
		   struct volume **ret_volume);
/* volume-change.c: whoever waits for the change hears of it. */
void volume_end_change(struct volume *volume, int result);
/* volume-change.c: what was found at start is brought to its end. */
void volume_go_on(struct volume *volume);

/* The same for one that nothing else changes: its devices have. */
void volume_settle_again(struct volume *volume);

/* copy.c: buffers for the copies of a pool that has snapshots; 0 or -ENOMEM. */
int pool_prepare_copies(struct pool *pool);
void pool_free_copies(struct pool *pool);
/* copy.c: give 'index', which is shared, an extent of its own; those that wait
 * for the index are woken.  Returns 0; -EAGAIN: pool_wait; or an error. */
int volume_copy(struct volume *volume, uint32_t index, const void *writer);
/* Is the extent being copied, or moved? */
bool volume_is_copying(const struct volume *volume, uint32_t index);
/* One that is; false: there is none. */
bool volume_copying(const struct volume *volume, uint32_t *ret_index);
bool volume_unwait(struct volume *volume, uint32_t index,
		   struct pool_wait *wait);
/* Those of all volumes that wait for 'index'. */
void pool_wake_index(struct pool *pool, uint32_t index);

#endif
