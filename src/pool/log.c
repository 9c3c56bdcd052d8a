/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h */
#include "pool/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"

#define WALK_BLOCKS	8U	/* of the checkpoint in one step */
#define SLACK_BLOCKS	2048U	/* a log may always be so long */

/* ---- a stream ---- */

static unsigned char *last_block(const struct log_stream *stream)
{
	return stream->buffer + (stream->blocks - 1) * FORMAT_BLOCK_BYTES;
}

/* Finish the block that is being filled. */
static void seal(struct log_stream *stream)
{
	const struct log *log = stream->log;
	const struct format_header header = {
		.uuid = log->config.super->uuid,
		.epoch = stream->epoch,
		.generation = log->config.generation,
		.sequence = stream->used + stream->blocks - 1,
		.synced_blocks = stream->synced,
		.previous_crc = stream->crc,
		.used = stream->slots,
	};

	stream->crc = format_block_seal(last_block(stream), &header);
}

static bool has_block(const struct log_stream *stream)
{
	return stream->blocks < LOG_STEP_BLOCKS &&
		stream->used + stream->blocks <
		stream->log->config.super->area_blocks;
}

static bool has_room(const struct log_stream *stream, uint32_t slots)
{
	return (stream->blocks > 0 && stream->slots + slots <= FORMAT_SLOTS) ||
		has_block(stream);
}

/* There is room. */
static void add(struct log_stream *stream, const struct format_record *record)
{
	if (stream->blocks == 0 ||
	    !format_block_add(last_block(stream), &stream->slots, record)) {
		if (stream->blocks > 0)
			seal(stream);
		assert(has_block(stream));
		stream->blocks++;
		stream->slots = 0;
		format_block_add(last_block(stream), &stream->slots, record);
	}
}

static void write_done(struct block_request *request);

static void write_stream(struct log_stream *stream)
{
	struct log *log = stream->log;

	seal(stream);
	stream->iov.iov_base = stream->buffer;
	stream->iov.iov_len = stream->blocks * FORMAT_BLOCK_BYTES;
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		struct log_write *write = &stream->writes[copy];

		write->stream = stream;
		write->request = (struct block_request){
			.done = write_done,
			.iov = &stream->iov,
			.iov_count = 1,
			.op = BLOCK_WRITE,
			.length_bytes = stream->iov.iov_len,
			.offset_bytes = format_area_offset(log->config.super,
							   stream->area, copy) +
				(uint64_t)stream->used * FORMAT_BLOCK_BYTES,
		};
		block_submit(log->config.device, &write->request);
	}
}

/* The step's writes have ended.  Returns 0, or -EIO: neither copy has it. */
static int written(struct log_stream *stream)
{
	struct log *log = stream->log;
	unsigned int failed = 0;

	if (stream->blocks == 0)
		return 0;
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		if (stream->writes[copy].result < 0) {
			log->copy_errors[copy]++;
			failed++;
		}
	}
	stream->used += stream->blocks;
	stream->blocks = 0;
	return failed < FORMAT_COPIES ? 0 : -EIO;
}

/* ---- entries ---- */

/* Ends those of 'list', in order.  They may append anew. */
static void end_entries(struct log_entry *list, int result)
{
	while (list) {
		struct log_entry *entry = list;

		list = entry->next;
		entry->done(entry, result);
	}
}

static void fail(struct log *log)
{
	struct log_entry *waiting = log->waiting;

	log->has_failed = true;
	log->waiting = NULL;
	log->waiting_end = &log->waiting;
	end_entries(waiting, -EIO);
}

/* Does the new area keep room for all the walk may still write? */
static bool new_has_spare(const struct log *log)
{
	if (!log->new || log->is_walked)
		return true;
	return log->new->used + log->new->blocks + log->worst_blocks +
		LOG_STEP_BLOCKS <
		log->config.super->area_blocks;
}

static bool take_record(struct log *log, const struct format_record *record)
{
	const uint32_t slots = format_slots(record);
	struct format_record part = *record;
	const bool forward = log->new &&
		(log->is_walked || log->config.ops->behind(log, record, &part));

	if (!has_room(log->now, slots) ||
	    (forward && (!has_room(log->new, slots) || !new_has_spare(log))))
		return false;
	add(log->now, record);
	if (forward)
		add(log->new, &part);
	return true;
}

/* Those that have room in this step. */
static void take_entries(struct log *log)
{
	struct log_entry *entry;

	while ((entry = log->waiting) != NULL) {
		while (entry->at < entry->count &&
		       take_record(log, &entry->records[entry->at]))
			entry->at++;
		if (entry->at < entry->count)
			return;
		log->waiting = entry->next;
		if (!log->waiting)
			log->waiting_end = &log->waiting;
		entry->next = NULL;
		*log->writing_end = entry;
		log->writing_end = &entry->next;
	}
}

void log_append(struct log *log, struct log_entry *entry)
{
	if (log->has_failed) {
		entry->done(entry, -EIO);
		return;
	}
	if (!log->config.device) {
		entry->done(entry, 0);
		return;
	}
	entry->at = 0;
	entry->next = NULL;
	*log->waiting_end = entry;
	log->waiting_end = &entry->next;
	/* The end of the step under way goes on with it. */
	if (!log->is_stepping && !log->is_looping)
		log->config.ops->want_step(log);
}

/* ---- compaction ---- */

static uint32_t limit_blocks(const struct log *log)
{
	const uint32_t area = log->config.super->area_blocks;
	const uint32_t base = log->checkpoint_blocks;
	const uint32_t most = area / 2 + base / 2;
	const uint64_t wish = (uint64_t)base * 2 + SLACK_BLOCKS;

	if (log->config.limit_blocks)
		return log->config.limit_blocks + base;
	return wish < most ? (uint32_t)wish : most;
}

static void begin_compaction(struct log *log)
{
	log->new = &log->streams[1 - log->now->area];
	log->new->epoch = log->config.generation << 32 | ++log->attempts;
	log->new->used = log->new->synced = log->new->flushing = 0;
	log->new->crc = 0;
	log->new->blocks = 0;
	log->is_walked = false;
	log->worst_blocks = log->config.ops->walk_worst(log);
	log->config.ops->walk_begin(log);
}

void log_compact(struct log *log)
{
	if (log->new || log->has_failed || !log->may_compact ||
	    !log->config.device)
		return;
	begin_compaction(log);
	log_step(log);
}

static void walk(struct log *log)
{
	struct log_stream *new = log->new;
	struct format_record record = {0};

	while (!log->is_walked && new->blocks <= WALK_BLOCKS &&
	       has_room(new, FORMAT_SLOTS_MAX)) {
		if (log->config.ops->walk(log, &record))
			add(new, &record);
		else
			log->is_walked = true;
	}
	/* The area is too small for what it must hold. */
	if (!log->is_walked && new->blocks == 0)
		fail(log);
}

static void give_up_compaction(struct log *log)
{
	log->new = NULL;
}

void log_flipped(struct log *log, int result)
{
	assert(log->is_flipping);
	log->is_flipping = false;
	if (result < 0) {
		/* A superblock that may or may not name the new area: only if
		 * both went on would either be right. */
		fail(log);
		return;
	}
	log->checkpoint_blocks = log->new->used;
	log->now = log->new;
	log->new = NULL;
	log->compactions++;
	log_step(log);
}

/* ---- a step ---- */

/* Returns false when the log has failed. */
static bool step_ended(struct log *log)
{
	struct log_entry *done = log->writing;
	int result = written(log->now);
	bool is_new_lost = log->new &&written(log->new) < 0;

	log->writing = NULL;
	log->writing_end = &log->writing;
	if (is_new_lost && log->is_flipping)
		result = -EIO;
	else if (is_new_lost)
		give_up_compaction(log);
	if (result < 0)
		log->has_failed = true;
	/* All of them, before the walk goes on: it shows what is done. */
	end_entries(done, result);
	log->is_stepping = false;
	if (result < 0)
		fail(log);
	return result == 0;
}

static void ask_for_flush(struct log *log)
{
	if (log->wants_flush ||
	    log->now->used - log->now->synced < LOG_UNSYNCED_MAX)
		return;
	log->wants_flush = true;
	log->config.ops->want_flush(log);
}

static bool has_blocks(const struct log *log)
{
	return log->now->blocks > 0 || (log->new && log->new->blocks > 0);
}

/* Gather what the next step does.  Returns false: nothing. */
static bool begin_step(struct log *log)
{
	if (log->is_stepping || log->has_failed)
		return false;
	if (!log->new && log->may_compact &&
	    log->now->used >= limit_blocks(log))
		begin_compaction(log);
	if (log->new)
		walk(log);
	take_entries(log);
	log->is_stepping = has_blocks(log) || log->writing;
	return log->is_stepping;
}

static void submit_step(struct log *log)
{
	struct log_stream *now = log->now, *new = log->new;
	const bool has_now = now->blocks > 0;
	const bool has_new = new &&new->blocks > 0;

	log->steps++;
	log->requests =
		(has_now ? FORMAT_COPIES : 0) + (has_new ? FORMAT_COPIES : 0);
	if (has_now)
		write_stream(now);
	if (has_new)
		write_stream(new);
}

/* When both areas say the same, and all of it is written. */
static void try_flip(struct log *log)
{
	if (!log->new || !log->is_walked || log->is_flipping ||
	    log->is_stepping || log->has_failed)
		return;
	log->is_flipping = true;
	log->config.ops->flip(log, log->new->area, log->new->epoch);
}

/* A device may complete inside submit: then this loop goes on, and not a
 * recursion. */
void log_step(struct log *log)
{
	if (log->is_looping)
		return;
	log->is_looping = true;
	while (begin_step(log)) {
		if (has_blocks(log))
			submit_step(log);
		else
			step_ended(log); /* entries without records */
	}
	log->is_looping = false;
	try_flip(log);
}

static void write_done(struct block_request *request)
{
	struct log_write *write =
		container_of(request, struct log_write, request);
	struct log *log = write->stream->log;

	write->result = request->result;
	if (--log->requests > 0)
		return;
	if (!step_ended(log))
		return;
	ask_for_flush(log);
	log_step(log);
}

/* ---- flushes ---- */

void log_flush_begin(struct log *log)
{
	for (uint32_t area = 0; area < FORMAT_AREAS; area++)
		log->streams[area].flushing = log->streams[area].used;
}

void log_flush_end(struct log *log, int result)
{
	log->wants_flush = false;
	if (result < 0)
		return;
	for (uint32_t area = 0; area < FORMAT_AREAS; area++)
		log->streams[area].synced = log->streams[area].flushing;
}

/* ---- life ---- */

int log_init(struct log *log, const struct log_config *config)
{
	const struct format_super *super = config->super;

	memset(log, 0, sizeof(*log));
	log->config = *config;
	log->waiting_end = &log->waiting;
	log->writing_end = &log->writing;
	for (uint32_t area = 0; area < FORMAT_AREAS; area++) {
		struct log_stream *stream = &log->streams[area];

		stream->log = log;
		stream->area = area;
		if (config->device &&
		    posix_memalign((void **)&stream->buffer, FORMAT_BLOCK_BYTES,
				   LOG_STEP_BLOCKS * FORMAT_BLOCK_BYTES) != 0) {
			log_finish(log);
			return -ENOMEM;
		}
	}
	log->now = &log->streams[super->area];
	log->now->epoch = super->epoch;
	log->now->used = config->used;
	log->now->crc = config->crc;
	log->now->synced = super->synced_blocks < config->used ?
		super->synced_blocks :
		config->used;
	log->now->flushing = log->now->synced;
	log->checkpoint_blocks = log->now->synced;
	return 0;
}

void log_finish(struct log *log)
{
	for (uint32_t area = 0; area < FORMAT_AREAS; area++) {
		free(log->streams[area].buffer);
		log->streams[area].buffer = NULL;
	}
}

bool log_is_idle(const struct log *log)
{
	return !log->waiting && !log->is_stepping && !log->is_flipping &&
		(!log->new || log->has_failed);
}
