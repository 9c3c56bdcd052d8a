/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-nbd-client-hostile.c - NBD servers that lie (E15)
 *
 * Whatever they say, the connection ends with a line that says why, nothing is
 * written where it does not belong, and what was asked for is asked for again.
 */
#include "nbd-fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint8_t memory[4 * BLOCK], data[64 * BLOCK];

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
		struct client_config config = fake_config();
		struct fake fake;

		fake_create(&fake, &config);
		/* Byte by byte. */
		for (size_t b = 0; b < wrong->count && fake.result == 1; b++)
			fake_send(&fake, wrong->bytes + b, 1);
		fake_await_end(&fake);
		assert_int_equal(fake.result, -ECONNREFUSED);
		if (!strstr(fake.error.text, wrong->why))
			fail_msg("%u: '%s' instead of '%s'", i, fake.error.text,
				 wrong->why);
		fake_destroy(&fake);
	}
}

/* Information without an end. */
static void test_hostile_handshake_that_never_ends(void **state)
{
	static const char info[] = REPLY "\0\0\0\7\0\0\0\3\0\0\0\2\0\x63";
	struct client_config config = fake_config();
	struct fake fake;

	(void)state;
	fake_create(&fake, &config);
	fake_send(&fake, STRUCTURED, sizeof(STRUCTURED) - 1);
	for (unsigned int i = 0; i < 100 && fake.result == 1; i++)
		fake_send(&fake, info, sizeof(info) - 1);
	assert_int_equal(fake.result, -ECONNREFUSED);
	assert_non_null(strstr(fake.error.text, "too much"));
	fake_destroy(&fake);
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
		struct client_config config = fake_config();
		struct fake_request read, write;
		struct wire_request one, two;
		uint8_t out[256];
		struct fake fake;
		size_t bytes;

		config.unflushed = CLIENT_UNFLUSHED_KEPT;
		fake_open(&fake, &config);
		memset(memory, 0xcd, sizeof(memory));
		fake_submit(&fake, &read, BLOCK_READ, BLOCK, memory + BLOCK,
			    BLOCK);
		fake_submit(&fake, &write, BLOCK_WRITE, 0, data, BLOCK);
		one = fake_request(&fake, data, BLOCK);
		two = fake_request(&fake, data, BLOCK);
		bytes = fill_in(out, &replies[i], one.cookie, two.cookie);
		for (size_t b = 0; b < bytes && fake.reports == 0; b++)
			fake_send(&fake, out + b, 1);
		fake_await_end(&fake);
		assert_int_equal(fake.reports, 1);
		if (!strstr(fake.report.text, replies[i].why))
			fail_msg("%u: '%s' instead of '%s'", i,
				 fake.report.text, replies[i].why);
		for (unsigned int b = 0; b < BLOCK; b++) {
			assert_int_equal(memory[b], 0xcd);
			assert_int_equal(memory[2 * BLOCK + b], 0xcd);
		}
		assert_false(read.done);
		/* An honest one. */
		assert_int_equal(fake_connect(&fake), 0);
		fake_greet(&fake);
		one = fake_request(&fake, NULL, 0);
		assert_int_equal(one.command, WIRE_READ);
		fake_data(&fake, one.cookie, BLOCK, data, BLOCK, true);
		fake_await(&fake, &read, 0);
		if (!write.done) {
			two = fake_request(&fake, data, BLOCK);
			fake_done(&fake, two.cookie);
		}
		fake_await(&fake, &write, 0);
		fake_destroy(&fake);
	}
}

/* An answer to a request of the connection before. */
static void test_hostile_answer_of_yesterday(void **state)
{
	struct client_config config = fake_config();
	struct fake_request write;
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	fake_submit(&fake, &write, BLOCK_WRITE, 0, data, BLOCK);
	asked = fake_request(&fake, data, BLOCK);
	fake_cut(&fake);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	(void)fake_request(&fake, data, BLOCK);
	fake_done(&fake, asked.cookie);
	fake_await_end(&fake);
	assert_false(write.done);
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_done(&fake, fake_request(&fake, data, BLOCK).cookie);
	fake_await(&fake, &write, 0);
	fake_destroy(&fake);
}

/* An answer to a request that the server has not got whole. */
static void test_hostile_answer_before_the_question(void **state)
{
	static uint8_t large[8 << 20];
	struct client_config config = fake_config();
	struct fake_request write;
	uint8_t head[WIRE_REQUEST_BYTES];
	struct wire_request asked;
	struct fake fake;

	(void)state;
	fake_open(&fake, &config);
	fake_submit(&fake, &write, BLOCK_WRITE, 0, large, sizeof(large));
	fake_receive(&fake, head, sizeof(head));
	assert_true(wire_get_request(head, &asked));
	fake_done(&fake, asked.cookie);
	fake_await_end(&fake);
	assert_false(write.done);
	assert_non_null(strstr(fake.report.text, "not asked"));
	assert_int_equal(fake_connect(&fake), 0);
	fake_greet(&fake);
	fake_done(&fake, fake_request(&fake, large, sizeof(large)).cookie);
	fake_await(&fake, &write, 0);
	fake_destroy(&fake);
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
