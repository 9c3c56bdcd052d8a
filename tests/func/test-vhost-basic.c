/* SPDX-License-Identifier: Apache-2.0 */
/* test-vhost-basic.c - what a well-behaved front-end gets (E15) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost-peer.h"

static struct world world;
static struct peer peer;

static int begin(void **state)
{
	(void)state;
	world_create(&world, 4);
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

static void test_vhost_reads_what_was_written(void **state)
{
	uint8_t *out, *in;

	(void)state;
	peer_start(&peer, 0, 1);
	out = peer_at(&peer, PEER_DATA_ADDR);
	in = peer_at(&peer, PEER_DATA_ADDR + 8192);
	for (unsigned int i = 0; i < 4096; i++)
		out[i] = (uint8_t)(i * 7);
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_OUT, 8, PEER_DATA_ADDR, 4096),
		VIRTIO_BLK_S_OK);
	assert_memory_equal(world.vdev->data + 4096, out, 4096);
	assert_int_equal(peer_do(&peer, 0, 1, VIRTIO_BLK_T_IN, 8,
				 PEER_DATA_ADDR + 8192, 4096),
			 VIRTIO_BLK_S_OK);
	assert_memory_equal(in, out, 4096);
}

static void test_vhost_buffer_crosses_regions(void **state)
{
	const uint64_t at = (UINT64_C(2) << 20) - 1024;

	(void)state;
	peer_start(&peer, 0, 1);
	memset(world.vdev->data, 0x5a, 4096);
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, at, 4096),
			 VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 4096; i++)
		assert_int_equal(*(uint8_t *)peer_at(&peer, at + i), 0x5a);
}

static void test_vhost_used_length_counts_data_and_status(void **state)
{
	uint32_t length;

	(void)state;
	peer_start(&peer, 0, 1);
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 1024);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(peer_answer(&peer, 0, &length), 0);
	assert_int_equal(length, 1025);
}

static void test_vhost_flush_discard_zeroes(void **state)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = 2,
		.num_sectors = 2,
	};

	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(world.vdev->counts[BLOCK_FLUSH], 1);
	memset(world.vdev->data, 0xff, 4096);
	memcpy(peer_at(&peer, PEER_DATA_ADDR), &range, sizeof(range));
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_DISCARD, 0,
				 PEER_DATA_ADDR, sizeof(range)),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(world.vdev->data[1023], 0xff);
	assert_int_equal(world.vdev->data[1024], 0);
	assert_int_equal(world.vdev->data[2047], 0);
	assert_int_equal(world.vdev->data[2048], 0xff);
	range.sector = 4;
	range.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	memcpy(peer_at(&peer, PEER_DATA_ADDR), &range, sizeof(range));
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0,
				 PEER_DATA_ADDR, sizeof(range)),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(world.vdev->data[2048], 0);
	/* A discard has no flags. */
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_DISCARD, 0,
				 PEER_DATA_ADDR, sizeof(range)),
			 VIRTIO_BLK_S_UNSUPP);
}

static void test_vhost_range_beyond_limits_is_refused(void **state)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = 0,
		.num_sectors = 0x80000000U,
	};

	(void)state;
	peer_start(&peer, 0, 1);
	memcpy(peer_at(&peer, PEER_DATA_ADDR), &range, sizeof(range));
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0,
				 PEER_DATA_ADDR, sizeof(range)),
			 VIRTIO_BLK_S_IOERR);
	range = (struct virtio_blk_discard_write_zeroes){
		.sector = UINT64_MAX,
		.num_sectors = 8,
	};
	memcpy(peer_at(&peer, PEER_DATA_ADDR), &range, sizeof(range));
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_DISCARD, 0,
				 PEER_DATA_ADDR, sizeof(range)),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(world.vdev->counts[BLOCK_DISCARD], 0);
}

static void test_vhost_get_id(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(peer_do(&peer, 0, 0, VIRTIO_BLK_T_GET_ID, 0,
				 PEER_DATA_ADDR, VIRTIO_BLK_ID_BYTES),
			 VIRTIO_BLK_S_OK);
	assert_string_equal((char *)peer_at(&peer, PEER_DATA_ADDR),
			    "penstock-test-disk");
}

static void test_vhost_unknown_type_is_unsupported(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(peer_do(&peer, 0, 0, 77, 0, PEER_DATA_ADDR, 512),
			 VIRTIO_BLK_S_UNSUPP);
}

static void test_vhost_device_error_is_an_io_error(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	world.vdev->fail = -ENOSPC;
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_OUT, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_IOERR);
	world.vdev->fail = -EOPNOTSUPP;
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_OUT, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_UNSUPP);
}

static void test_vhost_config_space(void **state)
{
	struct vhost_user_config config = {
		.size = sizeof(struct virtio_blk_config),
	};
	struct virtio_blk_config blk;
	struct vhost_user_header header;
	int size;

	(void)state;
	peer_negotiate(&peer, 0);
	size = (int)(VHOST_USER_CONFIG_HEADER + sizeof(blk));
	peer_send(&peer, VHOST_USER_GET_CONFIG, 0, &config, (size_t)size, NULL,
		  0);
	assert_int_equal(
		peer_receive(&peer, &header, &config, sizeof(config), NULL),
		size);
	memcpy(&blk, config.data, sizeof(blk));
	assert_int_equal(blk.capacity, (16 << 20) / 512);
	assert_int_equal(blk.num_queues, 4);
	assert_int_equal(blk.seg_max, 126);
	assert_int_equal(blk.blk_size, 512);
	assert_int_equal(peer_get_u64(&peer, VHOST_USER_GET_QUEUE_NUM), 4);
	assert_true(peer_get_u64(&peer, VHOST_USER_GET_MAX_MEM_SLOTS) >= 8);
}

/* E9: the I/O priority word of the header finds the process. */
static void test_vhost_ioprio_finds_process(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 2 << 13 | 4, 0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(world.vdev->processes[4].requests, 1);
	assert_int_equal(world.vdev->processes[0].requests, 0);
}

static void test_vhost_several_queues(void **state)
{
	(void)state;
	peer_start(&peer, 0, 4);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int q = 0; q < 4; q++)
			for (unsigned int s = 0; s < 50; s++)
				peer_request(&peer, q, s, VIRTIO_BLK_T_IN, s,
					     PEER_DATA_ADDR + s * 512, 512);
		for (unsigned int q = 0; q < 4; q++) {
			peer_kick(&peer, q);
			world_until(&world, peer_answers(&peer, q) == 50);
			for (unsigned int s = 0; s < 50; s++)
				assert_int_equal(peer_answer(&peer, q, NULL),
						 s * 3);
		}
	}
	assert_int_equal(world.vdev->counts[BLOCK_READ], 600);
}

static unsigned int answers_at[32], answers_count;

static void note_answers(void)
{
	answers_at[answers_count++] = peer_answers(&peer, 0);
}

/* So that the guest works on the first half while we do the second; it is
 * called once for both. */
static void test_vhost_half_a_batch_is_shown_early(void **state)
{
	eventfd_t calls;

	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	(void)peer_was_called(&peer, 0);
	answers_count = 0;
	world.vdev->submitted = note_answers;
	for (unsigned int s = 0; s < 16; s++)
		peer_request(&peer, 0, s, VIRTIO_BLK_T_IN, s,
			     PEER_DATA_ADDR + s * 512, 512);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 16);
	assert_int_equal(answers_count, 16);
	for (unsigned int s = 0; s < 16; s++)
		assert_int_equal(answers_at[s], s < 8 ? 0 : 8);
	assert_int_equal(eventfd_read(peer.queues[0].call, &calls), 0);
	assert_int_equal(calls, 1);
	for (unsigned int s = 0; s < 16; s++)
		assert_int_equal(peer_answer(&peer, 0, NULL), s * 3);
}

/* An index that runs over 2^16. */
static void test_vhost_indexes_wrap(void **state)
{
	(void)state;
	peer_negotiate(&peer, 0);
	peer_set_memory(&peer);
	peer_set_ring(&peer, 0, 16, 65530);
	peer.queues[0].avail->idx = 65530;
	peer.queues[0].used->idx = 65530;
	peer.queues[0].seen = 65530;
	peer_start_ring(&peer, 0);
	peer_enable_ring(&peer, 0, true);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(peer_do(&peer, 0, i % 5, VIRTIO_BLK_T_IN, 0,
					 PEER_DATA_ADDR, 512),
				 VIRTIO_BLK_S_OK);
	assert_int_equal(peer_stop_ring(&peer, 0), 65530 + 20 - 65536);
}

static void test_vhost_disabled_ring_takes_nothing(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	peer_enable_ring(&peer, 0, false);
	peer_sync(&peer);
	peer_request(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&peer, 0);
	world_settle(&world);
	assert_int_equal(peer_answers(&peer, 0), 0);
	peer_enable_ring(&peer, 0, true);
	world_until(&world, peer_answers(&peer, 0) == 1);
}

/* Nine megabytes: six times the same one and a half, so that the last stays. */
static void publish_large(unsigned int slot)
{
	const uint64_t table = 0x70000 + slot * 0x1000;
	struct vring_desc *desc = peer_at(&peer, table);

	peer_header(&peer, 0, slot, VIRTIO_BLK_T_IN, 0, 0);
	desc[0] = (struct vring_desc){peer_header_addr(0, slot), 16,
				      VRING_DESC_F_NEXT, 1};
	for (uint16_t i = 1; i <= 6; i++)
		desc[i] = (struct vring_desc){PEER_DATA_ADDR, 3 << 19,
					      VRING_DESC_F_NEXT |
						      VRING_DESC_F_WRITE,
					      (uint16_t)(i + 1)};
	desc[7] = (struct vring_desc){peer_status_addr(0, slot), 1,
				      VRING_DESC_F_WRITE, 0};
	peer_desc(&peer, 0, slot * 3, table, 8 * 16, VRING_DESC_F_INDIRECT, 0);
	peer_publish(&peer, 0, (uint16_t)(slot * 3));
}

/* A request larger than what the vdev is given at a time. */
static void test_vhost_large_request_goes_in_pieces(void **state)
{
	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	for (unsigned int i = 0; i < 16 << 20; i++)
		world.vdev->data[i] = (uint8_t)(i * 31 >> 7);
	publish_large(0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(peer_status(&peer, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(world.vdev->largest_bytes, 4 << 20);
	assert_int_equal(world.vdev->counts[BLOCK_READ], 3);
	for (uint64_t i = 0; i < 3 << 19; i += 4096)
		assert_memory_equal(peer_at(&peer, PEER_DATA_ADDR + i),
				    world.vdev->data + 5 * (3 << 19) + i, 4096);
}

/* However many of them there are, neighbours wait for one piece. */
static void test_vhost_large_requests_take_turns(void **state)
{
	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	for (unsigned int slot = 0; slot < 5; slot++)
		publish_large(slot);
	peer_kick(&peer, 0);
	while (peer_answers(&peer, 0) < 5) {
		const unsigned int before = world.vdev->counts[BLOCK_READ];

		world_turn(&world);
		assert_in_range(world.vdev->counts[BLOCK_READ] - before, 0, 1);
	}
	assert_int_equal(world.vdev->counts[BLOCK_READ], 15);
	for (unsigned int slot = 0; slot < 5; slot++)
		assert_int_equal(peer_status(&peer, 0, slot), VIRTIO_BLK_S_OK);
}

/* 1 MiB in 126 and in 1000 indirect segments. */
static void test_vhost_indirect_tables(void **state)
{
	static const uint16_t counts[] = {1, 4, 5, 126, 1000};
	struct vring_desc *desc;

	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	for (unsigned int i = 0; i < 1 << 20; i++)
		world.vdev->data[i] = (uint8_t)(i * 13 >> 5);
	for (unsigned int c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
		const uint16_t count = counts[c];

		peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, 0);
		desc = peer_at(&peer, 0x70000);
		desc[0] = (struct vring_desc){peer_header_addr(0, 0), 16,
					      VRING_DESC_F_NEXT, 1};
		for (uint16_t i = 0; i < count; i++)
			desc[1 + i] = (struct vring_desc){
				PEER_DATA_ADDR + i * 1024UL, 1024,
				VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
				(uint16_t)(2 + i)};
		desc[1 + count] = (struct vring_desc){peer_status_addr(0, 0), 1,
						      VRING_DESC_F_WRITE, 0};
		peer_desc(&peer, 0, 0, 0x70000, (2U + count) * 16U,
			  VRING_DESC_F_INDIRECT, 0);
		peer_publish(&peer, 0, 0);
		peer_kick(&peer, 0);
		world_until(&world, peer_answers(&peer, 0) == 1);
		assert_int_equal(peer_answer(&peer, 0, NULL), 0);
		assert_int_equal(peer_status(&peer, 0, 0), VIRTIO_BLK_S_OK);
		for (uint64_t i = 0; i < count; i++)
			assert_memory_equal(
				peer_at(&peer, PEER_DATA_ADDR + i * 1024),
				world.vdev->data + i * 1024, 1024);
	}
}

/* What is one piece to the guest may be two regions here, as a buffer may. */
static void test_vhost_indirect_table_crosses_regions(void **state)
{
	const uint64_t border = UINT64_C(2) << 20;
	const struct vring_desc table[] = {
		{peer_header_addr(0, 0), 16, VRING_DESC_F_NEXT, 2},
		{peer_status_addr(0, 0), 1, VRING_DESC_F_WRITE, 0},
		{PEER_DATA_ADDR, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
		 1},
	};

	(void)state;
	peer_start(&peer, VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC), 1);
	memset(world.vdev->data, 0x5a, 4096);
	/* Through each byte of it. */
	for (uint64_t before = 1; before < sizeof(table); before++) {
		const uint64_t at = border - before;

		for (uint64_t i = 0; i < sizeof(table); i++)
			*(uint8_t *)peer_at(&peer, at + i) =
				((const uint8_t *)table)[i];
		memset(peer_at(&peer, PEER_DATA_ADDR), 0, 4096);
		peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, 0);
		peer_desc(&peer, 0, 0, at, sizeof(table), VRING_DESC_F_INDIRECT,
			  0);
		peer_publish(&peer, 0, 0);
		peer_kick(&peer, 0);
		world_until(&world, peer_answers(&peer, 0) == 1);
		assert_int_equal(peer_answer(&peer, 0, NULL), 0);
		assert_int_equal(peer_status(&peer, 0, 0), VIRTIO_BLK_S_OK);
		assert_memory_equal(peer_at(&peer, PEER_DATA_ADDR),
				    world.vdev->data, 4096);
	}
}

/* Header and status wherever a driver may put them. */
static void test_vhost_any_split_of_header_and_status(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	memset(world.vdev->data + 512, 0x77, 512);
	peer_header(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, 1);
	/* The header in three parts; data and status in one buffer. */
	peer_desc(&peer, 0, 0, peer_header_addr(0, 0), 1, VRING_DESC_F_NEXT, 1);
	peer_desc(&peer, 0, 1, peer_header_addr(0, 0) + 1, 9, VRING_DESC_F_NEXT,
		  2);
	peer_desc(&peer, 0, 2, peer_header_addr(0, 0) + 10, 6,
		  VRING_DESC_F_NEXT, 3);
	peer_desc(&peer, 0, 3, PEER_DATA_ADDR, 513, VRING_DESC_F_WRITE, 0);
	peer_publish(&peer, 0, 0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(*(uint8_t *)peer_at(&peer, PEER_DATA_ADDR + 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)peer_at(&peer, PEER_DATA_ADDR + 511),
			 0x77);
	(void)peer_answer(&peer, 0, NULL);
	/* Header and data to be written in one buffer. */
	peer_header(&peer, 0, 1, VIRTIO_BLK_T_OUT, 0, 0);
	memcpy(peer_at(&peer, PEER_DATA_ADDR),
	       peer_at(&peer, peer_header_addr(0, 1)), 16);
	memset(peer_at(&peer, PEER_DATA_ADDR + 16), 0x33, 512);
	peer_desc(&peer, 0, 0, PEER_DATA_ADDR, 528, VRING_DESC_F_NEXT, 1);
	peer_desc(&peer, 0, 1, peer_status_addr(0, 1), 1, VRING_DESC_F_WRITE,
		  0);
	peer_publish(&peer, 0, 0);
	peer_kick(&peer, 0);
	world_until(&world, peer_answers(&peer, 0) == 1);
	assert_int_equal(peer_status(&peer, 0, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(world.vdev->data[0], 0x33);
	assert_int_equal(world.vdev->data[511], 0x33);
}

static void test_vhost_resize_is_told(void **state)
{
	struct vhost_user_header header;
	int ends[2];

	(void)state;
	peer_start(&peer, 0, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	peer_send(&peer, VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &ends[1],
		  1);
	peer_sync(&peer);
	vdev_resize(world.vdev, 8 << 20);
	assert_int_equal(read(ends[0], &header, sizeof(header)),
			 sizeof(header));
	assert_int_equal(header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(header.size, 0);
	/* Nobody reads: the server goes on. */
	for (unsigned int i = 0; i < 100000; i++)
		vdev_resize(world.vdev, 8 << 20);
	peer_sync(&peer);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(test_vhost_reads_what_was_written),
		TEST(test_vhost_buffer_crosses_regions),
		TEST(test_vhost_used_length_counts_data_and_status),
		TEST(test_vhost_flush_discard_zeroes),
		TEST(test_vhost_range_beyond_limits_is_refused),
		TEST(test_vhost_get_id),
		TEST(test_vhost_unknown_type_is_unsupported),
		TEST(test_vhost_device_error_is_an_io_error),
		TEST(test_vhost_config_space),
		TEST(test_vhost_ioprio_finds_process),
		TEST(test_vhost_several_queues),
		TEST(test_vhost_half_a_batch_is_shown_early),
		TEST(test_vhost_indexes_wrap),
		TEST(test_vhost_disabled_ring_takes_nothing),
		TEST(test_vhost_large_request_goes_in_pieces),
		TEST(test_vhost_large_requests_take_turns),
		TEST(test_vhost_indirect_tables),
		TEST(test_vhost_indirect_table_crosses_regions),
		TEST(test_vhost_any_split_of_header_and_status),
		TEST(test_vhost_resize_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
