/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-nbd-client-hostile.c - NBD servers that lie (E15)
 *
 * Whatever they say, the connection ends with a line that says why, nothing is
 * written where it does not belong, and what was asked for is asked for again.
 */
#include "nbd-stub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK		4096U
#define SECOND_NS	UINT64_C(1000000000)

static uint8_t memory[4 * BLOCK], data[64 * BLOCK];

static struct client_config plain(void)
{
	return (struct client_config){
		.reconnect_ns = 30 * SECOND_NS,
		.connections = 1,
	};
}

/* ---- in the handshake ---- */

struct wrong {
	const char *bytes;
	size_t count;
	const char *why;
};

#define WRONG(text, why) \
	{ \
		text, sizeof(text) - 1, why \
	}
#define GREETING "NBDMAGICIHAVEOPT\0\3"
#define REPLY "\0\3\xe8\x89\4\x55\x65\xa9"
#define STRUCTURED GREETING REPLY "\0\0\0\x8\0\0\0\1\0\0\0\0"
#define GO STRUCTURED REPLY "\0\0\0\7"

static const struct wrong handshakes[] = {
	WRONG("NBDMAGICIHAVEOPTX\0", "no NBD server"),
	WRONG("SSH-2.0-OpenSSH_9.2p1\r\n", "no NBD server"),
	WRONG(GREETING "nonsensenonsensenons", "no answer"),
	/* To another option. */
	WRONG(GREETING REPLY "\0\0\0\x7\0\0\0\1\0\0\0\0", "no answer"),
	WRONG(GREETING REPLY "\0\0\0\x8\0\0\0\2\0\0\0\0", "nonsense"),
	WRONG(GREETING REPLY "\0\0\0\x8\x80\0\0\5\0\0\0\0", "TLS"),
	WRONG(GREETING REPLY "\0\0\0\x8\0\0\0\1\xff\xff\xff\xff", "too much"),
	WRONG(GO "\x80\0\0\6\0\0\0\4none", "no such export: none"),
	WRONG(GO "\x80\0\0\1\0\0\0\0", "too old"),
	WRONG(GO "\0\0\0\1\0\0\0\0", "how large"),
	WRONG(GO "\0\0\0\3\0\0\0\1\0", "wrong length"),
	WRONG(GO "\0\0\0\3\0\0\0\3\0\0\0", "wrong length"),
	/* 0 bytes, and 2^63. */
	WRONG(GO "\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\1" REPLY
		 "\0\0\0\7\0\0\0\1\0\0\0\0",
	      "can't be used"),
	WRONG(GO "\0\0\0\3\0\0\0\x0c\0\0\x80\0\0\0\0\0\0\0\0\1" REPLY
		 "\0\0\0\7\0\0\0\1\0\0\0\0",
	      "can't be used"),
	/* Blocks of 3 bytes. */
	WRONG(GO
	      "\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\1\0\0\0\0\1" REPLY
	      "\0\0\0\7\0\0\0\3\0\0\0\x0e\0\3\0\0\0\3\0\0\x10\0\0\1\0\0" REPLY
	      "\0\0\0\7\0\0\0\1\0\0\0\0",
	      "make no sense"),
	/* At most 1 byte. */
	WRONG(GO
	      "\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\1\0\0\0\0\1" REPLY
	      "\0\0\0\7\0\0\0\3\0\0\0\x0e\0\3\0\0\0\1\0\0\x10\0\0\0\0\1" REPLY
	      "\0\0\0\7\0\0\0\1\0\0\0\0",
	      "make no sense"),
};

static void test_hostile_handshakes(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < sizeof(handshakes) / sizeof(*handshakes);
	     i++) {
		const struct wrong *wrong = &handshakes[i];
		struct client_config config = plain();
		struct stub stub;

		stub_create(&stub, &config);
		/* Byte by byte. */
		for (size_t b = 0; b < wrong->count && stub.result == 1; b++)
			stub_send(&stub, wrong->bytes + b, 1);
		stub_await_end(&stub);
		assert_int_equal(stub.result, -ECONNREFUSED);
		if (!strstr(stub.error.text, wrong->why))
			fail_msg("%u: '%s' instead of '%s'", i, stub.error.text,
				 wrong->why);
		stub_destroy(&stub);
	}
}

/* Information without an end. */
static void test_hostile_handshake_that_never_ends(void **state)
{
	static const char info[] = REPLY "\0\0\0\7\0\0\0\3\0\0\0\2\0\x63";
	struct client_config config = plain();
	struct stub stub;

	(void)state;
	stub_create(&stub, &config);
	stub_send(&stub, STRUCTURED, sizeof(STRUCTURED) - 1);
	for (unsigned int i = 0; i < 100 && stub.result == 1; i++)
		stub_send(&stub, info, sizeof(info) - 1);
	assert_int_equal(stub.result, -ECONNREFUSED);
	assert_non_null(strstr(stub.error.text, "too much"));
	stub_destroy(&stub);
}

/* ---- in the replies ---- */

/* A read and a write are asked for, then this is said; in it 'R' and 'W' stand
 * for the cookies. */
static const struct wrong replies[] = {
	WRONG("what is this, and why is it here?", "no reply"),
	/* Nobody asked. */
	WRONG("\x67\x44\x66\x98\0\0\0\0\0\0\0\1\0\0\0\xff", "not asked"),
	WRONG("\x67\x44\x66\x98\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
	      "not asked"),
	/* Twice. */
	WRONG("\x67\x44\x66\x98\0\0\0\0W\x67\x44\x66\x98\0\0\0\0W",
	      "not asked"),
	WRONG("\x67\x44\x66\x98\0\0\0\0R", "without structured"),
	/* Less than was asked for. */
	WRONG("\x66\x8e\x33\xef\0\1\0\0R\0\0\0\0", "with 0"),
	WRONG("\x66\x8e\x33\xef\0\1\0\2R\0\0\0\x0c\0\0\0\0\0\0\x10\0\0\0\2\0",
	      "with 512"),
	/* More, before it, behind it, for a write. */
	WRONG("\x66\x8e\x33\xef\0\1\0\1R\0\0\x10\x09\0\0\0\0\0\0\x10\0",
	      "not asked"),
	WRONG("\x66\x8e\x33\xef\0\1\0\1R\0\0\x10\x08\0\0\0\0\0\0\x0f\xff",
	      "not asked"),
	WRONG("\x66\x8e\x33\xef\0\1\0\1R\0\0\0\x09\0\0\0\0\0\0\x20\0",
	      "not asked"),
	WRONG("\x66\x8e\x33\xef\0\1\0\1W\0\0\0\x09\0\0\0\0\0\0\x20\0",
	      "not asked"),
	WRONG("\x66\x8e\x33\xef\0\1\0\2R\0\0\0\x0c\0\0\0\0\0\0\x10\0\xff\xff\xff\xff",
	      "not asked"),
	/* Lengths that the type has not. */
	WRONG("\x66\x8e\x33\xef\0\1\0\1R\xff\xff\xff\xff", "chunk of type 1"),
	WRONG("\x66\x8e\x33\xef\0\1\0\1R\0\0\0\7", "chunk of type 1"),
	WRONG("\x66\x8e\x33\xef\0\1\0\2R\0\0\0\x0d", "chunk of type 2"),
	WRONG("\x66\x8e\x33\xef\0\1\x80\1R\0\0\0\5", "chunk of type 32769"),
	WRONG("\x66\x8e\x33\xef\0\1\x80\1R\x7f\0\0\0", "chunk of type 32769"),
	WRONG("\x66\x8e\x33\xef\0\0\0\0R\0\0\0\0", "chunk of type 0"),
	WRONG("\x66\x8e\x33\xef\0\1\0\5R\0\0\0\x0c", "chunk of type 5"),
	WRONG("\x66\x8e\x33\xef\0\1\x12\x34R\0\0\0\0", "chunk of type 4660"),
};

static size_t fill_in(uint8_t *to, const struct wrong *wrong, uint64_t read,
		      uint64_t write)
{
	size_t bytes = 0;

	for (size_t i = 0; i < wrong->count; i++) {
		const uint64_t cookie = wrong->bytes[i] == 'R' ? read : write;

		if (wrong->bytes[i] != 'R' && wrong->bytes[i] != 'W') {
			to[bytes++] = (uint8_t)wrong->bytes[i];
			continue;
		}
		for (unsigned int b = 0; b < 8; b++)
			to[bytes++] = (uint8_t)(cookie >> (56 - 8 * b));
	}
	return bytes;
}

static void test_hostile_replies(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		struct client_config config = plain();
		struct stub_request read, write;
		struct wire_request one, two;
		uint8_t out[256];
		struct stub stub;
		size_t bytes;

		config.unflushed = CLIENT_UNFLUSHED_KEPT;
		stub_open(&stub, &config);
		memset(memory, 0xcd, sizeof(memory));
		stub_submit(&stub, &read, BLOCK_READ, BLOCK, memory + BLOCK,
			    BLOCK);
		stub_submit(&stub, &write, BLOCK_WRITE, 0, data, BLOCK);
		one = stub_request(&stub, data, BLOCK);
		two = stub_request(&stub, data, BLOCK);
		bytes = fill_in(out, &replies[i], one.cookie, two.cookie);
		for (size_t b = 0; b < bytes && stub.reports == 0; b++)
			stub_send(&stub, out + b, 1);
		stub_await_end(&stub);
		assert_int_equal(stub.reports, 1);
		if (!strstr(stub.report.text, replies[i].why))
			fail_msg("%u: '%s' instead of '%s'", i,
				 stub.report.text, replies[i].why);
		for (unsigned int b = 0; b < BLOCK; b++) {
			assert_int_equal(memory[b], 0xcd);
			assert_int_equal(memory[2 * BLOCK + b], 0xcd);
		}
		assert_false(read.done);
		/* An honest one. */
		assert_int_equal(stub_connect(&stub), 0);
		stub_greet(&stub);
		one = stub_request(&stub, NULL, 0);
		assert_int_equal(one.command, WIRE_READ);
		stub_data(&stub, one.cookie, BLOCK, data, BLOCK, true);
		stub_await(&stub, &read, 0);
		if (!write.done) {
			two = stub_request(&stub, data, BLOCK);
			stub_done(&stub, two.cookie);
		}
		stub_await(&stub, &write, 0);
		stub_destroy(&stub);
	}
}

/* An answer to a request of the connection before. */
static void test_hostile_answer_of_yesterday(void **state)
{
	struct client_config config = plain();
	struct stub_request write;
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	stub_submit(&stub, &write, BLOCK_WRITE, 0, data, BLOCK);
	asked = stub_request(&stub, data, BLOCK);
	stub_cut(&stub);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	(void)stub_request(&stub, data, BLOCK);
	stub_done(&stub, asked.cookie);
	stub_await_end(&stub);
	assert_false(write.done);
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_done(&stub, stub_request(&stub, data, BLOCK).cookie);
	stub_await(&stub, &write, 0);
	stub_destroy(&stub);
}

/* An answer to a request that the server has not got whole. */
static void test_hostile_answer_before_the_question(void **state)
{
	static uint8_t large[8 << 20];
	struct client_config config = plain();
	struct stub_request write;
	uint8_t head[WIRE_REQUEST_BYTES];
	struct wire_request asked;
	struct stub stub;

	(void)state;
	stub_open(&stub, &config);
	stub_submit(&stub, &write, BLOCK_WRITE, 0, large, sizeof(large));
	stub_receive(&stub, head, sizeof(head));
	assert_true(wire_get_request(head, &asked));
	stub_done(&stub, asked.cookie);
	stub_await_end(&stub);
	assert_false(write.done);
	assert_non_null(strstr(stub.report.text, "not asked"));
	assert_int_equal(stub_connect(&stub), 0);
	stub_greet(&stub);
	stub_done(&stub, stub_request(&stub, large, sizeof(large)).cookie);
	stub_await(&stub, &write, 0);
	stub_destroy(&stub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_handshakes),
		cmocka_unit_test(test_hostile_handshake_that_never_ends),
		cmocka_unit_test(test_hostile_replies),
		cmocka_unit_test(test_hostile_answer_of_yesterday),
		cmocka_unit_test(test_hostile_answer_before_the_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
