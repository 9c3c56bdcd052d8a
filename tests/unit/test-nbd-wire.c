/* SPDX-License-Identifier: Apache-2.0 */
/* test-nbd-wire.c - NBD's messages: bytes to fields and back (E15) */
#include "nbd/wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct wire_terms writable = {
	.size_bytes = 1 << 20,
	.df_max_bytes = 65536,
	.structured = true,
	.allocation = true,
};

static void test_wire_request_as_in_the_protocol(void **state)
{
	static const uint8_t bytes[WIRE_REQUEST_BYTES] =
		"\x25\x60\x95\x13\0\1\0\1abcdefgh\0\0\0\0\0\0\x10\0\0\0\2";
	struct wire_request request;
	uint8_t again[WIRE_REQUEST_BYTES];

	(void)state;
	assert_true(wire_get_request(bytes, &request));
	assert_int_equal(request.flags, WIRE_FUA);
	assert_int_equal(request.command, WIRE_WRITE);
	assert_int_equal(request.cookie, UINT64_C(0x6162636465666768));
	assert_int_equal(request.offset_bytes, 4096);
	assert_int_equal(request.length_bytes, 512);
	assert_int_equal(wire_payload_bytes(&request), 512);
	wire_put_request(again, &request);
	assert_memory_equal(again, bytes, sizeof(bytes));
}

static void test_wire_replies_are_what_a_client_reads(void **state)
{
	uint8_t bytes[WIRE_HEAD_MAX];
	struct wire_simple simple;
	struct wire_chunk_head chunk;

	(void)state;
	assert_int_equal(wire_put_simple(bytes, 7, WIRE_ENOSPC),
			 WIRE_SIMPLE_BYTES);
	assert_memory_equal(bytes, "\x67\x44\x66\x98\0\0\0\x1c", 8);
	assert_true(wire_get_simple(bytes, &simple));
	assert_int_equal(simple.cookie, 7);
	assert_int_equal(simple.error, WIRE_ENOSPC);
	assert_false(wire_get_chunk(bytes, &chunk));

	assert_int_equal(wire_put_data(bytes, 9, 512, 1024, false),
			 WIRE_DATA_BYTES);
	assert_true(wire_get_chunk(bytes, &chunk));
	assert_int_equal(chunk.type, WIRE_CHUNK_OFFSET_DATA);
	assert_int_equal(chunk.payload_bytes, 1032);
	assert_false(chunk.done);
	assert_false(wire_get_simple(bytes, &simple));

	assert_int_equal(wire_put_error(bytes, 9, WIRE_EIO, 3),
			 WIRE_ERROR_BYTES);
	assert_memory_equal(bytes,
			    "\x66\x8e\x33\xef\0\1\x80\1\0\0\0\0\0\0\0\x9"
			    "\0\0\0\x9\0\0\0\5\0\3",
			    WIRE_ERROR_BYTES);
	assert_int_equal(wire_put_done(bytes, 9), WIRE_CHUNK_BYTES);
	assert_true(wire_get_chunk(bytes, &chunk));
	assert_true(chunk.done && chunk.payload_bytes == 0);
}

/* Every pair of command and flag: refused unless the protocol has it. */
static void test_wire_check_flags_by_command(void **state)
{
	static const uint16_t allowed[] = {
		[WIRE_READ] = WIRE_FUA | WIRE_DF,
		[WIRE_WRITE] = WIRE_FUA,
		[WIRE_DISC] = WIRE_FUA,
		[WIRE_FLUSH] = WIRE_FUA,
		[WIRE_TRIM] = WIRE_FUA,
		[WIRE_CACHE] = WIRE_FUA,
		[WIRE_WRITE_ZEROES] = WIRE_FUA | WIRE_NO_HOLE | WIRE_FAST_ZERO,
		[WIRE_BLOCK_STATUS] = WIRE_FUA | WIRE_REQ_ONE,
	};

	(void)state;
	for (uint16_t command = 0; command < 8; command++)
		for (uint32_t flag = 1; flag < 0x10000; flag <<= 1) {
			const struct wire_request request = {
				.command = command,
				.flags = (uint16_t)flag,
				.length_bytes = command == WIRE_DISC ||
						command == WIRE_FLUSH ?
					0 :
					512,
			};

			assert_int_equal(wire_check(&request, &writable),
					 allowed[command] & flag ? WIRE_OK :
								   WIRE_EINVAL);
		}
}

static void test_wire_check_ranges(void **state)
{
	static const struct {
		uint16_t command;
		uint64_t offset_bytes;
		uint32_t length_bytes;
		enum wire_error error;
	} cases[] = {
		{WIRE_READ, 0, 1 << 20, WIRE_OK},
		{WIRE_READ, (1 << 20) - 1, 1, WIRE_OK},
		{WIRE_READ, 1 << 20, 0, WIRE_OK},
		{WIRE_READ, (1 << 20) + 1, 0, WIRE_EINVAL},
		{WIRE_READ, 1 << 20, 1, WIRE_EINVAL},
		{WIRE_READ, UINT64_MAX, 1, WIRE_EINVAL},
		{WIRE_READ, UINT64_MAX, UINT32_MAX, WIRE_EINVAL},
		{WIRE_READ, 0, WIRE_PAYLOAD_MAX + 1, WIRE_EINVAL},
		{WIRE_WRITE, 1 << 20, 1, WIRE_ENOSPC},
		{WIRE_WRITE, 0, WIRE_PAYLOAD_MAX + 1, WIRE_EINVAL},
		{WIRE_WRITE_ZEROES, 1, 1 << 20, WIRE_ENOSPC},
		{WIRE_TRIM, 1, 1 << 20, WIRE_EINVAL},
		{WIRE_BLOCK_STATUS, 0, 0, WIRE_EINVAL},
		{WIRE_FLUSH, 0, 1, WIRE_EINVAL},
		{8, 0, 0, WIRE_EINVAL},
		{UINT16_MAX, 0, 0, WIRE_EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct wire_request request = {
			.command = cases[i].command,
			.offset_bytes = cases[i].offset_bytes,
			.length_bytes = cases[i].length_bytes,
		};

		assert_int_equal(wire_check(&request, &writable),
				 cases[i].error);
	}
}

/* What this system calls it goes over as the protocol's own number. */
static void test_wire_errors(void **state)
{
	(void)state;
	assert_int_equal(wire_error_of(0), WIRE_OK);
	assert_int_equal(wire_error_of(-EROFS), WIRE_EPERM);
	assert_int_equal(wire_error_of(-ENOSPC), WIRE_ENOSPC);
	assert_int_equal(wire_error_of(-EOPNOTSUPP), WIRE_ENOTSUP);
	assert_int_equal(wire_error_of(-EREMOTEIO), WIRE_EIO);
	assert_int_equal(wire_error_of(-EFAULT), WIRE_EIO);
}

static struct wire_text text(const char *at)
{
	return (struct wire_text){at, (uint32_t)strlen(at)};
}

static void test_wire_target(void **state)
{
	struct wire_target target;
	struct wire_text name = text("vd0/17@42");

	(void)state;
	assert_true(wire_get_target(&name, &target));
	assert_int_equal(target.vdev.bytes, 3);
	assert_int_equal(target.pasid, 17);
	assert_true(target.has_generation);
	assert_int_equal(target.generation, 42);
	name = text("");
	assert_true(wire_get_target(&name, &target));
	assert_int_equal(target.vdev.bytes, 0);
	name = text("vd0/4294967295@18446744073709551615");
	assert_true(wire_get_target(&name, &target));
	assert_int_equal(target.pasid, UINT32_MAX);
	assert_int_equal(target.generation, UINT64_MAX);
	name = text("vd0/4294967296");
	assert_false(wire_get_target(&name, &target));
	name = text("vd0@18446744073709551616");
	assert_false(wire_get_target(&name, &target));
}

/* Whatever is cut off: nothing is read beyond it. */
static void test_wire_options_cut_anywhere(void **state)
{
	static const uint8_t go[] = "\0\0\0\3vd0\0\2\0\1\0\3";
	static const uint8_t meta[] = "\0\0\0\3vd0\0\0\0\1\0\0\0\x0f"
				      "base:allocation";
	struct wire_go asked;
	struct wire_meta queried;

	(void)state;
	for (uint32_t i = 0; i < sizeof(go) - 1; i++) {
		uint8_t *cut = malloc(i + 1);

		memcpy(cut, go, i);
		assert_false(wire_get_go(cut, i, &asked));
		free(cut);
	}
	assert_true(wire_get_go(go, sizeof(go) - 1, &asked));
	assert_true(asked.wants_name && asked.wants_block_size);
	for (uint32_t i = 0; i < sizeof(meta) - 1; i++) {
		uint8_t *cut = malloc(i + 1);

		memcpy(cut, meta, i);
		assert_false(wire_get_meta(WIRE_OPT_SET_META_CONTEXT, cut, i,
					   &queried));
		free(cut);
	}
	assert_true(wire_get_meta(WIRE_OPT_SET_META_CONTEXT, meta,
				  sizeof(meta) - 1, &queried));
	assert_true(queried.wants_allocation);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_request_as_in_the_protocol),
		cmocka_unit_test(test_wire_replies_are_what_a_client_reads),
		cmocka_unit_test(test_wire_check_flags_by_command),
		cmocka_unit_test(test_wire_check_ranges),
		cmocka_unit_test(test_wire_errors),
		cmocka_unit_test(test_wire_target),
		cmocka_unit_test(test_wire_options_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
