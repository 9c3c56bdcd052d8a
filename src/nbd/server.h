/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the NBD server end: one listening socket of a vdev
 *
 * Who uses it: the endpoint.  The export's name is the vdev's, or "VDEV/PASID"
 * for what a process asks for in its own name (E9), either with "@GENERATION".
 * Who names none, on a unix socket, is the process that is told apart by who
 * connected; nobody else may name that one.  The vdev's common way in is
 * whoever's requests have no other mark.
 *
 * All connections share one attachment epoch: the first that ends its
 * handshake acquires it, the end of the last flushes and releases it.  What
 * is flushed, or written with FUA, on one of them is on the device before it
 * is answered, whichever wrote it: NBD_FLAG_CAN_MULTI_CONN.
 *
 * Bounds: 'connections' at a time, others wait in the backlog; ten seconds
 * for a handshake, one if all places are taken; a fifth of the reactor's time
 * for the handshakes of TLS, of all servers; for each connection
 * SERVER_CONNECTION_BYTES of memory, of which an idle one has touched little;
 * SERVER_DRAIN_NS for an orderly end.
 *
 * Threads: the loop's.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "os/keys.h"
#include "os/loop.h"
#include "vdev/vdev.h"

#define SERVER_CONNECTIONS	256U	/* unless it is said otherwise */
#define SERVER_CONNECTIONS_MAX	65536U
#define SERVER_CONNECTION_BYTES	(UINT32_C(9) << 19)
#define SERVER_HANDSHAKE_NS	UINT64_C(10000000000)
#define SERVER_DRAIN_NS		UINT64_C(3000000000)

struct server;

struct server_config {
	struct loop *loop;
	struct vdev *vdev;
	const char *name;		/* the export's; outlives it */
	int listen_fd;			/* taken over on success */
	unsigned int connections;	/* 1 .. SERVER_CONNECTIONS_MAX */
	uint64_t generation;		/* of who serves it: "@GENERATION" */
	bool read_only;			/* even if the vdev is not */
	/* Requests of connections that name no process are the unpromised
	 * default's, not those of the common way in. */
	bool unpromised;
	struct keys *keys;		/* of TLS, a server's; NULL: without */
	bool tls_required;		/* with keys: nothing without it */
	/* A connection ended by its client's fault: what, once for each.
	 * Optional; 'arg' is its. */
	void (*report)(void *arg, const struct error *error);
	void *arg;
};

struct server_status {
	unsigned int sessions;		/* past their handshake */
	unsigned int unnamed;		/* of these, in no process's name */
	uint64_t changes;		/* of either, so far */
	uint64_t epoch;			/* attachments so far */
	bool attached;
};

/* Returns 0, -EINVAL (connections), -ENOMEM or the system's reason. */
int server_create(const struct server_config *config,
		  struct server **ret_server, struct error *reterr);
/* From now on new connections have these; those that are there keep theirs.
 * Only of a server that has keys. */
void server_set_keys(struct server *server, struct keys *keys);
/* Cuts connections without waiting for what is in flight at the device: that
 * ends silently.  For an orderly end use server_drain before. */
void server_destroy(struct server *server);
/* Take no more; what is in flight ends and is answered, what comes is answered
 * ESHUTDOWN.  'drained' is called (perhaps at once) when all connections have
 * ended and what was written is flushed.  No limit is waited for. */
void server_drain(struct server *server, void (*drained)(void *arg), void *arg);
/* 'process' is about to be removed: its connections are drained, and nothing
 * is asked in its name any more. */
void server_forget(struct server *server, const struct vdev_process *process);
/* Processes, or what tells them apart, are others now: who named none may be
 * another's. */
void server_rebind(struct server *server);
void server_status(const struct server *server,
		   struct server_status *ret_status);
/* How many sessions are in the name of 'process'? */
unsigned int server_sessions_of(const struct server *server,
				const struct vdev_process *process);
/* The listening socket, to be given to a next owner. */
int server_listen_fd(const struct server *server);

#endif
