/* SPDX-License-Identifier: Apache-2.0 */
/* session-state.c - see session-state.h */
#include "vhost/session-state.h"

#include <assert.h>

void session_report(struct session *session, const struct error *error)
{
	session->config.ops->report(session->config.arg, error);
}

uint64_t session_started(const struct session *session)
{
	uint64_t started = 0;

	for (unsigned int i = 0; i < session_queue_count(session); i++)
		if (session->queues[i].started)
			started |= UINT64_C(1) << i;
	return started;
}

unsigned int session_running(const struct session *session)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < session_queue_count(session); i++)
		count += ring_running(session->queues[i].ring);
	return count;
}

void session_go_on(struct session *session)
{
	loop_timer_set(session->config.loop, &session->timer,
		       loop_now_ns(session->config.loop));
}

/* ---- answers ---- */

int session_reply(struct session *session,
		  const struct vhost_user_header *header, const void *payload,
		  uint32_t size, int fd)
{
	const struct vhost_user_header answer = {
		.request = header->request,
		.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY,
		.size = size,
	};

	return channel_send(session->channel.fd, &answer, payload, fd);
}

int session_reply_u64(struct session *session,
		      const struct vhost_user_header *header, uint64_t value)
{
	return session_reply(session, header, &value, sizeof(value), -1);
}

void session_config_changed(struct session *session)
{
	const struct vhost_user_header header = {
		.request = VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
		.flags = VHOST_USER_VERSION,
	};

	/* If it doesn't fit, earlier ones are still unread, and whoever reads
	 * them then asks for the configuration as it is. */
	if (session->backend_fd >= 0)
		(void)channel_send(session->backend_fd, &header, NULL, -1);
}

/* ---- rings ---- */

void session_release(struct session *session)
{
	session->flush->done = false;
	if (!session->holding)
		return;
	session->holding = false;
	session->config.ops->release(session->config.arg, session);
}

static struct ring_environment environment_of(const struct session *session)
{
	const bool logging = session->features & VHOST_FEATURE(VHOST_F_LOG_ALL);

	return (struct ring_environment){
		.map = session->map,
		.inflight = session->inflight,
		.log = logging ? session->log : NULL,
		.features = session->features,
	};
}

int session_start_rings(struct session *session, struct error *reterr)
{
	const struct ring_environment environment = environment_of(session);
	const struct session_ops *ops = session->config.ops;
	int result = 0;

	if (!ops->acquire(session->config.arg, session))
		return 0;
	session->holding = true;
	for (unsigned int i = 0; i < session_queue_count(session); i++) {
		struct session_queue *queue = &session->queues[i];
		int rc;

		if (!queue->started || ring_running(queue->ring))
			continue;
		rc = ring_start(queue->ring, &queue->layout, &environment,
				reterr);
		if (rc < 0)
			result = rc;
	}
	if (session_running(session) == 0)
		session_release(session);
	return result;
}

int session_update_rings(struct session *session, struct error *reterr)
{
	const struct ring_environment environment = environment_of(session);
	int result = 0;

	for (unsigned int i = 0; i < session_queue_count(session); i++) {
		struct session_queue *queue = &session->queues[i];
		int rc = ring_update(queue->ring, &queue->layout, &environment,
				     reterr);

		if (rc < 0)
			result = rc;
	}
	return result;
}

void session_wait(struct session *session, enum session_pending pending,
		  unsigned int queue, const struct vhost_user_header *header)
{
	assert(session->pending == PENDING_NONE);
	session->pending = pending;
	session->pending_queue = queue;
	if (header)
		session->pending_header = *header;
	if (!session->gone)
		loop_watch_remove(session->config.loop, &session->watch);
	for (unsigned int i = 0; i < session_queue_count(session); i++)
		if (pending != PENDING_BASE || i == queue)
			ring_quiesce(session->queues[i].ring,
				     pending == PENDING_CLOSE);
	session_go_on(session);
}
