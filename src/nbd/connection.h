/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - one client: from its first byte to its end
 *
 * Called by server.c.  Threads: the loop's.
 */
#ifndef NBD_CONNECTION_H
#define NBD_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "os/keys.h"
#include "os/loop.h"
#include "vdev/vdev.h"

struct connection;
struct slot;

/* What a connection tells its server; 'arg' is the config's.  None of these
 * may free the connection, but 'ended' must. */
struct connection_ops {
	/* The handshake is over, it is a session now.  Returns false: it may
	 * not become one. */
	bool (*began)(void *arg, struct connection *connection);
	/* Its socket is closed and nothing of it is in flight. */
	void (*ended)(void *arg, struct connection *connection);
	/* It ends by its peer's fault: what. */
	void (*report)(void *arg, const struct error *error);
	/* Does any connection change something in this range now, 'slot'
	 * aside? */
	bool (*changes)(void *arg, const struct slot *slot, uint64_t from_bytes,
			uint64_t to_bytes);
	/* The edge is free: who waited for it may go on. */
	void (*edge_freed)(void *arg);
};

/* A request that begins or ends inside of a block rewrites the rest of it, too,
 * with what was read before.  One at a time of a vdev's NBD connections may do
 * so, while nobody else changes the blocks that it is about. */
struct edge {
	unsigned int users;		/* server and connections */
	const struct slot *owner;	/* NULL: free */
	bool is_wanted;			/* somebody owns it or waits */
	uint64_t from_bytes, to_bytes;
	uint8_t block[4096];
};

struct edge *edge_create(void);
void edge_put(struct edge *edge);

struct connection_config {
	struct loop *loop;
	struct vdev *vdev;
	const char *name;		/* of the export; outlives it */
	uint64_t generation;
	bool read_only, unpromised;	/* as in struct server_config */
	struct keys *keys;		/* of TLS, kept; NULL: without */
	bool tls_required;		/* with keys: nothing without it */
	const struct connection_ops *ops;
	void *arg;
	struct edge *edge; /* of all connections of the vdev; it
					 * counts as one more user */
	int fd;				/* taken over on success */
};

/* Returns 0 or -ENOMEM. */
int connection_create(const struct connection_config *config,
		      struct connection **ret_connection);
/* Nothing of it is in flight. */
void connection_destroy(struct connection *connection);
/* Nobody is told of it any more: it frees itself when it has ended. */
void connection_orphan(struct connection *connection);
/* What is in flight ends and is answered, later requests are answered with
 * ESHUTDOWN, then it ends. */
void connection_drain(struct connection *connection);
/* It ends now; what is in flight ends unanswered. */
void connection_cut(struct connection *connection);
/* The process goes: nothing more is done in its name. */
void connection_forget(struct connection *connection,
		       const struct vdev_process *process);
/* Who named no process may be another's now. */
void connection_rebind(struct connection *connection);

/* As connection_ops.changes, of this connection alone. */
bool connection_changes(const struct connection *connection,
			const struct slot *slot, uint64_t from_bytes,
			uint64_t to_bytes);
/* As connection_ops.edge_freed. */
void connection_go_on(struct connection *connection);

bool connection_is_session(const struct connection *connection);
/* Whose every request is; NULL: the vdev's common way in. */
const struct vdev_process *connection_process(
	const struct connection *connection);

#endif
