/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-volumes.c - the real penstock-endpoint: volumes as they are
 * used by NBD, by other people's programs (E2, E3, E12)
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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"

#define DEVICE_BYTES	(UINT64_C(160) << 20)
#define VOLUME_BYTES	(UINT64_C(64) << 20)
#define VOLUME_UUID	"00000000000000000000000000000009"

static int memory(uint64_t size_bytes)
{
	int fd = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	return fd;
}

static json_t *ask(struct bench *bench, const char *text)
{
	json_t *request = json_loads(text, 0, NULL);

	assert_non_null(request);
	return bench_ask(bench, request, -1);
}

static void add_device(struct bench *bench, const char *name, int fd,
		       uint64_t size_bytes)
{
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", name, "kind",
				     "memory", "size_bytes",
				     (json_int_t)size_bytes, "slot", 0),
			   fd));
}

static json_t *add_member(struct bench *bench, const char *pool,
			  const char *device, unsigned int uuid, bool known,
			  uint64_t size_bytes)
{
	char text[33];

	snprintf(text, sizeof(text), "%032x", uuid);
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I}",
				   "op", "member-add", "pool", pool, "device",
				   device, "uuid", text, "known", known,
				   "claim", true, "zeroed", true, "size_bytes",
				   (json_int_t)size_bytes),
			 -1);
}

static json_t *add_vdev(struct bench *bench, const char *pool, bool thick)
{
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:i}", "op",
				   "vdev-add", "name", "vd0", "pool", pool,
				   "uuid", VOLUME_UUID, "size_bytes",
				   (json_int_t)VOLUME_BYTES, "thick", thick,
				   "slot", 0),
			 -1);
}

/* A pool of so much on memory; a volume of it as "vd0", by NBD. */
static void serve(struct bench *bench, uint64_t capacity_bytes)
{
	int fd = memory(DEVICE_BYTES), listener;

	add_device(bench, "m1", fd, DEVICE_BYTES);
	close(fd);
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"p\"}"));
	bench_ok(add_member(bench, "p", "m1", 1, false, capacity_bytes));
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"p\"}"));
	bench_ok(add_vdev(bench, "p", false));
	unlink(bench->front.sun_path);
	listener = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "listen", "vdev",
				     "vd0", "kind", "nbd"),
			   listener));
	close(listener);
}

static void need(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "{ command -v %s; } >/dev/null 2>&1",
		 tool);
	if (system(command) != 0) {
		print_message("%s is not installed\n", tool);
		skip();
	}
}

/* Run 'format' with the export as "$U"; its output. */
static char *run(const struct bench *bench, const char *command)
{
	static char output[8192];
	char text[1024];
	FILE *pipe;
	size_t length;

	snprintf(text, sizeof(text), "U='nbd+unix:///vd0?socket=%s'; %s",
		 bench->front.sun_path, command);
	pipe = popen(text, "r");
	assert_non_null(pipe);
	length = fread(output, 1, sizeof(output) - 1, pipe);
	output[length] = '\0';
	if (pclose(pipe) != 0)
		fail_msg("%s: %s", command, output);
	return output;
}

/* Until its mapped extents are so many: the statistics are told at intervals.
 */
static void await_mapped(const struct bench *bench, uint64_t extents)
{
	for (unsigned int i = 0; i < 2000; i++) {
		if (stats_get(&bench->stats->processes[0].mapped) == extents)
			return;
		poll(NULL, 0, 10);
	}
	fail_msg("%llu extents are mapped, not %llu",
		 (unsigned long long)stats_get(
			 &bench->stats->processes[0].mapped),
		 (unsigned long long)extents);
}

static void test_volumes_tell_their_holes(void **state)
{
	struct bench *bench = *state;

	need("nbdinfo");
	need("qemu-io");
	serve(bench, 64 << 20);
	assert_string_equal(run(bench, "nbdinfo --map $U | tr -s ' '"),
			    " 0 67108864 3 hole,zero\n");
	run(bench,
	    "qemu-io -f raw $U -c 'write -P 7 3M 4k' -c 'write -P 8 4M 1M'");
	assert_string_equal(run(bench, "nbdinfo --map $U | tr -s ' '"),
			    " 0 3145728 3 hole,zero\n"
			    " 3145728 2097152 0 data\n"
			    " 5242880 61865984 3 hole,zero\n");
	await_mapped(bench, 2);
	assert_string_equal(
		run(bench,
		    "qemu-img map -f raw --output json $U | jq -c '[.[] | [.start, .length, .zero]]'"),
		"[[0,3145728,true],[3145728,2097152,false],[5242880,61865984,true]]\n");
	/* What is given back is a hole again, and zeroes. */
	run(bench,
	    "qemu-io -f raw $U -c 'discard 3M 1M' -c 'write -z -u 4M 1M' -c 'read -P 0 3M 2M'");
	await_mapped(bench, 0);
	assert_string_equal(run(bench, "nbdinfo --map $U | tr -s ' '"),
			    " 0 67108864 3 hole,zero\n");
}

/* Only what has data is copied, both ways. */
static void test_volumes_are_copied_sparse(void **state)
{
	struct bench *bench = *state;
	char command[512];

	need("nbdcopy");
	serve(bench, 64 << 20);
	snprintf(
		command, sizeof(command),
		"cd %s && truncate -s 64M a && "
		"head -c 2M /dev/urandom | dd of=a bs=1M seek=9 conv=notrunc status=none && "
		"nbdcopy --destination-is-zero a $U && nbdcopy $U b && cmp a b && du -k b | cut -f1; rm -f a b",
		bench->directory);
	assert_true(atoi(run(bench, command)) <= 2048);
	await_mapped(bench, 2);
}

/* Zeroes are fast where there is nothing, or whole extents are given back. */
static void test_volumes_zero_fast_or_not_at_all(void **state)
{
	struct bench *bench = *state;

	need("/usr/bin/python3 && /usr/bin/python3 -c 'import nbd'");
	serve(bench, 64 << 20);
	run(bench,
	    "U=$U /usr/bin/python3 -c '\n"
	    "import nbd, os, errno\n"
	    "h = nbd.NBD()\n"
	    "h.connect_uri(os.environ[\"U\"])\n"
	    "assert h.can_fast_zero()\n"
	    "fast, no_hole = nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_NO_HOLE\n"
	    "M = 1 << 20\n"
	    "h.zero(8 * M, 0, fast)\n"
	    "h.pwrite(b\"x\" * 4096, 2 * M)\n"
	    "def slow(*args):\n"
	    "    try:\n"
	    "        h.zero(*args)\n"
	    "    except nbd.Error as e:\n"
	    "        assert e.errnum == errno.ENOTSUP, e\n"
	    "        return\n"
	    "    raise SystemExit(\"not refused\")\n"
	    "slow(4096, 2 * M, fast)\n"
	    "slow(M, 2 * M, fast | no_hole)\n"
	    "assert h.pread(4096, 2 * M) == b\"x\" * 4096\n"
	    "h.zero(2 * M, M, fast)\n"
	    "h.zero(4 * M, 0, fast)\n"
	    "assert h.pread(4096, 2 * M) == bytes(4096)\n"
	    "'");
	await_mapped(bench, 0);
}

static void await_level(struct bench *bench, const char *level)
{
	bool is_it = false;

	while (!is_it) {
		json_t *event = bench_event(bench, "space");

		is_it = !strcmp(
			json_string_value(json_object_get(event, "level")),
			level);
		json_decref(event);
	}
}

/* The writer that finds no space is told so, and others go on. */
static void test_volumes_are_full_for_first_writes_only(void **state)
{
	struct bench *bench = *state;
	json_t *event;

	need("qemu-io");
	serve(bench, 16 << 20);
	run(bench,
	    "qemu-io -f raw $U -c 'write -P 1 0 16M' -c flush >/dev/null");
	await_level(bench, "full");
	assert_non_null(strstr(
		run(bench,
		    "qemu-io -f raw $U -c 'write -P 2 20M 4k' 2>&1 || true"),
		"No space left"));
	event = bench_event(bench, "no-space");
	assert_string_equal(json_string_value(json_object_get(event, "vdev")),
			    "vd0");
	json_decref(event);
	assert_null(strstr(
		run(bench,
		    "qemu-io -f raw $U -c 'write -P 3 15M 4k' -c 'read -P 3 15M 4k' -c 'read -P 1 0 15M' 2>&1"),
		"ailed"));
	/* What is discarded is had again. */
	run(bench, "qemu-io -f raw $U -c 'discard 0 8M'");
	await_level(bench, "ok");
	assert_null(strstr(
		run(bench,
		    "qemu-io -f raw $U -c 'write -P 2 20M 4M' -c 'read -P 2 20M 4M' -c 'read -P 0 0 8M' 2>&1"),
		"ailed"));
}

/* Its pool's log can't be written any more: that is said. */
static void test_volumes_damage_is_told(void **state)
{
	struct bench *bench = *state;
	int fd = memory(DEVICE_BYTES);
	json_t *event;

	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", "f1", "kind", "file",
				     "size_bytes", (json_int_t)DEVICE_BYTES,
				     "slot", 0),
			   fd));
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"p\"}"));
	bench_ok(add_member(bench, "p", "f1", 1, false, 64 << 20));
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"p\"}"));
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	close(fd);
	json_decref(add_vdev(bench, "p", false));
	event = bench_event(bench, "damage");
	assert_string_equal(json_string_value(json_object_get(event, "device")),
			    "f1");
	assert_true(json_integer_value(json_object_get(event, "log_errors")) >
		    0);
	assert_true(json_is_true(json_object_get(event, "failed")));
	json_decref(event);
}

static void copy(int from, int to)
{
	static char buffer[1 << 20];
	ssize_t bytes;
	off_t at = 0;

	while ((bytes = pread(from, buffer, sizeof(buffer), at)) > 0) {
		assert_int_equal(pwrite(to, buffer, (size_t)bytes, at), bytes);
		at += bytes;
	}
}

/* Each is refused with what it is, and the pools go on without it. */
static void test_volumes_on_the_wrong_devices(void **state)
{
	struct bench *bench = *state;
	int fd = memory(DEVICE_BYTES), clone = memory(DEVICE_BYTES);

	add_device(bench, "m1", fd, DEVICE_BYTES);
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"p\"}"));
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"q\"}"));
	bench_ok(add_member(bench, "p", "m1", 1, false, 96 << 20));
	copy(fd, clone);
	add_device(bench, "m2", clone, DEVICE_BYTES);
	bench_error(add_member(bench, "p", "m2", 1, true, 0), EEXIST);
	bench_error(add_member(bench, "p", "m2", 2, true, 0), ESTALE);
	bench_error(add_member(bench, "p", "m2", 1, true, 16 << 20), ENOSPC);
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"p\"}"));
	bench_ok(add_vdev(bench, "p", true));
	/* A pool of its own; its volumes have names of their own. */
	bench_ok(add_member(bench, "q", "m2", 1, true, 0));
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"q\"}"));
	bench_error(add_vdev(bench, "q", true), EEXIST);
	bench_ok(ask(bench, "{\"op\": \"vdev-remove\", \"name\": \"vd0\"}"));
	bench_error(add_vdev(bench, "p", false), EEXIST);
	bench_ok(add_vdev(bench, "q", false));
	close(clone);
	close(fd);
}

static json_int_t free_extents(struct bench *bench)
{
	json_t *reply = ask(bench, "{\"op\": \"status\"}");
	const json_t *pool = json_array_get(json_object_get(reply, "pools"), 0);
	const json_int_t count =
		json_integer_value(json_object_get(pool, "free"));

	bench_ok(reply);
	return count;
}

static json_t *calibrate(struct bench *bench)
{
	return ask(
		bench,
		"{\"op\": \"device-calibrate\", \"name\": \"m1\", \"duration_ns\": 1000000000}");
}

/* Where nobody's data are; and nothing of it stays.  There is time to write
 * enough for reads, on a machine that is slow, too. */
static void test_volumes_are_not_written_to_by_measuring(void **state)
{
	const uint64_t size = UINT64_C(1200) << 20;
	struct bench *bench = *state;
	int fd = memory(size);
	const json_t *capacity;
	json_int_t had;
	json_t *reply;

	add_device(bench, "m1", fd, size);
	close(fd);
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"p\"}"));
	bench_ok(add_member(bench, "p", "m1", 1, false, 0));
	bench_error(calibrate(bench), EBUSY);
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"p\"}"));
	had = free_extents(bench);
	reply = calibrate(bench);
	capacity = json_object_get(reply, "capacity");
	assert_true(json_is_true(json_object_get(capacity, "write_measured")));
	assert_true(json_is_true(json_object_get(capacity, "read_measured")));
	bench_ok(reply);
	assert_int_equal(free_extents(bench), had);
	bench_ok(add_vdev(bench, "p", true));
	bench_ok(ask(bench, "{\"op\": \"vdev-remove\", \"name\": \"vd0\"}"));
	bench_ok(ask(bench, "{\"op\": \"pool-remove\", \"name\": \"p\"}"));
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_volumes_tell_their_holes),
		TEST(test_volumes_are_copied_sparse),
		TEST(test_volumes_zero_fast_or_not_at_all),
		TEST(test_volumes_are_full_for_first_writes_only),
		TEST(test_volumes_damage_is_told),
		TEST(test_volumes_on_the_wrong_devices),
		TEST(test_volumes_are_not_written_to_by_measuring),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
