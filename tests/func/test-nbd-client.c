/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-client.c - a block device that is another server's export (E15) */
#include "nbd-fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t memory[64 * BLOCK], data[64 * BLOCK];

/* ---- what it is ---- */

static void test_client_takes_what_the_export_is(void **state)
{
	struct client_config config = fake_config();
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake.export.block_min = 4096;
	fake.export.size_bytes = FAKE_BYTES + 512;
	fake_greet(&fake);
	assert_int_equal(fake.result, 0);
	assert_int_equal(fake.device->block_size, 4096);
	assert_int_equal(fake.device->size_bytes, FAKE_BYTES);
	assert_int_equal(client_connect(fake.client, -1), -EALREADY);
	fake_destroy(&fake);
}

static void test_client_obeys_a_size_that_fits(void **state)
{
	struct client_config config = fake_config();
	struct fake fake;

	(void)state;
	config.size_bytes = FAKE_BYTES / 2;
	fake_open(&fake, &config);
	assert_int_equal(fake.device->size_bytes, FAKE_BYTES / 2);
	fake_destroy(&fake);
	config.size_bytes = FAKE_BYTES * 2;
	fake_create(&fake, &config);
	fake_greet(&fake);
	assert_int_equal(fake.result, -ECONNREFUSED);
	assert_non_null(strstr(fake.error.text, "bytes are wanted"));
	fake_destroy(&fake);
}

static void test_client_refuses_to_write_what_is_read_only(void **state)
{
	struct client_config config = fake_config();
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake.export.flags |= WIRE_READ_ONLY;
	fake_greet(&fake);
	assert_int_equal(fake.result, -ECONNREFUSED);
	assert_non_null(strstr(fake.error.text, "read-only: true"));
	fake_destroy(&fake);
}

/* ---- requests ---- */

static void test_client_reads_in_chunks_and_holes(void **state)
{
	static const uint8_t hole[] = "\x66\x8e\x33\xef\0\0\0\2";
	struct client_config config = fake_config();
	uint8_t out[WIRE_CHUNK_BYTES + 12];
	struct fake_request request;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	memset(memory, 0xee, sizeof(memory));
	memset(data, 0x11, sizeof(data));
	fake_submit(&fake, &request, BLOCK_READ, 8 * BLOCK, memory, 3 * BLOCK);
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.command, WIRE_READ);
	assert_int_equal(asked.offset_bytes, 8 * BLOCK);
	assert_int_equal(asked.length_bytes, 3 * BLOCK);
	fake_data(&fake, asked.cookie, 8 * BLOCK, data, BLOCK, false);
	/* A hole of one block. */
	wire_put_data(out, asked.cookie, 9 * BLOCK, 4, false);
	memcpy(out, hole, 8);
	memcpy(out + WIRE_DATA_BYTES, "\0\0\x10\0", 4);
	fake_send(&fake, out, sizeof(out));
	assert_false(request.done);
	fake_data(&fake, asked.cookie, 10 * BLOCK, data, BLOCK, false);
	fake_done(&fake, asked.cookie);
	fake_await(&fake, &request, 0);
	assert_memory_equal(memory, data, BLOCK);
	assert_memory_equal(memory + 2 * BLOCK, data, BLOCK);
	for (unsigned int i = 0; i < BLOCK; i++)
		assert_int_equal(memory[BLOCK + i], 0);
	assert_int_equal(memory[3 * BLOCK], 0xee);
	fake_destroy(&fake);
}

static void test_client_reads_without_structured_replies(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake.structured = false;
	fake_greet(&fake);
	memset(data, 0x22, sizeof(data));
	fake_submit(&fake, &request, BLOCK_READ, 0, memory, sizeof(memory));
	asked = fake_request(&fake, NULL, 0);
	fake_simple(&fake, asked.cookie, WIRE_OK);
	/* Byte by byte, and in large parts. */
	for (unsigned int i = 0; i < 100; i++)
		fake_send(&fake, data + i, 1);
	fake_send(&fake, data + 100, sizeof(data) - 100);
	fake_await(&fake, &request, 0);
	assert_memory_equal(memory, data, sizeof(data));
	fake_destroy(&fake);
}

static void test_client_sends_many_at_once(void **state)
{
	struct client_config config = fake_config();
	struct fake_request requests[32];
	struct client_status before, after;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / BLOCK);
	client_status(fake.client, &before);
	for (unsigned int i = 0; i < 32; i++)
		fake_submit(&fake, &requests[i], BLOCK_WRITE,
			    UINT64_C(1) * i * BLOCK, data + i * BLOCK, BLOCK);
	fake_turns(&fake, 2);
	for (unsigned int i = 0; i < 32; i++) {
		const struct wire_request asked =
			fake_request(&fake, memory, BLOCK);

		assert_int_equal(asked.offset_bytes, i * BLOCK);
		assert_memory_equal(memory, data + i * BLOCK, BLOCK);
		fake_done(&fake, asked.cookie);
	}
	for (unsigned int i = 0; i < 32; i++)
		fake_await(&fake, &requests[i], 0);
	client_status(fake.client, &after);
	assert_true(after.sends - before.sends <= 2);
	fake_destroy(&fake);
}

/* What is larger than the server takes goes in pieces. */
static void test_client_splits(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct fake fake;
	uint64_t at = 0;

	(void)state;
	fake_open(&fake, &config);
	fake_submit(&fake, &request, BLOCK_WRITE_ZEROES, 0, NULL, FAKE_BYTES);
	while (at < FAKE_BYTES) {
		const struct wire_request asked = fake_request(&fake, NULL, 0);

		assert_int_equal(asked.command, WIRE_WRITE_ZEROES);
		assert_int_equal(asked.flags, WIRE_NO_HOLE);
		assert_int_equal(asked.offset_bytes, at);
		assert_true(asked.length_bytes <= 32U << 20);
		assert_false(request.done);
		at += asked.length_bytes;
		fake_done(&fake, asked.cookie);
	}
	fake_await(&fake, &request, 0);
	fake_destroy(&fake);
}

static void test_client_zeroes_fast_or_in_pieces(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake.export.flags |= WIRE_SEND_FAST_ZERO;
	fake_greet(&fake);
	fake_submit(&fake, &request, BLOCK_WRITE_ZEROES, 0, NULL, FAKE_BYTES);
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.flags, WIRE_NO_HOLE | WIRE_FAST_ZERO);
	assert_int_equal(asked.length_bytes, FAKE_BYTES);
	fake_simple(&fake, asked.cookie, WIRE_ENOTSUP);
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.flags, WIRE_NO_HOLE);
	assert_int_equal(asked.length_bytes, 32U << 20);
	assert_int_equal(asked.offset_bytes, 0);
	fake_done(&fake, asked.cookie);
	asked = fake_request(&fake, NULL, 0);
	assert_int_equal(asked.offset_bytes, 32U << 20);
	fake_done(&fake, asked.cookie);
	fake_await(&fake, &request, 0);
	fake_destroy(&fake);
}

/* A server that can't is not asked: trim is a hint, zeroes are written. */
static void test_client_does_without(void **state)
{
	struct client_config config = fake_config();
	struct fake_request request;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake.export.flags = WIRE_HAS_FLAGS;
	fake_greet(&fake);
	fake_submit(&fake, &request, BLOCK_DISCARD, 0, NULL, BLOCK);
	fake_await(&fake, &request, 0);
	fake_submit(&fake, &request, BLOCK_FLUSH, 0, NULL, 0);
	fake_await(&fake, &request, 0);
	memset(memory, 1, sizeof(memory));
	memset(data, 0, sizeof(data));
	fake_submit(&fake, &request, BLOCK_WRITE_ZEROES, BLOCK, NULL,
		    sizeof(memory));
	asked = fake_request(&fake, memory, sizeof(memory));
	assert_int_equal(asked.command, WIRE_WRITE);
	assert_int_equal(asked.length_bytes, sizeof(memory));
	assert_memory_equal(memory, data, sizeof(memory));
	fake_done(&fake, asked.cookie);
	fake_await(&fake, &request, 0);
	fake_destroy(&fake);
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
	struct client_config config = fake_config();
	uint8_t out[WIRE_ERROR_BYTES + 5];
	struct fake_request request;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	for (unsigned int i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fake_submit(&fake, &request, i % 2 ? BLOCK_READ : BLOCK_WRITE,
			    0, memory, BLOCK);
		asked = fake_request(&fake, data, BLOCK);
		wire_put_error(out, asked.cookie, errors[i].wire, 5);
		memcpy(out + WIRE_ERROR_BYTES, "sorry", 5);
		fake_send(&fake, out, sizeof(out));
		fake_await(&fake, &request, errors[i].result);
	}
	assert_int_equal(fake.reports, 0);
	fake_destroy(&fake);
}

/* More than there are commands: in their order, each once. */
static void test_client_crowd(void **state)
{
	enum { COUNT = 1000 };
	struct client_config config = fake_config();
	struct fake_request *requests = calloc(COUNT, sizeof(*requests));
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	for (unsigned int i = 0; i < COUNT; i++)
		fake_submit(&fake, &requests[i], BLOCK_WRITE, UINT64_C(512) * i,
			    memory, 512);
	for (unsigned int i = 0; i < COUNT; i++) {
		const struct wire_request asked =
			fake_request(&fake, data, 512);

		assert_int_equal(asked.offset_bytes, 512 * i);
		fake_done(&fake, asked.cookie);
	}
	for (unsigned int i = 0; i < COUNT; i++)
		fake_await(&fake, &requests[i], 0);
	fake_destroy(&fake);
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
