/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - read the current area of a device's log, from its start to its end
 *
 * Copy A is read in chunks; copy B of a chunk only where A does not continue
 * the chain.  Where neither does is the end of the log, unless a valid block
 * behind says that the missing one was on stable storage: then it is damage,
 * and nobody guesses.  To find such a block the next REPLAY_LOOK_BLOCKS are
 * read, more than a log ever has without a flush, and beyond these one of each
 * REPLAY_PROBE_BLOCKS to the end of the area.
 *
 * Threads: the device's loop; never blocks.
 */
#ifndef POOL_REPLAY_H
#define POOL_REPLAY_H

#include "block/block.h"
#include "pool/format.h"

#define REPLAY_CHUNK_BLOCKS	256U
#define REPLAY_LOOK_BLOCKS	2048U
#define REPLAY_PROBE_BLOCKS	1024U

struct replay_config {
	struct block_device *device;
	const struct format_super *super;
	/* One record, in order; valid only while called.  Returns 0, or
	 * -EUCLEAN with a sentence: it can't be.  Required. */
	int (*record)(void *arg, const struct format_record *record,
		      struct error *reterr);
	/* The records of that block come now: fetch what they are about.  In
	 * no order, so one miss after the other would take longer than all
	 * else.  Required. */
	void (*expect)(void *arg, const unsigned char *block,
		       const struct format_header *header);
	/* The end: 0; -EUCLEAN (damaged, or impossible), -EIO, -ENOMEM.  The
	 * replay may be freed inside.  Required. */
	void (*done)(void *arg, int result, const struct error *error);
	void *arg;
};

struct replay {
	struct replay_config config;
	struct error error;
	unsigned char *chunks[FORMAT_COPIES];
	int read[FORMAT_COPIES];	/* 0: is there; else why not */
	struct iovec iov;
	struct block_request request;
	void (*then)(struct replay *replay);
	uint32_t copy;			/* being read */
	uint32_t first, count;		/* blocks of the chunk */
	uint32_t probe;			/* the next to look at behind the end */
	/* The result: blocks there are, and the last one's checksum. */
	uint32_t used;
	uint32_t crc;
	uint32_t synced;	/* of them known to be on stable storage */
	uint32_t crcs[REPLAY_LOOK_BLOCKS];	/* of the last ones */
};

/* The checksum of a block that was replayed, one of the last. */
static inline uint32_t replay_crc(const struct replay *replay,
				  uint32_t sequence)
{
	return replay->crcs[sequence % REPLAY_LOOK_BLOCKS];
}

/* Returns 0 ('done' will be, or was, called) or -ENOMEM. */
int replay_start(struct replay *replay, const struct replay_config *config);
void replay_finish(struct replay *replay);

#endif
