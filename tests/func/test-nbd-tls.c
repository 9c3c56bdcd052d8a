/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-nbd-tls.c - NBD over TLS, and clients that mean it no good (E15)
 *
 * Server and clients are in one thread; certificates are made by
 * certificates.sh.
 */
#include "nbd-peer.h"

#include "nbd/client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX	200000U
#define MANY_BYTES	(UINT32_C(256) << 10)
#define PLACES		16U

static const char *script;

static const char shared_text[] = "# of a test\n"
				  "alice:00112233445566778899aabbccddeeff\n"
				  "bob:ffeeddccbbaa99887766554433221100\n";
static const char other_text[] = "alice:0102030405060708\n";

struct rig {
	struct peer_world world;
	char directory[32];
	struct keys *keys;		/* the server's */
	struct keys *mine;		/* the client's */
};

/* One TLS client. */
struct client_end {
	struct rig *rig;
	gnutls_session_t tls;
	int fd;
	bool dribbles;
};

/* ---- keys ---- */

static void run(const struct rig *rig, const char *what)
{
	char command[512];

	snprintf(command, sizeof(command), "cd %s && . %s && %s",
		 rig->directory, script, what);
	assert_int_equal(setenv("COMMAND", command, 1), 0);
	assert_int_equal(system("bash -ec \"$COMMAND\""), 0);
}

static void read_text(const struct rig *rig, const char *name,
		      struct tls_text *text)
{
	char path[96];
	struct error error;

	snprintf(path, sizeof(path), "%s/%s", rig->directory, name);
	assert_int_equal(tls_read(path, text, &error), 0);
	text->path = "a file";
}

static struct keys *certificates(const struct rig *rig, enum keys_side side,
				 const char *cert, const char *crl)
{
	struct tls_certificates from = {.crl = {NULL, NULL, 0}};
	struct keys *keys = NULL;
	struct error error;
	char name[64];

	snprintf(name, sizeof(name), "%s.pem", cert);
	read_text(rig, name, &from.cert);
	snprintf(name, sizeof(name), "%s.key", cert);
	read_text(rig, name, &from.key);
	read_text(rig, "ca.pem", &from.ca);
	if (crl)
		read_text(rig, crl, &from.crl);
	assert_int_equal(keys_from_certificates(&from, side, &keys, &error), 0);
	tls_forget(&from.cert);
	tls_forget(&from.key);
	tls_forget(&from.ca);
	tls_forget(&from.crl);
	return keys;
}

static int share(const char *text, size_t length, enum keys_side side,
		 const char *user, struct keys **ret_keys, struct error *reterr)
{
	const struct tls_text from = {"psk", (char *)(uintptr_t)text, length};

	return keys_from_shared(&from, side, user, ret_keys, reterr);
}

static struct keys *shared(const char *text, enum keys_side side,
			   const char *user)
{
	struct keys *keys = NULL;
	struct error error;

	assert_int_equal(share(text, strlen(text), side, user, &keys, &error),
			 0);
	return keys;
}

static int setup_shared(void **state)
{
	static struct rig rig;

	memset(&rig, 0, sizeof(rig));
	rig.keys = shared(shared_text, KEYS_SERVER, NULL);
	rig.mine = shared(shared_text, KEYS_CLIENT, "bob");
	peer_create_secure(&rig.world, PLACES, rig.keys, true);
	*state = &rig;
	return 0;
}

static int setup_certificates(void **state)
{
	static struct rig rig;

	memset(&rig, 0, sizeof(rig));
	strcpy(rig.directory, "/tmp/test-nbd.XXXXXX");
	assert_non_null(mkdtemp(rig.directory));
	run(&rig,
	    "cert_authority ca && cert_server ca server && cert_client ca client one.example");
	rig.keys = certificates(&rig, KEYS_SERVER, "server", NULL);
	rig.mine = certificates(&rig, KEYS_CLIENT, "client", NULL);
	peer_create_secure(&rig.world, PLACES, rig.keys, true);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	char command[64];

	peer_destroy(&rig->world);
	keys_drop(rig->keys);
	keys_drop(rig->mine);
	if (rig->directory[0]) {
		snprintf(command, sizeof(command), "rm -r %s", rig->directory);
		assert_int_equal(system(command), 0);
	}
	return 0;
}

/* ---- a client ---- */

static ssize_t pull(gnutls_transport_ptr_t arg, void *to, size_t bytes)
{
	struct client_end *end = arg;

	return recv(end->fd, to, bytes, MSG_DONTWAIT);
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *from, size_t bytes)
{
	struct client_end *end = arg;

	if (end->dribbles)
		bytes = 1;
	peer_turns(&end->rig->world, end->dribbles);
	return send(end->fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void begin(struct client_end *end, struct keys *mine)
{
	assert_int_equal(keys_session(mine, NULL, &end->tls), 0);
	gnutls_transport_set_ptr(end->tls, end);
	gnutls_transport_set_pull_function(end->tls, pull);
	gnutls_transport_set_push_function(end->tls, push);
}

/* TLS is asked for. */
static struct client_end asked(struct rig *rig, int fd)
{
	struct client_end end = {.rig = rig, .fd = fd};
	uint32_t bytes;

	peer_greet(&rig->world, end.fd, 3);
	peer_option(&rig->world, end.fd, WIRE_OPT_STARTTLS, NULL, 0);
	assert_int_equal(peer_reply(&rig->world, end.fd, NULL, 0, &bytes),
			 WIRE_REP_ACK);
	return end;
}

static struct client_end connected(struct rig *rig)
{
	return asked(rig, peer_connect(&rig->world));
}

static int shake(struct client_end *end)
{
	int code = GNUTLS_E_AGAIN;

	for (unsigned int i = 0; i < TURNS_MAX && code == GNUTLS_E_AGAIN; i++) {
		code = gnutls_handshake(end->tls);
		peer_turn(&end->rig->world);
	}
	return code;
}

static void say(struct client_end *end, const void *from, size_t bytes)
{
	const uint8_t *at = from;

	for (unsigned int i = 0; i < TURNS_MAX && bytes > 0; i++) {
		const ssize_t said = gnutls_record_send(end->tls, at, bytes);

		if (said > 0) {
			at += said;
			bytes -= (size_t)said;
		} else {
			assert_int_equal(said, GNUTLS_E_AGAIN);
		}
		peer_turn(&end->rig->world);
	}
	assert_int_equal(bytes, 0);
}

/* Returns 0, or what the server did instead. */
static ssize_t hear(struct client_end *end, void *to, size_t bytes)
{
	uint8_t *at = to;

	for (unsigned int i = 0; i < TURNS_MAX && bytes > 0; i++) {
		const ssize_t heard = gnutls_record_recv(end->tls, at, bytes);

		if (heard > 0) {
			at += heard;
			bytes -= (size_t)heard;
		} else if (heard != GNUTLS_E_AGAIN) {
			return heard == 0 ? GNUTLS_E_PREMATURE_TERMINATION :
					    heard;
		}
		peer_turn(&end->rig->world);
	}
	return bytes == 0 ? 0 : GNUTLS_E_AGAIN;
}

static void leave(struct client_end *end)
{
	gnutls_deinit(end->tls);
	close(end->fd);
	peer_await_sessions(&end->rig->world, 0);
}

/* An option without data, and the type of what is answered. */
static uint32_t ask(struct client_end *end, uint32_t option)
{
	uint8_t head[WIRE_OPTION_BYTES] = "IHAVEOPT", reply[WIRE_REPLY_BYTES];
	uint8_t rest[256];
	uint32_t bytes;

	head[11] = (uint8_t)option;
	say(end, head, sizeof(head));
	assert_int_equal(hear(end, reply, sizeof(reply)), 0);
	bytes = (uint32_t)reply[18] << 8 | reply[19];
	assert_true(bytes <= sizeof(rest));
	assert_int_equal(hear(end, rest, bytes), 0);
	return (uint32_t)reply[12] << 24 | (uint32_t)reply[14] << 8 | reply[15];
}

/* By NBD_OPT_EXPORT_NAME. */
static void become_session(struct client_end *end)
{
	uint8_t head[WIRE_OPTION_BYTES] = "IHAVEOPT", export[WIRE_EXPORT_BYTES];

	head[11] = WIRE_OPT_EXPORT_NAME;
	say(end, head, sizeof(head));
	assert_int_equal(hear(end, export, sizeof(export)), 0);
	peer_await_sessions(&end->rig->world, 1);
}

static void request(struct client_end *end, uint16_t command, uint64_t cookie,
		    uint64_t offset_bytes, uint32_t length_bytes)
{
	const struct wire_request wire = {
		.command = command,
		.cookie = cookie,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
	};
	uint8_t head[WIRE_REQUEST_BYTES];

	wire_put_request(head, &wire);
	say(end, head, sizeof(head));
}

static void expect(struct client_end *end, uint64_t cookie)
{
	uint8_t head[WIRE_SIMPLE_BYTES];
	struct wire_simple simple;

	assert_int_equal(hear(end, head, sizeof(head)), 0);
	assert_true(wire_get_simple(head, &simple));
	assert_true(simple.cookie == cookie);
	assert_int_equal(simple.error, 0);
}

/* What is written is there, in both directions more than any buffer. */
static void write_and_read(struct client_end *end)
{
	uint8_t *bytes = malloc(MANY_BYTES), *back = malloc(MANY_BYTES);

	assert_non_null(bytes);
	assert_non_null(back);
	for (uint32_t i = 0; i < MANY_BYTES; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	request(end, WIRE_WRITE, 1, 4096, MANY_BYTES);
	say(end, bytes, MANY_BYTES);
	expect(end, 1);
	for (uint64_t i = 0; i < 20; i++)
		request(end, WIRE_READ, 2 + i, 4096, MANY_BYTES);
	for (uint64_t i = 0; i < 20; i++) {
		memset(back, 0, MANY_BYTES);
		expect(end, 2 + i);
		assert_int_equal(hear(end, back, MANY_BYTES), 0);
		assert_memory_equal(bytes, back, MANY_BYTES);
	}
	free(bytes);
	free(back);
}

/* ---- tests ---- */

static void test_tls_carries_requests(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);

	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	write_and_read(&end);
	leave(&end);
	assert_int_equal(rig->world.reports, 0);
}

/* Without AES, which processors have, it is a sixth as fast (E15). */
static void test_tls_is_by_aes(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);
	gnutls_cipher_algorithm_t cipher;

	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	cipher = gnutls_cipher_get(end.tls);
	assert_true(cipher == GNUTLS_CIPHER_AES_128_GCM ||
		    cipher == GNUTLS_CIPHER_AES_256_GCM);
	become_session(&end);
	leave(&end);
}

static void test_tls_byte_by_byte(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);

	begin(&end, rig->mine);
	end.dribbles = true;
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	request(&end, WIRE_FLUSH, 5, 0, 0);
	expect(&end, 5);
	leave(&end);
}

/* Many requests in one record: all are answered although nothing more comes
 * through the socket. */
static void test_tls_a_record_of_many_requests(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);
	uint8_t heads[500 * WIRE_REQUEST_BYTES];

	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	for (uint64_t i = 0; i < 500; i++) {
		const struct wire_request wire = {
			.command = WIRE_FLUSH,
			.cookie = i,
		};

		wire_put_request(heads + i * WIRE_REQUEST_BYTES, &wire);
	}
	say(&end, heads, sizeof(heads));
	for (uint64_t i = 0; i < 500; i++)
		expect(&end, i);
	leave(&end);
}

static void test_tls_options_wait_for_it(void **state)
{
	static const uint32_t early[] = {
		WIRE_OPT_LIST,
		WIRE_OPT_STRUCTURED_REPLY,
		WIRE_OPT_INFO,
		WIRE_OPT_GO,
		WIRE_OPT_LIST_META_CONTEXT,
		WIRE_OPT_SET_META_CONTEXT,
		77,
	};
	struct rig *rig = *state;
	struct peer_world *world = &rig->world;
	int fd = peer_connect(world);
	uint32_t bytes;

	peer_greet(world, fd, 3);
	for (size_t i = 0; i < sizeof(early) / sizeof(*early); i++) {
		peer_option(world, fd, early[i], NULL, 0);
		assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes),
				 WIRE_REP_ERR_TLS_REQD);
	}
	peer_option(world, fd, WIRE_OPT_STARTTLS, "x", 1);
	assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes),
			 WIRE_REP_ERR_INVALID);
	peer_option(world, fd, WIRE_OPT_ABORT, NULL, 0);
	assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes), WIRE_REP_ACK);
	peer_await_end(world, fd);
	close(fd);
}

static void test_tls_export_name_without_it_ends(void **state)
{
	struct rig *rig = *state;
	int fd = peer_connect(&rig->world);

	peer_greet(&rig->world, fd, 3);
	peer_option(&rig->world, fd, WIRE_OPT_EXPORT_NAME, "vd0", 3);
	peer_await_end(&rig->world, fd);
	close(fd);
	assert_int_equal(rig->world.reports, 1);
}

/* Structured replies are agreed upon anew, or not at all; TLS is not begun
 * twice. */
static void test_tls_forgets_what_was_said_before(void **state)
{
	struct rig *rig = *state;
	const struct peer_world world = rig->world;
	struct client_end end = {.rig = rig};
	uint32_t bytes;

	peer_create_secure(&rig->world, 4, rig->keys, false);
	end.fd = peer_connect(&rig->world);
	peer_greet(&rig->world, end.fd, 3);
	peer_option(&rig->world, end.fd, WIRE_OPT_STRUCTURED_REPLY, NULL, 0);
	assert_int_equal(peer_reply(&rig->world, end.fd, NULL, 0, &bytes),
			 WIRE_REP_ACK);
	peer_option(&rig->world, end.fd, WIRE_OPT_STARTTLS, NULL, 0);
	assert_int_equal(peer_reply(&rig->world, end.fd, NULL, 0, &bytes),
			 WIRE_REP_ACK);
	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	assert_int_equal(ask(&end, WIRE_OPT_STARTTLS), WIRE_REP_ERR_INVALID);
	become_session(&end);
	request(&end, WIRE_FLUSH, 8, 0, 0);
	expect(&end, 8);	/* a simple reply */
	leave(&end);
	peer_destroy(&rig->world);
	rig->world = world;
}

/* What follows STARTTLS in the clear is no TLS: nobody knows who said it. */
static void test_tls_refuses_what_was_slipped_in(void **state)
{
	struct rig *rig = *state;
	struct peer_world *world = &rig->world;
	uint8_t both[2 * WIRE_OPTION_BYTES] = "IHAVEOPT";
	int fd = peer_connect(world);

	both[11] = WIRE_OPT_STARTTLS;
	memcpy(both + WIRE_OPTION_BYTES, "IHAVEOPT", 8);
	both[WIRE_OPTION_BYTES + 11] = WIRE_OPT_LIST;
	peer_greet(world, fd, 3);
	peer_send(world, fd, both, sizeof(both));
	peer_await_end(world, fd);
	close(fd);
	assert_int_equal(world->reports, 1);
	assert_non_null(strstr(world->report.text, "TLS: "));
}

static void test_tls_garbage_ends_it(void **state)
{
	struct rig *rig = *state;
	uint8_t record[3000];

	memset(record, 'x', sizeof(record));
	for (unsigned int i = 0; i < 4; i++) {
		struct client_end end = connected(rig);

		memcpy(record,
		       i < 2 ? "\x16\x03\x03\xff\xff" : "\x17\x03\x03\x00\x10",
		       5);
		if (i % 2) {	/* within a session */
			begin(&end, rig->mine);
			assert_int_equal(shake(&end), 0);
			become_session(&end);
		}
		peer_send(&rig->world, end.fd, record, sizeof(record));
		peer_await_end(&rig->world, end.fd);
		if (i % 2)
			gnutls_deinit(end.tls);
		close(end.fd);
		peer_await_sessions(&rig->world, 0);
	}
}

/* Who is stalled hurts nobody else. */
static void test_tls_stalled_ones_are_passed_by(void **state)
{
	struct rig *rig = *state;
	struct client_end stalled[8], end;

	for (unsigned int i = 0; i < 8; i++)
		stalled[i] = connected(rig);
	end = connected(rig);
	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	write_and_read(&end);
	leave(&end);
	for (unsigned int i = 0; i < 8; i++)
		close(stalled[i].fd);
}

/* All places are taken by those who asked for TLS and say nothing more. */
static void test_tls_stalled_ones_make_room(void **state)
{
	struct rig *rig = *state;
	struct client_end stalled[PLACES], end;
	char byte;
	int fd;

	for (unsigned int i = 0; i < PLACES; i++)
		stalled[i] = connected(rig);
	fd = peer_connect(&rig->world);
	/* Real time passes: the server's limit. */
	while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1)
		assert_int_equal(loop_run_once(rig->world.loop,
					       loop_clock_ns() + 10000000),
				 0);
	end = asked(rig, fd);
	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	leave(&end);
	for (unsigned int i = 0; i < PLACES; i++)
		close(stalled[i].fd);
}

/* What they ask for is work: in one round it is done for one of them, and all
 * get their turn. */
static void test_tls_handshakes_take_turns(void **state)
{
	struct rig *rig = *state;
	struct client_end ends[PLACES];
	unsigned int answered, before = 0;

	for (unsigned int i = 0; i < PLACES; i++)
		ends[i] = connected(rig);
	for (unsigned int i = 0; i < PLACES; i++) {
		begin(&ends[i], rig->mine);
		assert_int_equal(gnutls_handshake(ends[i].tls), GNUTLS_E_AGAIN);
	}
	for (unsigned int turn = 0; turn < TURNS_MAX; turn++) {
		char byte;

		peer_turn(&rig->world);
		answered = 0;
		for (unsigned int i = 0; i < PLACES; i++)
			answered += recv(ends[i].fd, &byte, 1,
					 MSG_DONTWAIT | MSG_PEEK) == 1;
		assert_true(answered <= before + 1);
		before = answered;
		if (answered == PLACES)
			break;
	}
	assert_int_equal(before, PLACES);
	for (unsigned int i = 0; i < PLACES; i++) {
		assert_int_equal(shake(&ends[i]), 0);
		become_session(&ends[i]);
		leave(&ends[i]);
	}
}

/* Thousands come, say half of what begins TLS, and go. */
static void test_tls_thousands_come_and_go(void **state)
{
	static const uint8_t half[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};
	struct rig *rig = *state;
	struct client_end end;

	for (unsigned int i = 0; i < 3000; i++) {
		end = connected(rig);
		peer_send(&rig->world, end.fd, half, i % sizeof(half));
		close(end.fd);
	}
	end = connected(rig);
	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	write_and_read(&end);
	leave(&end);
}

/* In TLS 1.2 a client may ask to begin anew. */
static void test_tls_does_not_begin_anew(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);
	char buffer[64];

	begin(&end, rig->mine);
	assert_int_equal(gnutls_priority_set_direct(
				 end.tls,
				 "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ECDHE-PSK",
				 NULL),
			 0);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	(void)gnutls_handshake(end.tls);
	assert_true(hear(&end, buffer, sizeof(buffer)) != 0);
	leave(&end);
}

/* ---- whose key it is ---- */

static void assert_refused(struct rig *rig, struct keys *mine, const char *why)
{
	struct client_end end = connected(rig);
	char byte;

	begin(&end, mine);
	/* In TLS 1.3 a client is through before it is looked at. */
	if (shake(&end) == 0)
		assert_true(hear(&end, &byte, 1) != 0);
	leave(&end);
	assert_int_equal(rig->world.reports, 1);
	if (!strstr(rig->world.report.text, why))
		fail_msg("%s", rig->world.report.text);
	keys_drop(mine);
}

static void test_tls_refuses_another_key(void **state)
{
	assert_refused(*state, shared(other_text, KEYS_CLIENT, "alice"),
		       "TLS: ");
}

static void test_tls_refuses_an_unknown_name(void **state)
{
	assert_refused(*state, shared("eve:00\n", KEYS_CLIENT, "eve"), "TLS: ");
}

static void test_tls_texts_that_are_no_keys(void **state)
{
	static const char *const texts[] = {
		"",	 "#\n",	       "alice\n",      "alice:\n", "alice:0\n",
		":00\n", "alice:0g\n", "a:00\na:01\n", "a:00 \n",  "a:00\r\n",
	};
	struct error error;
	struct keys *keys;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(share(texts[i], strlen(texts[i]), KEYS_SERVER,
				       NULL, &keys, &error),
				 -EINVAL);
		assert_non_null(strstr(error.text, "psk: "));
	}
	assert_int_equal(share("a:00\n", 5, KEYS_CLIENT, "b", &keys, &error),
			 -EINVAL);
}

static void test_tls_refuses_another_authority(void **state)
{
	struct rig *rig = *state;
	struct keys *mine;

	run(rig,
	    "mv ca.pem was.pem && mv ca.key was.key && "
	    "cert_authority ca && cert_client ca evil one.example && "
	    "mv was.pem ca.pem");
	mine = certificates(rig, KEYS_CLIENT, "evil", NULL);
	assert_refused(rig, mine, "is not of the authority");
}

static void test_tls_refuses_the_expired(void **state)
{
	struct rig *rig = *state;

	run(rig,
	    "cert_make ca old tls_www_client signing_key "
	    "'activation_date = \"2001-01-01\"' "
	    "'expiration_date = \"2002-01-01\"' 'cn = old'");
	assert_refused(rig, certificates(rig, KEYS_CLIENT, "old", NULL),
		       "has expired");
}

static void test_tls_refuses_a_server_as_client(void **state)
{
	struct rig *rig = *state;

	assert_refused(rig, certificates(rig, KEYS_CLIENT, "server", NULL),
		       "for another purpose");
}

/* Those who are there stay; the next one is looked up in the new list. */
static void test_tls_refuses_the_revoked(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);
	struct keys *keys;

	begin(&end, rig->mine);
	assert_int_equal(shake(&end), 0);
	become_session(&end);
	run(rig, "cert_revoke ca crl.pem client.pem");
	keys = certificates(rig, KEYS_SERVER, "server", "crl.pem");
	server_set_keys(rig->world.server, keys);
	keys_drop(keys);
	request(&end, WIRE_FLUSH, 5, 0, 0);
	expect(&end, 5);
	leave(&end);
	assert_refused(rig, keys_keep(rig->mine), "is revoked");
}

static void test_tls_refuses_who_shows_nothing(void **state)
{
	struct rig *rig = *state;
	struct client_end end = connected(rig);
	gnutls_certificate_credentials_t nothing;
	char byte;

	assert_int_equal(gnutls_certificate_allocate_credentials(&nothing), 0);
	begin(&end, rig->mine);
	assert_int_equal(gnutls_credentials_set(end.tls, GNUTLS_CRD_CERTIFICATE,
						nothing),
			 0);
	gnutls_session_set_verify_function(end.tls, NULL);
	if (shake(&end) == 0)
		assert_true(hear(&end, &byte, 1) != 0);
	leave(&end);
	gnutls_certificate_free_credentials(nothing);
	assert_int_equal(rig->world.reports, 1);
	assert_non_null(strstr(rig->world.report.text, "no certificate"));
}

/* ---- our own client ---- */

struct device_end {
	struct rig *rig;
	struct client *client;
	int result;			/* 1: not yet */
	struct error error;
	unsigned int wants;
};

struct device_request {
	struct block_request block;
	bool done;
};

static void ready(void *arg, int result, const struct error *error)
{
	struct device_end *end = arg;

	end->result = result;
	if (result < 0)
		end->error = *error;
}

static void want(void *arg)
{
	((struct device_end *)arg)->wants++;
}

static void report(void *arg, const struct error *error)
{
	(void)arg;
	(void)error;
}

static void device_open(struct device_end *end, struct rig *rig,
			struct keys *mine)
{
	static const struct client_ops ops = {
		.ready = ready,
		.want = want,
		.report = report,
	};
	const struct client_config config = {
		.loop = rig->world.loop,
		.export_name = "vd0",
		.keys = mine,
		.host = rig->directory[0] ? "localhost" : NULL,
		.reconnect_ns = UINT64_C(60000000000),
		.unflushed = CLIENT_UNFLUSHED_KEPT,
		.connections = 1,
		.ops = &ops,
		.arg = end,
	};
	struct error error;

	*end = (struct device_end){.rig = rig, .result = 1};
	assert_int_equal(client_create(&config, peer_connect(&rig->world),
				       &end->client, &error),
			 0);
	for (unsigned int i = 0; i < TURNS_MAX && end->result > 0; i++)
		peer_turn(&rig->world);
}

static void device_done(struct block_request *request)
{
	((struct device_request *)request)->done = true;
}

static void device_do(struct device_end *end, enum block_op op, void *data)
{
	struct iovec iov = {data, MANY_BYTES};
	struct device_request request = {
		.block = {.done = device_done,
			  .offset_bytes = 8192,
			  .length_bytes = MANY_BYTES,
			  .op = (uint8_t)op,
			  .iov = &iov,
			  .iov_count = 1},
	};

	block_submit(client_device(end->client), &request.block);
	for (unsigned int i = 0; i < TURNS_MAX && !request.done; i++)
		peer_turn(&end->rig->world);
	assert_true(request.done);
	assert_int_equal(request.block.result, 0);
}

/* More than any buffer, in both directions. */
static void test_tls_between_ours(void **state)
{
	struct rig *rig = *state;
	uint8_t *bytes = malloc(MANY_BYTES), *back = calloc(1, MANY_BYTES);
	struct device_end end;

	assert_non_null(bytes);
	assert_non_null(back);
	for (uint32_t i = 0; i < MANY_BYTES; i++)
		bytes[i] = (uint8_t)(i * 11 + i / 253);
	device_open(&end, rig, rig->mine);
	if (end.result < 0)
		fail_msg("%s", end.error.text);
	device_do(&end, BLOCK_WRITE, bytes);
	for (unsigned int i = 0; i < 10; i++)
		device_do(&end, BLOCK_READ, back);
	assert_memory_equal(bytes, back, MANY_BYTES);
	block_close(client_device(end.client));
	peer_await_sessions(&rig->world, 0);
	assert_int_equal(rig->world.reports, 0);
	free(bytes);
	free(back);
}

static void test_tls_ours_is_refused(void **state)
{
	struct rig *rig = *state;
	struct keys *mine = shared(other_text, KEYS_CLIENT, "alice");
	struct device_end end;

	device_open(&end, rig, mine);
	assert_true(end.result < 0);
	assert_non_null(strstr(end.error.text, "TLS"));
	block_close(client_device(end.client));
	keys_drop(mine);
	device_open(&end, rig, NULL);
	assert_true(end.result < 0);
	assert_non_null(strstr(end.error.text, "it wants TLS"));
	block_close(client_device(end.client));
}

/* A server that has no TLS is not asked for anything in the clear. */
static void test_tls_ours_does_without_nobody(void **state)
{
	struct rig *rig = *state;
	const struct peer_world world = rig->world;
	struct device_end end;

	peer_create(&rig->world, 4);
	device_open(&end, rig, rig->mine);
	assert_true(end.result < 0);
	assert_non_null(strstr(end.error.text, "refuses TLS"));
	block_close(client_device(end.client));
	peer_destroy(&rig->world);
	rig->world = world;
}

static void test_tls_ours_refuses_another_host(void **state)
{
	struct rig *rig = *state;
	struct keys *keys;
	struct device_end end;

	run(rig,
	    "cert_make ca far tls_www_server signing_key "
	    "'expiration_days = 9' 'cn = far' 'dns_name = far.example'");
	keys = certificates(rig, KEYS_SERVER, "far", NULL);
	server_set_keys(rig->world.server, keys);
	keys_drop(keys);
	device_open(&end, rig, rig->mine);
	assert_true(end.result < 0);
	assert_non_null(strstr(end.error.text, "is somebody else's"));
	block_close(client_device(end.client));
}

#define SHARED(name) \
	cmocka_unit_test_setup_teardown(name, setup_shared, teardown)
#define CERTIFICATES(name) \
	cmocka_unit_test_setup_teardown(name, setup_certificates, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		SHARED(test_tls_carries_requests),
		SHARED(test_tls_is_by_aes),
		SHARED(test_tls_byte_by_byte),
		SHARED(test_tls_a_record_of_many_requests),
		SHARED(test_tls_options_wait_for_it),
		SHARED(test_tls_export_name_without_it_ends),
		SHARED(test_tls_forgets_what_was_said_before),
		SHARED(test_tls_refuses_what_was_slipped_in),
		SHARED(test_tls_garbage_ends_it),
		SHARED(test_tls_stalled_ones_are_passed_by),
		SHARED(test_tls_stalled_ones_make_room),
		SHARED(test_tls_handshakes_take_turns),
		SHARED(test_tls_thousands_come_and_go),
		SHARED(test_tls_does_not_begin_anew),
		SHARED(test_tls_refuses_another_key),
		SHARED(test_tls_refuses_an_unknown_name),
		cmocka_unit_test(test_tls_texts_that_are_no_keys),
		SHARED(test_tls_between_ours),
		SHARED(test_tls_ours_is_refused),
		SHARED(test_tls_ours_does_without_nobody),
		CERTIFICATES(test_tls_is_by_aes),
		CERTIFICATES(test_tls_between_ours),
		CERTIFICATES(test_tls_ours_refuses_another_host),
		CERTIFICATES(test_tls_carries_requests),
		CERTIFICATES(test_tls_byte_by_byte),
		CERTIFICATES(test_tls_refuses_another_authority),
		CERTIFICATES(test_tls_refuses_the_expired),
		CERTIFICATES(test_tls_refuses_a_server_as_client),
		CERTIFICATES(test_tls_refuses_the_revoked),
		CERTIFICATES(test_tls_refuses_who_shows_nothing),
	};

	script = argc > 1 ? argv[1] : "tests/func/certificates.sh";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
