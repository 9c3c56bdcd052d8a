/* SPDX-License-Identifier: Apache-2.0 */
/* nbd-fake.c - see nbd-fake.h */
#include "nbd-fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/container.h"

#define TURNS_MAX	200000U
#define PATIENCE_NS	UINT64_C(20000000000)

/* ---- what the client says ---- */

static void ready(void *arg, int result, const struct error *error)
{
	struct fake *fake = arg;

	assert_int_equal(fake->result, 1);
	fake->result = result;
	if (result == 0)
		fake->device = client_device(fake->client);
	else
		fake->error = *error;
}

static void want(void *arg)
{
	((struct fake *)arg)->wants++;
}

static void report(void *arg, const struct error *error)
{
	struct fake *fake = arg;

	fake->reports++;
	fake->report = *error;
}

static const struct client_ops ops = {
	.ready = ready,
	.want = want,
	.report = report,
};

/* ---- life ---- */

struct client_config fake_config(void)
{
	return (struct client_config){
		.reconnect_ns = 30 * SECOND_NS,
		.connections = 1,
	};
}

static int make_pair(struct fake *fake)
{
	int pair[2];

	if (fake->fd >= 0)
		close(fake->fd);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	fake->fd = pair[0];
	return pair[1];
}

void fake_create(struct fake *fake, struct client_config *config)
{
	const struct loop_config loop_config = {.entries = 64};
	struct error error;

	*fake = (struct fake){
		.result = 1,
		.fd = -1,
		.structured = true,
		.export = {.size_bytes = FAKE_BYTES,
			   .block_min = 1,
			   .block_preferred = 4096,
			   .flags = FAKE_FLAGS},
	};
	if (loop_create(&loop_config, &fake->loop, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		exit(77);
	}
	config->loop = fake->loop;
	if (!config->export_name)
		config->export_name = "disk";
	config->ops = &ops;
	config->arg = fake;
	if (client_create(config, make_pair(fake), &fake->client, &error) < 0)
		fail_msg("%s", error.text);
}

void fake_destroy(struct fake *fake)
{
	block_close(client_device(fake->client));
	if (fake->fd >= 0)
		close(fake->fd);
	/* What the kernel still has of the links comes back. */
	fake_turns(fake, 4);
	loop_destroy(fake->loop);
}

int fake_connect(struct fake *fake)
{
	const int fd = make_pair(fake);
	const int rc = client_connect(fake->client, fd);

	if (rc < 0)
		close(fd);
	return rc;
}

void fake_turn(struct fake *fake)
{
	if (loop_run_once(fake->loop, 0) < 0)
		abort();
}

void fake_turns(struct fake *fake, unsigned int times)
{
	while (times-- > 0)
		fake_turn(fake);
}

void fake_until(struct fake *fake, const unsigned int *done, unsigned int least)
{
	const uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;

	while (*done < least) {
		assert_true(loop_clock_ns() < until_ns);
		if (loop_run_once(fake->loop, until_ns) < 0)
			abort();
	}
}

/* ---- bytes ---- */

void fake_send(struct fake *fake, const void *from, size_t bytes)
{
	const uint8_t *at = from;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t sent =
			send(fake->fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			at += sent;
			bytes -= (size_t)sent;
		} else {
			assert_int_equal(errno, EAGAIN);
			assert_true(turns++ < TURNS_MAX);
		}
		fake_turn(fake);
	}
}

void fake_receive(struct fake *fake, void *to, size_t bytes)
{
	uint8_t *at = to;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t got = recv(fake->fd, at, bytes, MSG_DONTWAIT);

		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
			continue;
		}
		assert_true(got < 0 && errno == EAGAIN);
		assert_true(turns++ < TURNS_MAX);
		fake_turn(fake);
	}
}

void fake_await_end(struct fake *fake)
{
	uint8_t bytes[4096];

	for (unsigned int turns = 0; turns < TURNS_MAX; turns++) {
		ssize_t got =
			recv(fake->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return;
		fake_turn(fake);
	}
	fail_msg("the client does not hang up");
}

void fake_cut(struct fake *fake)
{
	close(fake->fd);
	fake->fd = -1;
	fake_turns(fake, 4);
}

/* ---- a server ---- */

static void answer_go(struct fake *fake)
{
	uint8_t out[4 * WIRE_REPLY_MAX];
	size_t bytes;

	bytes = wire_put_info_export(out, WIRE_OPT_GO, &fake->export);
	if (fake->export.block_min > 0)
		bytes += wire_put_info_block_size(out + bytes, WIRE_OPT_GO,
						  &fake->export);
	bytes +=
		wire_put_reply(out + bytes, WIRE_OPT_GO, WIRE_REP_ACK, NULL, 0);
	fake_send(fake, out, bytes);
}

void fake_greet(struct fake *fake)
{
	uint8_t bytes[WIRE_OPTION_MAX], out[WIRE_REPLY_MAX];
	struct wire_option_head head;
	struct wire_go go;
	bool no_zeroes;

	wire_put_greeting(out);
	fake_send(fake, out, WIRE_GREETING_BYTES);
	fake_receive(fake, bytes, WIRE_CLIENT_FLAGS_BYTES);
	assert_true(wire_get_client_flags(bytes, &no_zeroes));
	fake_receive(fake, bytes, WIRE_OPTION_BYTES);
	assert_true(wire_get_option(bytes, &head));
	assert_int_equal(head.option, WIRE_OPT_STRUCTURED_REPLY);
	assert_int_equal(head.data_bytes, 0);
	fake_send(fake, out,
		  wire_put_reply(out, head.option,
				 fake->structured ? WIRE_REP_ACK :
						    WIRE_REP_ERR_UNSUP,
				 NULL, 0));
	fake_receive(fake, bytes, WIRE_OPTION_BYTES);
	assert_true(wire_get_option(bytes, &head));
	assert_int_equal(head.option, WIRE_OPT_GO);
	fake_receive(fake, bytes, head.data_bytes);
	assert_true(wire_get_go(bytes, head.data_bytes, &go));
	assert_true(go.wants_block_size);
	answer_go(fake);
	fake_turns(fake, 4);
}

void fake_open(struct fake *fake, struct client_config *config)
{
	fake_create(fake, config);
	fake_greet(fake);
	assert_int_equal(fake->result, 0);
}

struct wire_request fake_request(struct fake *fake, void *data, size_t size)
{
	uint8_t bytes[WIRE_REQUEST_BYTES];
	struct wire_request request;

	fake_receive(fake, bytes, sizeof(bytes));
	assert_true(wire_get_request(bytes, &request));
	assert_true(wire_payload_bytes(&request) <= size);
	fake_receive(fake, data, wire_payload_bytes(&request));
	return request;
}

void fake_simple(struct fake *fake, uint64_t cookie, enum wire_error error)
{
	uint8_t out[WIRE_HEAD_MAX];

	fake_send(fake, out, wire_put_simple(out, cookie, error));
}

void fake_done(struct fake *fake, uint64_t cookie)
{
	uint8_t out[WIRE_HEAD_MAX];

	fake_send(fake, out, wire_put_done(out, cookie));
}

void fake_data(struct fake *fake, uint64_t cookie, uint64_t offset_bytes,
	       const void *from, uint32_t bytes, bool done)
{
	uint8_t out[WIRE_HEAD_MAX];

	fake_send(fake, out,
		  wire_put_data(out, cookie, offset_bytes, bytes, done));
	fake_send(fake, from, bytes);
}

/* ---- requests ---- */

static void request_done(struct block_request *block)
{
	struct fake_request *request =
		container_of(block, struct fake_request, block);

	request->done = true;
	request->dones++;
}

void fake_submit(struct fake *fake, struct fake_request *request,
		 enum block_op op, uint64_t offset_bytes, void *data,
		 uint64_t bytes)
{
	*request = (struct fake_request){
		.block = {.done = request_done,
			  .offset_bytes = offset_bytes,
			  .length_bytes = bytes,
			  .op = (uint8_t)op},
		.iov = {.iov_base = data, .iov_len = bytes},
		.fake = fake,
	};
	request->block.iov = &request->iov;
	request->block.iov_count = op <= BLOCK_WRITE;
	block_submit(fake->device, &request->block);
}

void fake_await(struct fake *fake, struct fake_request *request, int result)
{
	for (unsigned int i = 0; i < TURNS_MAX && !request->done; i++)
		fake_turn(fake);
	assert_int_equal(request->dones, 1);
	assert_int_equal(request->block.result, result);
}
