/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-end.c - NBD: how connections end, and the epoch they share (E12,
 * E15) */
#include "nbd-peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint8_t data[1 << 20];

static int setup(void **state)
{
	static struct peer_world world;

	peer_create(&world, 8);
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	peer_destroy(*state);
	return 0;
}

static struct server_status status_of(const struct peer_world *world)
{
	struct server_status status;

	server_status(world->server, &status);
	return status;
}

/* What was asked before is done and answered. */
static void test_nbd_disc_ends_after_what_is_in_flight(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	world->vdev->hold = true;
	peer_write(world, fd, 1, 0, data, 512);
	peer_request(world, fd, WIRE_DISC, 0, 2, 0, 0);
	peer_turns(world, 20);
	assert_int_equal(status_of(world).sessions, 1);
	world->vdev->hold = false;
	fake_complete_all(world->vdev);
	peer_expect(world, fd, 1, 0);
	peer_await_end(world, fd);
	peer_await_sessions(world, 0);
	assert_int_equal(world->reports, 0);
	close(fd);
}

/* One epoch for all: the first acquires it, the last flushes and releases. */
static void test_nbd_connections_share_an_epoch(void **state)
{
	struct peer_world *world = *state;
	int one = peer_session(world, false),
	    other = peer_session(world, false);

	assert_true(status_of(world).attached);
	assert_int_equal(status_of(world).epoch, 1);
	close(one);
	peer_await_sessions(world, 1);
	assert_int_equal(world->vdev->counts[BLOCK_FLUSH], 0);
	assert_true(status_of(world).attached);
	close(other);
	peer_await_sessions(world, 0);
	assert_int_equal(world->vdev->counts[BLOCK_FLUSH], 1);
	assert_false(status_of(world).attached);
	one = peer_session(world, false);
	assert_int_equal(status_of(world).epoch, 2);
	close(one);
}

/* Its requests at the device end unanswered; those that wait never begin. */
static void test_nbd_client_dies_with_requests_under_way(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	world->vdev->hold = true;
	for (unsigned int i = 0; i < 10; i++)
		peer_write(world, fd, i, (uint64_t)i * 4096, data, 4096);
	while (world->vdev->held_count < 10)
		peer_turn(world);
	close(fd);
	peer_turns(world, 50);
	assert_int_equal(status_of(world).sessions, 1);
	fake_complete_all(world->vdev);
	world->vdev->hold = false;
	peer_turns(world, 5);
	fake_complete_all(world->vdev);
	peer_await_sessions(world, 0);

	world->vdev->hold = true;
	world->vdev->waiting = true;
	fd = peer_session(world, false);
	peer_write(world, fd, 1, 0, data, 4096);
	while (world->vdev->held_count < 1)
		peer_turn(world);
	close(fd);
	peer_await_sessions(world, 0);
	world->vdev->waiting = false;
	world->vdev->hold = false;
}

/* In the middle of its data: nothing of that request is done. */
static void test_nbd_client_dies_in_the_middle_of_a_write(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	peer_request(world, fd, WIRE_WRITE, 0, 1, 0, 65536);
	peer_send(world, fd, data, 65535);
	peer_turns(world, 20);
	close(fd);
	peer_await_sessions(world, 0);
	assert_int_equal(world->vdev->counts[BLOCK_WRITE], 0);
}

/* ESHUTDOWN for what comes after, an answer for what came before. */
static void test_nbd_drain(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false), shaking = peer_connect(world);

	peer_greet(world, shaking, 3);
	world->vdev->hold = true;
	peer_write(world, fd, 1, 0, data, 512);
	peer_turns(world, 20);
	server_drain(world->server, peer_drained, world);
	peer_await_end(world, shaking);
	peer_request(world, fd, WIRE_READ, 0, 2, 0, 512);
	peer_expect(world, fd, 2, WIRE_ESHUTDOWN);
	assert_int_equal(world->drained, 0);
	assert_true(world->vdev->let_go > 0);
	world->vdev->hold = false;
	fake_complete_all(world->vdev);
	peer_expect(world, fd, 1, 0);
	peer_await_end(world, fd);
	while (world->drained == 0)
		peer_turn(world);
	assert_int_equal(world->vdev->counts[BLOCK_FLUSH], 1);
	assert_int_equal(world->vdev->counts[BLOCK_READ], 0);
	close(fd);
	close(shaking);
}

static void test_nbd_drain_of_nobody_is_at_once(void **state)
{
	struct peer_world *world = *state;

	server_drain(world->server, peer_drained, world);
	assert_int_equal(world->drained, 1);
}

/* Who does not read what is answered does not keep the end waiting. */
static void test_nbd_drain_beside_a_client_that_never_reads(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false);

	for (unsigned int i = 0; i < 8; i++)
		peer_request(world, fd, WIRE_READ, 0, i, 0, 1 << 20);
	peer_turns(world, 50);
	server_drain(world->server, peer_drained, world);
	/* Real time passes: a limit of the server's, not the test's. */
	while (world->drained == 0)
		assert_int_equal(
			loop_run_once(world->loop, loop_clock_ns() + 100000000),
			0);
	close(fd);
}

/* E12: nothing more is done in the name of a process that goes. */
static void test_nbd_process_released_under_its_connection(void **state)
{
	struct peer_world *world = *state;
	struct vdev_process *process = &world->vdev->processes[2];
	int fd = peer_connect(world), other;
	struct wire_export export;

	process->bound = true;
	peer_greet(world, fd, 3);
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "vd0/2", &export),
			 WIRE_REP_ACK);
	peer_await_sessions(world, 1);
	other = peer_session(world, false);
	server_forget(world->server, process);
	peer_await_end(world, fd);
	peer_await_sessions(world, 1);
	assert_int_equal(process->requests, 0);
	peer_request(world, other, WIRE_FLUSH, 0, 1, 0, 0);
	peer_expect(world, other, 1, 0);
	close(fd);
	close(other);
}

static void test_nbd_server_destroyed_under_its_clients(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_session(world, false), shaking = peer_connect(world);

	peer_greet(world, shaking, 3);
	world->vdev->hold = true;
	peer_write(world, fd, 1, 0, data, 512);
	while (world->vdev->held_count == 0)
		peer_turn(world);
	server_destroy(world->server);
	world->server = NULL;
	peer_await_end(world, fd);
	peer_await_end(world, shaking);
	close(fd);
	close(shaking);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_nbd_disc_ends_after_what_is_in_flight),
		TEST(test_nbd_connections_share_an_epoch),
		TEST(test_nbd_client_dies_with_requests_under_way),
		TEST(test_nbd_client_dies_in_the_middle_of_a_write),
		TEST(test_nbd_drain),
		TEST(test_nbd_drain_of_nobody_is_at_once),
		TEST(test_nbd_drain_beside_a_client_that_never_reads),
		TEST(test_nbd_process_released_under_its_connection),
		TEST(test_nbd_server_destroyed_under_its_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
