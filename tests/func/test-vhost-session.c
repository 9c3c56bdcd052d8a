/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-session.c - who may serve, draining, and how sessions end
 *
 * E15, H9 and architecture.md, "Attachment epoch": only ring start acquires;
 * GET_VRING_BASE of all rings, or the end of the connection, drains, flushes
 * and releases.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vhost-peer.h"

static struct world world;
static struct peer peer, other;
static bool has_other;

static int begin(void **state)
{
	(void)state;
	world_create(&world, 4);
	peer_connect(&world, &peer);
	has_other = false;
	return 0;
}

static int end(void **state)
{
	(void)state;
	peer_destroy(&peer);
	if (has_other)
		peer_destroy(&other);
	world_destroy(&world);
	return 0;
}

static void connect_other(void)
{
	peer_connect(&world, &other);
	has_other = true;
}

static struct front_status status(void)
{
	struct front_status front_status_now;

	front_status(world.front, &front_status_now);
	return front_status_now;
}

/* Requests are held at the vdev from now on; returns when 'count' are. */
static void hold_reads(struct peer *of, unsigned int queue, unsigned int count)
{
	world.vdev->hold = true;
	for (unsigned int s = 0; s < count; s++)
		peer_request(of, queue, s, VIRTIO_BLK_T_IN, s,
			     PEER_DATA_ADDR + s * 512, 512);
	peer_kick(of, queue);
	world_until(&world, world.vdev->held_count == count);
}

static bool has_message(struct peer *of)
{
	struct vhost_user_header header;

	world_settle(&world);
	return recv(of->socket, &header, sizeof(header),
		    MSG_DONTWAIT | MSG_PEEK) == (ssize_t)sizeof(header);
}

static void test_vhost_stop_waits_for_requests_in_flight(void **state)
{
	struct vhost_user_vring_state base = {0};
	struct vhost_user_header header;

	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 3);
	peer_set_state(&peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	assert_false(has_message(&peer));
	assert_int_equal(world.vdev->let_go, 1);
	fake_complete(world.vdev, 2);
	fake_complete(world.vdev, 0);
	assert_false(has_message(&peer));
	assert_int_equal(peer_answers(&peer, 0), 2);
	fake_complete(world.vdev, 0);
	/* The flush comes last, and is waited for. */
	world_until(&world, world.vdev->held_count == 1);
	assert_int_equal(world.vdev->held[0]->block.op, BLOCK_FLUSH);
	assert_false(has_message(&peer));
	fake_complete_all(world.vdev);
	assert_int_equal(
		peer_receive(&peer, &header, &base, sizeof(base), NULL),
		sizeof(base));
	assert_int_equal(base.num, 3);
	assert_int_equal(peer_answers(&peer, 0), 3);
	assert_false(status().attached);
}

/* As QEMU does it: first disabled, then stopped. */
static void test_vhost_disable_does_not_drop(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 3);
	peer_enable_ring(&peer, 0, false);
	peer_sync(&peer);
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	assert_int_equal(peer_stop_ring(&peer, 0), 3);
	assert_int_equal(peer_answers(&peer, 0), 3);
}

static void test_vhost_others_go_on_while_one_drains(void **state)
{
	struct world beside;
	struct peer neighbour;

	(void)state;
	world_create_beside(&beside, &world, 1);
	peer_connect(&beside, &neighbour);
	peer_start(&neighbour, 0, 1);
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 1);
	peer_set_state(&peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	world_settle(&world);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(peer_do(&neighbour, 0, 0, VIRTIO_BLK_T_IN, 0,
					 PEER_DATA_ADDR, 512),
				 VIRTIO_BLK_S_OK);
	assert_false(has_message(&peer));
	fake_complete_all(world.vdev);
	world.vdev->hold = false;
	peer_destroy(&neighbour);
	world_destroy_beside(&beside);
}

static void test_vhost_connecting_acquires_nothing(void **state)
{
	(void)state;
	peer_negotiate(&peer, 0);
	peer_set_memory(&peer);
	peer_set_ring(&peer, 0, 256, 0);
	peer_enable_ring(&peer, 0, true);
	peer_sync(&peer);
	assert_false(status().attached);
	assert_int_equal(status().epoch, 0);
	peer_start_ring(&peer, 0);
	peer_sync(&peer);
	assert_true(status().attached);
	assert_int_equal(status().epoch, 1);
}

static void test_vhost_second_session_waits_for_the_first(void **state)
{
	(void)state;
	peer_start(&peer, 0, 2);
	connect_other();
	peer_start(&other, 0, 2);
	assert_int_equal(status().sessions, 2);
	assert_int_equal(status().epoch, 1);
	peer_request(&other, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&other, 0);
	world_settle(&world);
	assert_int_equal(world.vdev->counts[BLOCK_READ], 0);
	/* The first goes on meanwhile. */
	assert_int_equal(
		peer_do(&peer, 1, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	/* One ring is not all rings. */
	assert_int_equal(peer_stop_ring(&peer, 0), 0);
	world_settle(&world);
	assert_int_equal(peer_answers(&other, 0), 0);
	assert_int_equal(peer_stop_ring(&peer, 1), 1);
	world_until(&world, peer_answers(&other, 0) == 1);
	assert_int_equal(status().epoch, 2);
	assert_int_equal(world.vdev->counts[BLOCK_FLUSH], 1);
}

/* 'cont' on the source after a migration: it must wait. */
static void test_vhost_source_can_not_come_back_by_itself(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	connect_other();
	peer_start(&other, 0, 1);
	assert_int_equal(peer_stop_ring(&peer, 0), 0);
	assert_int_equal(
		peer_do(&other, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	peer_set_ring(&peer, 0, 256, 0);
	peer_start_ring(&peer, 0);
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_OUT, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	peer_sync(&peer);
	world_settle(&world);
	assert_int_equal(world.vdev->counts[BLOCK_WRITE], 0);
	/* But when the target is gone, it does. */
	peer_close(&other);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(status().epoch, 3);
}

static void test_vhost_stopping_a_ring_that_waits(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	connect_other();
	peer_negotiate(&other, 0);
	peer_set_memory(&other);
	peer_set_ring(&other, 0, 256, 77);
	peer_start_ring(&other, 0);
	assert_int_equal(peer_stop_ring(&other, 0), 77);
	peer_close(&peer);
	world_settle(&world);
	assert_false(status().attached);
}

static void test_vhost_disconnect_while_busy_drains_first(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 2);
	connect_other();
	peer_start(&other, 0, 1);
	peer_request(&other, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&other, 0);
	peer_close(&peer);
	world_settle(&world);
	/* Two of the first, nothing of the second. */
	assert_int_equal(world.vdev->held_count, 2);
	assert_int_equal(status().epoch, 1);
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&other, 0) == 1);
	assert_int_equal(status().epoch, 2);
	assert_int_equal(status().sessions, 1);
	/* Without an inflight region its used ring is left as it was found. */
	assert_int_equal(peer_answers(&peer, 0), 0);
	assert_int_equal(world.reports, 0);
}

static void test_vhost_third_connection_waits_in_the_backlog(void **state)
{
	struct peer third;

	(void)state;
	peer_negotiate(&peer, 0);
	connect_other();
	peer_negotiate(&other, 0);
	peer_connect(&world, &third);
	peer_send(&third, VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_false(has_message(&third));
	assert_int_equal(status().sessions, 2);
	peer_close(&peer);
	world_until(&world, has_message(&third));
	peer_destroy(&third);
}

static void test_vhost_destroy_while_busy(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 5);
	front_destroy(world.front);
	world.front = NULL;
	world_settle(&world);
	assert_true(peer_is_closed(&peer));
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	assert_int_equal(peer_answers(&peer, 0), 0);
}

static void mark_drained(void *arg)
{
	*(bool *)arg = true;
}

static void test_vhost_drain(void **state)
{
	bool drained = false;

	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 2);
	front_drain(world.front, mark_drained, &drained);
	peer_request(&peer, 0, 5, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_settle(&world);
	assert_false(drained);
	assert_int_equal(world.vdev->held_count, 2);
	fake_complete(world.vdev, 0);
	fake_complete(world.vdev, 0);
	world_until(&world, world.vdev->held_count == 1);
	assert_int_equal(world.vdev->held[0]->block.op, BLOCK_FLUSH);
	assert_true(world.vdev->let_go >= 2);
	/* The front-end sees its answers before it is disconnected. */
	assert_int_equal(peer_answers(&peer, 0), 2);
	assert_false(peer_is_closed(&peer));
	fake_complete_all(world.vdev);
	world_until(&world, drained);
	assert_true(peer_is_closed(&peer));
	assert_int_equal(status().sessions, 0);
}

static void destroy_front(void *arg)
{
	struct world *of = arg;

	front_destroy(of->front);
	of->front = NULL;
}

static void test_vhost_front_may_be_destroyed_when_drained(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	front_drain(world.front, destroy_front, &world);
	world_until(&world, !world.front);
	assert_true(peer_is_closed(&peer));
}

static void test_vhost_reset_device_drains(void **state)
{
	const uint64_t value = 0;

	(void)state;
	peer_start(&peer, 0, 2);
	hold_reads(&peer, 0, 1);
	peer_send(&peer, VHOST_USER_RESET_DEVICE, VHOST_USER_FLAG_NEED_REPLY,
		  NULL, 0, NULL, 0);
	assert_false(has_message(&peer));
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	world_until(&world, has_message(&peer));
	(void)recv(peer.socket, (char[20]){0}, 20, 0);
	assert_false(status().attached);
	/* And it works again. */
	assert_int_equal(peer_acknowledged(&peer, VHOST_USER_SET_STATUS, &value,
					   sizeof(value), NULL, 0),
			 0);
	peer.queues[0].avail->idx = 0;
	peer.queues[0].used->idx = 0;
	peer_start(&peer, 0, 1);
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
}

static void test_vhost_status_is_kept(void **state)
{
	const uint64_t ready = 15;

	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(peer_acknowledged(&peer, VHOST_USER_SET_STATUS, &ready,
					   sizeof(ready), NULL, 0),
			 0);
	assert_int_equal(peer_get_u64(&peer, VHOST_USER_GET_STATUS), 15);
}

/* A device that the kernel serves is told by it (on one that copies it is a
 * SIGBUS, see test-vhost-hostile.c). */
static void test_vhost_memory_that_the_kernel_misses_ends_it(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 1);
	world.vdev->hold = false;
	world.vdev->fail = -EFAULT;
	fake_complete(world.vdev, 0);
	world.vdev->fail = 0;
	world_until(&world, peer_is_closed(&peer));
	assert_int_equal(peer_status(&peer, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(world.reports, 1);
	assert_non_null(
		strstr(world.report.text, "guest memory was truncated"));
}

/* Without an inflight region what waits for a front-end that is gone is
 * forgotten, and the next one is served. */
static void test_vhost_disconnect_forgets_what_waits(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	hold_reads(&peer, 0, 3);
	world.vdev->waiting = true;
	connect_other();
	peer_start(&other, 0, 1);
	peer_request(&other, 0, 0, VIRTIO_BLK_T_OUT, 0, PEER_DATA_ADDR, 512);
	peer_kick(&other, 0);
	peer_close(&peer);
	world_until(&world, world.vdev->held_count == 1);
	assert_int_equal(world.vdev->held[0]->block.op, BLOCK_FLUSH);
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&other, 0) == 1);
	assert_int_equal(peer_answers(&peer, 0), 0);
}

/* Memory comes and goes while requests are in flight. */
static void test_vhost_memory_may_change_under_requests(void **state)
{
	struct vhost_user_single_region extra = {
		.region = {PEER_MEMORY_BYTES, 1 << 20, UINT64_C(1) << 40, 0},
	};

	(void)state;
	peer_start(&peer, 0, 1);
	memset(world.vdev->data, 0x42, 1024);
	hold_reads(&peer, 0, 2);
	assert_int_equal(peer_acknowledged(&peer, VHOST_USER_ADD_MEM_REG,
					   &extra, sizeof(extra),
					   &peer.memory_fd, 1),
			 0);
	peer_set_memory(&peer);
	assert_int_equal(peer_acknowledged(&peer, VHOST_USER_ADD_MEM_REG,
					   &extra, sizeof(extra),
					   &peer.memory_fd, 1),
			 0);
	assert_int_equal(peer_acknowledged(&peer, VHOST_USER_REM_MEM_REG,
					   &extra, sizeof(extra), NULL, 0),
			 0);
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&peer, 0) == 2);
	assert_int_equal(*(uint8_t *)peer_at(&peer, PEER_DATA_ADDR + 600),
			 0x42);
	(void)peer_answer(&peer, 0, NULL);
	(void)peer_answer(&peer, 0, NULL);
	assert_int_equal(
		peer_do(&peer, 0, 3, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
}

/* A region that was plugged in carries data. */
static void test_vhost_plugged_memory_is_used(void **state)
{
	struct vhost_user_single_region extra = {
		.region = {UINT64_C(1) << 40, 4096, UINT64_C(1) << 41, 0},
	};

	(void)state;
	peer_start(&peer, 0, 1);
	memset(world.vdev->data, 0x24, 512);
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0,
				 UINT64_C(1) << 40, 512),
			 VIRTIO_BLK_S_IOERR);
	peer_send(&peer, VHOST_USER_ADD_MEM_REG, 0, &extra, sizeof(extra),
		  &peer.memory_fd, 1);
	peer_sync(&peer);
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0,
				 UINT64_C(1) << 40, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(peer.memory[511], 0x24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(test_vhost_stop_waits_for_requests_in_flight),
		TEST(test_vhost_disable_does_not_drop),
		TEST(test_vhost_others_go_on_while_one_drains),
		TEST(test_vhost_connecting_acquires_nothing),
		TEST(test_vhost_second_session_waits_for_the_first),
		TEST(test_vhost_source_can_not_come_back_by_itself),
		TEST(test_vhost_stopping_a_ring_that_waits),
		TEST(test_vhost_disconnect_while_busy_drains_first),
		TEST(test_vhost_third_connection_waits_in_the_backlog),
		TEST(test_vhost_destroy_while_busy),
		TEST(test_vhost_drain),
		TEST(test_vhost_front_may_be_destroyed_when_drained),
		TEST(test_vhost_reset_device_drains),
		TEST(test_vhost_status_is_kept),
		TEST(test_vhost_disconnect_forgets_what_waits),
		TEST(test_vhost_memory_that_the_kernel_misses_ends_it),
		TEST(test_vhost_memory_may_change_under_requests),
		TEST(test_vhost_plugged_memory_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
