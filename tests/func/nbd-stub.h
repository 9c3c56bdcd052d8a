/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-stub.h - an NBD client, and servers of it that may say anything
 *
 * The server's end of each connection is a socket that the test reads and
 * writes.  One thread: whoever waits for bytes turns the client's loop
 * meanwhile.
 */
#ifndef TESTS_FUNC_NBD_STUB_H
#define TESTS_FUNC_NBD_STUB_H

#include "nbd/client.h"
#include "nbd/wire.h"

#define STUB_BYTES		(UINT64_C(64) << 20)
#define STUB_FLAGS \
	(WIRE_HAS_FLAGS | WIRE_SEND_FLUSH | WIRE_SEND_FUA | WIRE_SEND_TRIM | \
	 WIRE_SEND_WRITE_ZEROES)

struct stub {
	struct loop *loop;
	struct client *client;
	struct block_device *device;	/* NULL: it never was ready */
	int result;			/* of 'ready'; 1: not called yet */
	struct error error;
	unsigned int wants, reports;
	struct error report;
	int fd;				/* the server's end; -1: none */
	struct wire_export export;
	bool structured;
};

struct stub_request {
	struct block_request block;
	struct iovec iov;
	bool done;
	unsigned int dones;
	struct stub *stub;
};

/* A client that has a connection and has sent nothing; 'config' as it likes. */
void stub_create(struct stub *stub, struct client_config *config);
void stub_destroy(struct stub *stub);
void stub_turn(struct stub *stub);
void stub_turns(struct stub *stub, unsigned int times);
/* Time passes: until 'done' is not 0 any more. */
void stub_until(struct stub *stub, const unsigned int *done,
		unsigned int least);
/* Another connection for the client; the server's end is 'fd' then. */
int stub_connect(struct stub *stub);

void stub_send(struct stub *stub, const void *from, size_t bytes);
void stub_receive(struct stub *stub, void *to, size_t bytes);
/* The client hangs up. */
void stub_await_end(struct stub *stub);
/* The server does: gone without a word. */
void stub_cut(struct stub *stub);

/* The handshake as a server has it that offers 'export'. */
void stub_greet(struct stub *stub);
/* Both of it, and the device is there. */
void stub_open(struct stub *stub, struct client_config *config);
/* The next request; with data they are received, too. */
struct wire_request stub_request(struct stub *stub, void *data, size_t size);
void stub_simple(struct stub *stub, uint64_t cookie, enum wire_error error);
void stub_done(struct stub *stub, uint64_t cookie);
void stub_data(struct stub *stub, uint64_t cookie, uint64_t offset_bytes,
	       const void *from, uint32_t bytes, bool done);

/* Ask the device; whole or in 'done'. */
void stub_submit(struct stub *stub, struct stub_request *request,
		 enum block_op op, uint64_t offset_bytes, void *data,
		 uint64_t bytes);
void stub_await(struct stub *stub, struct stub_request *request, int result);

#endif
