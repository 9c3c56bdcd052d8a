/* SPDX-License-Identifier: Apache-2.0 */
/* test-archive.c - what processes used, kept and forgotten (E7), in invented
 * time */
#include "store/archive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_S	INT64_C(1800000000)	/* an hour begins */
#define DAY_S	INT64_C(86400)

struct fixture {
	char directory[64];
	struct archive *archive;
	/* what was found */
	unsigned int count;
	struct derive_cell all;
	int64_t first_s, released_s;
};

static const struct archive_process one = {1, "v0", "db"};
static const struct archive_process two = {2, "v0", "web"};

static void open_archive(struct fixture *fixture, bool is_fresh)
{
	struct error why = {""};
	bool found = !is_fresh;

	if (archive_open(fixture->directory, &fixture->archive, &found, &why) <
	    0)
		fail_msg("%s", why.text);
	assert_int_equal(found, is_fresh);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->directory, "/tmp/test-archive.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	open_archive(fixture, false);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char command[128];

	archive_close(fixture->archive);
	snprintf(command, sizeof(command), "rm -rf %s", fixture->directory);
	assert_int_equal(system(command), 0);
	free(fixture);
	return 0;
}

static void put(struct fixture *fixture, const struct archive_process *process,
		int64_t at_s, uint64_t reads)
{
	const uint64_t count[2][DERIVE_AXES] = {{reads, reads * 4096},
						{1, 512}};
	struct archive_row row = {.process = *process, .at_s = at_s};
	struct error why;

	derive_count(&row.cell, count, 1000000000U);
	row.cell.latency_ns[SLA_TOTAL][DERIVE_POINT_P99] = reads * 1000;
	row.cell.kept_s = 1;
	assert_int_equal(archive_put(fixture->archive, &row, 1, &why), 0);
}

static void found_one(int64_t at_s, const struct derive_cell *cell, void *arg)
{
	struct fixture *fixture = arg;

	if (fixture->count++ == 0)
		fixture->first_s = at_s;
	derive_merge(&fixture->all, cell);
}

static void read_since(struct fixture *fixture,
		       const struct archive_process *process, int64_t since_s,
		       int64_t now_s)
{
	struct error why;

	fixture->count = 0;
	memset(&fixture->all, 0, sizeof(fixture->all));
	assert_int_equal(archive_read(fixture->archive, process, since_s, now_s,
				      found_one, fixture, &why),
			 0);
}

static void found_sum(const struct archive_process *process, int64_t released_s,
		      const struct derive_cell *cell, void *arg)
{
	struct fixture *fixture = arg;

	fixture->count++;
	if (process->pasid == 1) {
		assert_string_equal(process->vdev, "v0");
		assert_string_equal(process->name, "db");
		fixture->released_s = released_s;
	}
	derive_merge(&fixture->all, cell);
}

static void sum_since(struct fixture *fixture, int64_t since_s, int64_t now_s)
{
	struct error why;

	fixture->count = 0;
	memset(&fixture->all, 0, sizeof(fixture->all));
	assert_int_equal(archive_sum(fixture->archive, since_s, now_s,
				     found_sum, fixture, &why),
			 0);
}

static void prune(struct fixture *fixture, int64_t now_s)
{
	struct error why;

	assert_int_equal(archive_prune(fixture->archive, now_s, &why), 0);
}

/* Every figure comes back as it was put, also after a restart. */
static void test_archive_survives_restart(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, &one, NOW_S, 100);
	put(fixture, &one, NOW_S + 60, 300);
	put(fixture, &two, NOW_S, 7);
	archive_close(fixture->archive);
	open_archive(fixture, false);
	put(fixture, &one, NOW_S + 60, 200);
	read_since(fixture, &one, NOW_S, NOW_S + 120);
	assert_int_equal(fixture->count, 2);
	assert_int_equal(fixture->all.top_per_s[SLA_READ][DERIVE_REQUESTS],
			 300);
	assert_int_equal(fixture->all.top_per_s[SLA_TOTAL][DERIVE_BYTES],
			 300 * 4096 + 512);
	assert_int_equal(fixture->all.top_per_s[SLA_WRITE][DERIVE_BYTES], 512);
	assert_int_equal(fixture->all.latency_ns[SLA_TOTAL][DERIVE_POINT_P99],
			 300000);
	assert_int_equal(fixture->all.sum[0][DERIVE_REQUESTS], 600);
	assert_int_equal(fixture->all.sum[1][DERIVE_BYTES], 3 * 512);
	assert_int_equal(fixture->all.seconds, 3);
	assert_int_equal(fixture->all.kept_s, 3);
	read_since(fixture, &one, NOW_S + 60, NOW_S + 120);
	assert_int_equal(fixture->count, 1);
}

/* Minutes for a day, then hours, for 400 days. */
static void test_archive_rolls_up(void **state)
{
	struct fixture *fixture = *state;
	unsigned int i;

	for (i = 0; i < 120; i++)
		put(fixture, &one, NOW_S + 60 * i, i + 1);
	read_since(fixture, &one, NOW_S, NOW_S + 7200);
	assert_int_equal(fixture->count, 120);
	prune(fixture, NOW_S + 3 * DAY_S);
	read_since(fixture, &one, NOW_S, NOW_S + 3 * DAY_S);
	assert_int_equal(fixture->count, 2);
	assert_int_equal(fixture->first_s, NOW_S);
	assert_int_equal(fixture->all.top_per_s[SLA_READ][DERIVE_REQUESTS],
			 120);
	assert_int_equal(fixture->all.seconds, 120);
	prune(fixture, NOW_S + ARCHIVE_HOURS_S + 3600);
	read_since(fixture, &one, NOW_S, NOW_S + ARCHIVE_HOURS_S + 3600);
	assert_int_equal(fixture->count, 1);
	prune(fixture, NOW_S + ARCHIVE_HOURS_S + 7200);
	read_since(fixture, &one, NOW_S, NOW_S + ARCHIVE_HOURS_S + 7200);
	assert_int_equal(fixture->count, 0);
}

/* No span counts twice, wherever minutes turn to hours. */
static void test_archive_counts_once(void **state)
{
	struct fixture *fixture = *state;
	int64_t now_s;
	unsigned int i;

	for (i = 0; i < 300; i++)
		put(fixture, &one, NOW_S + 60 * i, 1);
	for (now_s = NOW_S + DAY_S; now_s < NOW_S + 2 * DAY_S; now_s += 1234) {
		prune(fixture, now_s);
		read_since(fixture, &one, NOW_S, now_s);
		assert_int_equal(fixture->all.seconds, 300);
		sum_since(fixture, NOW_S, now_s);
		assert_int_equal(fixture->all.seconds, 300);
	}
}

/* A released process's history goes, and is nobody else's. */
static void test_archive_forgets_released(void **state)
{
	struct fixture *fixture = *state;
	struct error why;

	put(fixture, &one, NOW_S, 100);
	put(fixture, &two, NOW_S, 50);
	assert_int_equal(
		archive_release(fixture->archive, &one, NOW_S + 60, &why), 0);
	read_since(fixture, &one, NOW_S, NOW_S + 60);
	assert_int_equal(fixture->count, 0);
	put(fixture, &one, NOW_S + 120, 3);
	read_since(fixture, &one, NOW_S, NOW_S + 120);
	assert_int_equal(fixture->all.sum[0][DERIVE_REQUESTS], 3);
	sum_since(fixture, NOW_S, NOW_S + 180);
	assert_int_equal(fixture->count, 3);
	prune(fixture, NOW_S + ARCHIVE_RELEASED_S);
	sum_since(fixture, NOW_S, NOW_S + ARCHIVE_RELEASED_S);
	assert_int_equal(fixture->count, 3);
	prune(fixture, NOW_S + ARCHIVE_RELEASED_S + 120);
	sum_since(fixture, NOW_S, NOW_S + ARCHIVE_RELEASED_S);
	assert_int_equal(fixture->count, 2);
}

/* Who has gone while nobody looked counts as released. */
static void test_archive_knows_who_is_there(void **state)
{
	struct fixture *fixture = *state;
	struct error why;

	put(fixture, &one, NOW_S, 100);
	put(fixture, &two, NOW_S, 50);
	assert_int_equal(
		archive_live(fixture->archive, &two, 1, NOW_S + 60, &why), 0);
	read_since(fixture, &one, NOW_S, NOW_S + 60);
	assert_int_equal(fixture->count, 0);
	read_since(fixture, &two, NOW_S, NOW_S + 60);
	assert_int_equal(fixture->count, 1);
	sum_since(fixture, NOW_S, NOW_S + 60);
	assert_int_equal(fixture->released_s, NOW_S + 60);
}

/* One that cannot be read is put aside: promises do not depend on it. */
static void test_archive_damaged_is_put_aside(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	FILE *file;

	put(fixture, &one, NOW_S, 100);
	archive_close(fixture->archive);
	snprintf(path, sizeof(path), "%s/history.db", fixture->directory);
	file = fopen(path, "we");
	assert_non_null(file);
	for (unsigned int i = 0; i < 1000; i++)
		fprintf(file, "no database %u\n", i);
	fclose(file);
	open_archive(fixture, true);
	read_since(fixture, &one, NOW_S, NOW_S + 60);
	assert_int_equal(fixture->count, 0);
	put(fixture, &one, NOW_S, 100);
	snprintf(path, sizeof(path), "%s/history.db.damaged",
		 fixture->directory);
	assert_int_equal(access(path, F_OK), 0);
}

#define TEST(name)	cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_archive_survives_restart),
		TEST(test_archive_rolls_up),
		TEST(test_archive_counts_once),
		TEST(test_archive_forgets_released),
		TEST(test_archive_knows_who_is_there),
		TEST(test_archive_damaged_is_put_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
