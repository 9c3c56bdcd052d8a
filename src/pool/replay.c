/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - see replay.h */
#include "pool/replay.h"

#include <errno.h>
#include <string.h>

#include "base/container.h"
#include "pool/pages.h"

#define CHUNK_BYTES	((size_t)REPLAY_CHUNK_BLOCKS * FORMAT_BLOCK_BYTES)
#define UNREAD	(-EAGAIN)

static void go_on(struct replay *replay);
static void look_behind(struct replay *replay);

static void end(struct replay *replay, int result)
{
	replay->config.done(replay->config.arg, result, &replay->error);
}

static void read_done(struct block_request *request)
{
	struct replay *replay = container_of(request, struct replay, request);

	replay->read[replay->copy] = request->result;
	replay->then(replay);
}

/* Read 'copy' of the chunk; then 'then'. */
static void read_chunk(struct replay *replay, uint32_t copy,
		       void (*then)(struct replay *replay))
{
	const struct format_super *super = replay->config.super;

	replay->copy = copy;
	replay->then = then;
	replay->iov.iov_base = replay->chunks[copy];
	replay->iov.iov_len = (size_t)replay->count * FORMAT_BLOCK_BYTES;
	replay->request = (struct block_request){
		.done = read_done,
		.iov = &replay->iov,
		.iov_count = 1,
		.op = BLOCK_READ,
		.length_bytes = replay->iov.iov_len,
		.offset_bytes = format_area_offset(super, super->area, copy) +
			(uint64_t)replay->first * FORMAT_BLOCK_BYTES,
	};
	block_submit(replay->config.device, &replay->request);
}

static void set_chunk(struct replay *replay, uint32_t first, uint32_t count)
{
	const uint32_t left = replay->config.super->area_blocks - first;

	replay->first = first;
	replay->count = count < left ? count : left;
	replay->read[0] = replay->read[1] = UNREAD;
}

/* A block of this area, written by whoever.  NULL: it is not. */
static const unsigned char *block_of(const struct replay *replay, uint32_t copy,
				     uint32_t sequence,
				     struct format_header *ret_header,
				     uint32_t *ret_crc)
{
	const struct format_super *super = replay->config.super;
	const unsigned char *block = replay->chunks[copy] +
		(size_t)(sequence - replay->first) * FORMAT_BLOCK_BYTES;

	if (replay->read[copy] < 0 ||
	    format_block_decode(block, ret_header, ret_crc) < 0 ||
	    !format_uuid_equal(&ret_header->uuid, &super->uuid) ||
	    ret_header->epoch != super->epoch ||
	    ret_header->sequence != sequence)
		return NULL;
	return block;
}

/* The block that continues the log, from the first copy that has it. */
static const unsigned char *next_block(struct replay *replay,
				       struct format_header *ret_header,
				       uint32_t *ret_crc)
{
	const unsigned char *block;

	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		block = block_of(replay, copy, replay->used, ret_header,
				 ret_crc);
		if (block && ret_header->previous_crc == replay->crc)
			return block;
	}
	return NULL;
}

/* ---- the log ---- */

static int take_block(struct replay *replay, const unsigned char *block,
		      const struct format_header *header)
{
	struct format_record record;
	struct format_volume volume;
	struct format_uuid uuid;
	uint32_t at = 0;
	int rc;

	for (;;) {
		rc = format_record_next(block, header, &at, &record, &volume,
					&uuid);
		if (rc < 0)
			return error_set(
				&replay->error, -EUCLEAN,
				"block %u of its log has a record that cannot be: it was written by a program with a fault",
				header->sequence);
		if (rc == 0)
			return 0;
		rc = replay->config.record(replay->config.arg, &record,
					   &replay->error);
		if (rc < 0)
			return rc;
	}
}

/* Neither copy continues: is it the end? */
static void at_gap(struct replay *replay)
{
	if (replay->used < replay->config.super->synced_blocks) {
		end(replay,
		    error_set(
			    &replay->error, -EUCLEAN,
			    "block %u of its log is damaged in both copies: restore the device from a backup, or replace it",
			    replay->used));
		return;
	}
	if (replay->read[0] < 0 && replay->read[1] < 0) {
		end(replay,
		    error_set(
			    &replay->error, -EIO,
			    "block %u of its log cannot be read: %s: restore the device from a backup, or replace it",
			    replay->used, strerror(-replay->read[0])));
		return;
	}
	replay->probe = replay->used + 1;
	look_behind(replay);
}

static void scan(struct replay *replay)
{
	/* One sector that cannot be read is not a chunk. */
	if (replay->count > 1 && replay->read[replay->copy] < 0) {
		set_chunk(replay, replay->used, 1);
		read_chunk(replay, 0, scan);
		return;
	}
	while (replay->used - replay->first < replay->count) {
		struct format_header header;
		const unsigned char *block;
		uint32_t crc;
		int rc;

		block = next_block(replay, &header, &crc);
		if (!block && replay->read[1] == UNREAD) {
			read_chunk(replay, 1, scan);
			return;
		}
		if (!block) {
			at_gap(replay);
			return;
		}
		replay->config.expect(replay->config.arg, block, &header);
		rc = take_block(replay, block, &header);
		if (rc < 0) {
			end(replay, rc);
			return;
		}
		replay->crc = crc;
		replay->crcs[replay->used % REPLAY_LOOK_BLOCKS] = crc;
		if (header.synced_blocks > replay->synced)
			replay->synced = header.synced_blocks;
		replay->used++;
	}
	go_on(replay);
}

static void go_on(struct replay *replay)
{
	if (replay->used == replay->config.super->area_blocks) {
		end(replay, 0);
		return;
	}
	set_chunk(replay, replay->used, REPLAY_CHUNK_BLOCKS);
	read_chunk(replay, 0, scan);
}

/* ---- behind the end ---- */

/* Both copies of a chunk behind the end are there. */
static void judge(struct replay *replay)
{
	for (uint32_t i = 0; i < replay->count; i++) {
		for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
			struct format_header header;
			uint32_t crc;

			if (!block_of(replay, copy, replay->first + i, &header,
				      &crc) ||
			    header.synced_blocks <= replay->used)
				continue;
			end(replay,
			    error_set(
				    &replay->error, -EUCLEAN,
				    "block %u of its log is damaged in both copies, and %u blocks were safe: restore the device from a backup, or replace it",
				    replay->used, header.synced_blocks));
			return;
		}
	}
	look_behind(replay);
}

static void read_other(struct replay *replay)
{
	read_chunk(replay, 1, judge);
}

static void look_behind(struct replay *replay)
{
	const uint32_t area_blocks = replay->config.super->area_blocks;
	uint32_t count = REPLAY_CHUNK_BLOCKS;
	uint32_t from = replay->probe;

	if (from >= area_blocks) {
		end(replay, 0);
		return;
	}
	if (from - replay->used > REPLAY_LOOK_BLOCKS) {
		count = 1;
		replay->probe += REPLAY_PROBE_BLOCKS;
	} else {
		replay->probe += count;
	}
	set_chunk(replay, from, count);
	read_chunk(replay, 0, read_other);
}

/* ---- life ---- */

int replay_start(struct replay *replay, const struct replay_config *config)
{
	memset(replay, 0, sizeof(*replay));
	replay->config = *config;
	replay->synced = config->super->synced_blocks;
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		replay->chunks[copy] = pages_map(CHUNK_BYTES);
		if (!replay->chunks[copy]) {
			replay_finish(replay);
			return -ENOMEM;
		}
	}
	go_on(replay);
	return 0;
}

void replay_finish(struct replay *replay)
{
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		pages_unmap(replay->chunks[copy], CHUNK_BYTES);
		replay->chunks[copy] = NULL;
	}
}
