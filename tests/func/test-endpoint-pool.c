/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-pool.c - the real penstock-endpoint: volumes of a pool (E2, E3)
 */
#include "endpoint-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"

#define DEVICE_BYTES (64 << 20)
#define DEVICE_UUID "00000000000000000000000000000001"
#define VOLUME_UUID "00000000000000000000000000000002"
#define SNAPSHOT_UUID "00000000000000000000000000000003"

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

static void add_pool(struct bench *bench)
{
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:i}", "op", "pool-add",
				     "name", "p", "slot", 0),
			   -1));
}

static json_t *member_request(const char *device, const char *uuid, bool known,
			      bool claim)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "op",
			 "member-add", "pool", "p", "device", device, "uuid",
			 uuid, "known", known, "claim", claim, "zeroed", true);
}

static json_t *add_member(struct bench *bench, bool known, bool claim)
{
	return bench_ask(bench, member_request("m1", DEVICE_UUID, known, claim),
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

static json_t *start_pool(struct bench *bench)
{
	return bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "pool-start", "pool", "p"),
		-1);
}

/* A pool of "m1", on 'fd'. */
static void make_pool(struct bench *bench, int fd, bool known)
{
	add_device(bench, fd);
	add_pool(bench);
	bench_ok(add_member(bench, known, !known));
	bench_ok(start_pool(bench));
}

static void expect(const json_t *of, const char *key, json_int_t value)
{
	assert_int_equal(json_integer_value(json_object_get(of, key)), value);
}

/* A blank device is claimed when that is asked for, and found again. */
static void test_pool_is_claimed_and_found_again(void **state)
{
	struct bench *bench = *state;
	int fd = memory();
	json_t *reply, *volume;

	add_device(bench, fd);
	add_pool(bench);
	bench_error(add_member(bench, false, false), ENODATA);
	reply = add_member(bench, false, true);
	assert_string_equal(json_string_value(json_object_get(reply, "uuid")),
			    DEVICE_UUID);
	assert_true(json_is_true(json_object_get(reply, "claimed")));
	expect(reply, "generation", 1);
	bench_ok(reply);
	reply = start_pool(bench);
	assert_null(first_volume(reply));
	bench_ok(reply);
	bench_ok(add_vdev(bench, 256 << 20));

	bench_restart(bench);
	add_device(bench, fd);
	add_pool(bench);
	reply = add_member(bench, true, false);
	assert_true(json_is_false(json_object_get(reply, "claimed")));
	expect(reply, "generation", 2);
	bench_ok(reply);
	reply = start_pool(bench);
	volume = first_volume(reply);
	assert_string_equal(json_string_value(json_object_get(volume, "uuid")),
			    VOLUME_UUID);
	assert_string_equal(json_string_value(json_object_get(volume, "name")),
			    "vd1");
	expect(volume, "size_bytes", 256 << 20);
	expect(volume, "missing_devices", 0);
	assert_true(json_is_false(json_object_get(volume, "changing")));
	bench_ok(reply);
	bench_ok(add_vdev(bench, 256 << 20));
	close(fd);
}

/* What is refused is no part of the pool, and may be asked for again. */
static void test_pool_refuses_what_is_somebody_elses(void **state)
{
	struct bench *bench = *state;
	int fd = memory();

	assert_int_equal(pwrite(fd, "not blank", 9, 0), 9);
	add_device(bench, fd);
	add_pool(bench);
	for (unsigned int i = 0; i < 100; i++)
		bench_error(add_member(bench, false, true), ENOMSG);
	assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0\0", 9, 0), 9);
	bench_ok(add_member(bench, false, true));
	bench_error(ask_for(bench, "device-remove", "name", "m1"), EBUSY);
	bench_ok(start_pool(bench));
	bench_ok(ask_for(bench, "pool-remove", "name", "p"));
	bench_ok(ask_for(bench, "device-remove", "name", "m1"));
	close(fd);
}

/* Taken out and in: its generation goes on. */
static void test_pool_members_come_and_go(void **state)
{
	struct bench *bench = *state;
	int fd = memory();
	json_t *reply;

	make_pool(bench, fd, false);
	reply = add_member(bench, false, true);
	expect(reply, "generation", 1);
	bench_ok(reply);
	bench_error(add_member(bench, true, true), EEXIST);
	for (json_int_t i = 2; i < 5; i++) {
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s, s:s}", "op",
					     "member-remove", "pool", "p",
					     "device", "m1"),
				   -1));
		bench_error(add_vdev(bench, 8 << 20), ENODEV);
		reply = add_member(bench, true, false);
		expect(reply, "generation", i);
		bench_ok(reply);
	}
	bench_ok(add_vdev(bench, 8 << 20));
	bench_error(
		bench_ask(bench,
			  json_pack("{s:s, s:s, s:s}", "op", "member-remove",
				    "pool", "p", "device", "m1"),
			  -1),
		EBUSY);
	bench_error(ask_for(bench, "pool-remove", "name", "p"), EBUSY);
	bench_ok(ask_for(bench, "vdev-remove", "name", "vd1"));
	bench_ok(ask_for(bench, "pool-remove", "name", "p"));
	/* Late, with a volume on it: that is there from then on. */
	add_pool(bench);
	bench_ok(start_pool(bench));
	bench_error(add_vdev(bench, 8 << 20), ENODEV);
	bench_ok(add_member(bench, true, false));
	bench_ok(add_vdev(bench, 8 << 20));
	close(fd);
}

static void test_pool_snapshots_are_read_only(void **state)
{
	struct bench *bench = *state;
	int fd = memory();
	json_t *reply, *volume;

	make_pool(bench, fd, false);
	bench_ok(add_vdev(bench, 8 << 20));
	for (unsigned int i = 0; i < 2; i++)
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s, s:s, s:s, s:s}", "op",
					     "volume-snapshot", "pool", "p",
					     "uuid", SNAPSHOT_UUID, "of",
					     VOLUME_UUID, "name", "s1"),
				   -1));
	reply = ask_for(bench, "volumes", "pool", "p");
	volume = json_array_get(json_object_get(reply, "volumes"), 1);
	assert_string_equal(json_string_value(json_object_get(volume, "name")),
			    "s1");
	assert_true(json_is_true(json_object_get(volume, "read_only")));
	bench_ok(reply);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "op",
				     "vdev-add", "name", "vs1", "pool", "p",
				     "uuid", SNAPSHOT_UUID, "size_bytes",
				     8 << 20, "slot", 1),
			   -1));
	close(fd);
}

/* A listing in parts, of more than one message holds. */
static void test_pool_lists_many_volumes(void **state)
{
	enum { VOLUMES = 250 };
	struct bench *bench = *state;
	int fd = memory();
	json_int_t from = 0;
	size_t seen = 0;

	make_pool(bench, fd, false);
	for (unsigned int i = 1; i <= VOLUMES; i++) {
		char uuid[33], name[16];

		snprintf(uuid, sizeof(uuid), "%032x", i);
		snprintf(name, sizeof(name), "v%u", i);
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}",
					     "op", "vdev-add", "name", name,
					     "pool", "p", "uuid", uuid,
					     "size_bytes", 1 << 20, "slot", i),
				   -1));
	}
	do {
		json_t *reply =
			bench_ask(bench,
				  json_pack("{s:s, s:s, s:I}", "op", "volumes",
					    "pool", "p", "from", from),
				  -1);

		seen += json_array_size(json_object_get(reply, "volumes"));
		from = json_integer_value(json_object_get(reply, "next"));
		bench_ok(reply);
	} while (from);
	assert_int_equal(seen, VOLUMES);
	close(fd);
}

/* The next penstockd asks for what the one before it has asked for, and gets
 * the answer; what it finds is told in the words that made it. */
static void test_pool_answers_the_next_penstockd(void **state)
{
	struct bench *bench = *state;
	json_t *request, *reply, *found, *item;
	int fd = memory();

	add_device(bench, fd);
	add_pool(bench);
	request = member_request("m1", DEVICE_UUID, false, true);
	json_object_set_new(request, "id", json_integer(7));
	assert_int_equal(ctl_send(bench->connection, request, -1), 0);
	json_decref(request);
	close(bench->connection);
	bench->connection = bench_connect(bench);
	reply = add_member(bench, false, true);
	expect(reply, "generation", 1);
	bench_ok(reply);
	bench_ok(start_pool(bench));

	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	item = json_array_get(json_object_get(reply, "pools"), 0);
	assert_true(json_is_true(json_object_get(item, "started")));
	item = json_array_get(json_object_get(reply, "members"), 0);
	found = json_object_get(item, "found");
	expect(found, "generation", 1);
	assert_true(json_is_true(json_object_get(found, "claimed")));
	request = json_deep_copy(item);
	json_object_del(request, "found");
	bench_ok(reply);
	bench_ok(bench_ask(bench, request, -1));
	close(fd);
}

static void test_pool_is_not_removed_under_its_vdevs(void **state)
{
	struct bench *bench = *state;
	int fd = memory();

	make_pool(bench, fd, false);
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

	make_pool(bench, fd, false);
	bench_ok(add_vdev(bench, 8 << 20));
	for (json_int_t size = 16 << 20; size >= 4 << 20; size -= 12 << 20) {
		json_t *reply;

		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s, s:I}", "op",
					     "vdev-resize", "name", "vd1",
					     "size_bytes", size),
				   -1));
		reply = start_pool(bench);
		assert_int_equal(json_integer_value(json_object_get(
					 first_volume(reply), "size_bytes")),
				 size);
		bench_ok(reply);
		bench_ok(add_vdev(bench, size));
	}
	close(fd);
}

/* Somebody makes the file longer while it is served. */
static void test_pool_grows_with_its_file(void **state)
{
	struct bench *bench = *state;
	char path[64];
	json_t *grown;
	int fd;

	snprintf(path, sizeof(path), "%s/m0", bench->directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, DEVICE_BYTES / 4), 0);
	bench_add_device(bench, "file", DEVICE_BYTES / 4, fd);
	bench_add_pool(bench);
	assert_int_equal(ftruncate(fd, DEVICE_BYTES), 0);
	grown = bench_event(bench, "grown");
	assert_string_equal(json_string_value(json_object_get(grown, "device")),
			    "m0");
	assert_in_range(
		json_integer_value(json_object_get(grown, "size_bytes")),
		DEVICE_BYTES / 2, DEVICE_BYTES);
	json_decref(grown);
	close(fd);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pool_is_claimed_and_found_again),
		TEST(test_pool_refuses_what_is_somebody_elses),
		TEST(test_pool_members_come_and_go),
		TEST(test_pool_snapshots_are_read_only),
		TEST(test_pool_lists_many_volumes),
		TEST(test_pool_answers_the_next_penstockd),
		TEST(test_pool_is_not_removed_under_its_vdevs),
		TEST(test_pool_vdevs_are_resized_with_their_volumes),
		TEST(test_pool_grows_with_its_file),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
