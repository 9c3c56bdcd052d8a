/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-client-outage.c - what an NBD client does while it has no
 * connection, and after it (E15) */
#include "nbd-fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint8_t memory[64 * BLOCK], data[64 * BLOCK];

static void answer_write(struct fake *fake, uint64_t offset_bytes)
{
	const struct wire_request asked = fake_request(fake, data, BLOCK);

	assert_int_equal(asked.command, WIRE_WRITE);
	assert_int_equal(asked.offset_bytes, offset_bytes);
	fake_done(fake, asked.cookie);
}

/* A write that is acknowledged. */
static void write_one(struct fake *fake)
{
	struct fake_request request;

	fake_submit(fake, &request, BLOCK_WRITE, 0, memory, BLOCK);
	answer_write(fake, 0);
	fake_await(fake, &request, 0);
}

/* Some answered, some sent, some not even that: each is done once, and what is
 * sent again comes in the order in which it was asked for. */
static void test_outage_replays_in_order(void **state)
{
	struct client_config config = fake_config();
	struct fake_request requests[6];
	uint64_t cookies[6];
	struct fake fake;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	fake_open(&fake, &config);
	for (unsigned int i = 0; i < 4; i++)
		fake_submit(&fake, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, memory + i * BLOCK, BLOCK);
	for (unsigned int i = 0; i < 4; i++)
		cookies[i] = fake_request(&fake, data, BLOCK).cookie;
	fake_done(&fake, cookies[2]);
	fake_done(&fake, cookies[0]);
	fake_await(&fake, &requests[0], 0);
	fake_await(&fake, &requests[2], 0);
	fake_cut(&fake);
	fake_until(&fake, &fake.wants, 1);
	assert_int_equal(fake.reports, 1);
	for (unsigned int i = 4; i < 6; i++)
		fake_submit(&fake, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, memory + i * BLOCK, BLOCK);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	for (unsigned int i = 0; i < 6; i++) {
		if (i == 0 || i == 2)
			continue;
		answer_write(&fake, UINT64_C(1) * i * BLOCK);
		assert_memory_equal(data, memory + i * BLOCK, BLOCK);
	}
	for (unsigned int i = 0; i < 6; i++)
		fake_await(&fake, &requests[i], 0);
	assert_int_equal(client_connect(fake.client, -1), -EALREADY);
	fake_destroy(&fake);
}

/* A connection of which a part of a reply came begins anew. */
static void test_outage_in_the_middle_of_a_reply(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct wire_request asked;
	uint8_t out[WIRE_HEAD_MAX];
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	memset(data, 0x77, sizeof(data));
	fake_submit(&fake, &request, BLOCK_READ, 0, memory, sizeof(memory));
	asked = fake_request(&fake, NULL, 0);
	fake_send(&fake, out,
		  wire_put_data(out, asked.cookie, 0, sizeof(memory), true));
	fake_send(&fake, data, 12345);
	fake_cut(&fake);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.length_bytes, sizeof(memory));
	fake_data(&fake, asked.cookie, 0, data, sizeof(memory), true);
	fake_await(&fake, &request, 0);
	assert_memory_equal(memory, data, sizeof(memory));
	fake_destroy(&fake);
}

/* What may have been lost is not acknowledged as safe: the flush fails, once,
 * and whoever flushes for several can see it. */
static void test_outage_fails_the_next_flush(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	write_one(&fake);
	assert_int_equal(fake.device->losses, 0);
	fake_cut(&fake);
	assert_int_equal(fake.device->losses, 1);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_submit(&fake, &request, BLOCK_FLUSH, 0, NULL, 0);
	fake_await(&fake, &request, -EIO);
	fake_submit(&fake, &request, BLOCK_FLUSH, 0, NULL, 0);
	fake_done(&fake, fake_request(&fake, NULL, 0).cookie);
	fake_await(&fake, &request, 0);
	/* All is flushed: nothing can be lost. */
	fake_cut(&fake);
	assert_int_equal(fake.device->losses, 1);
	fake_destroy(&fake);
}

/* One that was in flight must not succeed on the next server either. */
static void test_outage_fails_a_flush_in_flight(void **state)
{
	struct client_config config = fake_config();
	struct fake_request flush, write;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	write_one(&fake);
	fake_submit(&fake, &flush, BLOCK_FLUSH, 0, NULL, 0);
	fake_submit(&fake, &write, BLOCK_WRITE, BLOCK, memory, BLOCK);
	(void)fake_request(&fake, NULL, 0);
	fake_cut(&fake);
	fake_await(&fake, &flush, -EIO);
	assert_false(write.done);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	answer_write(&fake, BLOCK);
	fake_await(&fake, &write, 0);
	/* It was told. */
	fake_submit(&fake, &flush, BLOCK_FLUSH, 0, NULL, 0);
	fake_done(&fake, fake_request(&fake, NULL, 0).cookie);
	fake_await(&fake, &flush, 0);
	fake_destroy(&fake);
}

static void test_outage_where_the_store_survives(void **state)
{
	struct client_config config = fake_config();
	struct fake_request flush;
	struct fake fake;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	fake_open(&fake, &config);
	write_one(&fake);
	fake_submit(&fake, &flush, BLOCK_FLUSH, 0, NULL, 0);
	fake_cut(&fake);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_done(&fake, fake_request(&fake, NULL, 0).cookie);
	fake_await(&fake, &flush, 0);
	assert_int_equal(fake.device->losses, 0);
	fake_destroy(&fake);
}

static void test_outage_with_nothing_unflushed(void **state)
{
	struct client_config config = fake_config();
	struct fake_request write;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_NONE;
	fake_open(&fake, &config);
	fake_submit(&fake, &write, BLOCK_WRITE, 0, memory, BLOCK);
	asked = fake_request(&fake, data, BLOCK);
	assert_int_equal(asked.flags, WIRE_FUA);
	fake_done(&fake, asked.cookie);
	fake_await(&fake, &write, 0);
	fake_cut(&fake);
	assert_int_equal(fake.device->losses, 0);
	fake_destroy(&fake);
}

static void test_outage_ends_in_errors(void **state)
{
	struct client_config config = fake_config();
	struct fake_request waiting, later;
	struct fake fake;

	(void)state;
	config.reconnect_ns = SECOND_NS / 10;
	fake_open(&fake, &config);
	fake_submit(&fake, &waiting, BLOCK_WRITE, 0, memory, BLOCK);
	fake_cut(&fake);
	assert_false(waiting.done);
	fake_until(&fake, &waiting.dones, 1);
	assert_int_equal(waiting.block.result, -EIO);
	fake_submit(&fake, &later, BLOCK_READ, 0, memory, BLOCK);
	assert_true(later.done);
	assert_int_equal(later.block.result, -EIO);
	/* It comes back: all is well again. */
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	write_one(&fake);
	fake_destroy(&fake);
}

/* Asked for again and again, also by who comes later. */
static void test_outage_asks_on(void **state)
{
	struct client_config config = fake_config();
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	fake_cut(&fake);
	fake_until(&fake, &fake.wants, 2);
	assert_int_equal(fake_connect(&fake), 0);
	assert_int_equal(fake_connect(&fake), -EALREADY);
	fake_destroy(&fake);
}

static void test_outage_another_export_is_refused(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	fake_submit(&fake, &request, BLOCK_WRITE, 0, memory, BLOCK);
	fake_cut(&fake);
	fake.export.size_bytes *= 2;
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_await_end(&fake);
	assert_non_null(strstr(fake.report.text, "another export"));
	fake.export.size_bytes /= 2;
	fake.export.flags &= (uint16_t)~WIRE_SEND_FLUSH;
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_await_end(&fake);
	assert_false(request.done);
	fake.export.flags = FAKE_FLAGS | WIRE_SEND_FAST_ZERO;
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	answer_write(&fake, 0);
	fake_await(&fake, &request, 0);
	fake_destroy(&fake);
}

/* A server that ends in order: what it still does is not done twice. */
static void test_outage_by_a_server_that_shuts_down(void **state)
{
	struct client_config config = fake_config();
	struct fake_request first, second;
	struct wire_request one, two;
	struct fake fake;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	fake_open(&fake, &config);
	fake_submit(&fake, &first, BLOCK_WRITE, 0, memory, BLOCK);
	fake_submit(&fake, &second, BLOCK_WRITE, BLOCK, memory, BLOCK);
	one = fake_request(&fake, data, BLOCK);
	two = fake_request(&fake, data, BLOCK);
	fake_simple(&fake, two.cookie, WIRE_ESHUTDOWN);
	fake_turns(&fake, 10);
	assert_false(second.done);
	assert_int_equal(fake.reports, 0);
	fake_done(&fake, one.cookie);
	fake_await(&fake, &first, 0);
	fake_await_end(&fake);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	answer_write(&fake, BLOCK);
	fake_await(&fake, &second, 0);
	fake_destroy(&fake);
}

/* Two connections only to a server that says that they are one. */
static void test_outage_of_one_of_two(void **state)
{
	struct client_config config = fake_config();
	struct fake_request small, bulk;
	struct wire_request asked;
	struct fake fake;
	int first;

	(void)state;
	config.connections = 2;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	fake_open(&fake, &config);
	assert_int_equal(client_connect(fake.client, -1), -EALREADY);
	fake_destroy(&fake);

	fake_create(&fake, &config);
	fake.export.flags |= WIRE_CAN_MULTI_CONN;
	fake_greet(&fake);
	fake_until(&fake, &fake.wants, 1);
	first = fake.fd;
	fake.fd = -1;
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	/* Here comes what is large, there what is small. */
	fake_submit(&fake, &bulk, BLOCK_WRITE, 0, memory, sizeof(memory));
	fake_submit(&fake, &small, BLOCK_READ, 0, data, 512);
	asked = fake_request(&fake, data, sizeof(data));
	assert_int_equal(asked.length_bytes, sizeof(memory));
	fake_cut(&fake);
	fake.fd = first;
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.command, WIRE_READ);
	fake_data(&fake, asked.cookie, 0, data, 512, true);
	fake_await(&fake, &small, 0);
	asked = fake_request(&fake, data, sizeof(data));
	assert_int_equal(asked.length_bytes, sizeof(memory));
	fake_done(&fake, asked.cookie);
	fake_await(&fake, &bulk, 0);
	fake_destroy(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outage_replays_in_order),
		cmocka_unit_test(test_outage_in_the_middle_of_a_reply),
		cmocka_unit_test(test_outage_fails_the_next_flush),
		cmocka_unit_test(test_outage_fails_a_flush_in_flight),
		cmocka_unit_test(test_outage_where_the_store_survives),
		cmocka_unit_test(test_outage_with_nothing_unflushed),
		cmocka_unit_test(test_outage_ends_in_errors),
		cmocka_unit_test(test_outage_asks_on),
		cmocka_unit_test(test_outage_another_export_is_refused),
		cmocka_unit_test(test_outage_by_a_server_that_shuts_down),
		cmocka_unit_test(test_outage_of_one_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
