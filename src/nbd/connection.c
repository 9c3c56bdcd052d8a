/* SPDX-License-Identifier: Apache-2.0 */
/* connection.c - see connection.h and state.h */
#include "nbd/connection.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "nbd/state.h"

/* Looked at for so long after the last work of it. */
#define COOL_NS			UINT64_C(50000)
/* When it cannot be waited for. */
#define AGAIN_NS		UINT64_C(100000)

/* ---- the end ---- */

/* Nothing that came is left to be done or answered. */
static bool is_quiet(const struct connection *connection)
{
	return connection->in_flight == 0 && !connection->replies.first &&
		!connection->pieces.first;
}

static bool is_drained(const struct connection *connection)
{
	if (connection->phase == CONNECTION_LEAVING)
		return is_quiet(connection);
	return connection->phase == CONNECTION_DRAINING &&
		is_quiet(connection) && !connection->incoming &&
		!connection->refused && !receive_is_ready(connection);
}

static void stop_polling(struct connection *connection)
{
	connection->blocked = false;
	state_cool(connection);
}

/* Its socket is closed at once; it ends when nothing of it is in flight. */
static void finish(struct connection *connection)
{
	if (connection->phase != CONNECTION_ENDED) {
		request_abandon(connection);
		handshake_destroy(connection);
		stream_shut(&connection->stream);
		connection->phase = CONNECTION_ENDED;
	}
	stop_polling(connection);
	if (connection->in_flight > 0 || connection->awaiting_room)
		return;
	edge_abandon(connection);
	if (connection->orphaned)
		connection_destroy(connection);
	else
		connection->config.ops->ended(connection->config.arg,
					      connection);
}

/* ---- the poller ---- */

static unsigned int serve(struct connection *connection, uint64_t now_ns)
{
	unsigned int found = 0;

	if (connection->replies.first)
		found += reply_send(connection);
	if (connection->pieces.first) {
		request_pieces(connection, now_ns);
		found++;
	}
	found += receive_poll(connection, now_ns);
	if (connection->replies.first)
		found += reply_send(connection);
	if (found > 0 && connection->phase == CONNECTION_DRAINING)
		request_hurry(connection, now_ns);
	return found;
}

static unsigned int connection_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct connection *connection =
		container_of(poller, struct connection, poller);
	unsigned int found = 0;

	if (!connection->cut)
		found = connection->phase == CONNECTION_HANDSHAKE ?
			handshake_poll(connection) :
			serve(connection, now_ns);
	if (connection->cut || is_drained(connection)) {
		connection->cut = true;
		finish(connection);
		return found + 1;
	}
	if (found > 0)
		connection->busy_ns = now_ns;
	else if (!receive_is_ready(connection) &&
		 (now_ns - connection->busy_ns > COOL_NS || state_is_crowded()))
		state_cool(connection);
	return found;
}

/* Until when every request that may come would wait at the vdev. */
static uint64_t vdev_quiet_ns(const struct connection *connection)
{
	return connection->process ?
		vdev_process_quiet_until_ns(connection->process) :
		vdev_quiet_until_ns(connection->config.vdev);
}

static bool has_work(const struct connection *connection)
{
	return connection->cut || connection->pieces.first ||
		state_has_input(connection) ||
		(connection->replies.first && !connection->blocked) ||
		is_drained(connection) || receive_is_ready(connection);
}

static uint64_t connection_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct connection *connection =
		container_of(poller, struct connection, poller);
	const uint64_t rests_ns = handshake_rests_until_ns(connection);

	if (rests_ns > 0)
		return rests_ns > now_ns ? rests_ns : 0;
	if (connection->phase == CONNECTION_HANDSHAKE ?
		    state_has_input(connection) :
		    has_work(connection))
		return 0;
	if (connection->phase == CONNECTION_SERVING && !connection->blocked &&
	    receive_wants(connection)) {
		const uint64_t quiet_ns = vdev_quiet_ns(connection);

		if (quiet_ns > now_ns)
			return quiet_ns;
	}
	state_cool(connection);
	return connection->polling ? now_ns + AGAIN_NS : UINT64_MAX;
}

static uint64_t connection_quiet_until(struct loop_poller *poller,
				       uint64_t now_ns)
{
	const struct connection *connection =
		container_of(poller, struct connection, poller);

	if (connection->phase == CONNECTION_HANDSHAKE)
		return handshake_rests_until_ns(connection);
	if (connection->phase != CONNECTION_SERVING || connection->blocked ||
	    has_work(connection))
		return now_ns;
	return receive_wants(connection) ? vdev_quiet_ns(connection) :
					   UINT64_MAX;
}

static void socket_ready(struct loop_watch *watch)
{
	struct connection *connection =
		container_of(watch, struct connection, watch);

	connection->busy_ns = loop_now_ns(connection->config.loop);
	state_heat(connection);
}

/* ---- life ---- */

int connection_create(const struct connection_config *config,
		      struct connection **ret_connection)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int rc;

	if (!connection)
		return -ENOMEM;
	connection->config = *config;
	rc = handshake_create(connection);
	if (rc < 0) {
		free(connection);
		return rc;
	}
	config->edge->users++;
	if (config->keys)
		keys_keep(config->keys);
	stream_init(&connection->stream, config->fd);
	stream_peer(&connection->stream, &connection->peer);
	connection->replies.end = &connection->replies.first;
	connection->pieces.end = &connection->pieces.first;
	connection->poller.poll = connection_poll;
	connection->poller.arm = connection_arm;
	connection->poller.quiet_until = connection_quiet_until;
	connection->watch.ready = socket_ready;
	connection->busy_ns = loop_now_ns(config->loop);
	state_heat(connection);
	*ret_connection = connection;
	return 0;
}

void connection_destroy(struct connection *connection)
{
	stop_polling(connection);
	handshake_destroy(connection);
	stream_finish(&connection->stream);
	state_free(connection);
	edge_put(connection->config.edge);
	keys_drop(connection->config.keys);
	free(connection);
}

void connection_orphan(struct connection *connection)
{
	connection->orphaned = true;
	connection_cut(connection);
	finish(connection);
}

void connection_drain(struct connection *connection)
{
	if (connection->phase == CONNECTION_HANDSHAKE) {
		connection_cut(connection);
		return;
	}
	if (connection->phase != CONNECTION_SERVING)
		return;
	connection->phase = CONNECTION_DRAINING;
	request_hurry(connection, loop_now_ns(connection->config.loop));
	state_heat(connection);
}

void connection_cut(struct connection *connection)
{
	state_end(connection);
}

void connection_forget(struct connection *connection,
		       const struct vdev_process *process)
{
	if (connection->process != process)
		return;
	connection->process = NULL;
	if (connection->pasid)
		connection_drain(connection);
}

void connection_rebind(struct connection *connection)
{
	if (connection->began && !connection->pasid &&
	    !connection->config.unpromised)
		connection->process = vdev_process_by_peer(
			connection->config.vdev, &connection->peer);
}

bool connection_changes(const struct connection *connection,
			const struct slot *slot, uint64_t from_bytes,
			uint64_t to_bytes)
{
	return connection->slots &&
		edge_is_changed(connection, slot, from_bytes, to_bytes);
}

void connection_go_on(struct connection *connection)
{
	if (!connection->awaits_edge)
		return;
	connection->awaits_edge = false;
	state_heat(connection);
}

bool connection_is_session(const struct connection *connection)
{
	return connection->began;
}

const struct vdev_process *connection_process(
	const struct connection *connection)
{
	return connection->process;
}
