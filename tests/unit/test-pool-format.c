/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-format.c - what is written on a device is read again, or refused
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "pool/crc32c.h"
#include "pool/foreign.h"
#include "pool/format.h"
#include "pool/space.h"
#include "pool/usage.h"

#define GB	UINT64_C(1000000000)

static void test_crc32c_known_values(void **state)
{
	unsigned char data[100];

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283);
	for (uint32_t i = 0; i < sizeof(data); i++) {
		data[i] = (unsigned char)(i * 37);
		assert_int_equal(crc32c(i, data, i),
				 crc32c_portable(i, data, i));
	}
}

static struct format_super a_super(void)
{
	const uint64_t capacity = UINT64_C(10) << 30;
	struct format_super super = {
		.uuid = {{1, 2, 3}},
		.version = FORMAT_VERSION,
		.counter = 7,
		.generation = 3,
		.capacity_bytes = capacity,
		.metadata_bytes = format_metadata_bytes(capacity),
		.epoch = UINT64_C(3) << 32,
		.extent_count = format_extents(capacity),
		.area = 1,
		.synced_blocks = 5,
	};

	super.area_blocks = format_area_blocks(super.metadata_bytes);
	return super;
}

static void test_format_super_comes_back(void **state)
{
	const struct format_super super = a_super();
	unsigned char block[FORMAT_BLOCK_BYTES];
	struct format_super back;

	(void)state;
	memset(&back, 0, sizeof(back));
	format_super_encode(&super, block);
	assert_int_equal(format_super_decode(block, &back, NULL), 0);
	assert_memory_equal(&back, &super, sizeof(super));
	memset(block, 0, sizeof(block));
	assert_int_equal(format_super_decode(block, &back, NULL), -ENODATA);
	memset(block, 'x', sizeof(block));
	assert_int_equal(format_super_decode(block, &back, NULL), -ENOMSG);
}

/* Every bit of it: damaged, or somebody else's, never another superblock. */
static void test_format_super_each_bit_counts(void **state)
{
	const struct format_super super = a_super();
	unsigned char block[FORMAT_BLOCK_BYTES];
	struct format_super back;

	(void)state;
	format_super_encode(&super, block);
	for (uint32_t bit = 0; bit < FORMAT_SECTOR_BYTES * 8; bit++) {
		int rc;

		block[bit / 8] ^= (unsigned char)(1 << bit % 8);
		rc = format_super_decode(block, &back, NULL);
		assert_true(rc == -EBADMSG || rc == -ENOMSG);
		block[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

static void test_format_newer_is_named(void **state)
{
	struct format_super super = a_super(), back;
	unsigned char block[FORMAT_BLOCK_BYTES];
	struct error error;

	(void)state;
	super.version = 9;
	format_super_encode(&super, block);
	assert_int_equal(format_super_decode(block, &back, &error),
			 -EPROTONOSUPPORT);
	assert_non_null(strstr(error.text, "version 9"));
	super.version = FORMAT_VERSION;
	super.incompatible = 0x40;
	format_super_encode(&super, block);
	assert_int_equal(format_super_decode(block, &back, &error),
			 -EPROTONOSUPPORT);
	assert_non_null(strstr(error.text, "0x40"));
}

static void test_format_records_come_back(void **state)
{
	const struct format_volume is = {
		.uuid = {{9}},
		.size_bytes = 12345678,
		.version = 4,
		.flags = FORMAT_VOLUME_THICK,
		.name = "a name",
	};
	const struct format_uuid member = {{8, 7}};
	const struct format_record records[] = {
		{.kind = FORMAT_VOLUME, .volume = 3, .is = &is},
		{.kind = FORMAT_VOLUME_MEMBER, .volume = 3, .uuid = &member},
		{.kind = FORMAT_VOLUME_MEMBER,
		 .flags = FORMAT_MEMBER_LEFT,
		 .volume = 3,
		 .uuid = &member},
		{.kind = FORMAT_MAP,
		 .flags = FORMAT_MAP_SHARED,
		 .volume = 3,
		 .index = 10,
		 .extent = 20,
		 .count = 5},
		{.kind = FORMAT_UNMAP, .volume = 3, .index = 2, .count = 9},
		{.kind = FORMAT_OPEN, .extent = 77, .count = 100000},
		{.kind = FORMAT_VOLUME_DELETE, .volume = 3},
	};
	const uint32_t count = sizeof(records) / sizeof(records[0]);
	struct format_header header = {.sequence = 4}, back;
	unsigned char block[FORMAT_BLOCK_BYTES] = {0};
	uint32_t crc, again, at = 0;

	(void)state;
	for (uint32_t i = 0; i < count; i++)
		assert_true(format_block_add(block, &header.used, &records[i]));
	crc = format_block_seal(block, &header);
	assert_int_equal(format_block_decode(block, &back, &again), 0);
	assert_int_equal(crc, again);
	assert_int_equal(back.sequence, 4);
	for (uint32_t i = 0; i < count; i++) {
		struct format_volume volume;
		struct format_uuid uuid;
		struct format_record record;

		assert_int_equal(format_record_next(block, &back, &at, &record,
						    &volume, &uuid),
				 1);
		assert_int_equal(record.kind, records[i].kind);
		assert_int_equal(record.flags, records[i].flags);
		if (record.kind == FORMAT_VOLUME) {
			assert_int_equal(record.is->size_bytes, is.size_bytes);
			assert_int_equal(record.is->version, is.version);
			assert_int_equal(record.is->flags, is.flags);
			assert_string_equal(record.is->name, is.name);
			assert_true(
				format_uuid_equal(&record.is->uuid, &is.uuid));
		}
		if (record.kind == FORMAT_VOLUME_MEMBER)
			assert_memory_equal(record.uuid, &member,
					    sizeof(member));
		if (record.kind == FORMAT_MAP) {
			assert_int_equal(record.index, 10);
			assert_int_equal(record.extent, 20);
			assert_int_equal(record.count, 5);
			assert_int_equal(record.flags, FORMAT_MAP_SHARED);
		}
		if (record.kind == FORMAT_OPEN)
			assert_int_equal(record.count, 100000);
	}
}

/* A look ahead finds what is mapped, whatever lies between. */
static void test_format_maps_are_found(void **state)
{
	const struct format_uuid uuid = {{9}};
	const struct format_volume is = {.uuid = {{8}}, .name = "long"};
	const struct format_record records[] = {
		{.kind = FORMAT_VOLUME, .volume = 3, .is = &is},
		{.kind = FORMAT_MAP,
		 .volume = 3,
		 .index = 5,
		 .extent = 70,
		 .count = 2},
		{.kind = FORMAT_VOLUME_MEMBER, .volume = 3, .uuid = &uuid},
		{.kind = FORMAT_CLEAN, .extent = 4, .count = 4},
		{.kind = FORMAT_MAP,
		 .volume = 3,
		 .index = 9,
		 .extent = 60,
		 .count = 1},
		{.kind = FORMAT_VOLUME, .volume = 4, .is = &is},
	};
	struct format_header header = {0};
	unsigned char block[FORMAT_BLOCK_BYTES] = {0};
	struct format_record map;
	uint32_t at = 0;

	(void)state;
	for (uint32_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		format_block_add(block, &header.used, &records[i]);
	assert_true(format_map_next(block, &header, &at, &map));
	assert_int_equal(map.volume, 3);
	assert_int_equal(map.index, 5);
	assert_int_equal(map.extent, 70);
	assert_true(format_map_next(block, &header, &at, &map));
	assert_int_equal(map.index, 9);
	assert_int_equal(map.extent, 60);
	assert_false(format_map_next(block, &header, &at, &map));
	assert_int_equal(at, header.used);
}

static void test_format_maps_grow_together(void **state)
{
	unsigned char block[FORMAT_BLOCK_BYTES] = {0};
	struct format_record map = {.kind = FORMAT_MAP,
				    .volume = 1,
				    .index = 5,
				    .extent = 50,
				    .count = 1};
	uint32_t used = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++, map.index++, map.extent++)
		assert_true(format_block_add(block, &used, &map));
	assert_int_equal(used, 1);
	map.extent++;
	assert_true(format_block_add(block, &used, &map));
	assert_int_equal(used, 2);
}

static void test_format_block_each_bit_counts(void **state)
{
	const struct format_record record = {.kind = FORMAT_OPEN, .count = 3};
	unsigned char block[FORMAT_BLOCK_BYTES] = {0};
	struct format_header header = {0};
	uint32_t crc;

	(void)state;
	format_block_add(block, &header.used, &record);
	format_block_seal(block, &header);
	for (uint32_t bit = 0; bit < FORMAT_BLOCK_BYTES * 8; bit++) {
		block[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(format_block_decode(block, &header, &crc),
				 -EBADMSG);
		block[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

/* E3: a device has what it was configured with, metadata do not count; and has
 * room for the log of one eight times its size. */
static void test_format_geometry(void **state)
{
	static const uint64_t sizes[] = {1, FORMAT_EXTENT_BYTES, 100 * GB,
					 UINT64_C(10) << 40};

	(void)state;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const uint64_t metadata = format_metadata_bytes(sizes[i]);
		const uint64_t grown = (uint64_t)format_extents(sizes[i]) * 8;

		assert_true(format_area_blocks(metadata) * UINT64_C(252) >
			    grown);
		assert_true(format_capacity_bytes(
				    metadata + FORMAT_EXTENT_BYTES * 64) > 0);
	}
	/* A thousandth of a fixed device is what they take. */
	assert_true(format_capacity_bytes(UINT64_C(1) << 40) >
		    (UINT64_C(1) << 40) / 1000 * 998);
}

/* E3: 3 endpoints, 6 devices of 100 GB: 200 GB each, or 100, 200 and 300. */
static void test_pool_e3_sizes(void **state)
{
	const uint64_t devices = 6 * (uint64_t)format_extents(100 * GB);

	(void)state;
	assert_true(3 * (uint64_t)format_extents(200 * GB) <= devices);
	assert_true((uint64_t)format_extents(100 * GB) +
			    format_extents(200 * GB) +
			    format_extents(300 * GB) <=
		    devices);
}

static void test_foreign_is_named(void **state)
{
	static unsigned char data[1 << 20];

	(void)state;
	memcpy(data, "QFI\xfb", 4);
	assert_string_equal(foreign_name(data, sizeof(data)), "a qcow2 image");
	memcpy(data, "xxxx", 4);
	assert_string_equal(foreign_name(data, sizeof(data)),
			    "data of somebody else");
	memcpy(data + 1080, "\x53\xef", 2);
	assert_string_equal(foreign_name(data, sizeof(data)),
			    "an ext2/3/4 file system");
	memcpy(data + 512, "EFI PART", 8);
	assert_string_equal(foreign_name(data, sizeof(data)),
			    "a GPT partition table");
	memcpy(data, "LUKS\xba\xbe", 6);
	assert_string_equal(foreign_name(data, sizeof(data)), "a LUKS volume");
	assert_string_equal(foreign_name(data, 4), "data of somebody else");
}

static void test_space_runs_and_counts(void **state)
{
	struct space space;
	uint32_t first;

	(void)state;
	assert_int_equal(space_init(&space, 10000), 0);
	assert_int_equal(space.total[SPACE_DIRTY], 10000);
	space_set(&space, 100, 5000, SPACE_CLEAN);
	assert_int_equal(space.total[SPACE_CLEAN], 5000);
	assert_int_equal(space_find(&space, SPACE_CLEAN, 0), 100);
	assert_int_equal(space_run(&space, SPACE_CLEAN, 100, UINT32_MAX), 5000);
	assert_int_equal(space_take(&space, SPACE_CLEAN, 4000, 10, &first), 10);
	assert_int_equal(first, 4000);
	assert_int_equal(space_run(&space, SPACE_CLEAN, 100, UINT32_MAX), 3900);
	/* The last one and the padding behind. */
	space_set(&space, 9999, 1, SPACE_OPEN);
	assert_int_equal(space_find(&space, SPACE_OPEN, 0), 9999);
	assert_int_equal(space_find(&space, SPACE_OPEN, 10000), 9999);
	assert_int_equal(space_run(&space, SPACE_OPEN, 9999, 5), 1);
	assert_int_equal(space_set_bad(&space, 9999), 0);
	assert_int_equal(space_find(&space, SPACE_OPEN, 0), SPACE_NONE);
	assert_true(space_is_bad(&space, 9999));
	assert_int_equal(space_grow(&space, 20000), 0);
	assert_true(space_is_bad(&space, 9999));
	assert_int_equal(space_get(&space, 4000), SPACE_TAKEN);
	assert_int_equal(space_get(&space, 19999), SPACE_DIRTY);
	assert_int_equal(space.total[SPACE_DIRTY], 10000 - 5000 - 1 + 10000);
	space_finish(&space);
}

/* Against a plain array, at random. */
static void test_space_like_a_plain_array(void **state)
{
	static unsigned char plain[4 * SPACE_GROUP + 100];
	uint32_t totals[SPACE_STATES];
	struct space space;
	uint64_t x = 88172645463325252U;

	(void)state;
	assert_int_equal(space_init(&space, sizeof(plain)), 0);
	memset(plain, SPACE_DIRTY, sizeof(plain));
	for (uint32_t round = 0; round < 20000; round++) {
		uint32_t first, count, found, expected = SPACE_NONE;
		enum space_state to;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		first = (uint32_t)(x % sizeof(plain));
		/* Now and then whole groups. */
		count = (uint32_t)(x >> 20) % (round % 16 ? 200 : 16000);
		to = (enum space_state)(x >> 40 & 3);
		if (count > sizeof(plain) - first)
			count = (uint32_t)sizeof(plain) - first;
		space_set(&space, first, count, to);
		memset(plain + first, (int)to, count);
		memset(totals, 0, sizeof(totals));
		for (uint32_t i = 0; i < sizeof(plain); i++)
			totals[plain[i]]++;
		assert_memory_equal(space.total, totals, sizeof(totals));
		if (to == SPACE_TAKEN)
			continue;
		first = (uint32_t)(x >> 32) % (uint32_t)sizeof(plain);
		for (uint32_t i = 0; i < sizeof(plain); i++) {
			const uint32_t at =
				(first + i) % (uint32_t)sizeof(plain);

			if (plain[at] != to)
				continue;
			expected = at;
			break;
		}
		found = space_find(&space, to, first);
		assert_int_equal(found, expected);
	}
	space_finish(&space);
}

/* E3: before space runs out, and not again and again. */
static void test_usage_levels(void **state)
{
	struct usage usage = {.capacity = 1000, .used = 700, .reserved = 99};
	enum usage_level level = usage_level(&usage, USAGE_FINE);

	(void)state;
	assert_int_equal(level, USAGE_FINE);
	usage.used = 701;
	assert_int_equal(level = usage_level(&usage, level), USAGE_80);
	usage.used = 690;
	assert_int_equal(level = usage_level(&usage, level), USAGE_80);
	usage.used = 860;
	assert_int_equal(level = usage_level(&usage, level), USAGE_95);
	usage.used = 832;
	assert_int_equal(level = usage_level(&usage, level), USAGE_95);
	usage.used = 830;
	assert_int_equal(level = usage_level(&usage, level), USAGE_90);
	usage.used = 600;
	assert_int_equal(level = usage_level(&usage, level), USAGE_FINE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_known_values),
		cmocka_unit_test(test_format_super_comes_back),
		cmocka_unit_test(test_format_super_each_bit_counts),
		cmocka_unit_test(test_format_newer_is_named),
		cmocka_unit_test(test_format_records_come_back),
		cmocka_unit_test(test_format_maps_are_found),
		cmocka_unit_test(test_format_maps_grow_together),
		cmocka_unit_test(test_format_block_each_bit_counts),
		cmocka_unit_test(test_format_geometry),
		cmocka_unit_test(test_pool_e3_sizes),
		cmocka_unit_test(test_foreign_is_named),
		cmocka_unit_test(test_space_runs_and_counts),
		cmocka_unit_test(test_space_like_a_plain_array),
		cmocka_unit_test(test_usage_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
