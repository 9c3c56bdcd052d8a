/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-fake.h - an NBD client, and servers of it that may say anything
 *
 * The server's end of each connection is a socket that the test reads and
 * writes.  One thread: whoever waits for bytes turns the client's loop
 * meanwhile.
 */
#ifndef TESTS_FUNC_NBD_FAKE_H
#define TESTS_FUNC_NBD_FAKE_H

#include "nbd/client.h"
#include "nbd/wire.h"

#define BLOCK			4096U
#define SECOND_NS		UINT64_C(1000000000)
#define FAKE_BYTES		(UINT64_C(64) << 20)
#define FAKE_FLAGS \
	(WIRE_HAS_FLAGS | WIRE_SEND_FLUSH | WIRE_SEND_FUA | WIRE_SEND_TRIM | \
	 WIRE_SEND_WRITE_ZEROES)

struct fake {
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

struct fake_request {
	struct block_request block;
	struct iovec iov;
	bool done;
	unsigned int dones;
	struct fake *fake;
};

/* One connection, for whose return it waits half a minute. */
struct client_config fake_config(void);
/* A client that has a connection and has sent nothing; 'config' as it likes. */
void fake_create(struct fake *fake, struct client_config *config);
void fake_destroy(struct fake *fake);
void fake_turn(struct fake *fake);
void fake_turns(struct fake *fake, unsigned int times);
/* Time passes: until 'done' is not 0 any more. */
void fake_until(struct fake *fake, const unsigned int *done,
		unsigned int least);
/* Another connection for the client; the server's end is 'fd' then. */
int fake_connect(struct fake *fake);

void fake_send(struct fake *fake, const void *from, size_t bytes);
void fake_receive(struct fake *fake, void *to, size_t bytes);
/* The client hangs up. */
void fake_await_end(struct fake *fake);
/* The server does: gone without a word. */
void fake_cut(struct fake *fake);

/* The handshake as a server has it that offers 'export'. */
void fake_greet(struct fake *fake);
/* Both of it, and the device is there. */
void fake_open(struct fake *fake, struct client_config *config);
/* The next request; with data they are received, too. */
struct wire_request fake_request(struct fake *fake, void *data, size_t size);
void fake_simple(struct fake *fake, uint64_t cookie, enum wire_error error);
void fake_done(struct fake *fake, uint64_t cookie);
void fake_data(struct fake *fake, uint64_t cookie, uint64_t offset_bytes,
	       const void *from, uint32_t bytes, bool done);

/* Ask the device; whole or in 'done'. */
void fake_submit(struct fake *fake, struct fake_request *request,
		 enum block_op op, uint64_t offset_bytes, void *data,
		 uint64_t bytes);
void fake_await(struct fake *fake, struct fake_request *request, int result);

#endif
