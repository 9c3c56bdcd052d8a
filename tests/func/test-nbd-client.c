/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-client.c - a block device that is another server's export (E15) */
#include "nbd-stub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
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

/* ---- what it is ---- */

static void test_client_takes_what_the_export_is(void **state)
{
	struct client_config config = plain();
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub.export.block_min = 4096;
	stub.export.size_bytes = STUB_BYTES + 512;
	stub_greet(&stub);
	assert_int_equal(stub.result, 0);
	assert_int_equal(stub.device->block_size, 4096);
	assert_int_equal(stub.device->size_bytes, STUB_BYTES);
	assert_false(client_wants(stub.client));
	stub_destroy(&stub);
}

static void test_client_obeys_a_size_that_fits(void **state)
{
	struct client_config config = plain();
	struct stub stub;

	(void)state;
	config.size_bytes = STUB_BYTES / 2;
	stub_open(&stub, &config);
	assert_int_equal(stub.device->size_bytes, STUB_BYTES / 2);
	stub_destroy(&stub);
	config.size_bytes = STUB_BYTES * 2;
	stub_create(&stub, &config);
	stub_greet(&stub);
	assert_int_equal(stub.result, -ECONNREFUSED);
	assert_non_null(strstr(stub.error.text, "bytes are wanted"));
	stub_destroy(&stub);
}

static void test_client_refuses_to_write_what_is_read_only(void **state)
{
	struct client_config config = plain();
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub.export.flags |= WIRE_READ_ONLY;
	stub_greet(&stub);
	assert_int_equal(stub.result, -ECONNREFUSED);
	assert_non_null(strstr(stub.error.text, "read-only: true"));
	stub_destroy(&stub);
}

/* ---- requests ---- */

static void test_client_reads_in_chunks_and_holes(void **state)
{
	static const uint8_t hole[] = "\x66\x8e\x33\xef\0\0\0\2";
	struct client_config config = plain();
	uint8_t out[WIRE_CHUNK_BYTES + 12];
	struct stub_request request;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	memset(memory, 0xee, sizeof(memory));
	memset(data, 0x11, sizeof(data));
	stub_submit(&stub, &request, BLOCK_READ, 8 * BLOCK, memory, 3 * BLOCK);
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.command, WIRE_READ);
	assert_int_equal(asked.offset_bytes, 8 * BLOCK);
	assert_int_equal(asked.length_bytes, 3 * BLOCK);
	stub_data(&stub, asked.cookie, 8 * BLOCK, data, BLOCK, false);
	/* A hole of one block. */
	wire_put_data(out, asked.cookie, 9 * BLOCK, 4, false);
	memcpy(out, hole, 8);
	memcpy(out + WIRE_DATA_BYTES, "\0\0\x10\0", 4);
	stub_send(&stub, out, sizeof(out));
	assert_false(request.done);
	stub_data(&stub, asked.cookie, 10 * BLOCK, data, BLOCK, false);
	stub_done(&stub, asked.cookie);
	stub_await(&stub, &request, 0);
	assert_memory_equal(memory, data, BLOCK);
	assert_memory_equal(memory + 2 * BLOCK, data, BLOCK);
	for (unsigned int i = 0; i < BLOCK; i++)
		assert_int_equal(memory[BLOCK + i], 0);
	assert_int_equal(memory[3 * BLOCK], 0xee);
	stub_destroy(&stub);
}

static void test_client_reads_without_structured_replies(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub.structured = false;
	stub_greet(&stub);
	memset(data, 0x22, sizeof(data));
	stub_submit(&stub, &request, BLOCK_READ, 0, memory, sizeof(memory));
	asked = stub_request(&stub, NULL, 0);
	stub_simple(&stub, asked.cookie, WIRE_OK);
	/* Byte by byte, and in large parts. */
	for (unsigned int i = 0; i < 100; i++)
		stub_send(&stub, data + i, 1);
	stub_send(&stub, data + 100, sizeof(data) - 100);
	stub_await(&stub, &request, 0);
	assert_memory_equal(memory, data, sizeof(data));
	stub_destroy(&stub);
}

static void test_client_sends_many_at_once(void **state)
{
	struct client_config config = plain();
	struct stub_request requests[32];
	struct client_status before, after;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / BLOCK);
	client_status(stub.client, &before);
	for (unsigned int i = 0; i < 32; i++)
		stub_submit(&stub, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, data + i * BLOCK, BLOCK);
	stub_turns(&stub, 2);
	for (unsigned int i = 0; i < 32; i++) {
		const struct wire_request asked =
			stub_request(&stub, memory, BLOCK);

		assert_int_equal(asked.offset_bytes, i * BLOCK);
		assert_memory_equal(memory, data + i * BLOCK, BLOCK);
		stub_done(&stub, asked.cookie);
	}
	for (unsigned int i = 0; i < 32; i++)
		stub_await(&stub, &requests[i], 0);
	client_status(stub.client, &after);
	assert_true(after.sends - before.sends <= 2);
	stub_destroy(&stub);
}

/* What is larger than the server takes goes in pieces. */
static void test_client_splits(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct stub stub;
	uint64_t at = 0;

	(void)state;
	stub_open(&stub, &config);
	stub_submit(&stub, &request, BLOCK_WRITE_ZEROES, 0, NULL, STUB_BYTES);
	while (at < STUB_BYTES) {
		const struct wire_request asked = stub_request(&stub, NULL, 0);

		assert_int_equal(asked.command, WIRE_WRITE_ZEROES);
		assert_int_equal(asked.flags, WIRE_NO_HOLE);
		assert_int_equal(asked.offset_bytes, at);
		assert_true(asked.length_bytes <= 32U << 20);
		assert_false(request.done);
		at += asked.length_bytes;
		stub_done(&stub, asked.cookie);
	}
	stub_await(&stub, &request, 0);
	stub_destroy(&stub);
}

static void test_client_zeroes_fast_or_in_pieces(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub.export.flags |= WIRE_SEND_FAST_ZERO;
	stub_greet(&stub);
	stub_submit(&stub, &request, BLOCK_WRITE_ZEROES, 0, NULL, STUB_BYTES);
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.flags, WIRE_NO_HOLE | WIRE_FAST_ZERO);
	assert_int_equal(asked.length_bytes, STUB_BYTES);
	stub_simple(&stub, asked.cookie, WIRE_ENOTSUP);
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.flags, WIRE_NO_HOLE);
	assert_int_equal(asked.length_bytes, 32U << 20);
	assert_int_equal(asked.offset_bytes, 0);
	stub_done(&stub, asked.cookie);
	asked = stub_request(&stub, NULL, 0);
	assert_int_equal(asked.offset_bytes, 32U << 20);
	stub_done(&stub, asked.cookie);
	stub_await(&stub, &request, 0);
	stub_destroy(&stub);
}

/* A server that can't is not asked: trim is a hint, zeroes are written. */
static void test_client_does_without(void **state)
{
	struct client_config config = plain();
	struct stub_request request;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub.export.flags = WIRE_HAS_FLAGS;
	stub_greet(&stub);
	stub_submit(&stub, &request, BLOCK_DISCARD, 0, NULL, BLOCK);
	stub_await(&stub, &request, 0);
	stub_submit(&stub, &request, BLOCK_FLUSH, 0, NULL, 0);
	stub_await(&stub, &request, 0);
	memset(memory, 1, sizeof(memory));
	memset(data, 0, sizeof(data));
	stub_submit(&stub, &request, BLOCK_WRITE_ZEROES, BLOCK, NULL,
		    sizeof(memory));
	asked = stub_request(&stub, memory, sizeof(memory));
	assert_int_equal(asked.command, WIRE_WRITE);
	assert_int_equal(asked.length_bytes, sizeof(memory));
	assert_memory_equal(memory, data, sizeof(memory));
	stub_done(&stub, asked.cookie);
	stub_await(&stub, &request, 0);
	stub_destroy(&stub);
}

static void test_client_errors_are_the_servers(void **state)
{
	static const struct {
		enum wire_error wire;
		int result;
	} errors[] = {
		{WIRE_EPERM, -EPERM},	     {WIRE_EIO, -EIO},
		{WIRE_ENOSPC, -ENOSPC},	     {WIRE_EINVAL, -EINVAL},
		{WIRE_ENOMEM, -ENOMEM},	     {WIRE_EOVERFLOW, -EOVERFLOW},
		{WIRE_ENOTSUP, -EOPNOTSUPP}, {99, -EIO},
	};
	struct client_config config = plain();
	uint8_t out[WIRE_ERROR_BYTES + 5];
	struct stub_request request;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	for (unsigned int i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		stub_submit(&stub, &request, i % 2 ? BLOCK_READ : BLOCK_WRITE,
			    0, memory, BLOCK);
		asked = stub_request(&stub, data, BLOCK);
		wire_put_error(out, asked.cookie, errors[i].wire, 5);
		memcpy(out + WIRE_ERROR_BYTES, "sorry", 5);
		stub_send(&stub, out, sizeof(out));
		stub_await(&stub, &request, errors[i].result);
	}
	assert_int_equal(stub.reports, 0);
	stub_destroy(&stub);
}

/* More than there are commands: in their order, each once. */
static void test_client_crowd(void **state)
{
	enum { COUNT = 1000 };
	struct client_config config = plain();
	struct stub_request *requests = calloc(COUNT, sizeof(*requests));
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	for (unsigned int i = 0; i < COUNT; i++)
		stub_submit(&stub, &requests[i], BLOCK_WRITE, UINT64_C(512) * i,
			    memory, 512);
	for (unsigned int i = 0; i < COUNT; i++) {
		const struct wire_request asked =
			stub_request(&stub, data, 512);

		assert_int_equal(asked.offset_bytes, 512 * i);
		stub_done(&stub, asked.cookie);
	}
	for (unsigned int i = 0; i < COUNT; i++)
		stub_await(&stub, &requests[i], 0);
	stub_destroy(&stub);
	free(requests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_takes_what_the_export_is),
		cmocka_unit_test(test_client_obeys_a_size_that_fits),
		cmocka_unit_test(
			test_client_refuses_to_write_what_is_read_only),
		cmocka_unit_test(test_client_reads_in_chunks_and_holes),
		cmocka_unit_test(test_client_reads_without_structured_replies),
		cmocka_unit_test(test_client_sends_many_at_once),
		cmocka_unit_test(test_client_splits),
		cmocka_unit_test(test_client_zeroes_fast_or_in_pieces),
		cmocka_unit_test(test_client_does_without),
		cmocka_unit_test(test_client_errors_are_the_servers),
		cmocka_unit_test(test_client_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
