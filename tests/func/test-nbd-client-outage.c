/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-client-outage.c - what an NBD client does while it has no
 * connection, and after it (E15) */
#include "nbd-stub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK		4096U
#define SECOND_NS	UINT64_C(1000000000)

static uint8_t memory[64 * BLOCK], data[64 * BLOCK];

static struct client_config plain(void)
{
	return (struct client_config){
		.reconnect_ns = 30 * SECOND_NS,
		.connections = 1,
	};
}

static void answer_write(struct stub *stub, uint64_t offset_bytes)
{
	const struct wire_request asked = stub_request(stub, data, BLOCK);

	assert_int_equal(asked.command, WIRE_WRITE);
	assert_int_equal(asked.offset_bytes, offset_bytes);
	stub_done(stub, asked.cookie);
}

/* A write that is acknowledged. */
static void write_one(struct stub *stub)
{
	struct stub_request request;

	stub_submit(stub, &request, BLOCK_WRITE, 0, memory, BLOCK);
	answer_write(stub, 0);
	stub_await(stub, &request, 0);
}

/* Some answered, some sent, some not even that: each is done once, and what is
 * sent again comes in the order in which it was asked for. */
static void test_outage_replays_in_order(void **state)
{
	struct client_config config = plain();
	struct stub_request requests[6];
	uint64_t cookies[6];
	struct stub stub;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	stub_open(&stub, &config);
	for (unsigned int i = 0; i < 4; i++)
		stub_submit(&stub, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, memory + i * BLOCK, BLOCK);
	for (unsigned int i = 0; i < 4; i++)
		cookies[i] = stub_request(&stub, data, BLOCK).cookie;
	stub_done(&stub, cookies[2]);
	stub_done(&stub, cookies[0]);
	stub_await(&stub, &requests[0], 0);
	stub_await(&stub, &requests[2], 0);
	stub_cut(&stub);
	assert_true(client_wants(stub.client));
	assert_int_equal(stub.reports, 1);
	for (unsigned int i = 4; i < 6; i++)
		stub_submit(&stub, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, memory + i * BLOCK, BLOCK);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	for (unsigned int i = 0; i < 6; i++) {
		if (i == 0 || i == 2)
			continue;
		answer_write(&stub, UINT64_C(1) * i * BLOCK);
		assert_memory_equal(data, memory + i * BLOCK, BLOCK);
	}
	for (unsigned int i = 0; i < 6; i++)
		stub_await(&stub, &requests[i], 0);
	assert_false(client_wants(stub.client));
	stub_destroy(&stub);
}

/* A connection of which a part of a reply came begins anew. */
static void test_outage_in_the_middle_of_a_reply(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct wire_request asked;
	uint8_t out[WIRE_HEAD_MAX];
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	memset(data, 0x77, sizeof(data));
	stub_submit(&stub, &request, BLOCK_READ, 0, memory, sizeof(memory));
	asked = stub_request(&stub, NULL, 0);
	stub_send(&stub, out,
		  wire_put_data(out, asked.cookie, 0, sizeof(memory), true));
	stub_send(&stub, data, 12345);
	stub_cut(&stub);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.length_bytes, sizeof(memory));
	stub_data(&stub, asked.cookie, 0, data, sizeof(memory), true);
	stub_await(&stub, &request, 0);
	assert_memory_equal(memory, data, sizeof(memory));
	stub_destroy(&stub);
}

/* What may have been lost is not acknowledged as safe: the flush fails, once,
 * and whoever flushes for several can see it. */
static void test_outage_fails_the_next_flush(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	write_one(&stub);
	assert_int_equal(stub.device->losses, 0);
	stub_cut(&stub);
	assert_int_equal(stub.device->losses, 1);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_submit(&stub, &request, BLOCK_FLUSH, 0, NULL, 0);
	stub_await(&stub, &request, -EIO);
	stub_submit(&stub, &request, BLOCK_FLUSH, 0, NULL, 0);
	stub_done(&stub, stub_request(&stub, NULL, 0).cookie);
	stub_await(&stub, &request, 0);
	/* All is flushed: nothing can be lost. */
	stub_cut(&stub);
	assert_int_equal(stub.device->losses, 1);
	stub_destroy(&stub);
}

/* One that was in flight must not succeed on the next server either. */
static void test_outage_fails_a_flush_in_flight(void **state)
{
	struct client_config config = plain();
	struct stub_request flush, write;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	write_one(&stub);
	stub_submit(&stub, &flush, BLOCK_FLUSH, 0, NULL, 0);
	stub_submit(&stub, &write, BLOCK_WRITE, BLOCK, memory, BLOCK);
	(void)stub_request(&stub, NULL, 0);
	stub_cut(&stub);
	stub_await(&stub, &flush, -EIO);
	assert_false(write.done);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	answer_write(&stub, BLOCK);
	stub_await(&stub, &write, 0);
	/* It was told. */
	stub_submit(&stub, &flush, BLOCK_FLUSH, 0, NULL, 0);
	stub_done(&stub, stub_request(&stub, NULL, 0).cookie);
	stub_await(&stub, &flush, 0);
	stub_destroy(&stub);
}

static void test_outage_where_the_store_survives(void **state)
{
	struct client_config config = plain();
	struct stub_request flush;
	struct stub stub;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	stub_open(&stub, &config);
	write_one(&stub);
	stub_submit(&stub, &flush, BLOCK_FLUSH, 0, NULL, 0);
	stub_cut(&stub);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_done(&stub, stub_request(&stub, NULL, 0).cookie);
	stub_await(&stub, &flush, 0);
	assert_int_equal(stub.device->losses, 0);
	stub_destroy(&stub);
}

static void test_outage_with_nothing_unflushed(void **state)
{
	struct client_config config = plain();
	struct stub_request write;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_NONE;
	stub_open(&stub, &config);
	stub_submit(&stub, &write, BLOCK_WRITE, 0, memory, BLOCK);
	asked = stub_request(&stub, data, BLOCK);
	assert_int_equal(asked.flags, WIRE_FUA);
	stub_done(&stub, asked.cookie);
	stub_await(&stub, &write, 0);
	stub_cut(&stub);
	assert_int_equal(stub.device->losses, 0);
	stub_destroy(&stub);
}

static void test_outage_ends_in_errors(void **state)
{
	struct client_config config = plain();
	struct stub_request waiting, later;
	struct stub stub;

	(void)state;
	config.reconnect_ns = SECOND_NS / 10;
	stub_open(&stub, &config);
	stub_submit(&stub, &waiting, BLOCK_WRITE, 0, memory, BLOCK);
	stub_cut(&stub);
	assert_false(waiting.done);
	stub_until(&stub, &waiting.dones, 1);
	assert_int_equal(waiting.block.result, -EIO);
	stub_submit(&stub, &later, BLOCK_READ, 0, memory, BLOCK);
	assert_true(later.done);
	assert_int_equal(later.block.result, -EIO);
	/* It comes back: all is well again. */
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	write_one(&stub);
	stub_destroy(&stub);
}

/* Asked for again and again, also by who comes later. */
static void test_outage_asks_on(void **state)
{
	struct client_config config = plain();
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	stub_cut(&stub);
	stub_until(&stub, &stub.wants, 2);
	assert_int_equal(stub_connect(&stub), 0);
	assert_int_equal(stub_connect(&stub), -EALREADY);
	stub_destroy(&stub);
}

static void test_outage_another_export_is_refused(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	stub_submit(&stub, &request, BLOCK_WRITE, 0, memory, BLOCK);
	stub_cut(&stub);
	stub.export.size_bytes *= 2;
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_await_end(&stub);
	assert_non_null(strstr(stub.report.text, "another export"));
	stub.export.size_bytes /= 2;
	stub.export.flags &= (uint16_t)~WIRE_SEND_FLUSH;
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_await_end(&stub);
	assert_false(request.done);
	stub.export.flags = STUB_FLAGS | WIRE_SEND_FAST_ZERO;
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	answer_write(&stub, 0);
	stub_await(&stub, &request, 0);
	stub_destroy(&stub);
}

/* A server that ends in order: what it still does is not done twice. */
static void test_outage_by_a_server_that_shuts_down(void **state)
{
	struct client_config config = plain();
	struct stub_request first, second;
	struct wire_request one, two;
	struct stub stub;

	(void)state;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	stub_open(&stub, &config);
	stub_submit(&stub, &first, BLOCK_WRITE, 0, memory, BLOCK);
	stub_submit(&stub, &second, BLOCK_WRITE, BLOCK, memory, BLOCK);
	one = stub_request(&stub, data, BLOCK);
	two = stub_request(&stub, data, BLOCK);
	stub_simple(&stub, two.cookie, WIRE_ESHUTDOWN);
	stub_turns(&stub, 10);
	assert_false(second.done);
	assert_int_equal(stub.reports, 0);
	stub_done(&stub, one.cookie);
	stub_await(&stub, &first, 0);
	stub_await_end(&stub);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	answer_write(&stub, BLOCK);
	stub_await(&stub, &second, 0);
	stub_destroy(&stub);
}

/* Two connections only to a server that says that they are one. */
static void test_outage_of_one_of_two(void **state)
{
	struct client_config config = plain();
	struct stub_request small, bulk;
	struct wire_request asked;
	struct stub stub;
	int first;

	(void)state;
	config.connections = 2;
	config.unflushed = CLIENT_UNFLUSHED_KEPT;
	stub_open(&stub, &config);
	assert_false(client_wants(stub.client));
	stub_destroy(&stub);

	stub_create(&stub, &config);
	stub.export.flags |= WIRE_CAN_MULTI_CONN;
	stub_greet(&stub);
	assert_true(client_wants(stub.client));
	first = stub.fd;
	stub.fd = -1;
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	/* Here comes what is large, there what is small. */
	stub_submit(&stub, &bulk, BLOCK_WRITE, 0, memory, sizeof(memory));
	stub_submit(&stub, &small, BLOCK_READ, 0, data, 512);
	asked = stub_request(&stub, data, sizeof(data));
	assert_int_equal(asked.length_bytes, sizeof(memory));
	stub_cut(&stub);
	stub.fd = first;
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.command, WIRE_READ);
	stub_data(&stub, asked.cookie, 0, data, 512, true);
	stub_await(&stub, &small, 0);
	asked = stub_request(&stub, data, sizeof(data));
	assert_int_equal(asked.length_bytes, sizeof(memory));
	stub_done(&stub, asked.cookie);
	stub_await(&stub, &bulk, 0);
	stub_destroy(&stub);
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
