/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - see server.h */
#include "nbd/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container.h"
#include "nbd/connection.h"
#include "nbd/secure.h"
#include "nbd/state.h"

static_assert(CONNECTION_MEMORY_BYTES + SECURE_BYTES <= SERVER_CONNECTION_BYTES,
	      "as it is said");

/* How often it is looked who is late. */
#define SWEEP_NS		UINT64_C(250000000)
/* For a handshake while others wait for a place. */
#define HANDSHAKE_CROWDED_NS	UINT64_C(1000000000)
#define ACCEPTS_PER_TURN	8U

struct place {
	struct connection *connection;
	uint64_t since_ns;
};

/* Outlives its server if it must. */
struct server_flush {
	struct vdev_request vdev;
	struct server *server;		/* NULL: gone */
	bool busy;
};

struct server {
	struct server_config config;
	struct loop_watch watch;
	bool watching;
	struct loop_timer sweep;
	struct place *places;		/* the first 'count' are taken */
	unsigned int count, sessions;
	uint64_t changes;
	uint64_t epoch;
	bool attached;
	struct server_flush *flush;
	struct edge *edge;		/* outlives it as connections do */
	bool submitting;		/* the flush; it may be done inside */
	bool draining;
	uint64_t drain_until_ns;
	void (*drained)(void *arg);
	void *drained_arg;
};

static void report(void *arg, const struct error *error)
{
	const struct server *server = arg;
	struct error said;

	if (!server->config.report)
		return;
	error_set(&said, 0, "nbd: %s", error->text);
	server->config.report(server->config.arg, &said);
}

/* The sweep runs while there is something to look for. */
static void sweep_if_needed(struct server *server)
{
	const bool wants = server->count > server->sessions ||
		server->draining ||
		(!server->watching &&
		 server->count < server->config.connections);

	if (wants && server->sweep.heap_index == 0)
		loop_timer_set(server->config.loop, &server->sweep,
			       loop_now_ns(server->config.loop) + SWEEP_NS);
}

/* Listen while there is room; who comes too much waits in the backlog. */
static void listen_if_room(struct server *server)
{
	const bool wants =
		!server->draining && server->count < server->config.connections;

	if (wants == server->watching)
		return;
	if (!wants)
		loop_watch_remove(server->config.loop, &server->watch);
	else if (loop_watch_add(server->config.loop, &server->watch,
				server->config.listen_fd) < 0)
		return;		/* the sweep tries again */
	server->watching = wants;
}

/* ---- the attachment epoch ---- */

static void drain_if_empty(struct server *server)
{
	void (*drained)(void *arg) = server->drained;

	if (!server->draining || !drained || server->count > 0 ||
	    server->attached)
		return;
	server->drained = NULL;
	drained(server->drained_arg);	/* may destroy the server */
}

static void release(struct server *server)
{
	server->attached = false;
	drain_if_empty(server);
}

static void flush_done(struct vdev_request *vdev)
{
	struct server_flush *flush =
		container_of(vdev, struct server_flush, vdev);

	flush->busy = false;
	if (!flush->server) {
		free(flush);
		return;
	}
	if (vdev->block.result < 0) {
		struct error error;

		error_set(&error, vdev->block.result,
			  "flush at the end of an attachment: %s",
			  strerror(-vdev->block.result));
		report(flush->server, &error);
	}
	if (flush->server->sessions == 0 && !flush->server->submitting)
		release(flush->server);
}

/* Before the epoch is given up, all that was written must last. */
static void release_flushed(struct server *server)
{
	struct server_flush *flush = server->flush;
	struct vdev *vdev = server->config.vdev;
	const uint64_t now_ns = loop_now_ns(server->config.loop);

	if (flush->busy)
		return;
	if (vdev_read_only(vdev) || server->config.read_only) {
		release(server);
		return;
	}
	flush->busy = true;
	flush->vdev = (struct vdev_request){
		.block.op = BLOCK_FLUSH,
		.done = flush_done,
		.may_wait = vdev_never_waits,
		.owner = flush,
		.process = vdev_find_process(vdev, 0),
	};
	server->submitting = true;
	vdev_submit(vdev, &flush->vdev, now_ns);
	server->submitting = false;
	if (!flush->busy)
		release(server);
	else if (server->draining)
		vdev_let_go(vdev, flush, now_ns);
}

/* ---- what connections tell ---- */

static bool began(void *arg, struct connection *connection)
{
	struct server *server = arg;

	(void)connection;
	if (server->draining)
		return false;
	if (!server->attached) {
		server->attached = true;
		server->epoch++;
	}
	server->sessions++;
	server->changes++;
	return true;
}

static void ended(void *arg, struct connection *connection)
{
	struct server *server = arg;
	const bool was_session = connection_is_session(connection);
	unsigned int i = 0;

	while (server->places[i].connection != connection)
		i++;
	server->places[i] = server->places[--server->count];
	connection_destroy(connection);
	server->sessions -= was_session;
	server->changes += was_session;
	listen_if_room(server);
	if (was_session && server->sessions == 0)
		release_flushed(server);
	else
		drain_if_empty(server);
}

static bool changes(void *arg, const struct slot *slot, uint64_t from_bytes,
		    uint64_t to_bytes)
{
	const struct server *server = arg;

	for (unsigned int i = 0; i < server->count; i++)
		if (connection_changes(server->places[i].connection, slot,
				       from_bytes, to_bytes))
			return true;
	return false;
}

static void edge_freed(void *arg)
{
	const struct server *server = arg;

	for (unsigned int i = 0; i < server->count; i++)
		connection_go_on(server->places[i].connection);
}

static const struct connection_ops connection_ops = {
	.began = began,
	.ended = ended,
	.report = report,
	.changes = changes,
	.edge_freed = edge_freed,
};

/* ---- connections ---- */

static void no_connection(struct server *server, int code)
{
	struct error error;

	error_set(&error, -code, "no connection can be taken: %s",
		  strerror(code));
	report(server, &error);
	/* The sweep listens again. */
	loop_watch_remove(server->config.loop, &server->watch);
	server->watching = false;
	sweep_if_needed(server);
}

/* Returns false: there is nobody more now. */
static bool accept_one(struct server *server)
{
	struct connection_config config = {
		.loop = server->config.loop,
		.vdev = server->config.vdev,
		.name = server->config.name,
		.generation = server->config.generation,
		.read_only = server->config.read_only,
		.unpromised = server->config.unpromised,
		.keys = server->config.keys,
		.tls_required = server->config.tls_required,
		.ops = &connection_ops,
		.arg = server,
		.edge = server->edge,
	};
	struct place *place = &server->places[server->count];

	config.fd = accept4(server->config.listen_fd, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (config.fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS)
			no_connection(server, errno);
		return false;
	}
	if (connection_create(&config, &place->connection) < 0) {
		close(config.fd);
		return true;
	}
	place->since_ns = loop_now_ns(server->config.loop);
	server->count++;
	return true;
}

static void accept_ready(struct loop_watch *watch)
{
	struct server *server = container_of(watch, struct server, watch);

	for (unsigned int i = 0; i < ACCEPTS_PER_TURN && server->watching &&
	     server->count < server->config.connections;
	     i++)
		if (!accept_one(server))
			break;
	if (server->watching)
		listen_if_room(server);
	sweep_if_needed(server);
}

/* Who takes too long for the handshake, or for the end, goes. */
static void sweep_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct server *server = container_of(timer, struct server, sweep);
	const bool crowded = server->count == server->config.connections;
	const uint64_t patience_ns =
		crowded ? HANDSHAKE_CROWDED_NS : SERVER_HANDSHAKE_NS;

	for (unsigned int i = 0; i < server->count; i++) {
		const struct place *place = &server->places[i];

		if (connection_is_session(place->connection) ?
			    server->draining &&
				    now_ns >= server->drain_until_ns :
			    now_ns - place->since_ns > patience_ns)
			connection_cut(place->connection);
	}
	listen_if_room(server);
	sweep_if_needed(server);
}

/* ---- life ---- */

static int start(struct server *server, struct error *reterr)
{
	const struct server_config *config = &server->config;
	const int flags = fcntl(config->listen_fd, F_GETFL);
	int rc;

	if (flags < 0 ||
	    fcntl(config->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set(reterr, -errno, "nbd: listening socket: %s",
				 strerror(errno));
	server->edge = edge_create();
	server->flush = calloc(1, sizeof(*server->flush));
	server->places = calloc(config->connections, sizeof(*server->places));
	if (!server->edge || !server->flush || !server->places)
		return error_set(reterr, -ENOMEM, "nbd: no memory");
	server->flush->server = server;
	rc = loop_timer_init(config->loop, &server->sweep, sweep_expired);
	if (rc == 0)
		rc = loop_watch_add(config->loop, &server->watch,
				    config->listen_fd);
	if (rc < 0)
		return error_set(reterr, rc, "nbd: %s", strerror(-rc));
	server->watching = true;
	return 0;
}

int server_create(const struct server_config *config,
		  struct server **ret_server, struct error *reterr)
{
	struct server *server;
	int rc;

	if (config->connections == 0 ||
	    config->connections > SERVER_CONNECTIONS_MAX)
		return error_set(reterr, -EINVAL,
				 "nbd: %u connections: must be 1 to %u",
				 config->connections, SERVER_CONNECTIONS_MAX);
	server = calloc(1, sizeof(*server));
	if (!server)
		return error_set(reterr, -ENOMEM, "nbd: no memory");
	server->config = *config;
	if (config->keys)
		keys_keep(config->keys);
	server->watch.ready = accept_ready;
	rc = start(server, reterr);
	if (rc < 0) {
		loop_timer_finish(config->loop, &server->sweep);
		edge_put(server->edge);
		keys_drop(config->keys);
		free(server->flush);
		free(server->places);
		free(server);
		return rc;
	}
	*ret_server = server;
	return 0;
}

void server_destroy(struct server *server)
{
	if (!server)
		return;
	for (unsigned int i = 0; i < server->count; i++)
		connection_orphan(server->places[i].connection);
	if (server->flush->busy)
		server->flush->server = NULL;
	else
		free(server->flush);
	if (server->watching)
		loop_watch_remove(server->config.loop, &server->watch);
	loop_timer_finish(server->config.loop, &server->sweep);
	close(server->config.listen_fd);
	edge_put(server->edge);
	keys_drop(server->config.keys);
	free(server->places);
	free(server);
}

void server_set_keys(struct server *server, struct keys *keys)
{
	assert(server->config.keys && keys);
	keys_drop(server->config.keys);
	server->config.keys = keys_keep(keys);
}

void server_drain(struct server *server, void (*drained)(void *arg), void *arg)
{
	server->draining = true;
	server->drained = drained;
	server->drained_arg = arg;
	server->drain_until_ns =
		loop_now_ns(server->config.loop) + SERVER_DRAIN_NS;
	listen_if_room(server);
	sweep_if_needed(server);
	for (unsigned int i = 0; i < server->count; i++)
		connection_drain(server->places[i].connection);
	if (server->flush->busy)
		vdev_let_go(server->config.vdev, server->flush,
			    loop_now_ns(server->config.loop));
	drain_if_empty(server);
}

void server_forget(struct server *server, const struct vdev_process *process)
{
	for (unsigned int i = 0; i < server->count; i++)
		connection_forget(server->places[i].connection, process);
}

void server_rebind(struct server *server)
{
	for (unsigned int i = 0; i < server->count; i++)
		connection_rebind(server->places[i].connection);
}

void server_status(const struct server *server,
		   struct server_status *ret_status)
{
	*ret_status = (struct server_status){
		.sessions = server->sessions,
		.unnamed = server_sessions_of(server, NULL),
		.changes = server->changes,
		.epoch = server->epoch,
		.attached = server->attached,
	};
}

unsigned int server_sessions_of(const struct server *server,
				const struct vdev_process *process)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < server->count; i++)
		count += connection_is_session(server->places[i].connection) &&
			connection_process(server->places[i].connection) ==
				process;
	return count;
}

int server_listen_fd(const struct server *server)
{
	return server->config.listen_fd;
}
