/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-evacuate.c - the real penstock-endpoint: a device is emptied
 * and goes while its pool is used (issue 3, serviceability)
 */
#include "endpoint-bench.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"

#define DEVICE_BYTES	(UINT64_C(160) << 20)
#define VOLUME_BYTES	(UINT64_C(64) << 20)
#define VOLUME_UUID	"00000000000000000000000000000009"

static int memories[3];

static json_t *ask_member(struct bench *bench, const char *op, unsigned int m)
{
	char name[8];

	snprintf(name, sizeof(name), "m%u", m);
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s}", "op", op, "pool", "p",
				   "device", name),
			 -1);
}

static json_t *evacuate(struct bench *bench, unsigned int m,
			uint64_t bytes_per_s)
{
	char name[8];

	snprintf(name, sizeof(name), "m%u", m);
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:I}", "op",
				   "member-evacuate", "pool", "p", "device",
				   name, "bandwidth_bytes_per_s",
				   (json_int_t)bytes_per_s),
			 -1);
}

/* What it was found to be, for the caller. */
static json_t *add_member(struct bench *bench, unsigned int m, bool known)
{
	char name[8], uuid[33];

	snprintf(name, sizeof(name), "m%u", m);
	snprintf(uuid, sizeof(uuid), "%032x", m);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", name, "kind",
				     "memory", "size_bytes",
				     (json_int_t)DEVICE_BYTES, "slot", m),
			   memories[m]));
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "op",
				   "member-add", "pool", "p", "device", name,
				   "uuid", uuid, "known", known, "claim",
				   !known, "zeroed", true),
			 -1);
}

static void add_pool(struct bench *bench)
{
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "pool-add", "name", "p"),
		-1));
}

/* Its volume by NBD, and what it misses: the reply to pool-start. */
static json_t *serve(struct bench *bench)
{
	json_t *reply = bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "pool-start", "pool", "p"),
		-1);
	int listener;

	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:s, s:I, s:i}", "op",
				     "vdev-add", "name", "vd0", "pool", "p",
				     "uuid", VOLUME_UUID, "size_bytes",
				     (json_int_t)VOLUME_BYTES, "slot", 0),
			   -1));
	unlink(bench->front.sun_path);
	listener = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "listen", "vdev",
				     "vd0", "kind", "nbd"),
			   listener));
	close(listener);
	return reply;
}

static void io(const struct bench *bench, const char *commands)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "qemu-io -f raw 'nbd+unix:///vd0?socket=%s' %s >%s/io 2>&1 && "
		 "! grep -i -q fail %s/io || { cat %s/io; exit 1; }",
		 bench->front.sun_path, commands, bench->directory,
		 bench->directory, bench->directory);
	if (system(text) != 0)
		fail_msg("%s", commands);
}

static json_int_t number(const json_t *of, const char *key)
{
	return json_integer_value(json_object_get(of, key));
}

static json_int_t used(struct bench *bench, unsigned int m)
{
	json_t *reply =
		bench_ask(bench, json_pack("{s:s}", "op", "status"), -1);
	const json_t *device;
	json_int_t count = -1;
	char name[8];
	size_t i;

	snprintf(name, sizeof(name), "m%u", m);
	json_array_foreach(json_object_get(reply, "devices"), i, device)
	{
		if (strcmp(json_string_value(json_object_get(device, "name")),
			   name) == 0)
			count = number(json_object_get(device, "member"),
				       "used");
	}
	json_decref(reply);
	return count;
}

/* Its end may be told before what began it is answered: then it is slow. */
static void move_all(struct bench *bench, unsigned int m)
{
	json_t *event;

	bench_ok(evacuate(bench, m, 1 << 10));
	bench_ok(evacuate(bench, m, 1 << 30));
	event = bench_event(bench, "evacuated");
	assert_int_equal(number(event, "errno"), 0);
	assert_int_equal(number(event, "left"), 0);
	json_decref(event);
	assert_int_equal(used(bench, m), 0);
}

static void begin(struct bench *bench)
{
	if (system("{ command -v qemu-io; } >/dev/null 2>&1") != 0) {
		print_message("qemu-io is not installed\n");
		skip();
	}
	for (unsigned int m = 1; m <= 2; m++)
		memories[m] = bench_memory(DEVICE_BYTES);
	add_pool(bench);
	for (unsigned int m = 1; m <= 2; m++)
		bench_ok(add_member(bench, m, false));
	bench_ok(serve(bench));
	io(bench, "-c 'write -P 5 0 40M' -c flush");
	assert_true(used(bench, 1) > 0 && used(bench, 2) > 0);
}

static void end(void)
{
	for (unsigned int m = 1; m <= 2; m++)
		close(memories[m]);
}

static void test_evacuate_and_remove(void **state)
{
	struct bench *bench = *state;
	json_t *reply, *volume;

	begin(bench);
	reply = ask_member(bench, "member-remove", 1);
	assert_non_null(
		strstr(json_string_value(json_object_get(reply, "error")),
		       "of 1 vdev"));
	bench_error(reply, EBUSY);
	bench_error(evacuate(bench, 1, 0), EINVAL);
	bench_ok(evacuate(bench, 1, 1 << 20));
	bench_error(evacuate(bench, 2, 1 << 20), EBUSY);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:s, s:s, s:s}", "op",
					"member-evacuate", "pool", "p",
					"device", "m1", "to", "m2"),
			      -1),
		    EBUSY);
	bench_error(ask_member(bench, "member-remove", 1), EBUSY);
	io(bench, "-c 'write -P 9 10M 20M' -c 'read -P 9 10M 20M'");

	/* Killed in the middle: the next one finds it leaving. */
	bench_restart(bench);
	add_pool(bench);
	reply = add_member(bench, 1, true);
	assert_true(json_is_true(json_object_get(reply, "leaving")));
	bench_ok(reply);
	bench_ok(add_member(bench, 2, true));
	bench_ok(serve(bench));
	assert_true(used(bench, 1) > 0);
	move_all(bench, 1);
	io(bench,
	   "-c 'read -P 5 0 10M' -c 'read -P 9 10M 20M' -c 'read -P 5 30M 10M' -c 'write -P 3 50M 1M'");
	bench_ok(ask_member(bench, "member-remove", 1));
	bench_ok(bench_ask(
		bench,
		json_pack("{s:s, s:s}", "op", "device-remove", "name", "m1"),
		-1));
	io(bench, "-c 'read -P 9 10M 20M' -c 'write -P 4 45M 9M' -c flush");

	/* Nobody misses it. */
	bench_restart(bench);
	add_pool(bench);
	bench_ok(add_member(bench, 2, true));
	reply = serve(bench);
	volume = json_array_get(json_object_get(reply, "volumes"), 0);
	assert_int_equal(number(volume, "missing_devices"), 0);
	bench_ok(reply);
	io(bench,
	   "-c 'read -P 5 0 10M' -c 'read -P 9 10M 20M' -c 'read -P 4 45M 9M' -c 'read -P 0 55M 9M'");
	end();
}

/* Back it comes as any other, and the other one goes: also the one on which
 * the vdev was at home. */
static void test_evacuate_to_and_fro(void **state)
{
	struct bench *bench = *state;
	json_t *reply;

	begin(bench);
	for (unsigned int i = 0; i < 4; i++) {
		const unsigned int m = 1 + i % 2;

		move_all(bench, m);
		bench_ok(ask_member(bench, "member-remove", m));
		bench_ok(ask_member(bench, "member-remove", m));
		bench_error(ask_member(bench, "member-remove", 3 - m), EBUSY);
		bench_ok(
			bench_ask(bench,
				  json_pack("{s:s, s:s}", "op", "device-remove",
					    "name", m == 1 ? "m1" : "m2"),
				  -1));
		io(bench, "-c 'read -P 5 0 40M' -c 'write -P 5 2M 4M'");
		reply = add_member(bench, m, true);
		assert_false(json_is_true(json_object_get(reply, "leaving")));
		bench_ok(reply);
		io(bench, "-c 'discard 40M 8M' -c 'write -P 6 40M 8M'");
	}
	end();
}

/* Not after all; asked for while it is under way, and after. */
static void test_evacuate_stays(void **state)
{
	struct bench *bench = *state;
	json_int_t before;

	begin(bench);
	bench_ok(ask_member(bench, "member-stay", 1));
	bench_ok(evacuate(bench, 1, 1 << 20));
	bench_ok(ask_member(bench, "member-stay", 1));
	bench_ok(ask_member(bench, "member-stay", 1));
	bench_ok(evacuate(bench, 1, 1 << 20));
	bench_restart(bench);
	add_pool(bench);
	for (unsigned int m = 1; m <= 2; m++)
		bench_ok(add_member(bench, m, true));
	bench_ok(serve(bench));
	before = used(bench, 1);
	io(bench, "-c 'write -P 5 40M 2M' -c flush");
	assert_int_equal(used(bench, 1), before);
	bench_ok(ask_member(bench, "member-stay", 1));
	io(bench, "-c 'write -P 5 42M 20M' -c flush");
	assert_true(used(bench, 1) > before);
	io(bench, "-c 'read -P 5 0 62M'");
	end();
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_evacuate_and_remove),
		TEST(test_evacuate_to_and_fro),
		TEST(test_evacuate_stays),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
