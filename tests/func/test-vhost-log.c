/* SPDX-License-Identifier: Apache-2.0 */
/* test-vhost-log.c - the dirty log of a guest that migrates */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost-peer.h"

#define LOG_ALL		VHOST_FEATURE(VHOST_F_LOG_ALL)
#define LOG_BYTES	(PEER_MEMORY_BYTES / VHOST_USER_LOG_PAGE / 8)
#define USED_PAGE	(0x5000U / VHOST_USER_LOG_PAGE)
#define STATUS_PAGE	(0xc000U / VHOST_USER_LOG_PAGE)
#define DATA_PAGE	((unsigned int)(PEER_DATA_ADDR / VHOST_USER_LOG_PAGE))

static struct world world;
static struct peer peer;
static uint8_t *bits;
static int log_fd;

static int begin(void **state)
{
	(void)state;
	world_create(&world, 1);
	peer_connect(&world, &peer);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	if (log_fd < 0 || ftruncate(log_fd, LOG_BYTES) < 0)
		return -1;
	bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd,
		    0);
	return bits == MAP_FAILED ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	munmap(bits, LOG_BYTES);
	close(log_fd);
	peer_destroy(&peer);
	world_destroy(&world);
	return 0;
}

static void set_log(uint64_t bytes)
{
	const struct vhost_user_log log = {.mmap_size = bytes};
	struct vhost_user_header header;
	uint64_t answer;

	peer_send(&peer, VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &log_fd,
		  1);
	assert_int_equal(
		peer_receive(&peer, &header, &answer, sizeof(answer), NULL),
		sizeof(answer));
	assert_int_equal(header.request, VHOST_USER_SET_LOG_BASE);
}

/* As QEMU begins: the log, the feature, then each ring's. */
static void start_logging(void)
{
	set_log(LOG_BYTES);
	peer_set_u64(&peer, VHOST_USER_SET_FEATURES, peer.features | LOG_ALL);
	peer_set_ring_addr(&peer, 0, true);
	peer_sync(&peer);
	world_settle(&world);
	memset(bits, 0, LOG_BYTES);
}

static bool is_dirty(unsigned int page)
{
	return bits[page / 8] & (1U << (page % 8));
}

static unsigned int dirty_count(void)
{
	unsigned int count = 0;

	for (unsigned int page = 0; page < LOG_BYTES * 8; page++)
		count += is_dirty(page);
	return count;
}

static void test_vhost_log_marks_data_status_and_ring(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	start_logging();
	/* Across three pages, not aligned. */
	(void)peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR + 3072,
		      8192);
	world_settle(&world);
	assert_true(is_dirty(DATA_PAGE));
	assert_true(is_dirty(DATA_PAGE + 1));
	assert_true(is_dirty(DATA_PAGE + 2));
	assert_true(is_dirty(STATUS_PAGE));
	assert_true(is_dirty(USED_PAGE));
	assert_int_equal(dirty_count(), 5);
}

static void test_vhost_log_leaves_what_is_only_read(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	start_logging();
	(void)peer_do(&peer, 0, 0, VIRTIO_BLK_T_OUT, 0, PEER_DATA_ADDR, 8192);
	world_settle(&world);
	assert_false(is_dirty(DATA_PAGE));
	assert_int_equal(dirty_count(), 2);
}

/* The log comes while a request is in flight: it counts when it ends. */
static void test_vhost_log_of_a_request_in_flight(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	world.vdev->hold = true;
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_until(&world, world.vdev->held_count == 1);
	start_logging();
	/* And the memory is described anew meanwhile. */
	peer_set_memory(&peer);
	peer_sync(&peer);
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&peer, 0) == 1);
	world_settle(&world);
	assert_true(is_dirty(DATA_PAGE));
	assert_true(is_dirty(USED_PAGE));
}

static void test_vhost_log_ends(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	start_logging();
	peer_set_u64(&peer, VHOST_USER_SET_FEATURES, peer.features);
	peer_set_ring_addr(&peer, 0, false);
	peer_sync(&peer);
	(void)peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	world_settle(&world);
	assert_int_equal(dirty_count(), 0);
}

/* Bits that the front-end set or clears meanwhile are not lost. */
static void test_vhost_log_keeps_other_bits(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	start_logging();
	bits[DATA_PAGE / 8] = 0x80;
	(void)peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	world_settle(&world);
	assert_int_equal(bits[DATA_PAGE / 8], 0x81);
}

static void test_vhost_log_of_large_request_has_all_pieces(void **state)
{
	struct vring_desc *desc;

	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	start_logging();
	peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, 0);
	desc = peer_at(&peer, 0x70000);
	desc[0] = (struct vring_desc){peer_header_addr(0, 0), 16,
				      VRING_DESC_F_NEXT, 1};
	for (uint16_t i = 0; i < 4; i++)
		desc[1 + i] = (struct vring_desc){PEER_DATA_ADDR, 3 << 19,
						  VRING_DESC_F_NEXT |
							  VRING_DESC_F_WRITE,
						  (uint16_t)(2 + i)};
	desc[5] = (struct vring_desc){peer_status_addr(0, 0), 1,
				      VRING_DESC_F_WRITE, 0};
	peer_desc(&peer, 0, 0, 0x70000, 6 * 16, VRING_DESC_F_INDIRECT, 0);
	peer_publish(&peer, 0, 0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	for (unsigned int page = 0; page < (3 << 19) / 4096; page++)
		assert_true(is_dirty(DATA_PAGE + page));
}

/* A log that can't hold what is written stops the ring: a page that is not
 * marked would be lost at the target. */
static void test_vhost_log_too_short_is_told(void **state)
{
	uint64_t value;

	(void)state;
	peer_start(&peer, 0, 1);
	start_logging();
	set_log(8);
	(void)peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	world_settle(&world);
	assert_int_equal(world.reports, 1);
	assert_int_equal(read(peer.queues[0].error, &value, sizeof(value)),
			 sizeof(value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(test_vhost_log_marks_data_status_and_ring),
		TEST(test_vhost_log_leaves_what_is_only_read),
		TEST(test_vhost_log_of_a_request_in_flight),
		TEST(test_vhost_log_ends),
		TEST(test_vhost_log_keeps_other_bits),
		TEST(test_vhost_log_of_large_request_has_all_pieces),
		TEST(test_vhost_log_too_short_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
