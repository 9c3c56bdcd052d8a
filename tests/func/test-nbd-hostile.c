/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-hostile.c - NBD clients that mean harm: whatever they say, the
 * server goes on and others are served */
#include "nbd-peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTIONS	16U

static uint8_t data[1 << 20];

static int setup(void **state)
{
	static struct peer_world world;

	peer_create(&world, CONNECTIONS);
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	peer_destroy(*state);
	return 0;
}

/* Somebody else is served all the same. */
static void assert_serves(struct peer_world *world)
{
	int fd = peer_session(world, false);

	peer_request(world, fd, WIRE_READ, 0, 7, 0, 512);
	peer_expect(world, fd, 7, 0);
	peer_receive(world, fd, data, 512);
	close(fd);
}

static void test_nbd_client_flags_nobody_offered(void **state)
{
	static const uint32_t flags[] = {0, 2, 4, 7, UINT32_MAX};
	struct peer_world *world = *state;

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		int fd = peer_connect(world);

		peer_greet(world, fd, flags[i]);
		peer_await_end(world, fd);
		close(fd);
	}
	assert_int_equal(world->reports, 5);
	assert_serves(world);
}

static void test_nbd_option_without_its_magic(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_connect(world);

	peer_greet(world, fd, 3);
	peer_send(world, fd, "IHAVEOPX\0\0\0\7\0\0\0\0", 16);
	peer_await_end(world, fd);
	assert_int_equal(world->reports, 1);
	assert_serves(world);
	close(fd);
}

static void test_nbd_option_too_long(void **state)
{
	struct peer_world *world = *state;
	struct wire_export export;
	uint32_t bytes;
	int fd = peer_connect(world);

	peer_greet(world, fd, 3);
	/* A little: skipped, and said. */
	peer_option(world, fd, WIRE_OPT_GO, data, WIRE_OPTION_MAX + 1);
	assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes),
			 WIRE_REP_ERR_TOO_BIG);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_INFO, "", &export),
			 WIRE_REP_ACK);
	/* Beyond all measure. */
	peer_send(world, fd, "IHAVEOPT\0\0\0\7\377\377\377\377", 16);
	peer_await_end(world, fd);
	close(fd);
	assert_serves(world);
}

/* Each length inside of GO and of the contexts that can be wrong. */
static void test_nbd_lengths_inside_of_options(void **state)
{
	static const struct {
		uint32_t option;
		size_t bytes;
		const char *data;
	} cases[] = {
		{WIRE_OPT_GO, 0, ""},
		{WIRE_OPT_GO, 3, "\0\0\0"},
		{WIRE_OPT_GO, 4, "\0\0\0\0"},
		{WIRE_OPT_GO, 6, "\0\0\0\1\0\0"},
		{WIRE_OPT_GO, 6, "\377\377\377\377\0\0"},
		{WIRE_OPT_GO, 6, "\0\0\0\0\0\1"},
		{WIRE_OPT_GO, 7, "\0\0\0\0\0\0\0"},
		{WIRE_OPT_GO, 8, "\0\0\0\0\377\377\0\0"},
		{WIRE_OPT_INFO, 6, "\177\377\377\377\0\0"},
		{WIRE_OPT_SET_META_CONTEXT, 0, ""},
		{WIRE_OPT_SET_META_CONTEXT, 4, "\0\0\0\0"},
		{WIRE_OPT_SET_META_CONTEXT, 8, "\0\0\0\0\0\0\0\1"},
		{WIRE_OPT_SET_META_CONTEXT, 8, "\0\0\0\0\377\377\377\377"},
		{WIRE_OPT_SET_META_CONTEXT, 12,
		 "\0\0\0\0\0\0\0\1\377\377\377\377"},
		{WIRE_OPT_SET_META_CONTEXT, 9, "\0\0\0\0\0\0\0\0x"},
		{WIRE_OPT_LIST_META_CONTEXT, 7, "\0\0\0\0\0\0\0"},
	};
	struct peer_world *world = *state;
	int fd = peer_connect(world);
	uint32_t bytes;

	peer_greet(world, fd, 3);
	peer_option(world, fd, WIRE_OPT_STRUCTURED_REPLY, NULL, 0);
	peer_reply(world, fd, NULL, 0, &bytes);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		peer_option(world, fd, cases[i].option, cases[i].data,
			    cases[i].bytes);
		assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes),
				 WIRE_REP_ERR_INVALID);
	}
	close(fd);
	assert_serves(world);
}

static void test_nbd_options_without_end(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_connect(world);
	uint32_t bytes;

	peer_greet(world, fd, 3);
	for (unsigned int i = 0; i < 256; i++) {
		peer_option(world, fd, 4711, NULL, 0);
		peer_reply(world, fd, NULL, 0, &bytes);
	}
	peer_option(world, fd, 4711, NULL, 0);
	peer_await_end(world, fd);
	close(fd);
}

static void test_nbd_request_without_its_magic(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	peer_send(world, fd, data, WIRE_REQUEST_BYTES);
	peer_await_end(world, fd);
	assert_int_equal(world->reports, 1);
	close(fd);
	assert_serves(world);
}

/* Every command and flag that there is and is not. */
static void test_nbd_commands_and_flags_nobody_knows(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	uint64_t cookie = 0;

	for (uint16_t command = 0; command < 64; command++) {
		if (command == WIRE_DISC)
			continue;
		peer_request(world, fd, command, 0x8000, ++cookie, 0, 512);
		if (command == WIRE_WRITE)
			peer_send(world, fd, data, 512);
		peer_expect(world, fd, cookie, WIRE_EINVAL);
	}
	for (uint32_t flag = 1; flag < 0x10000; flag <<= 1) {
		peer_request(world, fd, WIRE_FLUSH, (uint16_t)flag, ++cookie, 0,
			     0);
		peer_expect(world, fd, cookie,
			    flag == WIRE_FUA ? WIRE_OK : WIRE_EINVAL);
	}
	peer_request(world, fd, UINT16_MAX, 0, ++cookie, 0, 0);
	peer_expect(world, fd, cookie, WIRE_EINVAL);
	peer_request(world, fd, WIRE_BLOCK_STATUS, 0, ++cookie, 0, 512);
	peer_expect(world, fd, cookie, WIRE_EINVAL);
	close(fd);
}

static void test_nbd_lengths_of_requests(void **state)
{
	static const uint32_t lengths[] = {
		WIRE_PAYLOAD_MAX + 512,
		UINT32_C(0x7fffffff),
		UINT32_MAX,
	};
	struct peer_world *world = *state;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		int fd = peer_session(world, false);

		peer_request(world, fd, WIRE_READ, 0, 1, 0, lengths[i]);
		peer_expect(world, fd, 1, WIRE_EINVAL);
		peer_request(world, fd, WIRE_TRIM, 0, 2, 512, UINT32_MAX);
		peer_expect(world, fd, 2, WIRE_EINVAL);
		close(fd);
	}
	/* A little too much is read past, and said. */
	{
		int fd = peer_session(world, false);

		peer_request(world, fd, WIRE_WRITE, 0, 3, 0, lengths[0]);
		for (uint32_t sent = 0; sent < lengths[0]; sent += 512)
			peer_send(world, fd, data, 512);
		peer_expect(world, fd, 3, WIRE_EINVAL);
		close(fd);
	}
	/* What would take for ever is not waited for. */
	{
		int fd = peer_session(world, false);

		peer_request(world, fd, WIRE_WRITE, 0, 3, 0, UINT32_MAX);
		peer_await_end(world, fd);
		close(fd);
	}
	assert_int_equal(world->vdev->counts[BLOCK_WRITE], 0);
	assert_serves(world);
}

/* Replies that nobody reads hold up their own connection, with bounded memory,
 * and no other. */
static void test_nbd_replies_never_read(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	const struct wire_request request = {.command = WIRE_READ,
					     .length_bytes = 65536};
	uint8_t head[WIRE_REQUEST_BYTES];
	unsigned int reads;

	wire_put_request(head, &request);
	for (unsigned int i = 0; i < 20000; i++) {
		(void)send(fd, head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL);
		peer_turn(world);
	}
	reads = world->vdev->counts[BLOCK_READ];
	assert_in_range(reads, 1, 64);
	for (unsigned int i = 0; i < 10; i++)
		assert_serves(world);
	assert_int_equal(world->vdev->counts[BLOCK_READ], reads + 10);
	/* It begins to read: it is served again. */
	for (unsigned int i = 0; i < 200; i++) {
		peer_expect(world, fd, 0, 0);
		peer_receive(world, fd, data, 65536);
	}
	close(fd);
}

/* More requests than there is room for, none of which ends. */
static void test_nbd_more_requests_than_slots(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	unsigned int sent = 0;

	world->vdev->hold = true;
	for (unsigned int i = 0; i < 400; i++) {
		peer_request(world, fd, WIRE_FLUSH, 0, i, 0, 0);
		sent++;
	}
	peer_turns(world, 100);
	assert_int_equal(world->vdev->held_count, 256);
	world->vdev->hold = false;
	fake_complete_all(world->vdev);
	for (unsigned int i = 0; i < sent; i++)
		peer_expect(world, fd, i, 0);
	close(fd);
}

/* Has the server said something to it? */
static bool is_heard(int fd)
{
	uint8_t byte;
	const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return got > 0;
}

/* All places are taken by those who do not come to an end: they go, others
 * come.  'dribbles': an option of theirs goes on, a byte at a time. */
static void make_room(struct peer_world *world, bool dribbles)
{
	int stalled[CONNECTIONS], fd;
	struct server_status status;

	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		stalled[i] = peer_connect(world);
		if (!dribbles)
			continue;
		peer_greet(world, stalled[i], 3);
		peer_send(world, stalled[i], "IHAVEOPT\0\0\22\147\0\0\377\0",
			  16);
	}
	peer_turns(world, 100);
	fd = peer_connect(world);
	/* Real time passes: the server's limit. */
	while (!is_heard(fd)) {
		for (unsigned int i = 0; i < CONNECTIONS && dribbles; i++)
			(void)send(stalled[i], "x", 1,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
		assert_int_equal(
			loop_run_once(world->loop, loop_clock_ns() + 10000000),
			0);
	}
	server_status(world->server, &status);
	assert_int_equal(status.sessions, 0);
	for (unsigned int i = 0; i < CONNECTIONS; i++)
		close(stalled[i]);
	close(fd);
	assert_serves(world);
}

static void test_nbd_stalled_handshakes_make_room(void **state)
{
	make_room(*state, false);
}

static void test_nbd_handshakes_byte_by_byte_make_room(void **state)
{
	make_room(*state, true);
}

/* Answers to options that nobody reads: what is held of them is bounded by the
 * socket and one answer, and the connection ends as others do. */
static void test_nbd_answers_to_options_never_read(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_connect(world);
	unsigned int sent = 0;

	peer_greet(world, fd, 3);
	for (unsigned int i = 0; i < 4000; i++) {
		sent += send(fd, "IHAVEOPT\0\0\0\3\0\0\0\0", 16,
			     MSG_DONTWAIT | MSG_NOSIGNAL) == 16;
		peer_turn(world);
	}
	/* It was not listened to without end. */
	assert_in_range(sent, 1, 3999);
	assert_serves(world);
	peer_await_end(world, fd);
	close(fd);
}

/* Thousands, one after another and at once: no more than the places at a
 * time, and those in the backlog get theirs. */
static void test_nbd_thousands_of_connections(void **state)
{
	struct peer_world *world = *state;
	unsigned int greeted = 0;
	int fds[512];

	for (unsigned int i = 0; i < 4000; i++) {
		int fd = peer_connect(world);

		peer_turns(world, i % 4);
		close(fd);
	}
	for (unsigned int i = 0; i < 512; i++)
		fds[i] = peer_connect(world);
	peer_turns(world, 100);
	for (unsigned int i = 0; i < 512; i++)
		greeted += is_heard(fds[i]);
	assert_int_equal(greeted, CONNECTIONS);
	for (unsigned int i = 0; i < 512; i++) {
		struct wire_export export;

		peer_greet(world, fds[i], 3);
		assert_int_equal(
			peer_go(world, fds[i], WIRE_OPT_GO, "", &export),
			WIRE_REP_ACK);
		close(fds[i]);
	}
	peer_await_sessions(world, 0);
	assert_serves(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_nbd_client_flags_nobody_offered),
		TEST(test_nbd_option_without_its_magic),
		TEST(test_nbd_option_too_long),
		TEST(test_nbd_lengths_inside_of_options),
		TEST(test_nbd_options_without_end),
		TEST(test_nbd_request_without_its_magic),
		TEST(test_nbd_commands_and_flags_nobody_knows),
		TEST(test_nbd_lengths_of_requests),
		TEST(test_nbd_replies_never_read),
		TEST(test_nbd_more_requests_than_slots),
		TEST(test_nbd_stalled_handshakes_make_room),
		TEST(test_nbd_handshakes_byte_by_byte_make_room),
		TEST(test_nbd_answers_to_options_never_read),
		TEST(test_nbd_thousands_of_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
