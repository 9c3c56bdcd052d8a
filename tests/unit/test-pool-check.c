/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-check.c - the checker of a pool's devices: says what is wrong, and
 * where; repairs what one copy has; invents nothing (E3, issue 3)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool-rig.h"
#include "pool/check.h"

#define NAMED_MAX	3U

static const char *const names[] = {"d0", "d1", "d2"};

struct checking {
	struct powercut *powercuts[NAMED_MAX];
	struct check_device devices[NAMED_MAX];
	uint32_t count;
	struct check_report report;
	int result;
	uint32_t notes;
	char text[4096];	/* all findings */
};

static void let_end(void *arg)
{
	struct checking *checking = arg;

	for (uint32_t d = 0; d < checking->count; d++)
		if (powercut_pending(checking->powercuts[d]) > 0)
			powercut_end(checking->powercuts[d], 0);
}

static void hear(void *arg, const struct check_finding *finding)
{
	struct checking *checking = arg;
	const size_t used = strlen(checking->text);

	checking->notes += !finding->is_wrong;
	snprintf(checking->text + used, sizeof(checking->text) - used, "%s\n",
		 finding->text);
	if (finding->device)
		assert_memory_equal(finding->text, finding->device->name, 2);
	if (finding->is_repaired)
		assert_true(finding->can_repair);
}

static void check(struct checking *checking, bool repair)
{
	const struct check_config config = {
		.devices = checking->devices,
		.count = checking->count,
		.repair = repair,
		.progress = let_end,
		.say = hear,
		.arg = checking,
	};

	checking->text[0] = '\0';
	checking->notes = 0;
	memset(checking->devices, 0, sizeof(checking->devices));
	for (uint32_t d = 0; d < checking->count; d++) {
		checking->devices[d].device =
			powercut_device(checking->powercuts[d]);
		checking->devices[d].name = names[d];
	}
	checking->result = check_run(&config, &checking->report);
	assert_int_equal(checking->result,
			 checking->report.wrong ? -EUCLEAN : 0);
}

static void says(const struct checking *checking, const char *words)
{
	if (!strstr(checking->text, words))
		fail_msg("'%s' is not in '%s'", words, checking->text);
}

/* Devices with a volume that has some extents, and its snapshot, at rest. */
static struct rig *make(uint32_t devices, struct checking *checking)
{
	struct rig *rig = rig_make(devices, 3);

	rig_snapshot(rig, 1, 0);
	rig_settle(rig);
	rig_write(rig, 0, 0);
	rig_discard(rig, 0, 1, 1);
	rig_settle(rig);
	rig_flush(rig);
	rig_settle(rig);
	memset(checking, 0, sizeof(*checking));
	checking->count = devices;
	for (uint32_t d = 0; d < devices; d++)
		checking->powercuts[d] = rig->devices[d];
	return rig;
}

static void test_check_in_order(void **state)
{
	struct checking checking;
	struct rig *rig = make(2, &checking);

	(void)state;
	check(&checking, false);
	assert_int_equal(checking.result, 0);
	assert_int_equal(checking.report.wrong, 0);
	assert_string_equal(checking.text, "");
	assert_int_equal(checking.devices[0].volumes, 2);
	assert_true(checking.devices[0].mapped > 0);
	assert_int_equal(checking.devices[0].mapped +
				 checking.devices[0].clean +
				 checking.devices[0].dirty,
			 24);
	rig_free(rig);
}

/* It says which copies are damaged, and brings them back. */
static void test_check_repairs_copies(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);
	const struct format_super super = rig->pool->members[0]->super;

	(void)state;
	powercut_flip(rig->devices[0], format_super_offset(&super, 0) + 44, 1);
	powercut_flip(rig->devices[0],
		      format_area_offset(&super, super.area, 0) + 99, 2);
	powercut_flip(rig->devices[0],
		      format_area_offset(&super, super.area, 1) + 4999, 2);
	check(&checking, false);
	assert_int_equal(checking.devices[0].bad_supers, 1);
	assert_int_equal(checking.devices[0].bad_blocks, 2);
	assert_int_equal(checking.report.wrong, 3);
	assert_int_equal(checking.report.repaired, 0);
	says(&checking, "copy 1 of the superblock (at byte 0)");
	says(&checking, "copy A of block 0 of the log");
	says(&checking, "copy B of block 1 of the log");
	check(&checking, true);
	assert_int_equal(checking.report.wrong, 3);
	assert_int_equal(checking.report.repaired, 3);
	check(&checking, false);
	assert_string_equal(checking.text, "");
	rig_free(rig);
}

/* Of each byte of metadata that is in use one bit, here in one copy and there
 * in both: told, repaired from the other copy, or refused; never another
 * state than before. */
static void one_flip(struct rig *rig, struct checking *checking, uint64_t one,
		     uint64_t other, uint32_t bit)
{
	const struct check_device before = checking->devices[0];
	struct powercut *device = powercut_copy(rig->devices[0]);

	checking->powercuts[0] = device;
	powercut_flip(device, one, bit);
	check(checking, false);
	assert_true(checking->report.wrong + checking->notes > 0);
	assert_int_equal(checking->devices[0].result, 0);
	assert_int_equal(checking->devices[0].mapped, before.mapped);
	assert_int_equal(checking->devices[0].log_blocks, before.log_blocks);
	check(checking, true);
	assert_int_equal(checking->report.wrong, checking->report.repaired);
	powercut_flip(device, one, bit);
	powercut_flip(device, other, bit);
	powercut_flip(device, one, 7 - bit);
	check(checking, true);
	/* Of the last block nobody can tell damage from the end. */
	if (checking->devices[0].result < 0)
		assert_int_equal(checking->report.repaired, 0);
	else
		assert_true(checking->devices[0].log_blocks + 2 >=
			    before.log_blocks);
	powercut_destroy(device);
	checking->powercuts[0] = rig->devices[0];
	checking->devices[0] = before;
}

static void test_check_bits_flipped(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);
	const struct member *member = rig->pool->members[0];
	const struct format_super *super = &member->super;
	const uint32_t used = member->log.now->used * FORMAT_BLOCK_BYTES;
	const uint32_t step = RIG_SHARE > 1 ? 1999 : 97;
	uint32_t bit = 0;

	(void)state;
	check(&checking, false);
	for (uint32_t at = 0; at < used; at += step, bit++)
		one_flip(rig, &checking,
			 format_area_offset(super, super->area, bit & 1) + at,
			 format_area_offset(super, super->area, ~bit & 1) + at,
			 bit % 4);
	for (uint32_t at = 0;
	     at<FORMAT_SECTOR_BYTES; at += RIG_SHARE> 1 ? 31 : 5, bit++)
		one_flip(rig, &checking,
			 format_super_offset(super, bit & 1) + at,
			 format_super_offset(super, ~bit & 1) + at, bit % 4);
	rig_free(rig);
}

/* The same device twice: neither is looked at as if it were another. */
static void test_check_cloned(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);

	(void)state;
	checking.powercuts[1] = powercut_copy(rig->devices[0]);
	checking.count = 2;
	check(&checking, true);
	assert_int_equal(checking.report.wrong, 1);
	assert_int_equal(checking.report.repaired, 0);
	says(&checking, "d1: it is a copy of d0 (generation 1, that one 1)");
	powercut_destroy(checking.powercuts[1]);
	rig_free(rig);
}

static void test_check_device_not_named(void **state)
{
	struct checking checking;
	struct rig *rig = make(2, &checking);

	(void)state;
	checking.count = 1;
	check(&checking, true);
	assert_true(checking.report.wrong > 0);
	says(&checking,
	     "may be on device d0010000000000000000000000000000, which cannot be looked at or was not named");
	/* In another order it is the same. */
	checking.count = 2;
	checking.powercuts[0] = rig->devices[1];
	checking.powercuts[1] = rig->devices[0];
	check(&checking, false);
	assert_string_equal(checking.text, "");
	rig_free(rig);
}

/* Another pool's device in the place of one of this. */
static void test_check_swapped(void **state)
{
	struct checking checking, other;
	struct rig *rig = make(2, &checking), *strange = make(1, &other);

	(void)state;
	checking.powercuts[1] = strange->devices[0];
	check(&checking, false);
	says(&checking, "d1: it is a copy of d0");
	says(&checking, "was not named: name all devices of the pool");
	rig_free(strange);
	rig_free(rig);
}

static void test_check_shrunk_or_foreign(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);
	struct powercut *device = powercut_copy(rig->devices[0]);

	(void)state;
	checking.powercuts[0] = device;
	powercut_device(device)->size_bytes -= FORMAT_EXTENT_BYTES;
	check(&checking, true);
	assert_int_equal(checking.devices[0].result, -ENOSPC);
	assert_int_equal(checking.report.wrong, 1);
	says(&checking, "d0: it has");
	says(&checking, "it was shrunk");
	powercut_destroy(device);
	device = powercut_create(8 * FORMAT_EXTENT_BYTES);
	checking.powercuts[0] = device;
	check(&checking, true);
	says(&checking, "d0: it is blank");
	powercut_poke(device, 1080, "\x53\xef", 2);
	check(&checking, true);
	assert_int_equal(checking.devices[0].result, -ENOMSG);
	powercut_destroy(device);
	rig_free(rig);
}

/* Two volumes on one extent that are not related: as a fault of ours would
 * leave it, with every sum right. */
static void test_check_strangers_share(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);
	struct log *log = &rig->pool->members[0]->log;
	const struct table *table = &rig->volumes[1].volume->table;
	const struct format_volume is = {
		.uuid = {{0xee}},
		.size_bytes = 4 * FORMAT_EXTENT_BYTES,
		.version = 1,
		.name = "stranger",
	};
	const struct format_record records[] = {
		{.kind = FORMAT_VOLUME, .volume = 9, .is = &is},
		{
			.kind = FORMAT_MAP,
			.flags = FORMAT_MAP_SHARED,
			.volume = 9,
			.extent = (table_get(table, 2) & TABLE_NUMBER) -
				rig->pool->members[0]->config.first_number,
			.count = 1,
		},
	};
	static struct log_entry entry;

	(void)state;
	entry.records = records;
	entry.count = 2;
	entry.done = (void (*)(struct log_entry *, int))(void (*)(void))abort;
	log_append(log, &entry);
	while (powercut_pending(rig->devices[0]) > 1)
		powercut_end(rig->devices[0], 0);
	/* Its last write has been done too, and nobody has heard of it. */
	checking.powercuts[0] = powercut_copy(rig->devices[0]);
	check(&checking, true);
	says(&checking, "volume stranger: 1 extents are another volume's too");
	assert_int_equal(checking.report.repaired, 0);
	powercut_destroy(checking.powercuts[0]);
	rig_free(rig);
}

/* A crash that came between the copies of the log: the next start writes the
 * other one, so that it can be read when the first is damaged. */
static void test_check_healed_at_start(void **state)
{
	struct checking checking;
	struct rig *rig = make(1, &checking);
	const struct member *member = rig->pool->members[0];
	const struct format_super super = member->super;
	const uint64_t last = (uint64_t)member->log.now->used * 4096;

	(void)state;
	assert_true(rig_write(rig, 0, 5));
	rig_settle(rig);
	assert_true(member->log.now->used * UINT64_C(4096) > last);
	powercut_flip(rig->devices[0],
		      format_area_offset(&super, super.area, 1) + last + 9, 1);
	check(&checking, false);
	assert_int_equal(checking.result, 0);
	says(&checking, "in one copy only: a crash came between");
	rig_crash(rig, true);
	checking.powercuts[0] = rig->devices[0];
	assert_true(rig->pool->members[0]->counts.healed > 0);
	check(&checking, false);
	assert_string_equal(checking.text, "");
	powercut_flip(rig->devices[0],
		      format_area_offset(&super, super.area, 0) + last + 9, 1);
	check(&checking, true);
	assert_int_equal(checking.report.wrong, checking.report.repaired);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_in_order),
		cmocka_unit_test(test_check_repairs_copies),
		cmocka_unit_test(test_check_bits_flipped),
		cmocka_unit_test(test_check_cloned),
		cmocka_unit_test(test_check_device_not_named),
		cmocka_unit_test(test_check_swapped),
		cmocka_unit_test(test_check_shrunk_or_foreign),
		cmocka_unit_test(test_check_strangers_share),
		cmocka_unit_test(test_check_healed_at_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
