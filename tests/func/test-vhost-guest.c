/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-guest.c - guests that mean harm: rings, and memory that goes away
 *                      or changes
 *
 * See vhost-beside.h; what front-ends do: test-vhost-hostile.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/guard.h"
#include "vhost-beside.h"
#include "vhost/access.h"

/* ---- memory that goes away ---- */

/* cmocka has put its own handler in the place of ours. */
static void expect_lost_memory(void)
{
	assert_int_equal(guard_install(), 0);
}

static void test_vhost_memory_truncated_under_a_ring(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	expect_lost_memory();
	assert_int_equal(ftruncate(peer.memory_fd, 0), 0);
	peer_kick(&peer, 0);
	world_until(&world, world.reports > 0);
	world_until(&world, peer_is_closed(&peer));
	beside_is_well();
}

static void test_vhost_memory_truncated_under_a_request(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	world.vdev->hold = true;
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_until(&world, world.vdev->held_count == 1);
	expect_lost_memory();
	assert_int_equal(ftruncate(peer.memory_fd, 0), 0);
	fake_complete_all(world.vdev);
	world_until(&world, world.reports > 0);
	beside_is_well();
}

static void test_vhost_inflight_region_truncated(void **state)
{
	const struct vhost_user_inflight inflight = {
		.mmap_size = 65536,
		.queues = 4,
		.queue_size = 256,
	};
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(fd, 65536), 0);
	peer_negotiate(&peer, 0);
	peer_send(&peer, VHOST_USER_SET_INFLIGHT_FD, 0, &inflight, 24, &fd, 1);
	peer_set_memory(&peer);
	peer_set_ring(&peer, 0, 256, 0);
	peer_start_ring(&peer, 0);
	peer_enable_ring(&peer, 0, true);
	peer_sync(&peer);
	expect_lost_memory();
	assert_int_equal(ftruncate(fd, 0), 0);
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_until(&world, world.reports > 0);
	close(fd);
	beside_is_well();
}

/* Numbers that a table of requests in flight can't have. */
static void test_vhost_inflight_region_of_nonsense(void **state)
{
	static const struct vhost_user_inflight_queue heads[] = {
		{.version = 2, .desc_num = 256},
		{.version = 1, .desc_num = 255},
		{.version = 1, .desc_num = 256, .used_idx = 500},
		{.version = 1,
		 .desc_num = 256,
		 .used_idx = 65535,
		 .last_batch_head = 9999},
	};
	const struct vhost_user_inflight inflight = {
		.mmap_size = 65536,
		.queues = 1,
		.queue_size = 256,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		const uint64_t queue = 0;
		int fd = memfd_create("inflight", MFD_CLOEXEC);
		int kick = eventfd(0, 0);

		assert_int_equal(ftruncate(fd, 65536), 0);
		assert_int_equal(pwrite(fd, &heads[i], sizeof(heads[i]), 0),
				 sizeof(heads[i]));
		peer_negotiate(&peer, 0);
		peer_send(&peer, VHOST_USER_SET_INFLIGHT_FD, 0, &inflight, 24,
			  &fd, 1);
		peer_set_memory(&peer);
		peer_set_ring(&peer, 0, 256, 0);
		assert_int_equal(
			peer_acknowledged(&peer, VHOST_USER_SET_VRING_KICK,
					  &queue, sizeof(queue), &kick, 1),
			1);
		close(kick);
		close(fd);
		beside_is_well();
		peer_destroy(&peer);
		peer_connect(&world, &peer);
	}
}

/* ---- rings ---- */

/* What a bad ring must lead to. */
enum outcome {
	ERROR_STATUS,	/* an answer that says no */
	BROKEN,		/* stopped, with the error descriptor rung */
};

#define WRITE	VRING_DESC_F_WRITE
#define NEXT	VRING_DESC_F_NEXT
#define INDIRECT	VRING_DESC_F_INDIRECT
#define HEADER	peer_header_addr(0, 0)
#define STATUS	peer_status_addr(0, 0)
#define NOWHERE	(UINT64_C(1) << 45)
#define TABLE	UINT64_C(0x70000)

struct bad_chain {
	const char *name;
	enum outcome outcome;
	uint32_t type;
	uint64_t sector;
	struct vring_desc desc[6];		/* of the ring */
	struct vring_desc table[6];		/* at TABLE */
};

/* HEADER and STATUS are no constants to the compiler. */
#define H	UINT64_C(0x8000)
#define S	UINT64_C(0xc000)
#define D	PEER_DATA_ADDR

/* clang-format off */
static const struct bad_chain bad_chains[] = {
	{"data beyond memory", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {NOWHERE, 512, NEXT | WRITE, 2}, {S, 1, WRITE, 0}},
	 {{0}}},
	{"data around the end of addresses", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {UINT64_MAX - 100, 512, NEXT | WRITE, 2},
	  {S, 1, WRITE, 0}}, {{0}}},
	{"data across the end of memory", ERROR_STATUS, VIRTIO_BLK_T_OUT, 0,
	 {{H, 16, NEXT, 1}, {PEER_MEMORY_BYTES - 256, 512, NEXT, 2},
	  {S, 1, WRITE, 0}}, {{0}}},
	{"4 GiB of data", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {D, UINT32_MAX, NEXT | WRITE, 2}, {S, 1, WRITE, 0}},
	 {{0}}},
	{"sector beyond 2^55", ERROR_STATUS, VIRTIO_BLK_T_IN, UINT64_MAX,
	 {{H, 16, NEXT, 1}, {D, 512, NEXT | WRITE, 2}, {S, 1, WRITE, 0}},
	 {{0}}},
	{"a short header", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{H, 15, NEXT, 1}, {S, 1, WRITE, 0}}, {{0}}},
	{"no header", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{S, 1, WRITE, 0}}, {{0}}},
	{"header beyond memory", ERROR_STATUS, VIRTIO_BLK_T_IN, 0,
	 {{NOWHERE, 16, NEXT, 1}, {S, 1, WRITE, 0}}, {{0}}},
	{"readable behind writable", ERROR_STATUS, VIRTIO_BLK_T_OUT, 0,
	 {{H, 16, NEXT, 1}, {D, 512, NEXT | WRITE, 2}, {D, 512, NEXT, 3},
	  {S, 1, WRITE, 0}}, {{0}}},
	{"GET_ID without room", ERROR_STATUS, VIRTIO_BLK_T_GET_ID, 0,
	 {{H, 16, NEXT, 1}, {S, 1, WRITE, 0}}, {{0}}},
	{"discard of 15 bytes", ERROR_STATUS, VIRTIO_BLK_T_DISCARD, 0,
	 {{H, 16, NEXT, 1}, {D, 15, NEXT, 2}, {S, 1, WRITE, 0}}, {{0}}},
	{"discard of nothing", ERROR_STATUS, VIRTIO_BLK_T_DISCARD, 0,
	 {{H, 16, NEXT, 1}, {S, 1, WRITE, 0}}, {{0}}},
	{"discard of two ranges", ERROR_STATUS, VIRTIO_BLK_T_DISCARD, 0,
	 {{H, 16, NEXT, 1}, {D, 32, NEXT, 2}, {S, 1, WRITE, 0}}, {{0}}},
	{"SCSI command", ERROR_STATUS, VIRTIO_BLK_T_SCSI_CMD, 0,
	 {{H, 16, NEXT, 1}, {S, 1, WRITE, 0}}, {{0}}},
	{"no status", BROKEN, VIRTIO_BLK_T_OUT, 0,
	 {{H, 16, NEXT, 1}, {D, 512, 0, 0}}, {{0}}},
	{"status of no bytes", BROKEN, VIRTIO_BLK_T_OUT, 0,
	 {{H, 16, NEXT, 1}, {S, 0, WRITE, 0}}, {{0}}},
	{"status beyond memory", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {D, 512, NEXT | WRITE, 2}, {NOWHERE, 1, WRITE, 0}},
	 {{0}}},
	{"a loop of one", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 0}}, {{0}}},
	{"a loop of two", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {D, 512, NEXT | WRITE, 0}}, {{0}}},
	{"a loop of writable ones", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 1}, {D, 1, NEXT | WRITE, 1}}, {{0}}},
	{"next beyond the ring", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 256}}, {{0}}},
	{"next 65535", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{H, 16, NEXT, 65535}}, {{0}}},
	{"indirect beyond memory", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{NOWHERE, 48, INDIRECT, 0}}, {{0}}},
	{"indirect that leaves memory", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{PEER_MEMORY_BYTES - 24, 48, INDIRECT, 0}}, {{0}}},
	{"indirect of no length", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 0, INDIRECT, 0}}, {{0}}},
	{"indirect of 17 bytes", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 17, INDIRECT, 0}}, {{0}}},
	{"indirect of 4 GiB", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, UINT32_MAX & ~15U, INDIRECT, 0}}, {{0}}},
	{"indirect of 1025 descriptors", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 1025 * 16, INDIRECT, 0}}, {{0}}},
	{"indirect with next", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 48, INDIRECT | NEXT, 1}, {S, 1, WRITE, 0}},
	 {{H, 16, NEXT, 1}, {S, 1, WRITE, 0}}},
	{"indirect in indirect", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 48, INDIRECT, 0}},
	 {{H, 16, NEXT, 1}, {TABLE, 48, INDIRECT, 0}}},
	{"indirect in itself", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 48, INDIRECT, 0}}, {{TABLE, 48, INDIRECT, 0}}},
	{"a loop in indirect", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 48, INDIRECT, 0}},
	 {{H, 16, NEXT, 1}, {D, 512, NEXT | WRITE, 1}}},
	{"next beyond the table", BROKEN, VIRTIO_BLK_T_IN, 0,
	 {{TABLE, 48, INDIRECT, 0}}, {{H, 16, NEXT, 3}}},
};
/* clang-format on */

/* The ring has stopped, said so, and takes nothing more. */
static void ring_is_broken(const char *name)
{
	uint64_t value;

	world_until(&world, world.reports > 0);
	world_settle(&world);
	if (read(peer.queues[0].error, &value, sizeof(value)) !=
	    (ssize_t)sizeof(value))
		fail_msg("%s: the error descriptor was not rung", name);
	assert_true(peer_get_u64(&peer, VHOST_USER_GET_STATUS) &
		    VIRTIO_CONFIG_S_NEEDS_RESET);
	peer_request(&peer, 0, 5, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_settle(&world);
	assert_int_equal(peer_answers(&peer, 0), 0);
	/* Another ring of the same session still works, */
	peer_set_ring(&peer, 1, 256, 0);
	peer_start_ring(&peer, 1);
	peer_enable_ring(&peer, 1, true);
	assert_int_equal(
		peer_do(&peer, 1, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	/* and the broken one can be stopped. */
	(void)peer_stop_ring(&peer, 0);
}

static void test_vhost_bad_chains(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_chains) / sizeof(bad_chains[0]);
	     i++) {
		const struct bad_chain *bad = &bad_chains[i];

		peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
			   1);
		world.reports = 0;
		assert_int_equal(H, HEADER);
		assert_int_equal(S, STATUS);
		peer_header(&peer, 0, 0, bad->type, 0, bad->sector);
		memcpy(peer.queues[0].desc, bad->desc, sizeof(bad->desc));
		memcpy(peer_at(&peer, TABLE), bad->table, sizeof(bad->table));
		peer_publish(&peer, 0, 0);
		peer_kick(&peer, 0);
		if (bad->outcome == BROKEN) {
			ring_is_broken(bad->name);
		} else {
			world_until(&world,
				    peer_answers(&peer, 0) == 1 ||
					    world.reports > 0);
			if (world.reports > 0 ||
			    peer_status(&peer, 0, 0) == VIRTIO_BLK_S_OK ||
			    peer_status(&peer, 0, 0) == PEER_NO_STATUS)
				fail_msg("%s: status %u, %u reports", bad->name,
					 peer_status(&peer, 0, 0),
					 world.reports);
		}
		beside_is_well();
		peer_destroy(&peer);
		peer_connect(&world, &peer);
	}
}

static void test_vhost_bad_available_ring(void **state)
{
	static const struct {
		uint16_t idx, head;
	} cases[] = {
		{257, 0}, {32768, 0}, {65535, 0}, {1, 256}, {1, 65535},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		peer_start(&peer, 0, 1);
		world.reports = 0;
		peer.queues[0].avail->ring[0] = cases[i].head;
		access_release_u16(&peer.queues[0].avail->idx, cases[i].idx);
		peer_kick(&peer, 0);
		ring_is_broken("available ring");
		beside_is_well();
		peer_destroy(&peer);
		peer_connect(&world, &peer);
	}
}

/* The same head again while it is in flight. */
static void test_vhost_head_twice(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	world.vdev->hold = true;
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_publish(&peer, 0, 0);
	peer_kick(&peer, 0);
	world_until(&world, world.reports > 0);
	assert_int_equal(world.vdev->held_count, 1);
	/* What was taken still ends. */
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&peer, 0) == 1);
	beside_is_well();
}

/* More segments than any buffer has room for: refused, not dropped. */
static void test_vhost_too_many_segments(void **state)
{
	struct vring_desc *desc;

	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, 0);
	desc = peer_at(&peer, TABLE);
	desc[0] = (struct vring_desc){H, 16, NEXT, 1};
	/* Each across two regions. */
	for (uint16_t i = 1; i < 1023; i++)
		desc[i] = (struct vring_desc){(UINT64_C(2) << 20) - 256, 512,
					      NEXT | WRITE, (uint16_t)(i + 1)};
	desc[1023] = (struct vring_desc){S, 1, WRITE, 0};
	peer_desc(&peer, 0, 0, TABLE, 1024 * 16, INDIRECT, 0);
	peer_publish(&peer, 0, 0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(peer_status(&peer, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(world.vdev->counts[BLOCK_READ], 0);
	beside_is_well();
}

/* More long chains than there is room for: they wait, and all are done. */
static void test_vhost_long_chains_wait_for_room(void **state)
{
	struct vring_desc *desc;

	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	world.vdev->hold = true;
	for (uint16_t s = 0; s < 20; s++) {
		const uint64_t table = TABLE + s * UINT64_C(8192);

		peer_header(&peer, 0, s, VIRTIO_BLK_T_IN, 0, 0);
		desc = peer_at(&peer, table);
		desc[0] = (struct vring_desc){peer_header_addr(0, s), 16, NEXT,
					      1};
		for (uint16_t i = 1; i < 500; i++)
			desc[i] = (struct vring_desc){PEER_DATA_ADDR, 512,
						      NEXT | WRITE,
						      (uint16_t)(i + 1)};
		desc[500] = (struct vring_desc){peer_status_addr(0, s), 1,
						WRITE, 0};
		peer_desc(&peer, 0, s, table, 501 * 16, INDIRECT, 0);
		peer_publish(&peer, 0, s);
	}
	peer_kick(&peer, 0);
	world_settle(&world);
	assert_true(world.vdev->held_count > 0 && world.vdev->held_count < 20);
	while (peer_answers(&peer, 0) < 20) {
		world_settle(&world);
		assert_true(world.vdev->held_count > 0);
		fake_complete(world.vdev, 0);
		world_settle(&world);
	}
	assert_int_equal(world.reports, 0);
	beside_is_well();
}

/* ---- a guest that changes everything all the time ---- */

static bool scribbling;

static void *scribble(void *arg)
{
	uint32_t *words = arg;
	uint32_t seed = 1;

	while (__atomic_load_n(&scribbling, __ATOMIC_RELAXED)) {
		seed = seed * 1664525U + 1013904223U;
		/* Descriptors, available ring and headers, with values that
		 * are often nearly right. */
		__atomic_store_n(&words[seed >> 16],
				 seed & 0x40U ? seed & 0xffU : seed,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_vhost_guest_memory_changes_while_read(void **state)
{
	pthread_t thread;

	(void)state;
	for (unsigned int round = 0; round < 30; round++) {
		peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
			   1);
		scribbling = true;
		assert_int_equal(pthread_create(&thread, NULL, scribble,
						peer_at(&peer, 0)),
				 0);
		for (unsigned int i = 0; i < 2000; i++) {
			peer_request(&peer, 0, i % PEER_SLOTS, VIRTIO_BLK_T_OUT,
				     i, PEER_DATA_ADDR, 512);
			world_turn(&world);
		}
		__atomic_store_n(&scribbling, false, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
		beside_is_well();
		peer_destroy(&peer);
		peer_connect(&world, &peer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, beside_begin, beside_end)
		TEST(test_vhost_memory_truncated_under_a_ring),
		TEST(test_vhost_memory_truncated_under_a_request),
		TEST(test_vhost_inflight_region_truncated),
		TEST(test_vhost_inflight_region_of_nonsense),
		TEST(test_vhost_bad_chains),
		TEST(test_vhost_bad_available_ring),
		TEST(test_vhost_head_twice),
		TEST(test_vhost_too_many_segments),
		TEST(test_vhost_long_chains_wait_for_room),
		TEST(test_vhost_guest_memory_changes_while_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
