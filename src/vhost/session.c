/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - see session.h; from its first message to its end
 *
 * What it waits for ('pending') is looked at by the timer, and until then no
 * more messages are read.
 */
#include "vhost/session.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhost/session-messages.h"

/* A turn's share: a front-end that talks much delays nobody. */
#define MESSAGES_PER_TURN	4U

#define TRANSPORT_FEATURES \
	(VHOST_FEATURE(VIRTIO_F_VERSION_1) | \
	 VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | \
	 VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX) | \
	 VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES) | \
	 VHOST_FEATURE(VHOST_F_LOG_ALL))

/* ---- answers ---- */

static bool wants_acknowledgement(const struct session *session,
				  const struct vhost_user_header *header)
{
	return (header->flags & VHOST_USER_FLAG_NEED_REPLY) &&
		(session->protocol &
		 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK)) &&
		message_reply(header->request) == MESSAGE_REPLY_NONE;
}

void session_resized(struct session *session)
{
	session_config_changed(session);
}

/* ---- rings ---- */

static void ring_idle_now(void *arg)
{
	session_go_on(arg);
}

/* Nobody is there to be answered, or nothing to be answered in. */
static void forsake(struct session *session)
{
	for (unsigned int i = 0; i < session_queue_count(session); i++)
		ring_forsake(session->queues[i].ring);
}

static void ring_trouble(void *arg, const struct error *error)
{
	struct session *session = arg;

	session_report(session, error);
	if (memory_lost(session->map)) {
		forsake(session);
		session_close(session);
		return;
	}
	session->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	session_config_changed(session);
}

void session_offer(struct session *session)
{
	struct error error;

	if (session->pending != PENDING_NONE || session_started(session) == 0)
		return;
	if (session_start_rings(session, &error) < 0) {
		session_report(session, &error);
		session_close(session);
	}
}

static bool all_idle(const struct session *session)
{
	for (unsigned int i = 0; i < session_queue_count(session); i++)
		if (!ring_idle(session->queues[i].ring))
			return false;
	return true;
}

static void stop_ring(struct session_queue *queue)
{
	if (ring_running(queue->ring))
		queue->layout.base = ring_stop(queue->ring);
	(void)ring_set_kick(queue->ring, -1);
	queue->started = false;
}

/* ---- what has to wait ---- */

static void flush_done(struct vdev_request *vdev)
{
	struct session_flush *flush =
		(struct session_flush *)(void *)((char *)vdev -
						 offsetof(struct session_flush,
							  vdev));

	flush->busy = false;
	flush->done = true;
	if (!flush->session) {
		free(flush);
		return;
	}
	if (vdev->block.result < 0) {
		struct error error;

		error_set(&error, vdev->block.result,
			  "flush at the end of an attachment: %s",
			  strerror(-vdev->block.result));
		session_report(flush->session, &error);
	}
	session_go_on(flush->session);
}

/* Before the epoch is given up, all that was written must last. */
static bool flushed(struct session *session)
{
	const struct blk_target *target = session->config.target;
	const uint64_t now_ns = loop_now_ns(session->config.loop);
	struct session_flush *flush = session->flush;

	if (!session->holding || vdev_read_only(target->vdev) || flush->done)
		return true;
	if (flush->busy)
		return false;
	flush->busy = true;
	flush->vdev = (struct vdev_request){
		.block.op = BLOCK_FLUSH,
		.done = flush_done,
		.may_wait = vdev_never_waits,
		.owner = flush,
		.process = target->process ? target->process :
					     vdev_find_process(target->vdev, 0),
	};
	vdev_submit(target->vdev, &flush->vdev, now_ns);
	if (flush->busy)
		vdev_let_go(target->vdev, flush, now_ns);
	return flush->done;
}

static void close_socket(struct session *session)
{
	if (session->gone)
		return;
	session->gone = true;
	loop_watch_remove(session->config.loop, &session->watch);
	channel_finish(&session->channel);
}

static void forget(struct session *session)
{
	for (unsigned int i = 0; i < session_queue_count(session); i++) {
		struct session_queue *queue = &session->queues[i];

		queue->layout = (struct ring_layout){0};
		queue->has_addr = false;
		ring_enable(queue->ring, false);
	}
	session->features = 0;
	session->status = 0;
	log_destroy(session->log);
	session->log = NULL;
	inflight_close(session->inflight);
	session->inflight = NULL;
}

/* Read messages again. */
static int listen_again(struct session *session)
{
	return loop_watch_add(session->config.loop, &session->watch,
			      session->channel.fd);
}

/* GET_VRING_BASE: the ring has ended; with the last one the epoch does. */
static int finish_base(struct session *session, bool *ret_finished)
{
	struct session_queue *queue = &session->queues[session->pending_queue];
	struct vhost_user_vring_state state = {
		.index = session->pending_queue,
	};
	const bool last =
		session_running(session) <= 1 && ring_running(queue->ring);

	*ret_finished = false;
	if (!ring_idle(queue->ring) || (last && !flushed(session)))
		return 0;
	*ret_finished = true;
	stop_ring(queue);
	state.num = queue->layout.base;
	if (last)
		session_release(session);
	return session_reply(session, &session->pending_header, &state,
			     sizeof(state), -1);
}

static int finish_stop(struct session *session, bool *ret_finished)
{
	*ret_finished = false;
	if (!all_idle(session) || !flushed(session))
		return 0;
	*ret_finished = true;
	for (unsigned int i = 0; i < session_queue_count(session); i++)
		stop_ring(&session->queues[i]);
	if (session->pending == PENDING_RESET)
		forget(session);
	session_release(session);
	if (session->pending != PENDING_CLOSE &&
	    wants_acknowledgement(session, &session->pending_header))
		return session_reply_u64(session, &session->pending_header, 0);
	return 0;
}

/* Something that is waited for may have happened. */
static void timer_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct session *session =
		(struct session *)(void *)((char *)timer -
					   offsetof(struct session, timer));
	bool finished = false;
	int rc = 0;

	(void)now_ns;
	if (session->pending == PENDING_BASE)
		rc = finish_base(session, &finished);
	else if (session->pending != PENDING_NONE)
		rc = finish_stop(session, &finished);
	if (finished && session->pending == PENDING_CLOSE) {
		close_socket(session);
		session->config.ops->ended(session->config.arg, session);
		return;
	}
	if (finished) {
		session->pending = PENDING_NONE;
		if (rc == 0 && !session->closing)
			rc = listen_again(session);
		if (rc == 0 && !session->closing && !session->holding)
			session_offer(session);
	}
	if (rc < 0) {
		close_socket(session);
		session->closing = true;
	}
	if (session->closing && session->pending == PENDING_NONE)
		session_wait(session, PENDING_CLOSE, 0, NULL);
}

/* ---- the end ---- */

void session_close(struct session *session)
{
	session->closing = true;
	if (session->pending == PENDING_NONE)
		session_wait(session, PENDING_CLOSE, 0, NULL);
}

/* The front-end is gone, or is told to go: say why, if it is worth it. */
static void cut(struct session *session, int code, const struct error *error)
{
	if (code != -ECONNRESET)
		session_report(session, error);
	close_socket(session);
	forsake(session);
	session_close(session);
}

void session_destroy(struct session *session)
{
	if (!session)
		return;
	close_socket(session);
	for (unsigned int i = 0; i < session_queue_count(session); i++)
		ring_destroy(session->queues[i].ring);
	loop_timer_finish(session->config.loop, &session->timer);
	if (session->flush && session->flush->busy)
		session->flush->session = NULL;
	else
		free(session->flush);
	log_destroy(session->log);
	inflight_close(session->inflight);
	if (session->map)
		memory_map_put(session->map);
	if (session->backend_fd >= 0)
		close(session->backend_fd);
	free(session);
}

/* ---- messages ---- */

static int handle(struct session *session, struct message *message,
		  struct error *reterr)
{
	const struct vhost_user_header header = message->header;
	int rc = session_handle(session, message, reterr);

	if (rc >= 0 && wants_acknowledgement(session, &header))
		return rc == SESSION_LATER ?
			0 :
			session_reply_u64(session, &header, 0);
	if (rc >= 0)
		return 0;
	/* It is told if it asked to be; else only the end tells it. */
	if (!wants_acknowledgement(session, &header))
		return rc;
	session_report(session, reterr);
	return session_reply_u64(session, &header, 1);
}

static void socket_ready(struct loop_watch *watch)
{
	struct session *session =
		(struct session *)(void *)((char *)watch -
					   offsetof(struct session, watch));
	struct error error;

	for (unsigned int i = 0; i < MESSAGES_PER_TURN; i++) {
		int rc = channel_receive(&session->channel, &error);

		if (rc == 0)
			return;
		if (rc > 0) {
			error_set(&error, 0,
				  "vhost-user: no answer could be sent");
			rc = handle(session, &session->channel.message, &error);
			channel_next(&session->channel);
		}
		if (rc < 0) {
			cut(session, rc, &error);
			return;
		}
		if (session->pending != PENDING_NONE || session->closing)
			return;
	}
}

static int create_rings(struct session *session)
{
	for (unsigned int i = 0; i < session_queue_count(session); i++) {
		const struct ring_config config = {
			.loop = session->config.loop,
			.target = session->config.target,
			.index = i,
			.idle = ring_idle_now,
			.trouble = ring_trouble,
			.arg = session,
		};
		int rc = ring_create(&config, &session->queues[i].ring);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int session_create(const struct session_config *config,
		   struct session **ret_session)
{
	struct session *session = calloc(1, sizeof(*session));
	int rc = -ENOMEM;

	if (!session)
		return -ENOMEM;
	session->config = *config;
	session->watch.ready = socket_ready;
	session->backend_fd = -1;
	session->gone = true;	/* the socket is not ours yet */
	session->features_offered =
		blk_features(config->target) | TRANSPORT_FEATURES;
	session->flush = calloc(1, sizeof(*session->flush));
	if (!session->flush)
		goto err;
	session->flush->session = session;
	rc = memory_map_create(&session->map);
	if (rc < 0)
		goto err;
	rc = create_rings(session);
	if (rc < 0)
		goto err;
	rc = loop_timer_init(config->loop, &session->timer, timer_expired);
	if (rc < 0)
		goto err;
	rc = loop_watch_add(config->loop, &session->watch, config->fd);
	if (rc < 0)
		goto err;
	channel_init(&session->channel, config->fd);
	session->gone = false;
	*ret_session = session;
	return 0;
err:
	session_destroy(session);
	return rc;
}
