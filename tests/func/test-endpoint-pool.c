/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-pool.c - the real penstock-endpoint: volumes of a pool (E2, E3)
 */
#include "endpoint-bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICE_BYTES (64 << 20)
#define DEVICE_UUID "00000000000000000000000000000001"
#define VOLUME_UUID "00000000000000000000000000000002"

static int memory(void)
{
	int fd = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DEVICE_BYTES), 0);
	return fd;
}

static void add_device(struct bench *bench, int fd)
{
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:i, s:i}", "op",
				     "device-add", "name", "m1", "kind",
				     "memory", "size_bytes", DEVICE_BYTES,
				     "slot", 0),
			   fd));
}

static json_t *add_pool(struct bench *bench, bool claim)
{
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "op",
				   "pool-add", "name", "p", "device", "m1",
				   "uuid", DEVICE_UUID, "claim", claim,
				   "zeroed", true),
			 -1);
}

static json_t *add_vdev(struct bench *bench, json_int_t size_bytes)
{
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:s, s:I, s:i}", "op",
				   "vdev-add", "name", "vd1", "pool", "p",
				   "uuid", VOLUME_UUID, "size_bytes",
				   size_bytes, "slot", 0),
			 -1);
}

static json_t *ask_for(struct bench *bench, const char *op, const char *key,
		       const char *name)
{
	return bench_ask(bench, json_pack("{s:s, s:s}", "op", op, key, name),
			 -1);
}

static json_t *delete_volume(struct bench *bench)
{
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s}", "op", "volume-delete",
				   "pool", "p", "uuid", VOLUME_UUID),
			 -1);
}

static json_t *first_volume(const json_t *reply)
{
	return json_array_get(json_object_get(reply, "volumes"), 0);
}

/* A blank device is claimed when that is asked for, and found again. */
static void test_pool_is_claimed_and_found_again(void **state)
{
	struct bench *bench = *state;
	int fd = memory();
	json_t *reply, *volume;

	add_device(bench, fd);
	bench_error(add_pool(bench, false), ENODATA);
	reply = add_pool(bench, true);
	assert_string_equal(json_string_value(json_object_get(reply, "uuid")),
			    DEVICE_UUID);
	assert_null(first_volume(reply));
	bench_ok(reply);
	bench_ok(add_vdev(bench, 256 << 20));

	bench_restart(bench);
	add_device(bench, fd);
	reply = add_pool(bench, false);
	volume = first_volume(reply);
	assert_string_equal(json_string_value(json_object_get(volume, "uuid")),
			    VOLUME_UUID);
	assert_string_equal(json_string_value(json_object_get(volume, "name")),
			    "vd1");
	assert_int_equal(
		json_integer_value(json_object_get(volume, "size_bytes")),
		256 << 20);
	bench_ok(reply);
	bench_ok(add_vdev(bench, 256 << 20));
	close(fd);
}

static void test_pool_refuses_what_is_somebody_elses(void **state)
{
	struct bench *bench = *state;
	int fd = memory();

	assert_int_equal(pwrite(fd, "not blank", 9, 0), 9);
	add_device(bench, fd);
	bench_error(add_pool(bench, true), ENOMSG);
	/* It is as it was. */
	bench_ok(ask_for(bench, "device-remove", "name", "m1"));
	close(fd);
}

static void test_pool_is_not_removed_under_its_vdevs(void **state)
{
	struct bench *bench = *state;
	int fd = memory();

	add_device(bench, fd);
	bench_ok(add_pool(bench, true));
	bench_ok(add_vdev(bench, 8 << 20));
	bench_ok(add_vdev(bench, 8 << 20));
	bench_error(add_vdev(bench, 9 << 20), EEXIST);
	bench_error(ask_for(bench, "device-remove", "name", "m1"), EBUSY);
	bench_error(delete_volume(bench), EBUSY);
	bench_ok(ask_for(bench, "vdev-remove", "name", "vd1"));
	bench_ok(delete_volume(bench));
	bench_ok(delete_volume(bench));
	/* Of another size now. */
	bench_ok(add_vdev(bench, 9 << 20));
	close(fd);
}

static void test_pool_vdevs_are_resized_with_their_volumes(void **state)
{
	struct bench *bench = *state;
	int fd = memory();

	add_device(bench, fd);
	bench_ok(add_pool(bench, true));
	bench_ok(add_vdev(bench, 8 << 20));
	for (json_int_t size = 16 << 20; size >= 4 << 20; size -= 12 << 20) {
		json_t *reply;

		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s, s:I}", "op",
					     "vdev-resize", "name", "vd1",
					     "size_bytes", size),
				   -1));
		reply = add_pool(bench, true);
		assert_int_equal(json_integer_value(json_object_get(
					 first_volume(reply), "size_bytes")),
				 size);
		bench_ok(reply);
		bench_ok(add_vdev(bench, size));
	}
	close(fd);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pool_is_claimed_and_found_again),
		TEST(test_pool_refuses_what_is_somebody_elses),
		TEST(test_pool_is_not_removed_under_its_vdevs),
		TEST(test_pool_vdevs_are_resized_with_their_volumes),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
