/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-requests.c - NBD: what each command does and how it is answered
 * (E15) */
#include "nbd-peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG_BYTES	(UINT32_C(32) << 20)

static uint8_t data[BIG_BYTES], back[BIG_BYTES];

static int setup(void **state)
{
	static struct peer_world world;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761U >> 13);
	peer_create(&world, 4);
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	peer_destroy(*state);
	return 0;
}

static void test_nbd_write_and_read_simple(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	peer_write(world, fd, 1, 4096, data, 8192);
	peer_expect(world, fd, 1, 0);
	assert_memory_equal(world->vdev->data + 4096, data, 8192);
	peer_request(world, fd, WIRE_READ, 0, 2, 4096, 8192);
	peer_expect(world, fd, 2, 0);
	peer_receive(world, fd, back, 8192);
	assert_memory_equal(back, data, 8192);
	close(fd);
}

/* Once they are agreed upon a read never gets a simple reply. */
static void test_nbd_read_structured(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, true);
	struct wire_chunk_head chunk;

	memcpy(world->vdev->data + 512, data, 512);
	peer_request(world, fd, WIRE_READ, 0, 77, 512, 512);
	chunk = peer_chunk(world, fd);
	assert_int_equal(chunk.type, WIRE_CHUNK_OFFSET_DATA);
	assert_int_equal(chunk.payload_bytes, 8 + 512);
	assert_true(chunk.done && chunk.cookie == 77);
	peer_receive(world, fd, back, 8 + 512);
	assert_memory_equal(back, "\0\0\0\0\0\0\2\0", 8);
	assert_memory_equal(back + 8, data, 512);
	close(fd);
}

/* As large as was promised: no more than pieces of it are held at a time. */
static void test_nbd_largest_write_and_read(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	peer_write(world, fd, 1, 4096, data, BIG_BYTES);
	peer_expect(world, fd, 1, 0);
	assert_memory_equal(world->vdev->data + 4096, data, BIG_BYTES);
	peer_request(world, fd, WIRE_READ, 0, 2, 4096, BIG_BYTES);
	peer_expect(world, fd, 2, 0);
	peer_receive(world, fd, back, BIG_BYTES);
	assert_memory_equal(back, data, BIG_BYTES);
	assert_true(world->vdev->largest_bytes <= BIG_BYTES / 16);
	close(fd);
}

static void test_nbd_largest_read_structured(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, true);
	struct wire_chunk_head chunk;
	uint32_t got = 0;
	uint8_t offset[8];

	memcpy(world->vdev->data, data, BIG_BYTES);
	peer_request(world, fd, WIRE_READ, 0, 3, 0, BIG_BYTES);
	do {
		chunk = peer_chunk(world, fd);
		assert_int_equal(chunk.type, WIRE_CHUNK_OFFSET_DATA);
		peer_receive(world, fd, offset, 8);
		assert_int_equal(offset[4] << 24 | offset[5] << 16 |
					 offset[6] << 8 | offset[7],
				 got);
		peer_receive(world, fd, back + got, chunk.payload_bytes - 8);
		got += chunk.payload_bytes - 8;
	} while (!chunk.done);
	assert_int_equal(got, BIG_BYTES);
	assert_memory_equal(back, data, BIG_BYTES);
	close(fd);
}

/* In one chunk, if it is asked for, up to what one chunk may be. */
static void test_nbd_read_in_one_chunk(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, true);
	struct wire_chunk_head chunk;

	peer_request(world, fd, WIRE_READ, WIRE_DF, 1, 0, 65536);
	chunk = peer_chunk(world, fd);
	assert_int_equal(chunk.payload_bytes, 8 + 65536);
	assert_true(chunk.done);
	peer_receive(world, fd, back, 8 + 65536);
	peer_request(world, fd, WIRE_READ, WIRE_DF, 2, 0, BIG_BYTES);
	assert_int_equal(peer_chunk_error(world, fd, 2), WIRE_EOVERFLOW);
	close(fd);
}

static void test_nbd_errors_have_a_text(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, true);

	world->vdev->fail = -EIO;
	peer_request(world, fd, WIRE_READ, 0, 1, 0, 512);
	assert_int_equal(peer_chunk_error(world, fd, 1), WIRE_EIO);
	peer_write(world, fd, 2, 0, data, 512);
	assert_int_equal(peer_chunk_error(world, fd, 2), WIRE_EIO);
	world->vdev->fail = -ENOSPC;
	peer_write(world, fd, 3, 0, data, BIG_BYTES);
	assert_int_equal(peer_chunk_error(world, fd, 3), WIRE_ENOSPC);
	world->vdev->fail = 0;
	peer_request(world, fd, WIRE_FLUSH, 0, 4, 0, 0);
	assert_true(peer_chunk(world, fd).done);
	close(fd);
}

/* Some clients look for answers only to what they have sent all of. */
static void test_nbd_write_fails_when_all_of_it_came(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	const uint32_t first_bytes = BIG_BYTES / 4;
	uint8_t byte;

	world->vdev->fail = -ENOSPC;
	peer_request(world, fd, WIRE_WRITE, 0, 1, 0, BIG_BYTES);
	peer_send(world, fd, data, first_bytes);
	peer_turns(world, 1000);
	assert_int_equal(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	world->vdev->fail = 0;
	peer_send(world, fd, data, BIG_BYTES - first_bytes);
	peer_request(world, fd, WIRE_READ, 0, 2, 0, 512);
	peer_expect(world, fd, 1, WIRE_ENOSPC);
	peer_expect(world, fd, 2, 0);
	peer_receive(world, fd, back, 512);
	close(fd);
}

static void test_nbd_out_of_range(void **state)
{
	static const struct {
		uint16_t command;
		uint32_t error;
	} cases[] = {
		{WIRE_READ, WIRE_EINVAL},	  {WIRE_WRITE, WIRE_ENOSPC},
		{WIRE_TRIM, WIRE_EINVAL},	  {WIRE_CACHE, WIRE_EINVAL},
		{WIRE_WRITE_ZEROES, WIRE_ENOSPC},
	};
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		peer_request(world, fd, cases[i].command, 0, i,
			     PEER_VDEV_BYTES - 512, 1024);
		if (cases[i].command == WIRE_WRITE)
			peer_send(world, fd, data, 1024);
		peer_expect(world, fd, i, cases[i].error);
		peer_request(world, fd, cases[i].command, 0, i + 100,
			     UINT64_MAX - 511, 1024);
		if (cases[i].command == WIRE_WRITE)
			peer_send(world, fd, data, 1024);
		peer_expect(world, fd, i + 100, cases[i].error);
	}
	for (unsigned int op = 0; op <= BLOCK_WRITE_ZEROES; op++)
		assert_int_equal(world->vdev->counts[op], 0);
	close(fd);
}

static void test_nbd_read_only_refuses_changes(void **state)
{
	struct peer_world *world = *state;
	int fd;

	world->vdev->read_only = true;
	fd = peer_session(world, false);
	peer_write(world, fd, 1, 0, data, 512);
	peer_expect(world, fd, 1, WIRE_EPERM);
	peer_request(world, fd, WIRE_TRIM, 0, 2, 0, 512);
	peer_expect(world, fd, 2, WIRE_EPERM);
	peer_request(world, fd, WIRE_WRITE_ZEROES, 0, 3, 0, 512);
	peer_expect(world, fd, 3, WIRE_EPERM);
	peer_request(world, fd, WIRE_READ, 0, 4, 0, 512);
	peer_expect(world, fd, 4, 0);
	peer_receive(world, fd, back, 512);
	close(fd);
}

static void test_nbd_trim_zeroes_cache_flush(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	memset(world->vdev->data, 1, 8 << 20);
	peer_request(world, fd, WIRE_TRIM, 0, 1, 0, 1 << 20);
	peer_expect(world, fd, 1, 0);
	peer_request(world, fd, WIRE_WRITE_ZEROES, WIRE_NO_HOLE, 2, 1 << 20,
		     6 << 20);
	peer_expect(world, fd, 2, 0);
	peer_request(world, fd, WIRE_CACHE, 0, 3, 0, 1 << 20);
	peer_expect(world, fd, 3, 0);
	peer_request(world, fd, WIRE_FLUSH, 0, 4, 0, 0);
	peer_expect(world, fd, 4, 0);
	for (size_t i = 0; i < 7 << 20; i++)
		assert_int_equal(world->vdev->data[i], 0);
	assert_int_equal(world->vdev->data[7 << 20], 1);
	assert_int_equal(world->vdev->counts[BLOCK_DISCARD], 1);
	assert_int_equal(world->vdev->counts[BLOCK_FLUSH], 1);
	close(fd);
}

/* What is written with FUA is flushed before it is answered. */
static void test_nbd_fua_flushes_first(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	char byte;

	world->vdev->hold = true;
	peer_request(world, fd, WIRE_WRITE, WIRE_FUA, 1, 0, 512);
	peer_send(world, fd, data, 512);
	peer_turns(world, 10);
	assert_int_equal(world->vdev->held_count, 1);
	fake_complete(world->vdev, 0);
	peer_turns(world, 10);
	assert_int_equal(world->vdev->held_count, 1);
	assert_int_equal(world->vdev->held[0]->block.op, BLOCK_FLUSH);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	fake_complete(world->vdev, 0);
	peer_expect(world, fd, 1, 0);
	close(fd);
}

/* NBD_FLAG_CAN_MULTI_CONN: a flush on one covers what another wrote, because
 * nothing is kept here: the vdev has it when the write is answered. */
static void test_nbd_flush_covers_other_connections(void **state)
{
	struct peer_world *world = *state;
	int one = peer_session(world, false), other = peer_session(world, true);

	peer_write(world, one, 1, 0, data, 4096);
	peer_expect(world, one, 1, 0);
	assert_memory_equal(world->vdev->data, data, 4096);
	peer_request(world, other, WIRE_FLUSH, 0, 2, 0, 0);
	assert_true(peer_chunk(world, other).done);
	assert_int_equal(world->vdev->counts[BLOCK_FLUSH], 1);
	peer_request(world, other, WIRE_READ, 0, 3, 0, 4096);
	assert_int_equal(peer_chunk(world, other).payload_bytes, 8 + 4096);
	peer_receive(world, other, back, 8 + 4096);
	assert_memory_equal(back + 8, data, 4096);
	close(one);
	close(other);
}

/* Answers come as requests are done, whatever their order. */
static void test_nbd_answers_in_any_order(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	world->vdev->hold = true;
	for (unsigned int i = 0; i < 40; i++)
		peer_write(world, fd, i, (uint64_t)i * 512, data, 512);
	while (world->vdev->held_count < 40)
		peer_turn(world);
	for (unsigned int i = 40; i-- > 0;) {
		fake_complete(world->vdev, i);
		peer_expect(world, fd, i, 0);
	}
	close(fd);
}

/* More data than are held at a time, while nothing is done with them. */
static void test_nbd_writes_fill_the_ring(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	world->vdev->hold = true;
	for (unsigned int i = 0; i < 16; i++) {
		peer_request(world, fd, WIRE_WRITE, 0, i, (uint64_t)i << 18,
			     1 << 18);
		if (i == 7) {
			world->vdev->hold = false;
			peer_turns(world, 20);
			fake_complete_all(world->vdev);
		}
		peer_send(world, fd, data + (i << 18), 1 << 18);
	}
	for (unsigned int i = 0; i < 16; i++)
		peer_expect(world, fd, i, 0);
	assert_memory_equal(world->vdev->data, data, 16 << 18);
	close(fd);
}

static void test_nbd_grown_vdev_is_served_to_its_end(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	struct wire_export export;
	int later;

	world->vdev->size_bytes /= 2;
	peer_request(world, fd, WIRE_READ, 0, 1, PEER_VDEV_BYTES / 2, 512);
	peer_expect(world, fd, 1, WIRE_EINVAL);
	later = peer_connect(world);
	peer_greet(world, later, 3);
	peer_go(world, later, WIRE_OPT_GO, "", &export);
	assert_true(export.size_bytes == PEER_VDEV_BYTES / 2);
	vdev_resize(world->vdev, PEER_VDEV_BYTES);
	peer_request(world, later, WIRE_READ, 0, 2, PEER_VDEV_BYTES / 2, 512);
	peer_expect(world, later, 2, 0);
	close(fd);
	close(later);
}

/* NBD counts in bytes: what is around them stays as it is. */
static void test_nbd_any_bytes(void **state)
{
	static const struct {
		uint64_t at;
		uint32_t bytes;
	} cases[] = {
		{1, 1},	    {511, 2},  {510, 2},     {1000, 5000},
		{512, 513}, {3, 509},  {4096, 1},    {77777, 1 << 20},
		{5, 4096},  {1023, 1}, {9, 2000000},
	};
	struct peer_world *world = *state;
	int fd = peer_session(world, false);
	uint8_t *wanted = malloc(4 << 20);

	memcpy(world->vdev->data, data, 4 << 20);
	memcpy(wanted, data, 4 << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const uint64_t at = cases[i].at;
		const uint32_t bytes = cases[i].bytes;

		peer_request(world, fd, WIRE_READ, 0, 1, at, bytes);
		peer_expect(world, fd, 1, 0);
		peer_receive(world, fd, back, bytes);
		assert_memory_equal(back, wanted + at, bytes);
		peer_write(world, fd, 2, at, data + 7, bytes);
		peer_expect(world, fd, 2, 0);
		memcpy(wanted + at, data + 7, bytes);
		assert_memory_equal(world->vdev->data, wanted, 4 << 20);
		peer_request(world, fd, WIRE_WRITE_ZEROES, 0, 3, at + 3, bytes);
		peer_expect(world, fd, 3, 0);
		memset(wanted + at + 3, 0, bytes);
		assert_memory_equal(world->vdev->data, wanted, 4 << 20);
		/* A hint, of which only whole blocks are taken. */
		peer_request(world, fd, WIRE_TRIM, 0, 4, at, bytes);
		peer_expect(world, fd, 4, 0);
		memcpy(wanted, world->vdev->data, 4 << 20);
	}
	free(wanted);
	close(fd);
}

/* While a block is read and written back nobody's write to it is lost. */
static void test_nbd_parts_of_a_block_at_a_time(void **state)
{
	struct peer_world *world = *state;
	int one = peer_session(world, false),
	    other = peer_session(world, false);

	world->vdev->hold = true;
	peer_write(world, one, 1, 100, data, 10);
	peer_turns(world, 20);
	assert_int_equal(world->vdev->held_count, 1);
	assert_int_equal(world->vdev->held[0]->block.op, BLOCK_READ);
	/* It waits; what goes elsewhere does not. */
	peer_write(world, other, 2, 0, data + 1000, 512);
	peer_turns(world, 20);
	assert_int_equal(world->vdev->held_count, 1);
	fake_complete(world->vdev, 0);
	peer_turns(world, 20);
	assert_int_equal(world->vdev->held_count, 1);
	fake_complete(world->vdev, 0);
	peer_expect(world, one, 1, 0);
	peer_turns(world, 20);
	assert_int_equal(world->vdev->held_count, 1);
	fake_complete(world->vdev, 0);
	peer_expect(world, other, 2, 0);
	assert_memory_equal(world->vdev->data, data + 1000, 512);

	/* The other way round: a part waits for the whole. */
	peer_write(world, other, 3, 512, data, 1024);
	peer_turns(world, 20);
	peer_write(world, one, 4, 1000, data + 5000, 100);
	peer_turns(world, 20);
	assert_int_equal(world->vdev->held_count, 1);
	world->vdev->hold = false;
	fake_complete_all(world->vdev);
	peer_expect(world, other, 3, 0);
	peer_expect(world, one, 4, 0);
	assert_memory_equal(world->vdev->data + 512, data, 488);
	assert_memory_equal(world->vdev->data + 1000, data + 5000, 100);
	assert_memory_equal(world->vdev->data + 1100, data + 588, 436);
	close(one);
	close(other);
}

/* Who dies with a part of a block under way gives it up. */
static void test_nbd_part_of_a_block_abandoned(void **state)
{
	struct peer_world *world = *state;
	int one = peer_session(world, false),
	    other = peer_session(world, false);

	peer_request(world, one, WIRE_WRITE, 0, 1, 100, 3 << 20);
	peer_send(world, one, data, 1 << 20);
	peer_turns(world, 20);
	peer_write(world, other, 2, 0, data, 512);
	peer_turns(world, 20);
	close(one);
	peer_expect(world, other, 2, 0);
	close(other);
}

static void test_nbd_requests_of_nothing(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, true);

	for (uint16_t command = 0; command < 7; command++) {
		if (command == WIRE_DISC)
			continue;
		peer_request(world, fd, command, 0, command, 0, 0);
		assert_int_equal(peer_chunk(world, fd).type, WIRE_CHUNK_NONE);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_nbd_write_and_read_simple),
		TEST(test_nbd_read_structured),
		TEST(test_nbd_largest_write_and_read),
		TEST(test_nbd_largest_read_structured),
		TEST(test_nbd_read_in_one_chunk),
		TEST(test_nbd_errors_have_a_text),
		TEST(test_nbd_write_fails_when_all_of_it_came),
		TEST(test_nbd_out_of_range),
		TEST(test_nbd_read_only_refuses_changes),
		TEST(test_nbd_trim_zeroes_cache_flush),
		TEST(test_nbd_fua_flushes_first),
		TEST(test_nbd_flush_covers_other_connections),
		TEST(test_nbd_answers_in_any_order),
		TEST(test_nbd_writes_fill_the_ring),
		TEST(test_nbd_grown_vdev_is_served_to_its_end),
		TEST(test_nbd_any_bytes),
		TEST(test_nbd_parts_of_a_block_at_a_time),
		TEST(test_nbd_part_of_a_block_abandoned),
		TEST(test_nbd_requests_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
