/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the log on one device: appended to in groups, compacted meanwhile
 *
 * Appending.  Entries wait in a FIFO until the owner has a step made, at the
 * end of its round: what came in one goes together.  A step takes what is
 * there, as many blocks as a step may have, and writes them to both copies of
 * the current area; when these writes are done the entries are, in order.
 * What came meanwhile goes into the next step.  One step is under way at a
 * time, so the log is always a whole prefix and one step of which anything may
 * be there.
 * An entry that is done is in the kernel's hands, or on the device: it is on
 * stable storage after the next flush of the device.
 *
 * Compaction.  While appends go on, the state that the log describes is written
 * to the other area as a checkpoint, some blocks in each step.  The owner walks
 * its state in a fixed order.  A record appended meanwhile also goes to the new
 * area if it is about what the walk has passed; what lies ahead the walk will
 * see.  So at each step the new area describes exactly what lies behind the
 * walk:
 *
 *	walk order  |=========== behind ===========>|······ ahead ······|
 *	new area      checkpoint + what came since     (not yet)
 *	old area      everything                       everything
 *
 * When the walk is over both areas describe the same; every record goes to both
 * from then on.  Then the device is flushed, the superblock changed (flip) and
 * the old area left.  A crash finds a superblock that names either, and either
 * has all that was ever done.
 *
 * In a step the walk comes first, then the entries.  What the walk sees is
 * thus the state after all steps before.  The owner keeps this rule: its state
 * shows a record at the latest when its entry is done; it may show it as soon
 * as it is appended if the record says how things are (VOLUME), or takes away
 * (UNMAP); a MAP whose entry is not done is not shown to the walk.
 *
 * Threads: the device's loop.  Nothing is allocated after log_init.  Memory:
 * two buffers of a step.
 */
#ifndef POOL_LOG_H
#define POOL_LOG_H

#include "block/block.h"
#include "pool/format.h"

#define LOG_STEP_BLOCKS		16U
#define LOG_UNSYNCED_MAX	1024U	/* blocks; then it wants a flush */

struct log_entry {
	/* 0, or -EIO: it may be there or not, and so may all that follow. */
	void (*done)(struct log_entry *entry, int result);
	const struct format_record *records;	/* the caller's until done */
	uint32_t count;		/* 0: done when all before are */
	uint32_t at;		/* the log's, as is the next */
	struct log_entry *next;
};

struct log;
struct log_ops {
	/* How many blocks a checkpoint would have at most.  Required. */
	uint32_t (*walk_worst)(struct log *log);
	/* To the start of the walk.  Required. */
	void (*walk_begin)(struct log *log);
	/* The next record of the walk; false: that was all.  Required. */
	bool (*walk)(struct log *log, struct format_record *ret_record);
	/* Has the walk passed what 'record' is about?  Of a run, '*ret_part' is
	 * what it has passed.  Required. */
	bool (*behind)(struct log *log, const struct format_record *record,
		       struct format_record *ret_part);
	/* Flush the device, then have the superblock name the other area; end
	 * with log_flipped.  Required. */
	void (*flip)(struct log *log, uint32_t area, uint64_t epoch);
	/* Entries wait: log_step soon.  Required. */
	void (*want_step)(struct log *log);
	/* Much has not been flushed: flush the device soon.  Required. */
	void (*want_flush)(struct log *log);
};

struct log_write {
	struct block_request request;
	struct log_stream *stream;
	int result;
};

/* One of the two areas as it is being written. */
struct log_stream {
	struct log *log;
	uint64_t epoch;
	uint32_t area;
	uint32_t used;		/* blocks written, and done */
	uint32_t synced;	/* of them known to be on stable storage */
	uint32_t flushing;	/* 'used' when the flush under way began */
	uint32_t crc;		/* of the last block */
	uint32_t blocks;	/* of this step, the one being filled too */
	uint32_t slots;		/* used in the last of them */
	unsigned char *buffer;
	struct iovec iov;
	struct log_write writes[FORMAT_COPIES];
};

struct log_config {
	const struct log_ops *ops;
	struct block_device *device;	/* NULL: keeps nothing (volatile) */
	const struct format_super *super;	/* stays valid; read at start */
	uint64_t generation;		/* of this owner */
	uint32_t used;			/* blocks found at start */
	uint32_t crc;			/* of the last of them */
	uint32_t limit_blocks;	/* compact from here on; 0: as fits the area */
};

struct log {
	struct log_config config;
	struct log_stream streams[FORMAT_AREAS];
	struct log_stream *now, *new;	/* new: NULL unless compacting */
	struct log_entry *waiting, **waiting_end;
	struct log_entry *writing, **writing_end;
	uint64_t attempts;		/* at compaction, by this owner */
	uint32_t checkpoint_blocks;	/* of the last compaction */
	uint32_t worst_blocks;		/* of this one */
	uint32_t requests;		/* of the step under way */
	/* The owner's: its state is put together, the walk may look. */
	bool may_compact;
	bool is_looping;		/* step() is on the stack */
	bool is_stepping, is_walked, is_flipping, has_failed;
	bool wants_flush;
	uint64_t copy_errors[FORMAT_COPIES];	/* writes that failed */
	uint64_t compactions, steps;
};

/* Returns 0 or -ENOMEM. */
int log_init(struct log *log, const struct log_config *config);
void log_finish(struct log *log);	/* nothing is under way */

/* 'entry->done' may be called before this returns. */
void log_append(struct log *log, struct log_entry *entry);
/* Write what waits, if that is not under way. */
void log_step(struct log *log);
/* Compact now, if that is not under way. */
void log_compact(struct log *log);

/* The device is about to be flushed; the flush has ended.  One at a time. */
void log_flush_begin(struct log *log);
void log_flush_end(struct log *log, int result);
/* The superblock was written (0), or nobody knows what it says. */
void log_flipped(struct log *log, int result);

bool log_is_idle(const struct log *log);

#endif
