/* SPDX-License-Identifier: Apache-2.0 */
/* test-store.c - penstockd's memory */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/loop.h"
#include "store/store.h"

struct fixture {
	struct loop *loop;
	char directory[64];
	char state[96];
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct loop_config config = {.entries = 64};
	struct error why;

	strcpy(fixture->directory, "/tmp/test-store.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->state, sizeof(fixture->state), "%s/a/b",
		 fixture->directory);
	assert_int_equal(loop_create(&config, &fixture->loop, &why), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char command[128];

	loop_destroy(fixture->loop);
	snprintf(command, sizeof(command), "rm -rf %s", fixture->directory);
	assert_int_equal(system(command), 0);
	free(fixture);
	return 0;
}

static struct store *open_store(struct fixture *fixture)
{
	struct store *store;
	struct error why = {""};

	if (store_open(&store_sqlite, fixture->loop, fixture->state, &store,
		       &why) < 0)
		fail_msg("%s", why.text);
	return store;
}

struct waiting_write {
	struct store_write write;
	bool is_done;
};

static void note_done(struct store_write *write)
{
	((struct waiting_write *)write)->is_done = true;
}

static void finish(struct fixture *fixture, struct store *store,
		   struct waiting_write *waiting)
{
	store_write_start(store, &waiting->write);
	while (!waiting->is_done)
		loop_run_once(fixture->loop, loop_clock_ns() + 1000000000U);
}

static void put(struct waiting_write *waiting, enum store_kind kind,
		const char *key, const char *text)
{
	json_t *value = text ? json_loads(text, 0, NULL) : NULL;

	assert_int_equal(store_write_put(&waiting->write, kind, key, value), 0);
	json_decref(value);
}

static json_t *load(struct store *store, enum store_kind kind)
{
	struct error why = {""};
	json_t *records;

	if (store_load(store, kind, &records, &why) < 0)
		fail_msg("%s", why.text);
	return records;
}

static void test_store_remembers(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = open_store(fixture);
	struct waiting_write waiting = {.is_done = false};
	json_t *records;

	store_write_init(&waiting.write, note_done);
	put(&waiting, STORE_PROCESS, "7", "{\"sla\": \"iops >= 500\"}");
	put(&waiting, STORE_PROCESS, "8", "{\"sla\": \"iops >= 400\"}");
	put(&waiting, STORE_VOLUME, "7", "{\"size_bytes\": 0}");
	finish(fixture, store, &waiting);
	assert_int_equal(waiting.write.result, 0);
	waiting.is_done = false;
	store_write_init(&waiting.write, note_done);
	put(&waiting, STORE_PROCESS, "7", NULL);
	put(&waiting, STORE_PROCESS, "8", "{\"sla\": \"iops >= 300\"}");
	finish(fixture, store, &waiting);
	assert_int_equal(waiting.write.result, 0);
	store_close(store);

	store = open_store(fixture);
	records = load(store, STORE_PROCESS);
	assert_int_equal(json_object_size(records), 1);
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(records, "8"), "sla")),
			    "iops >= 300");
	json_decref(records);
	records = load(store, STORE_VOLUME);
	assert_int_equal(json_object_size(records), 1);
	json_decref(records);
	store_close(store);
}

/* What is on its way when the store is closed is written. */
static void test_store_close_finishes(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = open_store(fixture);
	struct waiting_write waiting = {.is_done = false};
	json_t *records;

	store_write_init(&waiting.write, note_done);
	put(&waiting, STORE_VDEV, "vd0", "{}");
	store_write_start(store, &waiting.write);
	store_close(store);
	assert_true(waiting.is_done);
	store = open_store(fixture);
	records = load(store, STORE_VDEV);
	assert_int_equal(json_object_size(records), 1);
	json_decref(records);
	store_close(store);
}

static void test_store_makes_private_directory(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = open_store(fixture);
	struct stat stat_buffer;

	assert_int_equal(stat(fixture->state, &stat_buffer), 0);
	assert_int_equal(stat_buffer.st_mode & 0777, 0700);
	store_close(store);
}

static void refuses(struct fixture *fixture, int expected, const char *text)
{
	struct error why = {""};
	struct store *store;

	assert_int_equal(store_open(&store_sqlite, fixture->loop,
				    fixture->state, &store, &why),
			 expected);
	if (!strstr(why.text, text))
		fail_msg("'%s' says nothing of '%s'", why.text, text);
}

static void test_store_refuses_second_user(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = open_store(fixture);
	char pid[32];

	snprintf(pid, sizeof(pid), "another penstockd, pid %d;", getpid());
	refuses(fixture, -EBUSY, pid);
	store_close(store);
	store_close(open_store(fixture));
}

static void test_store_refuses_damage(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	int fd;

	store_close(open_store(fixture));
	snprintf(path, sizeof(path), "%s/penstock.db", fixture->state);
	fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, "this is no database at all, sorry", 33),
			 33);
	close(fd);
	refuses(fixture, -EUCLEAN, "move it away to start afresh");
}

static void test_store_refuses_newer(void **state)
{
	struct fixture *fixture = *state;
	const uint8_t version_be32[4] = {0, 0, 0, 99};
	char path[128];
	int fd;

	store_close(open_store(fixture));
	snprintf(path, sizeof(path), "%s/penstock.db", fixture->state);
	fd = open(path, O_WRONLY);
	/* "user version" of SQLite's header, as its file format says. */
	assert_int_equal(pwrite(fd, version_be32, 4, 60), 4);
	close(fd);
	refuses(fixture, -EPROTO, "written by a newer penstockd (format 99");
}

static void test_store_bounds(void **state)
{
	struct store_write write;
	json_t *value = json_object();
	char key[STORE_KEY_MAX + 1];
	unsigned int i;

	(void)state;
	store_write_init(&write, note_done);
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(store_write_put(&write, STORE_VDEV, key, value),
			 -ENAMETOOLONG);
	for (i = 0; i < STORE_CHANGES_MAX; i++)
		assert_int_equal(store_write_put(&write, STORE_VDEV, "k", NULL),
				 0);
	assert_int_equal(store_write_put(&write, STORE_VDEV, "k", NULL),
			 -ENOSPC);
	json_decref(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_remembers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_close_finishes,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_store_makes_private_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_refuses_second_user,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_refuses_damage,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_refuses_newer, setup,
						teardown),
		cmocka_unit_test(test_store_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
