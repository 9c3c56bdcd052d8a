/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-client.c - the client end's rings, with the test as the server
 *
 * Both sides see the same memory; a hostile server is one that writes what it
 * likes into it (E15, bad input).
 */
#include "vhost/client-internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <sys/eventfd.h>

#include <cmocka.h>

#define SIZE	16U

struct fixture {
	struct vhost_client_queue queue;
	void *memory;
	char buffer[4][4096];
	struct iovec iov[4];
	struct vhost_client_request requests[SIZE];
	uint16_t server_next;		/* of the avail ring */
};

static void make(void **state, bool indirect, bool event_index)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const size_t bytes = client_queue_bytes(SIZE, indirect);
	unsigned int i;

	assert_non_null(f);
	f->memory = aligned_alloc(4096, bytes);
	assert_non_null(f->memory);
	memset(f->memory, 0, bytes);
	assert_int_equal(client_queue_init(&f->queue, SIZE, indirect), 0);
	f->queue.event_index = event_index;
	client_queue_place(&f->queue, f->memory);
	for (i = 0; i < 4; i++)
		f->iov[i] = (struct iovec){f->buffer[i], 4096};
	for (i = 0; i < SIZE; i++)
		f->requests[i] = (struct vhost_client_request){
			.iov = &f->iov[i % 4],
			.iov_count = 1,
			.offset_bytes = i * 4096,
			.op = VHOST_CLIENT_READ,
		};
	*state = f;
}

static int set_up(void **state)
{
	make(state, false, false);
	return 0;
}

static int set_up_indirect(void **state)
{
	make(state, true, true);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	client_queue_finish(&f->queue);
	free(f->memory);
	free(f);
	return 0;
}

/* What the server does with the next request: its head. */
static uint16_t server_take(struct fixture *f)
{
	assert_int_not_equal(f->queue.avail->idx, f->server_next);
	return f->queue.avail->ring[f->server_next++ % SIZE];
}

static void server_use(struct fixture *f, uint32_t id)
{
	f->queue.used->ring[f->queue.used->idx % SIZE].id = id;
	f->queue.used->idx++;
}

static struct client_line *line_of(struct fixture *f, uint16_t head)
{
	return (void *)(uintptr_t)f->queue.desc[head].addr;
}

static void server_finish(struct fixture *f, uint16_t head, uint8_t status)
{
	f->queue.lines[head / CLIENT_CHAIN].status = status;
	server_use(f, head);
}

static bool kicked(const struct fixture *f)
{
	eventfd_t count;

	return eventfd_read(f->queue.kick_fd, &count) == 0;
}

static void test_vhost_client_read_is_header_data_status(void **state)
{
	struct fixture *f = *state;
	struct vring_desc *desc;
	uint16_t head;

	f->requests[1].ioprio = 0x4005;
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[1]), 0);
	assert_int_equal(f->queue.avail->idx, 0);
	vhost_client_publish(&f->queue);
	head = server_take(f);
	desc = &f->queue.desc[head];
	assert_int_equal(desc[0].len, sizeof(struct virtio_blk_outhdr));
	assert_int_equal(desc[0].flags, VRING_DESC_F_NEXT);
	assert_int_equal(desc[1].addr, (uintptr_t)f->buffer[1]);
	assert_int_equal(desc[1].flags, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
	assert_int_equal(desc[2].len, 1);
	assert_int_equal(desc[2].flags, VRING_DESC_F_WRITE);
	assert_int_equal(line_of(f, head)->header.type, VIRTIO_BLK_T_IN);
	assert_int_equal(line_of(f, head)->header.sector, 8);
	assert_int_equal(line_of(f, head)->header.ioprio, 0x4005);
}

static void test_vhost_client_rewrites_changed_descriptors(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request *done[1];
	uint16_t head;

	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_publish(&f->queue);
	server_finish(f, server_take(f), VIRTIO_BLK_S_OK);
	assert_int_equal(vhost_client_reap(&f->queue, done, 1), 1);
	f->requests[2].op = VHOST_CLIENT_WRITE;
	vhost_client_add(&f->queue, &f->requests[2]);
	vhost_client_publish(&f->queue);
	head = server_take(f);
	assert_int_equal(f->queue.desc[head + 1U].flags, VRING_DESC_F_NEXT);
	assert_int_equal(f->queue.desc[head + 1U].addr,
			 (uintptr_t)f->buffer[2]);
	assert_int_equal(line_of(f, head)->header.type, VIRTIO_BLK_T_OUT);
}

static void test_vhost_client_flush_has_no_data(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request flush = {.op = VHOST_CLIENT_FLUSH};
	uint16_t head;

	assert_int_equal(vhost_client_add(&f->queue, &flush), 0);
	vhost_client_publish(&f->queue);
	head = server_take(f);
	assert_int_equal(line_of(f, head)->header.type, VIRTIO_BLK_T_FLUSH);
	assert_int_equal(f->queue.desc[f->queue.desc[head].next].len, 1);
}

static void test_vhost_client_discard_carries_its_range(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request zero = {
		.op = VHOST_CLIENT_WRITE_ZEROES,
		.offset_bytes = 1024,
		.length_bytes = 1 << 20,
		.flags = VHOST_CLIENT_FLAG_UNMAP,
	};
	const struct virtio_blk_discard_write_zeroes *range;
	uint16_t head;

	assert_int_equal(vhost_client_add(&f->queue, &zero), 0);
	vhost_client_publish(&f->queue);
	head = server_take(f);
	range = (void *)(uintptr_t)f->queue.desc[head + 1U].addr;
	assert_int_equal(range->sector, 2);
	assert_int_equal(range->num_sectors, 2048);
	assert_int_equal(range->flags, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

static void test_vhost_client_refuses_what_nobody_serves(void **state)
{
	struct fixture *f = *state;

	f->requests[0].offset_bytes = 100;
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[0]), -EINVAL);
	f->requests[1].iov_count = 2;	/* without indirect descriptors */
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[1]), -EINVAL);
	f->requests[2].op = 99;
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[2]), -EINVAL);
	assert_int_equal(vhost_client_in_flight(&f->queue), 0);
}

static void test_vhost_client_full_queue_says_again(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	for (i = 0; i < SIZE / CLIENT_CHAIN; i++)
		assert_int_equal(vhost_client_add(&f->queue, &f->requests[i]),
				 0);
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[i]), -EAGAIN);
}

static void test_vhost_client_status_becomes_errno(void **state)
{
	static const struct {
		uint8_t status;
		int result;
	} cases[] = {
		{VIRTIO_BLK_S_OK, 0},
		{VIRTIO_BLK_S_IOERR, -EIO},
		{VIRTIO_BLK_S_UNSUPP, -EOPNOTSUPP},
		{77, -EIO},
		{CLIENT_STATUS_NONE, -EIO},	/* the server wrote none */
	};
	struct fixture *f = *state;
	struct vhost_client_request *done[2];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vhost_client_add(&f->queue, &f->requests[0]);
		vhost_client_publish(&f->queue);
		server_finish(f, server_take(f), cases[i].status);
		assert_int_equal(vhost_client_reap(&f->queue, done, 2), 1);
		assert_ptr_equal(done[0], &f->requests[0]);
		assert_int_equal(done[0]->result, cases[i].result);
	}
}

static void test_vhost_client_survives_an_index_that_jumps(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request *done[4];

	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_publish(&f->queue);
	f->queue.used->idx = 2;		/* one is in flight */
	assert_int_equal(vhost_client_reap(&f->queue, done, 4), -EPROTO);
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[1]), -EPROTO);
}

static void test_vhost_client_survives_ids_that_are_not_in_flight(void **state)
{
	static const uint32_t ids[] = {1, 3, 15, 16, UINT32_MAX};
	struct fixture *f = *state;
	struct vhost_client_request *done[4];
	size_t i;

	vhost_client_add(&f->queue, &f->requests[0]);	/* head 0 */
	vhost_client_publish(&f->queue);
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		f->queue.used->idx = 0;
		server_use(f, ids[i]);
		assert_int_equal(vhost_client_reap(&f->queue, done, 4),
				 -EPROTO);
		f->queue.broken = false;
	}
}

static void test_vhost_client_takes_no_id_twice(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request *done[4];

	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_add(&f->queue, &f->requests[1]);
	vhost_client_publish(&f->queue);
	server_finish(f, 0, VIRTIO_BLK_S_OK);
	server_finish(f, 0, VIRTIO_BLK_S_OK);
	/* What was right is given back; then the ring is broken. */
	assert_int_equal(vhost_client_reap(&f->queue, done, 4), 1);
	assert_int_equal(vhost_client_reap(&f->queue, done, 4), -EPROTO);
	assert_int_equal(vhost_client_in_flight(&f->queue), 1);
}

static void test_vhost_client_refill_keeps_the_order(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_request *done[1];
	unsigned int i;

	for (i = 0; i < 4; i++)
		vhost_client_add(&f->queue, &f->requests[i]);
	vhost_client_publish(&f->queue);
	server_take(f);
	server_finish(f, server_take(f), VIRTIO_BLK_S_OK);
	assert_int_equal(vhost_client_reap(&f->queue, done, 1), 1);
	vhost_client_add(&f->queue, &f->requests[4]);	/* in slot 1 again */
	client_queue_refill(&f->queue);
	f->server_next = 0;
	assert_int_equal(f->queue.avail->idx, 4);
	assert_int_equal(f->queue.used->idx, 0);
	assert_int_equal(line_of(f, server_take(f))->header.sector, 0);
	assert_int_equal(line_of(f, server_take(f))->header.sector, 16);
	assert_int_equal(line_of(f, server_take(f))->header.sector, 24);
	assert_int_equal(line_of(f, server_take(f))->header.sector, 32);
}

static void test_vhost_client_kicks_unless_told_not_to(void **state)
{
	struct fixture *f = *state;

	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_publish(&f->queue);
	assert_true(kicked(f));
	f->queue.used->flags = VRING_USED_F_NO_NOTIFY;
	vhost_client_add(&f->queue, &f->requests[1]);
	vhost_client_publish(&f->queue);
	assert_false(kicked(f));
	vhost_client_publish(&f->queue);	/* nothing new */
	assert_false(kicked(f));
}

static void test_vhost_client_arm_asks_for_interrupts(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->queue.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_publish(&f->queue);
	assert_true(vhost_client_arm(&f->queue));
	assert_int_equal(f->queue.avail->flags, 0);
	server_finish(f, server_take(f), VIRTIO_BLK_S_OK);
	assert_false(vhost_client_arm(&f->queue));	/* work is there */
	vhost_client_disarm(&f->queue);
	assert_int_equal(f->queue.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

static void test_vhost_client_event_index_kicks_at_the_wish(void **state)
{
	struct fixture *f = *state;

	*f->queue.avail_event = 1; /* at the second */
	vhost_client_add(&f->queue, &f->requests[0]);
	vhost_client_publish(&f->queue);
	assert_false(kicked(f));
	vhost_client_add(&f->queue, &f->requests[1]);
	vhost_client_publish(&f->queue);
	assert_true(kicked(f));
}

static void test_vhost_client_indirect_takes_many_segments(void **state)
{
	struct fixture *f = *state;
	const struct vring_desc *table;
	uint16_t head;

	f->requests[0].iov = f->iov;
	f->requests[0].iov_count = 4;
	assert_int_equal(vhost_client_add(&f->queue, &f->requests[0]), 0);
	vhost_client_publish(&f->queue);
	head = server_take(f);
	assert_int_equal(f->queue.desc[head].flags, VRING_DESC_F_INDIRECT);
	assert_int_equal(f->queue.desc[head].len, 6 * sizeof(*table));
	table = (void *)(uintptr_t)f->queue.desc[head].addr;
	assert_int_equal(table[4].addr, (uintptr_t)f->buffer[3]);
	assert_int_equal(table[4].next, 5);
	assert_int_equal(table[5].flags, VRING_DESC_F_WRITE);
}

static void test_vhost_client_create_refuses_bad_configs(void **state)
{
	char memory[4096];
	const struct vhost_client_region region = {
		.fd = 0,
		.address = memory,
		.size_bytes = sizeof(memory),
	};
	const struct vhost_client_config good = {
		.path = "/nonexistent/socket",
		.queues = 1,
		.queue_size = 256,
		.timeout_ns = 1000000,
		.regions = &region,
		.region_count = 1,
	};
	struct vhost_client_config config = good;
	struct vhost_client *client;
	struct error error;

	(void)state;
	config.queue_size = 100;
	assert_int_equal(vhost_client_create(&config, &client, &error),
			 -EINVAL);
	config = good;
	config.queues = 0;
	assert_int_equal(vhost_client_create(&config, &client, &error),
			 -EINVAL);
	config = good;
	config.region_count = VHOST_CLIENT_REGIONS_MAX + 1;
	assert_int_equal(vhost_client_create(&config, &client, &error),
			 -EINVAL);
	assert_int_equal(vhost_client_create(&good, &client, &error), -ENOENT);
	assert_non_null(strstr(error.text, "is the server running"));
}

#define DIRECT(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define INDIRECT(name) \
	cmocka_unit_test_setup_teardown(name, set_up_indirect, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIRECT(test_vhost_client_read_is_header_data_status),
		DIRECT(test_vhost_client_rewrites_changed_descriptors),
		DIRECT(test_vhost_client_flush_has_no_data),
		DIRECT(test_vhost_client_discard_carries_its_range),
		DIRECT(test_vhost_client_refuses_what_nobody_serves),
		DIRECT(test_vhost_client_full_queue_says_again),
		DIRECT(test_vhost_client_status_becomes_errno),
		DIRECT(test_vhost_client_survives_an_index_that_jumps),
		DIRECT(test_vhost_client_survives_ids_that_are_not_in_flight),
		DIRECT(test_vhost_client_takes_no_id_twice),
		DIRECT(test_vhost_client_refill_keeps_the_order),
		DIRECT(test_vhost_client_kicks_unless_told_not_to),
		DIRECT(test_vhost_client_arm_asks_for_interrupts),
		INDIRECT(test_vhost_client_event_index_kicks_at_the_wish),
		INDIRECT(test_vhost_client_indirect_takes_many_segments),
		cmocka_unit_test(test_vhost_client_create_refuses_bad_configs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
