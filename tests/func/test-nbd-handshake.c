/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-handshake.c - NBD: from the greeting to the first request (E9, E15)
 */
#include "nbd-peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	static struct peer_world world;

	peer_create(&world, 4);
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	peer_destroy(*state);
	return 0;
}

static int greeted(struct peer_world *world)
{
	int fd = peer_connect(world);

	peer_greet(world, fd, 3);
	return fd;
}

static void test_nbd_go_tells_what_the_export_is(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct wire_export export;

	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0", &export),
			 WIRE_REP_ACK);
	assert_true(export.size_bytes == PEER_VDEV_BYTES);
	assert_int_equal(export.flags,
			 WIRE_HAS_FLAGS | WIRE_SEND_FLUSH | WIRE_SEND_FUA |
				 WIRE_SEND_TRIM | WIRE_SEND_WRITE_ZEROES |
				 WIRE_SEND_FAST_ZERO | WIRE_CAN_MULTI_CONN |
				 WIRE_SEND_CACHE);
	peer_await_sessions(world, 1);
	close(fd);
	peer_await_sessions(world, 0);
}

/* Asking is no session yet, and may be done again. */
static void test_nbd_info_changes_nothing(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct server_status status;
	struct wire_export export;

	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(peer_go(world, fd, WIRE_OPT_INFO, "", &export),
				 WIRE_REP_ACK);
	server_status(world->server, &status);
	assert_int_equal(status.sessions, 0);
	assert_false(status.attached);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "", &export),
			 WIRE_REP_ACK);
	close(fd);
}

static void test_nbd_read_only_is_told(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct wire_export export;

	world->vdev->read_only = true;
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "", &export),
			 WIRE_REP_ACK);
	assert_true(export.flags & WIRE_READ_ONLY);
	assert_false(export.flags & (WIRE_SEND_TRIM | WIRE_SEND_WRITE_ZEROES));
	close(fd);
}

static void test_nbd_export_name_with_and_without_zeroes(void **state)
{
	struct peer_world *world = *state;
	uint8_t export[WIRE_EXPORT_BYTES + WIRE_EXPORT_ZEROES];

	for (uint32_t flags = 1; flags <= 3; flags += 2) {
		int fd = peer_connect(world);

		peer_greet(world, fd, flags);
		peer_option(world, fd, WIRE_OPT_EXPORT_NAME, "vd0", 3);
		peer_receive(world, fd, export,
			     flags == 1 ? sizeof(export) : WIRE_EXPORT_BYTES);
		peer_request(world, fd, WIRE_FLUSH, 0, 9, 0, 0);
		peer_expect(world, fd, 9, 0);
		close(fd);
	}
}

static void test_nbd_export_name_unknown_ends(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);

	peer_option(world, fd, WIRE_OPT_EXPORT_NAME, "other", 5);
	peer_await_end(world, fd);
	close(fd);
}

static void test_nbd_names_that_are_none(void **state)
{
	static const char *const names[] = {
		"vd1",
		"vd",
		"vd0/",
		"vd0/0",
		"vd0/x",
		"/1",
		"vd0@",
		"vd0@x",
		"vd0/1@2@3",
		"vd0/1/2",
		"vd0 ",
		"vd0/-1",
		"vd0/99999999999",
		"vd0@99999999999999999999",
	};
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct wire_export export;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(
			peer_go(world, fd, WIRE_OPT_GO, names[i], &export),
			WIRE_REP_ERR_UNKNOWN);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0@1", &export),
			 WIRE_REP_ACK);
	close(fd);
}

/* E9: a process that isn't bound here is refused; one that is gets its own. */
static void test_nbd_process_named_in_the_export(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct server_status status;
	struct wire_export export;

	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0/3", &export),
			 WIRE_REP_ERR_POLICY);
	world->vdev->processes[3].bound = true;
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0/3", &export),
			 WIRE_REP_ACK);
	peer_request(world, fd, WIRE_FLUSH, 0, 1, 0, 0);
	peer_expect(world, fd, 1, 0);
	assert_int_equal(world->vdev->processes[3].requests, 1);
	assert_int_equal(world->vdev->processes[0].requests, 0);
	assert_int_equal(
		server_sessions_of(world->server, &world->vdev->processes[3]),
		1);
	server_status(world->server, &status);
	assert_int_equal(status.unnamed, 0);
	close(fd);
}

/* E12: who names no process is the one that is told apart by who connected;
 * nobody else may name that one. */
static void test_nbd_process_by_who_connects(void **state)
{
	struct peer_world *world = *state;
	struct vdev_process *processes = world->vdev->processes;
	int fd = greeted(world), other;
	struct wire_export export;

	processes[3].bound = true;
	processes[3].match = (struct match){MATCH_UID, getuid()};
	processes[4].bound = true;
	processes[4].match = (struct match){MATCH_UID, getuid() + 1};
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0/4", &export),
			 WIRE_REP_ERR_POLICY);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0", &export),
			 WIRE_REP_ACK);
	peer_request(world, fd, WIRE_FLUSH, 0, 1, 0, 0);
	peer_expect(world, fd, 1, 0);
	assert_int_equal(processes[3].requests, 1);
	assert_int_equal(server_sessions_of(world->server, &processes[3]), 1);
	other = greeted(world);
	assert_int_equal(peer_go(world, other, WIRE_OPT_GO, "vd0/3", &export),
			 WIRE_REP_ACK);
	assert_int_equal(server_sessions_of(world->server, &processes[3]), 2);
	close(other);
	close(fd);
}

/* Processes come and go while it is connected: it is nobody's, one's, and
 * nobody's again, and stays. */
static void test_nbd_process_by_who_is_connected(void **state)
{
	struct peer_world *world = *state;
	struct vdev_process *processes = world->vdev->processes;
	int fd = peer_session(world, false);

	peer_request(world, fd, WIRE_FLUSH, 0, 1, 0, 0);
	peer_expect(world, fd, 1, 0);
	assert_int_equal(processes[0].requests, 1);
	processes[5].match = (struct match){MATCH_PID, (uint32_t)getpid()};
	server_rebind(world->server);
	peer_request(world, fd, WIRE_FLUSH, 0, 2, 0, 0);
	peer_expect(world, fd, 2, 0);
	assert_int_equal(processes[5].requests, 1);
	assert_int_equal(server_sessions_of(world->server, &processes[5]), 1);
	server_forget(world->server, &processes[5]);
	processes[5].match.kind = MATCH_NONE;
	server_rebind(world->server);
	peer_request(world, fd, WIRE_FLUSH, 0, 3, 0, 0);
	peer_expect(world, fd, 3, 0);
	assert_int_equal(processes[5].requests, 1);
	close(fd);
}

/* An owner's generation: an old one is not served (H9). */
static void test_nbd_generation_is_compared(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct wire_export export;

	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0@7", &export),
			 WIRE_REP_ERR_POLICY);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "@1", &export),
			 WIRE_REP_ACK);
	close(fd);
}

static void test_nbd_list_and_abort(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	uint8_t data[64];
	uint32_t bytes;

	peer_option(world, fd, WIRE_OPT_LIST, NULL, 0);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_SERVER);
	assert_int_equal(bytes, 7);
	assert_memory_equal(data + 4, "vd0", 3);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	peer_option(world, fd, WIRE_OPT_LIST, "x", 1);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ERR_INVALID);
	peer_option(world, fd, WIRE_OPT_ABORT, NULL, 0);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	peer_await_end(world, fd);
	close(fd);
}

static void test_nbd_contexts_come_after_structured_replies(void **state)
{
	static const uint8_t set[] =
		"\0\0\0\0\0\0\0\1\0\0\0\017base:allocation";
	static const uint8_t all[] = "\0\0\0\0\0\0\0\0";
	struct peer_world *world = *state;
	int fd = greeted(world);
	uint8_t data[64];
	uint32_t bytes;

	peer_option(world, fd, WIRE_OPT_SET_META_CONTEXT, set, sizeof(set) - 1);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ERR_INVALID);
	peer_option(world, fd, WIRE_OPT_STRUCTURED_REPLY, NULL, 0);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	peer_option(world, fd, WIRE_OPT_LIST_META_CONTEXT, all,
		    sizeof(all) - 1);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_META_CONTEXT);
	assert_memory_equal(data + 4, "base:allocation", 15);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	peer_option(world, fd, WIRE_OPT_SET_META_CONTEXT, set, sizeof(set) - 1);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_META_CONTEXT);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	close(fd);
}

static void test_nbd_options_nobody_knows(void **state)
{
	struct peer_world *world = *state;
	int fd = greeted(world);
	struct wire_export export;
	uint8_t data[256];
	uint32_t bytes;

	peer_option(world, fd, 4711, "abc", 3);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ERR_UNSUP);
	peer_option(world, fd, WIRE_OPT_STARTTLS, NULL, 0);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ERR_POLICY);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "", &export),
			 WIRE_REP_ACK);
	close(fd);
}

/* Each byte by itself, and what comes is right all the same. */
static void test_nbd_byte_by_byte(void **state)
{
	static const uint8_t said[] =
		"\0\0\0\3IHAVEOPT\0\0\0\10\0\0\0\0"
		"IHAVEOPT\0\0\0\7\0\0\0\11\0\0\0\3vd0\0\0";
	struct peer_world *world = *state;
	int fd = peer_connect(world);
	uint8_t greeting[WIRE_GREETING_BYTES], data[64];
	struct wire_chunk_head chunk;
	uint32_t bytes;

	peer_receive(world, fd, greeting, sizeof(greeting));
	for (size_t i = 0; i < sizeof(said) - 1; i++) {
		peer_send(world, fd, &said[i], 1);
		peer_turns(world, 3);
	}
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_INFO);
	assert_int_equal(peer_reply(world, fd, data, sizeof(data), &bytes),
			 WIRE_REP_ACK);
	peer_request(world, fd, WIRE_FLUSH, 0, 5, 0, 0);
	chunk = peer_chunk(world, fd);
	assert_true(chunk.done && chunk.cookie == 5);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_nbd_go_tells_what_the_export_is),
		TEST(test_nbd_info_changes_nothing),
		TEST(test_nbd_read_only_is_told),
		TEST(test_nbd_export_name_with_and_without_zeroes),
		TEST(test_nbd_export_name_unknown_ends),
		TEST(test_nbd_names_that_are_none),
		TEST(test_nbd_process_named_in_the_export),
		TEST(test_nbd_process_by_who_connects),
		TEST(test_nbd_process_by_who_is_connected),
		TEST(test_nbd_generation_is_compared),
		TEST(test_nbd_list_and_abort),
		TEST(test_nbd_contexts_come_after_structured_replies),
		TEST(test_nbd_options_nobody_knows),
		TEST(test_nbd_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
