/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-data.c - contents that tell where and when they were written
 *
 * Every 8 bytes of a block depend on the block's number, its generation and
 * the place.  One request at a time touches a block, so what a read must find
 * is known: an old write that lands late, or twice, shows.
 */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int load_data_init(struct load_data *data, uint64_t blocks)
{
	data->blocks = blocks;
	data->generations = calloc(blocks, sizeof(*data->generations));
	data->busy = calloc(blocks, sizeof(*data->busy));
	return data->generations && data->busy ? 0 : -ENOMEM;
}

void load_data_finish(struct load_data *data)
{
	free(data->generations);
	free(data->busy);
}

bool load_data_take(struct load_data *data, uint64_t block)
{
	if (data->busy[block])
		return false;
	data->busy[block] = 1;
	return true;
}

static uint64_t word_at(uint64_t block, uint32_t generation, size_t index)
{
	uint64_t x = block * UINT64_C(0x9e3779b97f4a7c15) ^
		(uint64_t)generation << 40 ^ index;

	x ^= x >> 31;
	return x * UINT64_C(0xbf58476d1ce4e5b9);
}

void load_data_write(struct load_data *data, uint64_t block, struct load_op *op)
{
	uint64_t *words = op->iov.iov_base;
	size_t i;

	op->generation = data->generations[block] + 1;
	for (i = 0; i < op->iov.iov_len / sizeof(*words); i++)
		words[i] = word_at(block, op->generation, i);
}

void load_data_read(struct load_data *data, uint64_t block, struct load_op *op)
{
	uint64_t *words = op->iov.iov_base;

	op->generation = data->generations[block];
	/* Left over from before would look right. */
	words[0] = words[op->iov.iov_len / sizeof(*words) - 1] = 0;
}

void load_data_done(struct load_data *data, uint64_t block, struct load_op *op)
{
	const uint64_t *words = op->iov.iov_base;
	size_t i;

	data->busy[block] = 0;
	if (op->request.result != 0)
		return;
	if (op->request.op == VHOST_CLIENT_WRITE) {
		data->generations[block] = op->generation;
		return;
	}
	if (op->generation == 0)
		return;
	data->checked++;
	for (i = 0; i < op->iov.iov_len / sizeof(*words); i++)
		if (words[i] != word_at(block, op->generation, i))
			break;
	if (i == op->iov.iov_len / sizeof(*words))
		return;
	if (data->mismatches++ == 0)
		snprintf(
			data->first_mismatch, sizeof(data->first_mismatch),
			"block %llu, byte %zu: found %016llx, generation %u needs %016llx",
			(unsigned long long)block, i * sizeof(*words),
			(unsigned long long)words[i], op->generation,
			(unsigned long long)word_at(block, op->generation, i));
}
