/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-parts.c - a big pool split into small ones: each has its own room,
 * stated or equal, whatever the others do (E2, E3)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MIB	(1LL << 20)

#define HEAD	\
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}\n" \
	"pools:\n" \
	"  - {name: gold, from: big, size: 16MiB}\n" \
	"  - {name: big, devices: [ep0/m0]}\n" \
	"  - {name: one, from: big}\n" \
	"  - {name: two, from: big, size: equal}\n" \
	"  - {name: inner, from: gold, size: 4MiB}\n" \
	"vdevs:\n" \
	"  - {name: v0, pool: big, size: 8MiB}\n" \
	"  - {name: v1, pool: two, size: equal}\n"

static void has(struct rig *rig, const char *pool, const char *key, int mib)
{
	assert_int_equal(rig_number(host_pool(rig->host, pool), key),
			 mib * MIB);
}

static void make(struct rig *rig, const char *name, const char *pool,
		 const char *size, enum host_result expected)
{
	const struct host_vdev_request request = {
		.name = name,
		.pool = pool,
		.size = size,
	};

	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, expected);
}

static void resize(struct rig *rig, const char *size, enum host_result expected)
{
	host_vdev_resize(rig->host, "new", size, false, &rig->call);
	rig_answer(rig, expected);
}

/* 64: 8 for v0, 16 for gold, 20 each for the others. */
static void test_parts_have_their_sizes(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, HEAD, true);
	has(rig, "big", "size_bytes", 64);
	has(rig, "gold", "size_bytes", 16);
	has(rig, "gold", "free_bytes", 12);
	has(rig, "inner", "size_bytes", 4);
	has(rig, "one", "size_bytes", 20);
	has(rig, "one", "free_bytes", 20);
	has(rig, "two", "size_bytes", 20);
	has(rig, "two", "promised_bytes", 20);
	has(rig, "two", "free_bytes", 0);
	rig_wait_serving(rig, "v1");
	assert_int_equal(rig_number(host_vdev(rig->host, "v1"), "size_bytes"),
			 20 * MIB);
	rig_text_is(host_vdev(rig->host, "v1"), "pool", "two");
	rig_text_is(host_pool(rig->host, "two"), "from", "big");
	rig_text_is(host_pool(rig->host, "two"), "vdevs.0", "v1");
	rig_text_is(host_pool(rig->host, "big"), "vdevs.0", "v0");
}

/* Nobody gets what is another's, though it is not used. */
static void test_parts_keep_their_room(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, HEAD, true);
	make(rig, "new", "big", "1MiB", HOST_REFUSED);
	assert_non_null(strstr(rig->text, "pool 'big' has no space"));
	make(rig, "new", "gold", "13MiB", HOST_REFUSED);
	assert_non_null(strstr(rig->text, "pool 'gold' has no space"));
	make(rig, "new", "nowhere", "1MiB", HOST_NOT_FOUND);
	make(rig, "new", "gold", "10MiB", HOST_DONE);
	rig_text_is(json_incref(rig->value), "pool", "gold");
	has(rig, "gold", "free_bytes", 2);
	resize(rig, "13MiB", HOST_REFUSED);
	resize(rig, "12MiB", HOST_DONE);
	make(rig, "deep", "inner", "5MiB", HOST_REFUSED);
	make(rig, "deep", "inner", "4MiB", HOST_DONE);
	/* It is all the same after a restart. */
	rig_abandon(rig);
	rig_start(rig, HEAD, true);
	has(rig, "gold", "promised_bytes", 12);
	has(rig, "gold", "free_bytes", 0);
	has(rig, "inner", "free_bytes", 0);
	has(rig, "one", "free_bytes", 20);
	rig_text_is(host_vdev(rig->host, "new"), "pool", "gold");
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	has(rig, "gold", "free_bytes", 12);
	has(rig, "one", "free_bytes", 20);
}

static void promise(struct rig *rig, uint32_t pasid, const char *vdev,
		    const char *sla)
{
	const struct host_process_request request = {
		.pasid = pasid,
		.vdev = vdev,
		.sla = sla,
	};

	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
}

/* What is said of a part is not its pool's (E5, E6). */
static void test_parts_speak_for_themselves(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, HEAD, true);
	make(rig, "new", "gold", "10MiB", HOST_DONE);
	make(rig, "deep", "inner", "1MiB", HOST_DONE);
	promise(rig, 1, "v0", "iops >= 1000");
	promise(rig, 2, "new", "iops >= 300");
	promise(rig, 3, "deep", "iops >= 20");
	rig_text_is(host_pool(rig->host, "big"), "combined_text",
		    "iops >= 1320");
	rig_text_is(host_pool(rig->host, "gold"), "combined_text",
		    "iops >= 320");
	rig_text_is(host_pool(rig->host, "inner"), "combined_text",
		    "iops >= 20");
	rig_text_is(host_pool(rig->host, "one"), "combined_text", "");
	/* 14 of 16, 1 of 4, none of 20 and all of 20. */
	assert_int_equal(
		rig_number(host_pool(rig->host, "gold"), "level_percent"), 80);
	assert_int_equal(
		rig_number(host_pool(rig->host, "inner"), "level_percent"), 0);
	assert_int_equal(
		rig_number(host_pool(rig->host, "one"), "level_percent"), 0);
	assert_int_equal(
		rig_number(host_pool(rig->host, "two"), "level_percent"), 100);
}

/* What a vdev of a part has left behind is in its room until it is deleted. */
static void test_parts_remember_who_is_gone(void **state)
{
	struct rig *rig = *state;
	char text[1024];

	rig_start(rig, HEAD, true);
	rig_abandon(rig);
	snprintf(text, sizeof(text), "%s", HEAD);
	*strstr(text, "  - {name: v1") = '\0';
	rig_start(rig, text, true);
	has(rig, "two", "free_bytes", 0);
	has(rig, "one", "free_bytes", 20);
	host_vdev_delete(rig->host, "v1", &rig->call);
	rig_answer(rig, HOST_DONE);
	has(rig, "two", "free_bytes", 20);
}

/* If the part has gone with it, it has its room of the pool itself. */
static void test_parts_that_are_gone_leave_who_was_there(void **state)
{
	struct rig *rig = *state;
	char text[1024], *line;

	rig_start(rig, HEAD, true);
	rig_abandon(rig);
	snprintf(text, sizeof(text), "%s", HEAD);
	*strstr(text, "  - {name: v1") = '\0';
	line = strstr(text, "  - {name: two");
	memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n')));
	rig_start(rig, text, true);
	has(rig, "one", "size_bytes", 20);
	host_vdev_delete(rig->host, "v1", &rig->call);
	rig_answer(rig, HOST_DONE);
	has(rig, "one", "size_bytes", 40);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_parts_have_their_sizes,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_parts_keep_their_room,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_parts_speak_for_themselves,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_parts_remember_who_is_gone,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_parts_that_are_gone_leave_who_was_there, rig_setup,
			rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
