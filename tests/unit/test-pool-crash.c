/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-crash.c - whatever moment the power is cut or the process killed,
 * nothing that was acknowledged and flushed is lost (E3, issue 3)
 *
 * Each scenario runs to its end, one completion after the other, in random
 * order.  After each one: what would be found if it crashed now?  Where a power
 * cut could leave few states, all of them are tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool-rig.h"

#define STATES_MAX	24U	/* tried one by one; else at random */
#define SEEDS		3U

static const struct rig_config small = {
	.devices = 1,
	.extents = 24,
	.area_blocks = 48,
	.open_extents = 4,
};

/* After each event. */
static void probe(struct rig *rig)
{
	const uint64_t states = rig->config.devices == 1 ?
		rig_states(rig, STATES_MAX + 1) :
		STATES_MAX + 1;

	if (rig_random(rig, RIG_SHARE) != 0)
		return;
	for (uint64_t i = 0; states <= STATES_MAX && i < states; i++)
		rig_probe(rig, false, i);
	for (uint32_t i = 0; i < 3; i++)
		rig_probe(rig, false, UINT64_MAX);
	rig_probe(rig, true, UINT64_MAX);
}

static void run(struct rig *rig)
{
	probe(rig);
	while (rig_event(rig))
		probe(rig);
}

static void each_seed(const struct rig_config *config,
		      void (*scenario)(struct rig *rig))
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct rig_config with = *config;
		struct rig *rig = calloc(1, sizeof(*rig));

		with.seed = seed;
		rig_init(rig, &with);
		rig_create(rig, 0, 6 * FORMAT_EXTENT_BYTES, false);
		rig_settle(rig);
		scenario(rig);
		rig_finish(rig);
		free(rig);
	}
}

static void allocate(struct rig *rig)
{
	for (uint32_t cell = 0; cell < 10; cell++)
		rig_write(rig, 0, cell);
	run(rig);
	rig_flush(rig);
	run(rig);
}

static void test_crash_allocate(void **state)
{
	(void)state;
	each_seed(&small, allocate);
}

static void overwrite(struct rig *rig)
{
	for (uint32_t round = 0; round < 3; round++) {
		rig_write(rig, 0, 0);
		rig_write(rig, 0, 5);
		run(rig);
		rig_flush(rig);
		rig_write(rig, 0, 1);
		run(rig);
	}
}

static void test_crash_overwrite(void **state)
{
	(void)state;
	each_seed(&small, overwrite);
}

static void discard(struct rig *rig)
{
	for (uint32_t cell = 0; cell < 16; cell += 3)
		rig_write(rig, 0, cell);
	rig_settle(rig);
	rig_flush(rig);
	rig_settle(rig);
	rig_discard(rig, 0, 1, 3);
	run(rig);
	for (uint32_t cell = 4; cell < 16; cell += 3)
		rig_write(rig, 0, cell);
	run(rig);
}

static void test_crash_discard(void **state)
{
	(void)state;
	each_seed(&small, discard);
}

static void resize(struct rig *rig)
{
	for (uint32_t cell = 0; cell < 24; cell++) {
		rig_write(rig, 0, cell);
		rig_settle(rig);
	}
	rig_flush(rig);
	rig_settle(rig);
	rig_resize(rig, 0, 5 * FORMAT_EXTENT_BYTES / 2);
	run(rig);
	rig_resize(rig, 0, 8 * FORMAT_EXTENT_BYTES);
	run(rig);
	rig_write(rig, 0, 20);
	rig_write(rig, 0, 10);
	run(rig);
}

static void test_crash_resize(void **state)
{
	(void)state;
	each_seed(&small, resize);
}

static void delete (struct rig *rig)
{
	rig_create(rig, 1, 3 * FORMAT_EXTENT_BYTES, true);
	run(rig);
	for (uint32_t cell = 0; cell < 12; cell += 2) {
		rig_write(rig, 0, cell);
		rig_write(rig, 1, cell);
	}
	rig_settle(rig);
	rig_flush(rig);
	rig_settle(rig);
	rig_delete(rig, 0);
	run(rig);
	rig_create(rig, 0, 4 * FORMAT_EXTENT_BYTES, false);
	run(rig);
	rig_write(rig, 0, 3);
	run(rig);
}

static void test_crash_delete(void **state)
{
	(void)state;
	each_seed(&small, delete);
}

static void compaction(struct rig *rig)
{
	for (uint32_t round = 0; round < 2; round++) {
		log_compact(&rig->pool->members[0]->log);
		for (uint32_t cell = 0; cell < 20; cell += 2)
			rig_write(rig, 0, cell);
		rig_discard(rig, 0, 5, 1);
		run(rig);
		rig_discard(rig, 0, 1, 2);
		run(rig);
	}
	assert_true(rig->pool->members[0]->log.compactions >= 2);
}

static void test_crash_compaction(void **state)
{
	(void)state;
	each_seed(&small, compaction);
}

static void snapshot(struct rig *rig)
{
	for (uint32_t cell = 0; cell < 20; cell += 2)
		rig_write(rig, 0, cell);
	rig_settle(rig);
	rig_write(rig, 0, 0);
	rig_snapshot(rig, 2, 0);
	rig_write(rig, 0, 5);
	run(rig);
	for (uint32_t cell = 1; cell < 8; cell += 3)
		rig_write(rig, 0, cell);
	run(rig);
	rig_flush(rig);
	rig_delete(rig, 2);
	rig_write(rig, 0, 15);
	run(rig);
}

static void test_crash_snapshot(void **state)
{
	(void)state;
	each_seed(&small, snapshot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crash_allocate),
		cmocka_unit_test(test_crash_overwrite),
		cmocka_unit_test(test_crash_discard),
		cmocka_unit_test(test_crash_resize),
		cmocka_unit_test(test_crash_delete),
		cmocka_unit_test(test_crash_compaction),
		cmocka_unit_test(test_crash_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
