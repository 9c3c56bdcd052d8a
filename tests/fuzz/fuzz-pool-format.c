/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-pool-format.c - a pool's device as anybody may have left it
 *
 * The first byte chooses: a superblock, or blocks of a log that are sealed with
 * a right checksum, so that their records are looked at, and replayed.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pool/foreign.h"
#include "pool/format.h"
#include "pool/member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_super(const uint8_t *data, size_t size)
{
	unsigned char block[FORMAT_BLOCK_BYTES] = {0};
	struct format_super super, back;

	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	assert(foreign_name(block, sizeof(block)) != NULL);
	if (format_super_decode(block, &super, NULL) < 0)
		return;
	format_super_encode(&super, block);
	assert(format_super_decode(block, &back, NULL) == 0);
}

/* All records of all blocks, as member_open does. */
static void try_log(const uint8_t *data, size_t size)
{
	struct member *member = calloc(1, sizeof(*member));
	const size_t most = FORMAT_BLOCK_BYTES - FORMAT_HEADER_BYTES;

	assert(member);
	member->config.first_number = 1;
	member->config.most_extents = 4096;
	member->super.extent_count = 4096;
	assert(space_init(&member->space, 4096) == 0);
	while (size >= FORMAT_SLOT_BYTES) {
		unsigned char block[FORMAT_BLOCK_BYTES] = {0};
		const size_t part = size < most ? size : most;
		struct format_header header = {
			.used = (uint32_t)(part / FORMAT_SLOT_BYTES)};
		struct format_record record;
		struct format_volume volume;
		struct format_uuid uuid;
		uint32_t crc, at = 0;

		memcpy(block + FORMAT_HEADER_BYTES, data, part);
		format_block_seal(block, &header);
		assert(format_block_decode(block, &header, &crc) == 0);
		while (format_record_next(block, &header, &at, &record, &volume,
					  &uuid) > 0 &&
		       member_replay(member, &record, NULL) == 0)
			;
		data += part;
		size -= part;
	}
	member_destroy(member);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 4 == 0)
		try_super(data + 1, size - 1);
	else
		try_log(data + 1, size - 1);
	return 0;
}
