/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api-gate.c - the way in over TLS, and clients that mean it no good
 *
 * Gate and clients are in one thread, on one loop; certificates are made by
 * certificates.sh.  Contract: api: tcp, mutual TLS only; who stalls, dribbles
 * or talks nonsense hurts nobody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/gate.h"
#include "os/loop.h"

#define PATIENCE_NS	UINT64_C(30000000000)
#define STALLED		48

static const char *script;

struct rig {
	char directory[32];
	struct loop *loop;
	struct api_gate *gate;
	bool is_full;			/* nobody is let in */
	int entered;			/* the last one's; -1: none */
	struct api_who who;
	unsigned int refused;
	char why[ERROR_TEXT_MAX];
	gnutls_certificate_credentials_t credentials;
};

/* --- The gate ------------------------------------------------------------ */

static bool enter(void *arg, int fd, const struct api_who *who,
		  char reterr_answer[GATE_ANSWER_MAX])
{
	struct rig *rig = arg;

	if (rig->is_full) {
		strcpy(reterr_answer, "full");
		return false;
	}
	assert_int_equal(rig->entered, -1);
	rig->entered = fd;
	rig->who = *who;
	return true;
}

static void refused(void *arg, const struct api_who *who, const char *why)
{
	struct rig *rig = arg;

	assert_true(who->is_remote);
	rig->refused++;
	snprintf(rig->why, sizeof(rig->why), "%s", why);
}

static void say(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static char *in(const struct rig *rig, const char *name)
{
	/* The gate borrows three of them for the length of a test. */
	static char paths[5][96];
	static unsigned int next;
	char *path = paths[next++ % 5];

	snprintf(path, sizeof(paths[0]), "%s/%s", rig->directory, name);
	return path;
}

static int setup(void **state)
{
	static const struct api_grant grants[] = {
		{API_ROLE_READ, false, 0, "two.example"},
	};
	static struct rig rig;
	const struct loop_config loop_config = {.entries = 64};
	struct api_gate_config config = {
		.address = "127.0.0.1:0",
		.grants = grants,
		.grant_count = 1,
		.enter = enter,
		.refused = refused,
		.say = say,
		.arg = &rig,
	};
	char command[256];
	struct error error;

	memset(&rig, 0, sizeof(rig));
	rig.entered = -1;
	strcpy(rig.directory, "/tmp/test-gate.XXXXXX");
	assert_non_null(mkdtemp(rig.directory));
	snprintf(
		command, sizeof(command),
		"cd %s && . %s && cert_authority ca && cert_server ca server && cert_client ca client one.example two.example",
		rig.directory, script);
	assert_int_equal(setenv("COMMAND", command, 1), 0);
	assert_int_equal(system("bash -ec \"$COMMAND\""), 0);
	assert_int_equal(loop_create(&loop_config, &rig.loop, &error), 0);
	config.loop = rig.loop;
	config.files = (struct api_tls_files){
		in(&rig, "server.pem"),
		in(&rig, "server.key"),
		in(&rig, "ca.pem"),
		NULL,
	};
	assert_int_equal(api_gate_create(&config, &rig.gate, &error), 0);
	assert_int_equal(
		gnutls_certificate_allocate_credentials(&rig.credentials), 0);
	assert_int_equal(gnutls_certificate_set_x509_key_file(
				 rig.credentials, in(&rig, "client.pem"),
				 in(&rig, "client.key"), GNUTLS_X509_FMT_PEM),
			 0);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	char command[64];

	api_gate_destroy(rig->gate);
	loop_destroy(rig->loop);
	gnutls_certificate_free_credentials(rig->credentials);
	if (rig->entered >= 0)
		close(rig->entered);
	snprintf(command, sizeof(command), "rm -r %s", rig->directory);
	assert_int_equal(system(command), 0);
	return 0;
}

static void turn(struct rig *rig)
{
	loop_run_once(rig->loop, loop_clock_ns() + 1000000);
}

/* --- Clients ------------------------------------------------------------- */

struct client {
	int fd;
	gnutls_session_t tls;
	/* What it would send, byte by byte. */
	struct rig *dribbles;
};

static int client_connect(const struct rig *rig)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)api_gate_port(rig->gate)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static ssize_t dribble(gnutls_transport_ptr_t pointer, const void *data,
		       size_t size)
{
	struct client *client = pointer;

	for (size_t i = 0; i < size; i++) {
		assert_int_equal(send(client->fd, (const char *)data + i, 1,
				      MSG_NOSIGNAL),
				 1);
		turn(client->dribbles);
	}
	return (ssize_t)size;
}

static ssize_t receive(gnutls_transport_ptr_t pointer, void *data, size_t size)
{
	const struct client *client = pointer;

	return recv(client->fd, data, size, 0);
}

static void client_start(struct rig *rig, struct client *client,
			 bool has_certificate)
{
	static gnutls_certificate_credentials_t none;

	if (!none)
		gnutls_certificate_allocate_credentials(&none);
	client->fd = client_connect(rig);
	gnutls_init(&client->tls,
		    GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority(client->tls);
	gnutls_credentials_set(client->tls, GNUTLS_CRD_CERTIFICATE,
			       has_certificate ? rig->credentials : none);
	gnutls_transport_set_int(client->tls, client->fd);
}

static void client_end(struct client *client)
{
	gnutls_deinit(client->tls);
	close(client->fd);
}

static void client_handshake(struct rig *rig, struct client *client)
{
	const uint64_t until = loop_clock_ns() + PATIENCE_NS;
	int ret;

	while ((ret = gnutls_handshake(client->tls)) != 0) {
		assert_false(gnutls_error_is_fatal(ret));
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
	/* It is through before the gate is. */
	while (rig->entered < 0) {
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
}

/* Until the other end closes. */
static void wait_closed(struct rig *rig, int fd)
{
	const uint64_t until = loop_clock_ns() + PATIENCE_NS;
	char buffer[256];
	ssize_t got;

	while ((got = recv(fd, buffer, sizeof(buffer), 0)) != 0) {
		if (got < 0 && errno != EAGAIN)
			return;
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
}

static ssize_t client_read(struct rig *rig, struct client *client, char *data,
			   size_t size)
{
	const uint64_t until = loop_clock_ns() + PATIENCE_NS;
	ssize_t got;

	while ((got = gnutls_record_recv(client->tls, data, size)) ==
	       GNUTLS_E_AGAIN) {
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
	return got;
}

static void is_let_in(struct rig *rig)
{
	struct client client = {0};

	client_start(rig, &client, true);
	client_handshake(rig, &client);
	close(rig->entered);
	rig->entered = -1;
	wait_closed(rig, client.fd);
	client_end(&client);
}

/* --- Tests --------------------------------------------------------------- */

/* What is said on one side comes out on the other, however much it is. */
static void test_gate_carries(void **state)
{
	static char sent[1 << 20], back[sizeof(sent)];
	struct client client = {0};
	struct rig *rig = *state;
	size_t out = 0, echoed = 0, returned = 0, got = 0;
	ssize_t n;

	client_start(rig, &client, true);
	client_handshake(rig, &client);
	assert_string_equal(rig->who.name, "two.example");
	assert_int_equal(rig->who.role, API_ROLE_READ);
	assert_memory_equal(rig->who.address, "127.0.0.1:", 10);
	assert_true(rig->who.expires_s > 0);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 7 + (i >> 11));
	while (got < sizeof(sent)) {
		if (out < sizeof(sent)) {
			n = gnutls_record_send(client.tls, sent + out,
					       sizeof(sent) - out);
			out += n > 0 ? (size_t)n : 0;
		}
		n = recv(rig->entered, back + echoed, sizeof(back) - echoed,
			 MSG_DONTWAIT);
		echoed += n > 0 ? (size_t)n : 0;
		n = send(rig->entered, back + returned, echoed - returned,
			 MSG_DONTWAIT);
		returned += n > 0 ? (size_t)n : 0;
		turn(rig);
		n = gnutls_record_recv(
			client.tls, sent + got,
			sizeof(sent) - got > 4096 ? 4096 : sizeof(sent) - got);
		/* Behind what was sent of it: the same bytes again. */
		got += n > 0 ? (size_t)n : 0;
	}
	for (size_t i = 0; i < sizeof(sent); i++)
		assert_int_equal(sent[i], (char)(i * 7 + (i >> 11)));
	client_end(&client);
}

/* One who has said everything is still answered; then both ends go. */
static void test_gate_half_closed(void **state)
{
	const uint64_t until = loop_clock_ns() + PATIENCE_NS;
	struct client client = {0};
	struct rig *rig = *state;
	char buffer[64];

	client_start(rig, &client, true);
	client_handshake(rig, &client);
	assert_int_equal(gnutls_record_send(client.tls, "ask", 3), 3);
	assert_int_equal(gnutls_bye(client.tls, GNUTLS_SHUT_WR), 0);
	while (recv(rig->entered, buffer, 3, MSG_DONTWAIT) != 3) {
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
	while (recv(rig->entered, buffer, 3, MSG_DONTWAIT) != 0) {
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
	assert_int_equal(send(rig->entered, "answer", 6, MSG_NOSIGNAL), 6);
	close(rig->entered);
	rig->entered = -1;
	assert_int_equal(client_read(rig, &client, buffer, sizeof(buffer)), 6);
	assert_int_equal(client_read(rig, &client, buffer, sizeof(buffer)), 0);
	client_end(&client);
}

/* Who is known and finds no place is told so. */
static void test_gate_full(void **state)
{
	struct client client = {0};
	struct rig *rig = *state;
	char buffer[64];
	int ret;

	rig->is_full = true;
	client_start(rig, &client, true);
	while ((ret = gnutls_handshake(client.tls)) != 0) {
		assert_false(gnutls_error_is_fatal(ret));
		turn(rig);
	}
	assert_int_equal(client_read(rig, &client, buffer, sizeof(buffer)), 4);
	assert_memory_equal(buffer, "full", 4);
	wait_closed(rig, client.fd);
	client_end(&client);
}

static void test_gate_no_certificate(void **state)
{
	const uint64_t until = loop_clock_ns() + PATIENCE_NS;
	struct client client = {0};
	struct rig *rig = *state;
	char buffer[64];
	int ret = GNUTLS_E_AGAIN;

	client_start(rig, &client, false);
	while (ret != 0 || rig->refused == 0) {
		if (ret != 0)
			ret = gnutls_handshake(client.tls);
		assert_true(ret == 0 || !gnutls_error_is_fatal(ret));
		assert_true(loop_clock_ns() < until);
		turn(rig);
	}
	assert_string_equal(rig->why, "it shows no certificate");
	/* It is through with its handshake, asks, and hears why. */
	assert_int_equal(gnutls_record_send(client.tls, "GET /", 5), 5);
	assert_int_equal(client_read(rig, &client, buffer, sizeof(buffer)),
			 GNUTLS_E_FATAL_ALERT_RECEIVED);
	assert_int_equal(rig->entered, -1);
	client_end(&client);
	is_let_in(rig);
}

static void test_gate_byte_by_byte(void **state)
{
	struct rig *rig = *state;
	struct client client = {.dribbles = rig};

	client_start(rig, &client, true);
	gnutls_transport_set_ptr(client.tls, &client);
	gnutls_transport_set_push_function(client.tls, dribble);
	gnutls_transport_set_pull_function(client.tls, receive);
	client_handshake(rig, &client);
	client_end(&client);
}

/* They begin and go no further: of one address some are waited for, and the
 * one that came first gives way. */
static void test_gate_stalled(void **state)
{
	static const char begun[] = "\x16\x03\x01";
	int fds[STALLED];
	struct rig *rig = *state;
	unsigned int open = 0;
	char byte;

	for (unsigned int i = 0; i < STALLED; i++) {
		fds[i] = client_connect(rig);
		assert_int_equal(send(fds[i], begun, 3, MSG_NOSIGNAL), 3);
		turn(rig);
	}
	for (unsigned int i = 0; i < STALLED - GATE_STRANGERS_OF_ADDRESS; i++)
		wait_closed(rig, fds[i]);
	for (unsigned int i = 0; i < STALLED; i++)
		open += recv(fds[i], &byte, 1, 0) < 0 && errno == EAGAIN;
	assert_int_equal(open, GATE_STRANGERS_OF_ADDRESS);
	is_let_in(rig);
	for (unsigned int i = 0; i < STALLED; i++)
		close(fds[i]);
}

/* While they stall, nobody turns round and round (as libmicrohttpd's own TLS
 * does): the loop sleeps. */
static void test_gate_stalled_costs_nothing(void **state)
{
	struct rig *rig = *state;
	int fd = client_connect(rig);
	struct loop_times before, after;
	const uint64_t until = loop_clock_ns() + 300000000;

	assert_int_equal(send(fd, "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
	turn(rig);
	turn(rig);
	loop_times(rig->loop, &before);
	while (loop_clock_ns() < until)
		loop_run_once(rig->loop, until);
	loop_times(rig->loop, &after);
	assert_true(after.rounds - before.rounds < 30);
	close(fd);
}

static void test_gate_nonsense(void **state)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x16\x03\x01\xff\xff",
		"\x16\x03\x01\x40\x00",
		"\x16\x03\x03\x00\x05\x01\xff\xff\xff\x00",
		"\x80\x2e\x01\x03\x01",
		"\x17\x03\x03\x00\x01\x01",
		"\x15\x03\x01\x00\x02\x02\x28",
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		static const char end[64];
		int fd = client_connect(rig);

		send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL);
		send(fd, end, sizeof(end), MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		wait_closed(rig, fd);
		close(fd);
	}
	assert_true(rig->refused > 0);
	is_let_in(rig);
}

/* Random bytes in the middle of a handshake, thousands of times. */
static void test_gate_noise(void **state)
{
	struct rig *rig = *state;
	unsigned int seed = 7;
	char noise[600];

	for (unsigned int i = 0; i < 60; i++) {
		int fd = client_connect(rig);

		for (size_t at = 0; at < sizeof(noise); at++)
			noise[at] = (char)(rand_r(&seed) >> 8);
		memcpy(noise, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		       11);
		send(fd, noise, (size_t)(rand_r(&seed) % 600), MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		wait_closed(rig, fd);
		close(fd);
	}
	is_let_in(rig);
}

/* What is written to one who never reads stops somewhere, and he hinders
 * nobody; he goes when the server has had enough of him. */
static void test_gate_never_reads(void **state)
{
	static const char data[65536];
	struct client client = {0};
	struct rig *rig = *state;
	unsigned int idle = 0;
	size_t wrote = 0;
	ssize_t n;
	int fd;

	client_start(rig, &client, true);
	client_handshake(rig, &client);
	fd = rig->entered;
	rig->entered = -1;
	while (idle < 50) {
		n = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		wrote += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		turn(rig);
	}
	assert_true(wrote < (64U << 20));
	is_let_in(rig);
	close(fd);
	is_let_in(rig);
	client_end(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_gate_carries),
		TEST(test_gate_half_closed),
		TEST(test_gate_full),
		TEST(test_gate_no_certificate),
		TEST(test_gate_byte_by_byte),
		TEST(test_gate_stalled),
		TEST(test_gate_stalled_costs_nothing),
		TEST(test_gate_nonsense),
		TEST(test_gate_noise),
		TEST(test_gate_never_reads),
	};

	if (argc < 2)
		return 2;
	script = argv[1];
	if (system("command -v certtool >/dev/null") != 0) {
		puts("certtool is not installed");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
