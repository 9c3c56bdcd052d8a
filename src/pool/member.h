/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.h - one device of a pool: whose it is, what is free, what its log says
 *
 * Opening:
 *
 *	superblocks --+-- blank ---> claimed: superblocks written
 *	              +-- ours  ---> log replayed -> generation acquired
 *	              +-- else  ---> refused, with one line that says why
 *
 * From then on, in the background: extents are opened ahead, in batches, so
 * that a first write finds one; dirty extents are scrubbed, some at a time.
 *
 * Scrubbing.  An extent becomes dirty in memory as soon as its UNMAP is
 * appended.  The scrubber takes some dirty ones and waits until
 *	- all records appended so far are written, and the device is flushed:
 *	  else a crash could bring a mapping back whose data are zeroes by then;
 *	- no request is under way that began before (grace): it could still read
 *	  or write the extent;
 * then has zeroes written, flushes, and appends CLEAN.  A run that fails with
 * EIO is tried again extent by extent; one that fails by itself is bad: BAD is
 * appended and it is never used again.  Not more than MEMBER_BAD_SHARE says are
 * bad: what has more is no device with bad places but a bad device, and such
 * extents are out of use until it is opened again.
 *
 * A volatile member (its device keeps no data) has neither superblock nor log:
 * everything is there at once and nothing after.
 *
 * Threads: the device's loop.  Ownership: the device stays the caller's.
 */
#ifndef POOL_MEMBER_H
#define POOL_MEMBER_H

#include "block/block.h"
#include "pool/log.h"
#include "pool/replay.h"
#include "pool/space.h"
#include "pool/table.h"

#define MEMBER_RUNS	16U	/* of extents, opened or scrubbed at a time */
#define MEMBER_BAD_SHARE 16U	/* one of so many, and as many more */

struct member;

struct member_ops {
	/* Some extents have become open or clean, or it has given up on some.
	 * Required. */
	void (*space_changed)(struct member *member);
};

struct member_config {
	struct block_device *device;
	struct loop *loop;		/* NULL: no rounds, write at once */
	void *user;			/* the caller's, beside the device */
	const char *name;		/* for errors; must stay valid */
	const struct member_ops *ops;
	/* Has zeroes written for the scrubber, MEMBER_RUNS requests at a time
	 * at most, in turn with all else that uses the device; as block_submit,
	 * which it is if NULL. */
	void (*zero)(struct member *member, struct block_request *request);
	uint64_t capacity_bytes;	/* 0: what the device has room for */
	uint32_t first_number;		/* of its extents, in tables; > 0 */
	uint32_t most_extents;		/* numbers that it may have */
	struct format_uuid uuid;	/* for a blank one; not zero */
	struct format_uuid expected;	/* zero: any */
	bool may_claim;			/* take a blank one */
	bool is_zeroed;			/* what is new reads as zeroes */
	bool is_volatile;
	bool is_read_only;		/* acquire nothing, write nothing */
	/* 0: as is fit; tests want small ones. */
	uint64_t metadata_bytes;
	uint32_t area_blocks;
	uint32_t open_extents;		/* how many are kept open */
	uint32_t log_limit_blocks;
};

/* A volume as this device's log knows it. */
struct member_volume {
	struct format_volume is;
	uint32_t id;			/* of this device */
	uint32_t member_count;
	struct format_uuid *members;	/* that may have extents, but itself */
	struct table *table;		/* own, until somebody adopts it */
	/* What may be another device's by now is pending in it. */
	struct table own;
	bool has_doubts;		/* some may be */
	void *volume;			/* the adopter's */
};

struct member_flush {
	void (*done)(struct member_flush *flush, int result);
	struct member_flush *next;	/* the member's */
};

struct member_grace {
	void (*done)(struct member_grace *grace);
	struct member_grace *next;	/* the member's */
};

/* What a table shows as 'from', of another device, this one's log maps already
 * as 'entry', with these flags of a MAP: for the checkpoint. */
struct member_ghost {
	struct member_ghost *next;	/* the member's */
	const struct table *table;	/* NULL: whichever */
	uint32_t index, from, entry;
	uint8_t flags;
};

/* A change of the superblock, one at a time. */
struct member_super {
	void (*apply)(struct member_super *change, struct format_super *super);
	void (*done)(struct member_super *change, int result);
	struct member_super *next;	/* the member's */
};

/* A device that has become larger; stays until 'done'. */
struct member_grow {
	/* 0: there is more room; else it is as before, or nobody knows what its
	 * superblock says until it is opened again. */
	void (*done)(struct member_grow *grow, int result);
	/* The member's. */
	struct member *member;
	struct member_super change;
	uint64_t capacity_bytes;
	uint32_t had;			/* extents */
	bool is_under_way;
};

struct member_run {
	uint32_t first, count;
	bool is_bad;			/* of one extent */
};

struct member_zeroing {
	struct block_request request;
	struct member *member;
};

/* Extents on their way from one state to the next. */
struct member_move {
	struct log_entry entry;
	struct member_flush flush;
	struct member_grace grace;
	struct format_record records[MEMBER_RUNS];
	struct member_run runs[MEMBER_RUNS];
	struct member_zeroing zeroings[MEMBER_RUNS];
	uint32_t count;			/* runs; 0: nothing is under way */
	uint32_t extents;
	uint32_t requests;		/* under way */
	uint32_t singly;		/* so many by themselves, from now */
};

/* First what is clean, what is open, what is bad; then volume by volume. */
struct member_walk {
	uint32_t pass;			/* over the extents */
	uint32_t extent;		/* the next to look at */
	uint32_t volume;		/* the id; 0: not yet */
	uint32_t part;			/* 0: VOLUME; then its members; then */
	uint32_t index;			/* its table from here on */
};

/* Counters for whoever shows them. */
struct member_counts {
	uint64_t scrubbed, scrub_errors, opened;
	uint64_t turned_bad;
	uint64_t healed;		/* blocks of one copy of its log */
};

struct member {
	struct member_config config;
	void *owner;			/* the caller's to set */
	uint32_t index;			/* the caller's: among the others */
	struct format_super super;
	struct space space;
	struct log log;
	struct loop_poller stepper;	/* of the loop while records wait */
	uint16_t *references;		/* beyond the first; NULL: none */
	struct member_volume *volumes[FORMAT_VOLUMES_MAX + 1];	/* by id */
	uint32_t volume_count;

	uint32_t active[2];		/* requests, by parity */
	uint32_t parity;
	struct member_grace *grace_now, *grace_next;

	struct member_flush *flushing, *flush_next;
	struct block_request flush_request;
	bool is_flushing;

	struct member_super *super_changes;
	struct format_super super_next;
	unsigned char *super_block;
	struct iovec super_iov;
	struct block_request super_request;
	struct member_flush super_flush, flip_flush;
	struct member_super flip;
	uint32_t flip_area;
	uint64_t flip_epoch;
	uint32_t super_first, super_copy;	/* the copies, by number */
	uint32_t super_written;		/* a bit for each copy */

	struct member_move opening, scrubbing;
	struct member_ghost *ghosts;
	struct member_walk walk;
	struct member_counts counts;
	/* The caller's: it leaves its pool; it has left (and is volatile). */
	bool is_out, is_gone;
	bool is_running;		/* opening ahead and scrubbing */
	bool is_ready;			/* open has succeeded */
	uint32_t found_blocks;		/* of its log, at start */
	uint32_t found_synced;		/* of them, known to be safe */

	struct member_open *open;	/* while opening */
};

/* The numbers of extents. */
static inline bool member_has_number(const struct member *member,
				     uint32_t number)
{
	return number - member->config.first_number <
		member->super.extent_count;
}

/* Its extents go to others: it gets no new ones. */
static inline bool member_is_leaving(const struct member *member)
{
	return member->super.compatible & FORMAT_LEAVING;
}

/* Open the device.  'done' may be called before this returns: 0; or
 *	-ENODATA	blank, and may not be claimed
 *	-ENOMSG		somebody else's data
 *	-EPROTONOSUPPORT a newer format
 *	-ESTALE		not the device that was expected
 *	-ENOSPC		shrunk, or too small
 *	-EUCLEAN	damaged
 *	-EROFS, -EIO, -ENOMEM
 * with one line that says what to do.  '*ret_member' is set in any case but
 * -ENOMEM returned here, and to be destroyed by the caller, not inside 'done'.
 */
int member_open(const struct member_config *config,
		void (*done)(void *arg, int result, const struct error *error),
		void *arg, struct member **ret_member);
/* Nothing is under way, or nothing of it will ever end. */
void member_destroy(struct member *member);
/* Begin to open ahead and to scrub: all mappings are known. */
void member_run(struct member *member);
void member_stop(struct member *member);
bool member_is_idle(const struct member *member);

/* ---- requests ---- */

/* Around each request on an extent: between the look-up and its end. */
static inline uint32_t member_enter(struct member *member)
{
	member->active[member->parity]++;
	return member->parity;
}

void member_grace_ended(struct member *member);

static inline void member_leave(struct member *member, uint32_t parity)
{
	if (--member->active[parity] == 0 && parity != member->parity)
		member_grace_ended(member);
}

/* The same if nobody waits for it, which calls nothing.  False: leave. */
static inline bool member_leave_quietly(struct member *member, uint32_t parity)
{
	if (parity != member->parity)
		return false;
	member->active[parity]--;
	return true;
}

/* 'done' when all requests have ended that are under way now; maybe before
 * this returns. */
void member_grace(struct member *member, struct member_grace *grace);

/* All writes and records that are done now are on stable storage when 'done'
 * says 0.  Flushes that come while one is under way share the next. */
void member_flush(struct member *member, struct member_flush *flush);

/* Write the superblocks, first one, then the other, each flushed. */
void member_change_super(struct member *member, struct member_super *change);

/* member-grow.c: what was configured, or what the device has room for, as long
 * as it is now (block_device.size_bytes): for one that is blank; and what one
 * that is not blank may have, which is never less than it had. */
uint64_t member_room(const struct member *member);
uint64_t member_grown(const struct member *member);
/* Have so much.  Returns false: there is nothing to do, or not now, and 'done'
 * is not called. */
bool member_grow(struct member *member, struct member_grow *grow);

/* ---- extents ---- */

/* An open extent, at 'near' if that is one.  Returns false: none now. */
bool member_take(struct member *member, uint32_t near, uint32_t *ret_extent);
/* It was taken and never used. */
void member_give_back(struct member *member, uint32_t extent);
/* One reference less; at none it is dirty.  Nothing may happen between this
 * and the append of the UNMAP, nor between that and member_kick. */
void member_unref(struct member *member, uint32_t extent);
void member_kick(struct member *member);
/* The same of one that could not be written: if this returns true it is bad,
 * and never used again: append BAD, too.  Else the device has too many of those
 * already: member_unref. */
bool member_condemn(struct member *member, uint32_t extent);
/* One more.  Returns 0, -ENOMEM, or -EMLINK: too many. */
int member_ref(struct member *member, uint32_t extent);
bool member_is_shared(const struct member *member, uint32_t extent);
/* Free, or free soon. */
uint32_t member_free(const struct member *member);
/* Will extents become open without anybody's doing? */
bool member_has_coming(const struct member *member);
/* Are some on their way now?  As many as are kept open may be open already,
 * while there are more to come. */
static inline bool member_is_moving(const struct member *member)
{
	return !member->log.has_failed &&
		(member->opening.count > 0 || member->scrubbing.count > 0);
}
/* What holds something, each once. */
static inline uint32_t member_used(const struct member *member)
{
	return member->super.extent_count - member_free(member) -
		member->space.bad_total;
}
/* Is there none that may be written to now, or as soon as it is opened? */
static inline bool member_is_short(const struct member *member)
{
	return member->space.total[SPACE_OPEN] == 0 &&
		member->space.total[SPACE_CLEAN] == 0;
}
uint64_t member_offset(const struct member *member, uint32_t extent);

void member_show(struct member *member, struct member_ghost *ghost);
void member_hide(struct member *member, struct member_ghost *ghost);

/* ---- volumes in its log ---- */

struct member_volume *member_find(const struct member *member,
				  const struct format_uuid *uuid);
/* A place for a volume; not in the log yet.  Returns 0, -ENOMEM, -ENOSPC. */
int member_add_volume(struct member *member, const struct format_volume *is,
		      struct member_volume **ret_volume);
int member_volume_add_member(struct member_volume *volume,
			     const struct format_uuid *uuid);
void member_volume_drop_member(struct member_volume *volume,
			       const struct format_uuid *uuid);
bool member_volume_has_member(const struct member_volume *volume,
			      const struct format_uuid *uuid);
void member_remove_volume(struct member *member, struct member_volume *volume);

/* ---- the parts of this room only ---- */

/* member-replay.c: one record, strictly; those of a block that come soon. */
int member_replay(void *arg, const struct format_record *record,
		  struct error *reterr);
void member_expect(const struct member *member, const unsigned char *block,
		   const struct format_header *header);
/* member-walk.c: what the log is compacted to. */
extern const struct log_ops member_log_ops;
/* member-super.c */
void member_flip(struct log *log, uint32_t area, uint64_t epoch);

#endif
