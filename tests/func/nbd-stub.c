/* SPDX-License-Identifier: Apache-2.0 */
/* nbd-stub.c - see nbd-stub.h */
#include "nbd-stub.h"

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
	struct stub *stub = arg;

	assert_int_equal(stub->result, 1);
	stub->result = result;
	if (result == 0)
		stub->device = client_device(stub->client);
	else
		stub->error = *error;
}

static void want(void *arg)
{
	((struct stub *)arg)->wants++;
}

static void report(void *arg, const struct error *error)
{
	struct stub *stub = arg;

	stub->reports++;
	stub->report = *error;
}

static const struct client_ops ops = {
	.ready = ready,
	.want = want,
	.report = report,
};

/* ---- life ---- */

static int make_pair(struct stub *stub)
{
	int pair[2];

	if (stub->fd >= 0)
		close(stub->fd);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	stub->fd = pair[0];
	return pair[1];
}

void stub_create(struct stub *stub, struct client_config *config)
{
	const struct loop_config loop_config = {.entries = 64};
	struct error error;

	*stub = (struct stub){
		.result = 1,
		.fd = -1,
		.structured = true,
		.export = {.size_bytes = STUB_BYTES,
			   .block_min = 1,
			   .block_preferred = 4096,
			   .flags = STUB_FLAGS},
	};
	if (loop_create(&loop_config, &stub->loop, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		exit(77);
	}
	config->loop = stub->loop;
	if (!config->export_name)
		config->export_name = "disk";
	config->ops = &ops;
	config->arg = stub;
	if (client_create(config, make_pair(stub), &stub->client, &error) < 0)
		fail_msg("%s", error.text);
}

void stub_destroy(struct stub *stub)
{
	block_close(client_device(stub->client));
	if (stub->fd >= 0)
		close(stub->fd);
	/* What the kernel still has of the links comes back. */
	stub_turns(stub, 4);
	loop_destroy(stub->loop);
}

int stub_connect(struct stub *stub)
{
	const int fd = make_pair(stub);
	const int rc = client_connect(stub->client, fd);

	if (rc < 0)
		close(fd);
	return rc;
}

void stub_turn(struct stub *stub)
{
	if (loop_run_once(stub->loop, 0) < 0)
		abort();
}

void stub_turns(struct stub *stub, unsigned int times)
{
	while (times-- > 0)
		stub_turn(stub);
}

void stub_until(struct stub *stub, const unsigned int *done, unsigned int least)
{
	const uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;

	while (*done < least) {
		assert_true(loop_clock_ns() < until_ns);
		if (loop_run_once(stub->loop, until_ns) < 0)
			abort();
	}
}

/* ---- bytes ---- */

void stub_send(struct stub *stub, const void *from, size_t bytes)
{
	const uint8_t *at = from;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t sent =
			send(stub->fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			at += sent;
			bytes -= (size_t)sent;
		} else {
			assert_int_equal(errno, EAGAIN);
			assert_true(turns++ < TURNS_MAX);
		}
		stub_turn(stub);
	}
}

void stub_receive(struct stub *stub, void *to, size_t bytes)
{
	uint8_t *at = to;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t got = recv(stub->fd, at, bytes, MSG_DONTWAIT);

		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
			continue;
		}
		assert_true(got < 0 && errno == EAGAIN);
		assert_true(turns++ < TURNS_MAX);
		stub_turn(stub);
	}
}

void stub_await_end(struct stub *stub)
{
	uint8_t bytes[4096];

	for (unsigned int turns = 0; turns < TURNS_MAX; turns++) {
		ssize_t got =
			recv(stub->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return;
		stub_turn(stub);
	}
	fail_msg("the client does not hang up");
}

void stub_cut(struct stub *stub)
{
	close(stub->fd);
	stub->fd = -1;
	stub_turns(stub, 4);
}

/* ---- a server ---- */

static void answer_go(struct stub *stub)
{
	uint8_t out[4 * WIRE_REPLY_MAX];
	size_t bytes;

	bytes = wire_put_info_export(out, WIRE_OPT_GO, &stub->export);
	if (stub->export.block_min > 0)
		bytes += wire_put_info_block_size(out + bytes, WIRE_OPT_GO,
						  &stub->export);
	bytes +=
		wire_put_reply(out + bytes, WIRE_OPT_GO, WIRE_REP_ACK, NULL, 0);
	stub_send(stub, out, bytes);
}

void stub_greet(struct stub *stub)
{
	uint8_t bytes[WIRE_OPTION_MAX], out[WIRE_REPLY_MAX];
	struct wire_option_head head;
	struct wire_go go;
	bool no_zeroes;

	wire_put_greeting(out);
	stub_send(stub, out, WIRE_GREETING_BYTES);
	stub_receive(stub, bytes, WIRE_CLIENT_FLAGS_BYTES);
	assert_true(wire_get_client_flags(bytes, &no_zeroes));
	stub_receive(stub, bytes, WIRE_OPTION_BYTES);
	assert_true(wire_get_option(bytes, &head));
	assert_int_equal(head.option, WIRE_OPT_STRUCTURED_REPLY);
	assert_int_equal(head.data_bytes, 0);
	stub_send(stub, out,
		  wire_put_reply(out, head.option,
				 stub->structured ? WIRE_REP_ACK :
						    WIRE_REP_ERR_UNSUP,
				 NULL, 0));
	stub_receive(stub, bytes, WIRE_OPTION_BYTES);
	assert_true(wire_get_option(bytes, &head));
	assert_int_equal(head.option, WIRE_OPT_GO);
	stub_receive(stub, bytes, head.data_bytes);
	assert_true(wire_get_go(bytes, head.data_bytes, &go));
	assert_true(go.wants_block_size);
	answer_go(stub);
	stub_turns(stub, 4);
}

void stub_open(struct stub *stub, struct client_config *config)
{
	stub_create(stub, config);
	stub_greet(stub);
	assert_int_equal(stub->result, 0);
}

struct wire_request stub_request(struct stub *stub, void *data, size_t size)
{
	uint8_t bytes[WIRE_REQUEST_BYTES];
	struct wire_request request;

	stub_receive(stub, bytes, sizeof(bytes));
	assert_true(wire_get_request(bytes, &request));
	assert_true(wire_payload_bytes(&request) <= size);
	stub_receive(stub, data, wire_payload_bytes(&request));
	return request;
}

void stub_simple(struct stub *stub, uint64_t cookie, enum wire_error error)
{
	uint8_t out[WIRE_HEAD_MAX];

	stub_send(stub, out, wire_put_simple(out, cookie, error));
}

void stub_done(struct stub *stub, uint64_t cookie)
{
	uint8_t out[WIRE_HEAD_MAX];

	stub_send(stub, out, wire_put_done(out, cookie));
}

void stub_data(struct stub *stub, uint64_t cookie, uint64_t offset_bytes,
	       const void *from, uint32_t bytes, bool done)
{
	uint8_t out[WIRE_HEAD_MAX];

	stub_send(stub, out,
		  wire_put_data(out, cookie, offset_bytes, bytes, done));
	stub_send(stub, from, bytes);
}

/* ---- requests ---- */

static void request_done(struct block_request *block)
{
	struct stub_request *request =
		container_of(block, struct stub_request, block);

	request->done = true;
	request->dones++;
}

void stub_submit(struct stub *stub, struct stub_request *request,
		 enum block_op op, uint64_t offset_bytes, void *data,
		 uint64_t bytes)
{
	*request = (struct stub_request){
		.block = {.done = request_done,
			  .offset_bytes = offset_bytes,
			  .length_bytes = bytes,
			  .op = (uint8_t)op},
		.iov = {.iov_base = data, .iov_len = bytes},
		.stub = stub,
	};
	request->block.iov = &request->iov;
	request->block.iov_count = op <= BLOCK_WRITE;
	block_submit(stub->device, &request->block);
}

void stub_await(struct stub *stub, struct stub_request *request, int result)
{
	for (unsigned int i = 0; i < TURNS_MAX && !request->done; i++)
		stub_turn(stub);
	assert_int_equal(request->dones, 1);
	assert_int_equal(request->block.result, result);
}
