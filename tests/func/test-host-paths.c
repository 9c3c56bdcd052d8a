/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-paths.c - devices swapped, cloned or shrunk between starts, over
 * the endpoint itself (E2): known by their UUIDs, or refused by name
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICES \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 16MiB}\n" \
	"      - {name: d1, kind: file, path: @/d1, size: 24MiB}\n" \
	"      - {name: d2, kind: file, path: @/d2, size: 32MiB}\n"
#define ONE_POOL \
	DEVICES "pools: [{name: p, devices: [ep0/d0, ep0/d1, ep0/d2]}]\n" \
		"vdevs: [{name: v, pool: p, size: 60MiB}]\n"
#define TWO_POOLS \
	DEVICES \
	"pools:\n" \
	"  - {name: p, devices: [ep0/d0, ep0/d1]}\n" \
	"  - {name: q, devices: [ep0/d2]}\n" \
	"vdevs:\n" \
	"  - {name: v, pool: p, size: 30MiB}\n" \
	"  - {name: w, pool: q, size: 30MiB}\n"

struct awaited {
	const char *device, *key, *text;
};

static bool device_says(struct rig *rig, void *arg)
{
	const struct awaited *awaited = arg;
	json_t *device = host_device(rig->host, awaited->device);
	const char *text =
		json_string_value(json_object_get(device, awaited->key));
	const bool says = text && strstr(text, awaited->text);

	json_decref(device);
	return says;
}

static void wait_device(struct rig *rig, const char *device, const char *key,
			const char *text)
{
	struct awaited awaited = {device, key, text};

	rig_wait(rig, device_says, &awaited);
}

static off_t size_of(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

/* What is known of each device, by name. */
static char *uuid_of(struct rig *rig, const char *name)
{
	json_t *device = host_device(rig->host, name);
	char *uuid = strdup(json_string_value(rig_at(device, "uuid")));

	json_decref(device);
	return uuid;
}

static void has_uuid(struct rig *rig, const char *name, char *uuid)
{
	rig_text_is(host_device(rig->host, name), "uuid", uuid);
	free(uuid);
}

static void move(const char *from, const char *to)
{
	assert_int_equal(rename(from, to), 0);
}

/* Two have each other's paths, though they are not equally long; the next
 * penstockd finds them so at the endpoint, and leaves them there. */
static void test_paths_two_are_swapped(void **state)
{
	struct rig *rig = *state;
	char *first, *second;
	off_t first_bytes, second_bytes;
	pid_t endpoint;

	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	first = uuid_of(rig, "d0");
	second = uuid_of(rig, "d1");
	rig_stop(rig);
	first_bytes = size_of("d0");
	second_bytes = size_of("d1");
	move("d0", "away");
	move("d1", "d0");
	move("away", "d1");
	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	wait_device(rig, "d0", "path", "/d1");
	wait_device(rig, "d1", "path", "/d0");
	has_uuid(rig, "d0", first);
	has_uuid(rig, "d1", second);
	rig_text_is(host_pool(rig->host, "p"), "state", "ready");
	assert_true(rig_has_event(rig, "device-changed",
				  "device ep0/d0 was found at"));
	assert_true(rig_has_event(rig, "device-changed",
				  "device ep0/d1 was found at"));
	assert_int_equal(size_of("d0"), second_bytes);
	assert_int_equal(size_of("d1"), first_bytes);

	endpoint = rig_endpoint(rig);
	rig_abandon(rig);
	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	assert_int_equal(rig_endpoint(rig), endpoint);
	wait_device(rig, "d0", "path", "/d1");
	assert_false(
		rig_has_event(rig, "device-changed", "configured otherwise"));
	assert_false(rig_has_event(rig, "vdev-ready", ""));
}

static void test_paths_three_are_turned_round(void **state)
{
	struct rig *rig = *state;
	char *uuids[3];

	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	uuids[0] = uuid_of(rig, "d0");
	uuids[1] = uuid_of(rig, "d1");
	uuids[2] = uuid_of(rig, "d2");
	rig_stop(rig);
	move("d0", "away");
	move("d1", "d0");
	move("d2", "d1");
	move("away", "d2");
	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	wait_device(rig, "d0", "path", "/d2");
	wait_device(rig, "d1", "path", "/d0");
	wait_device(rig, "d2", "path", "/d1");
	has_uuid(rig, "d0", uuids[0]);
	has_uuid(rig, "d1", uuids[1]);
	has_uuid(rig, "d2", uuids[2]);
	rig_text_is(host_pool(rig->host, "p"), "state", "ready");
}

/* A copy in another one's place: the original is served, whichever is opened
 * first. */
static void test_paths_copy_is_refused(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	rig_stop(rig);
	move("d1", "away");
	assert_int_equal(system("cp d0 d1"), 0);
	rig_start(rig, ONE_POOL, false);
	wait_device(rig, "d1", "fault", "clone");
	wait_device(rig, "d1", "error", "/d1 is a copy of device ep0/d0");
	wait_device(rig, "d0", "state", "ready");
	wait_device(rig, "d0", "path", "/d0");
	assert_int_equal(system("cmp -s d0 d1"), 256);
	rig_stop(rig);
	/* The original is not there: which of two copies is right? */
	move("d0", "original");
	assert_int_equal(system("cp original d1 && mv d2 away2 && cp d1 d2"),
			 0);
	rig_start(rig, ONE_POOL, false);
	wait_device(rig, "d1", "fault", "clone");
	wait_device(rig, "d2", "fault", "clone");
	wait_device(rig, "d0", "fault", "missing");
	assert_int_equal(system("cmp -s d1 original && cmp -s d2 original"), 0);
}

static void test_paths_device_of_another_pool_is_refused(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, TWO_POOLS, true);
	rig_wait_serving(rig, "v");
	rig_wait_serving(rig, "w");
	rig_stop(rig);
	move("d2", "away");
	move("d1", "d2");
	move("away", "d1");
	rig_start(rig, TWO_POOLS, false);
	wait_device(rig, "d1", "fault", "another");
	wait_device(rig, "d1", "error", "/d1 is device ep0/d2 of pool q");
	wait_device(rig, "d2", "error", "/d2 is device ep0/d1 of pool p");
	/* Put right, they are served without a start. */
	move("d2", "away");
	move("d1", "d2");
	move("away", "d1");
	rig_wait_serving(rig, "w");
	rig_stop(rig);
	rig_start(rig, TWO_POOLS, true);
	rig_wait_serving(rig, "v");
}

static void test_paths_shrunk_device_is_refused(void **state)
{
	struct rig *rig = *state;
	char sizes[64];
	off_t bytes;

	rig_start(rig, ONE_POOL, true);
	rig_wait_serving(rig, "v");
	rig_stop(rig);
	bytes = size_of("d1");
	assert_int_equal(truncate("d1", bytes - (4 << 20)), 0);
	rig_start(rig, ONE_POOL, false);
	wait_device(rig, "d1", "fault", "shrunk");
	snprintf(sizes, sizeof(sizes), "it has %lld bytes and needs %lld",
		 (long long)bytes - (4 << 20), (long long)bytes);
	wait_device(rig, "d1", "error", sizes);
	assert_int_equal(size_of("d1"), bytes - (4 << 20));
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_paths_two_are_swapped),
		TEST(test_paths_three_are_turned_round),
		TEST(test_paths_copy_is_refused),
		TEST(test_paths_device_of_another_pool_is_refused),
		TEST(test_paths_shrunk_device_is_refused),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
