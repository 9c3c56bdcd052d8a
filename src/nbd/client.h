/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a block device that is an export of an NBD server
 *
 * It is a kind as those of src/block are, and stands here because NBD does:
 * block may not include nbd, nbd may include block.
 *
 * Who opens it passes connected sockets; when a connection is lost the client
 * asks for another one ('want') and meanwhile keeps what was asked of it:
 *
 * - What was in flight is sent again, in the order in which it was asked for,
 *   on the next connection, after the export was found to be the same.  Nobody
 *   gets two answers; a write that the server had done is written again before
 *   its answer is given, so nothing that came after the answer can be undone by
 *   it.  (A server that goes on with requests of a connection that is closed,
 *   after it has accepted the next one, can do that all the same; the protocol
 *   has nothing against it.)
 * - After 'reconnect_ns' without a connection, all that waits fails with EIO,
 *   and all that comes does at once, until there is one.
 * - Writes that were acknowledged and not flushed may have been in memory of a
 *   server that died.  Whether they can be is said by 'unflushed'.  If so, a
 *   flush that covers them is never acknowledged: the next one fails with EIO,
 *   once, and 'losses' of the device has grown, for whoever answers to several
 *   that flush.
 *
 * Called by the endpoint, tests and the bench.
 * Threads: the loop's.
 */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/block.h"
#include "os/keys.h"
#include "os/loop.h"

struct client;

#define CLIENT_CONNECTIONS_MAX	2U	/* small requests, and bulk */

/* What becomes of writes that were answered and not flushed when a connection
 * is lost. */
enum client_unflushed {
	CLIENT_UNFLUSHED_LOST,	/* nobody knows: the next flush fails */
	CLIENT_UNFLUSHED_KEPT,	/* the server's store outlives the server */
	CLIENT_UNFLUSHED_NONE,	/* there are none: every write with FUA */
};

/* None of these may close the device, but 'ready' with an error.  All are
 * required. */
struct client_ops {
	/* The first connection serves, or (-errno) never will. */
	void (*ready)(void *arg, int result, const struct error *error);
	/* A connection is wanted: client_connect.  Said again and again, in
	 * the end each second. */
	void (*want)(void *arg);
	/* A connection was lost: why; one line. */
	void (*report)(void *arg, const struct error *error);
};

struct client_config {
	struct loop *loop;
	const char *export_name;	/* copied; "": the server's default */
	struct keys *keys;		/* of TLS, kept; NULL: without */
	const char *host;		/* as keys_session has it; copied */
	uint64_t size_bytes;		/* 0: as large as the export is */
	bool read_only;
	uint64_t reconnect_ns;
	enum client_unflushed unflushed;
	/* At most; more than one only if the server says that they are one. */
	unsigned int connections;
	const struct client_ops *ops;
	void *arg;
};

/* 'fd', a connected stream socket, is taken over on success.  The device can be
 * used after 'ready'.  Returns 0, -EINVAL or -ENOMEM. */
int client_create(const struct client_config *config, int fd,
		  struct client **ret_client, struct error *reterr);
/* As a device; block_close frees it, and the client. */
struct block_device *client_device(struct client *client);
/* 'fd' is taken over on success.  Returns 0, -EALREADY (none is wanted) or
 * -ENOMEM. */
int client_connect(struct client *client, int fd);
/* From now on connections have these; only of a client that has keys. */
void client_set_keys(struct client *client, struct keys *keys);

struct client_status {
	unsigned int connections;	/* that serve */
	uint64_t connects, lost;	/* so far */
	uint64_t sends, receives;	/* calls of the kernel */
	uint64_t replayed;		/* sent again */
};
void client_status(const struct client *client,
		   struct client_status *ret_status);

#endif
