/* SPDX-License-Identifier: Apache-2.0 */
/* heal.c - see heal.h */
#include "pool/heal.h"

#include <string.h>

#include "base/container.h"

static void read_chunk(struct heal *heal);

static unsigned char *block_at(const struct heal *heal, uint32_t copy,
			       uint32_t i)
{
	return heal->replay->chunks[copy] + (size_t)i * FORMAT_BLOCK_BYTES;
}

static void submit(struct heal *heal, uint32_t copy, enum block_op op,
		   void (*done)(struct block_request *request))
{
	const struct format_super *super = heal->replay->config.super;
	struct heal_request *request = &heal->copies[copy];

	heal->iov[copy].iov_base = heal->replay->chunks[copy];
	heal->iov[copy].iov_len = (size_t)heal->count * FORMAT_BLOCK_BYTES;
	request->heal = heal;
	request->request = (struct block_request){
		.done = done,
		.iov = &heal->iov[copy],
		.iov_count = 1,
		.op = (uint8_t)op,
		.length_bytes = heal->iov[copy].iov_len,
		.offset_bytes = format_area_offset(super, super->area, copy) +
			(uint64_t)heal->first * FORMAT_BLOCK_BYTES,
	};
	block_submit(heal->replay->config.device, &request->request);
}

static void next_chunk(struct heal *heal)
{
	heal->first += heal->count;
	read_chunk(heal);
}

static void was_written(struct block_request *request)
{
	struct heal *heal =
		container_of(request, struct heal_request, request)->heal;

	if (--heal->requests == 0)
		next_chunk(heal);
}

/* Is it the block that was replayed? */
static bool is_good(const struct heal *heal, uint32_t copy, uint32_t i)
{
	struct format_header header;
	uint32_t crc;

	return heal->read[copy] == 0 &&
		format_block_decode(block_at(heal, copy, i), &header, &crc) ==
		0 &&
		crc == replay_crc(heal->replay, heal->first + i);
}

static void compare(struct heal *heal)
{
	bool lacks[FORMAT_COPIES] = {false};

	for (uint32_t i = 0; i < heal->count; i++) {
		bool good[FORMAT_COPIES];

		for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++)
			good[copy] = is_good(heal, copy, i);
		for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
			if (good[copy] || !good[1 - copy])
				continue;
			memcpy(block_at(heal, copy, i),
			       block_at(heal, 1 - copy, i), FORMAT_BLOCK_BYTES);
			lacks[copy] = true;
			heal->healed++;
		}
	}
	heal->requests = (uint32_t)lacks[0] + lacks[1];
	if (heal->requests == 0) {
		next_chunk(heal);
		return;
	}
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++)
		if (lacks[copy])
			submit(heal, copy, BLOCK_WRITE, was_written);
}

static void was_read(struct block_request *request)
{
	struct heal_request *copy =
		container_of(request, struct heal_request, request);
	struct heal *heal = copy->heal;

	heal->read[copy - heal->copies] = request->result;
	if (--heal->requests == 0)
		compare(heal);
}

static void read_chunk(struct heal *heal)
{
	const uint32_t left = heal->replay->used - heal->first;

	if (left == 0) {
		heal->done(heal->arg);
		return;
	}
	heal->count = left < REPLAY_CHUNK_BLOCKS ? left : REPLAY_CHUNK_BLOCKS;
	heal->requests = FORMAT_COPIES;
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++)
		submit(heal, copy, BLOCK_READ, was_read);
}

void heal_start(struct heal *heal, struct replay *replay,
		void (*done)(void *arg), void *arg)
{
	memset(heal, 0, sizeof(*heal));
	heal->replay = replay;
	heal->done = done;
	heal->arg = arg;
	heal->first =
		replay->synced < replay->used ? replay->synced : replay->used;
	if (replay->used - heal->first > REPLAY_LOOK_BLOCKS)
		heal->first = replay->used - REPLAY_LOOK_BLOCKS;
	read_chunk(heal);
}
