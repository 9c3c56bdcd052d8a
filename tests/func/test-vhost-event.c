/* SPDX-License-Identifier: Apache-2.0 */
/* test-vhost-event.c - kicks and calls, with and without the event index */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "vhost-peer.h"

#define EVENT_IDX	VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX)

static struct world world;
static struct peer peer;

static int begin(void **state)
{
	(void)state;
	world_create(&world, 2);
	peer_connect(&world, &peer);
	return 0;
}

static int end(void **state)
{
	(void)state;
	peer_destroy(&peer);
	world_destroy(&world);
	return 0;
}

/* The loop finds nothing to do and asks for wake-ups. */
static void fall_asleep(void)
{
	world_settle(&world);
	assert_int_equal(loop_run_once(world.loop, 1), 0);
}

static void one_read(unsigned int slot)
{
	(void)peer_do(&peer, 0, slot, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
}

static void test_vhost_call_is_sent_and_can_be_suppressed(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	one_read(0);
	assert_true(peer_was_called(&peer, 0));
	peer.queues[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	one_read(0);
	assert_false(peer_was_called(&peer, 0));
	peer.queues[0].avail->flags = 0;
	one_read(0);
	assert_true(peer_was_called(&peer, 0));
}

static void test_vhost_one_call_for_a_batch(void **state)
{
	uint64_t value = 0;

	(void)state;
	peer_start(&peer, 0, 1);
	one_read(0);
	(void)peer_was_called(&peer, 0);
	for (unsigned int s = 0; s < 20; s++)
		peer_request(&peer, 0, s, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR,
			     512);
	world_until(&world, peer_answers(&peer, 0) == 20);
	world_settle(&world);
	assert_int_equal(read(peer.queues[0].call, &value, sizeof(value)),
			 sizeof(value));
	assert_int_equal(value, 1);
}

static void test_vhost_event_index_decides_calls(void **state)
{
	uint16_t *used_event;

	(void)state;
	peer_start(&peer, EVENT_IDX, 1);
	used_event = &peer.queues[0].avail->ring[peer.queues[0].size];
	one_read(0);
	/* The first is always told. */
	assert_true(peer_was_called(&peer, 0));
	*used_event = 3;
	one_read(0);	/* used index 2 */
	assert_false(peer_was_called(&peer, 0));
	one_read(0);	/* 3 */
	assert_false(peer_was_called(&peer, 0));
	one_read(0);	/* 4: past 3 */
	assert_true(peer_was_called(&peer, 0));
	one_read(0);
	assert_false(peer_was_called(&peer, 0));
}

static void test_vhost_kicks_are_off_while_polling(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	fall_asleep();
	assert_int_equal(peer.queues[0].used->flags, 0);
	one_read(0);
	assert_int_equal(peer.queues[0].used->flags, VRING_USED_F_NO_NOTIFY);
	/* Not kicked, and served all the same: it polls. */
	peer_request(&peer, 0, 1, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	world_turn(&world);
	assert_int_equal(peer_answers(&peer, 0), 1);
	fall_asleep();
	assert_int_equal(peer.queues[0].used->flags, 0);
}

static void test_vhost_event_index_asks_for_kicks(void **state)
{
	uint16_t *avail_event;

	(void)state;
	peer_start(&peer, EVENT_IDX, 1);
	avail_event = (uint16_t *)(void *)&peer.queues[0]
			      .used->ring[peer.queues[0].size];
	one_read(0);
	one_read(0);
	fall_asleep();
	assert_int_equal(*avail_event, 2);
	one_read(0);
	one_read(0);
	/* Left behind: nobody needs to kick. */
	assert_int_equal(*avail_event, 2);
	assert_int_equal(peer.queues[0].used->flags, 0);
	fall_asleep();
	assert_int_equal(*avail_event, 4);
}

/* A request that appears just when the loop wants to sleep. */
static void test_vhost_arming_looks_again(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	fall_asleep();
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	/* Never kicked; would sleep for ten seconds if it didn't look. */
	assert_int_equal(loop_run_once(world.loop,
				       loop_clock_ns() + UINT64_C(10000000000)),
			 0);
	assert_int_equal(peer_answers(&peer, 0), 1);
}

static void test_vhost_kick_wakes(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	fall_asleep();
	for (unsigned int i = 0; i < 10; i++) {
		peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR,
			     512);
		peer_kick(&peer, 0);
		assert_int_equal(
			loop_run_once(world.loop,
				      loop_clock_ns() + UINT64_C(10000000000)),
			0);
		world_until(&world, peer_answers(&peer, 0) == 1);
		(void)peer_answer(&peer, 0, NULL);
		fall_asleep();
	}
}

/* While all that may come would wait at the vdev, kicks stay off. */
static void test_vhost_quiet_vdev_needs_no_kicks(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	one_read(0);
	assert_int_equal(peer.queues[0].used->flags, VRING_USED_F_NO_NOTIFY);
	world.vdev->quiet_until_ns = loop_clock_ns() + UINT64_C(50000000);
	assert_int_equal(loop_run_once(world.loop, 1), 0);
	assert_int_equal(peer.queues[0].used->flags, VRING_USED_F_NO_NOTIFY);
	/* And at that time it looks without any. */
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	assert_int_equal(loop_run_once(world.loop,
				       loop_clock_ns() + UINT64_C(10000000000)),
			 0);
	assert_int_equal(peer_answers(&peer, 0), 1);
	world.vdev->quiet_until_ns = 0;
}

static void test_vhost_ring_without_kick_is_polled(void **state)
{
	(void)state;
	peer_negotiate(&peer, 0);
	peer_set_memory(&peer);
	peer_set_ring(&peer, 0, 256, 0);
	peer_set_u64(&peer, VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NO_FD);
	peer_enable_ring(&peer, 0, true);
	peer_sync(&peer);
	fall_asleep();
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	assert_int_equal(loop_run_once(world.loop,
				       loop_clock_ns() + UINT64_C(10000000000)),
			 0);
	assert_int_equal(peer_answers(&peer, 0), 1);
}

/* A call descriptor that is full and blocks stops nobody. */
static void test_vhost_full_call_descriptor_blocks_nobody(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	uint64_t value;

	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(fcntl(peer.queues[0].call, F_SETFL, 0), 0);
	assert_int_equal(write(peer.queues[0].call, &full, sizeof(full)),
			 sizeof(full));
	for (unsigned int i = 0; i < 100; i++)
		one_read(0);
	assert_int_equal(read(peer.queues[0].call, &value, sizeof(value)),
			 sizeof(value));
	assert_int_equal(value, full);
	/* What could not be written then is written now. */
	assert_int_equal(fcntl(peer.queues[0].call, F_SETFL, O_NONBLOCK), 0);
	world_until(&world,
		    read(peer.queues[0].call, &value, sizeof(value)) ==
			    (ssize_t)sizeof(value));
	assert_int_equal(world.reports, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(test_vhost_call_is_sent_and_can_be_suppressed),
		TEST(test_vhost_one_call_for_a_batch),
		TEST(test_vhost_event_index_decides_calls),
		TEST(test_vhost_kicks_are_off_while_polling),
		TEST(test_vhost_event_index_asks_for_kicks),
		TEST(test_vhost_arming_looks_again),
		TEST(test_vhost_kick_wakes),
		TEST(test_vhost_quiet_vdev_needs_no_kicks),
		TEST(test_vhost_ring_without_kick_is_polled),
		TEST(test_vhost_full_call_descriptor_blocks_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
