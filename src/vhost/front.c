/* SPDX-License-Identifier: Apache-2.0 */
/* front.c - see front.h */
#include "vhost/front.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost/blk.h"
#include "vhost/message.h"
#include "vhost/session.h"

/* How long to wait when there is no descriptor for a new connection. */
#define ACCEPT_AGAIN_NS		UINT64_C(100000000)

struct front {
	struct front_config config;
	struct blk_target target;
	struct loop_watch watch;
	struct loop_timer timer;	/* accept again */
	struct vdev_listener listener;
	struct session *sessions[FRONT_SESSIONS_MAX];
	struct session *holder;		/* of the epoch, or NULL */
	uint64_t epoch;
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
};

static void report(void *arg, const struct error *error)
{
	const struct front *front = arg;

	if (front->config.report)
		front->config.report(front->config.arg, error);
}

static struct session **free_place(struct front *front)
{
	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		if (!front->sessions[i])
			return &front->sessions[i];
	return NULL;
}

static unsigned int session_count(const struct front *front)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		count += front->sessions[i] != NULL;
	return count;
}

/* Listen while there is room; who comes too much waits in the backlog. */
static void listen_if_room(struct front *front)
{
	loop_watch_remove(front->config.loop, &front->watch);
	if (front->draining || !free_place(front))
		return;
	if (loop_watch_add(front->config.loop, &front->watch,
			   front->config.listen_fd) < 0)
		loop_timer_set(front->config.loop, &front->timer,
			       loop_now_ns(front->config.loop) +
				       ACCEPT_AGAIN_NS);
}

static void accept_again(struct loop_timer *timer, uint64_t now_ns)
{
	struct front *front =
		(struct front *)(void *)((char *)timer -
					 offsetof(struct front, timer));

	(void)now_ns;
	listen_if_room(front);
}

/* ---- the attachment epoch ---- */

static bool acquire(void *arg, struct session *session)
{
	struct front *front = arg;

	if (front->holder || front->draining)
		return front->holder == session;
	front->holder = session;
	front->epoch++;
	return true;
}

static void release(void *arg, struct session *session)
{
	struct front *front = arg;

	assert(front->holder == session);
	front->holder = NULL;
	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		if (!front->holder && front->sessions[i] &&
		    front->sessions[i] != session)
			session_offer(front->sessions[i]);
}

static void drain_if_empty(struct front *front)
{
	void (*drained)(void *arg) = front->drained;

	if (!front->draining || !drained || session_count(front) > 0)
		return;
	front->drained = NULL;
	drained(front->drained_arg);	/* may destroy the front */
}

static void ended(void *arg, struct session *session)
{
	struct front *front = arg;

	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		if (front->sessions[i] == session)
			front->sessions[i] = NULL;
	session_destroy(session);
	listen_if_room(front);
	drain_if_empty(front);
}

static const struct session_ops session_ops = {
	.acquire = acquire,
	.release = release,
	.ended = ended,
	.report = report,
};

/* ---- connections ---- */

static void accept_one(struct loop_watch *watch)
{
	struct front *front =
		(struct front *)(void *)((char *)watch -
					 offsetof(struct front, watch));
	struct session_config config = {
		.loop = front->config.loop,
		.target = &front->target,
		.ops = &session_ops,
		.arg = front,
	};
	int rc;

	config.fd = accept4(front->config.listen_fd, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (config.fd < 0 &&
	    (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
	     errno == ENOBUFS)) {
		struct error error;

		error_set(&error, -errno, "no connection can be taken: %s",
			  strerror(errno));
		report(front, &error);
		loop_watch_remove(front->config.loop, &front->watch);
		loop_timer_set(front->config.loop, &front->timer,
			       loop_now_ns(front->config.loop) +
				       ACCEPT_AGAIN_NS);
		return;
	}
	if (config.fd < 0)
		return;
	rc = session_create(&config, free_place(front));
	if (rc < 0)
		close(config.fd);
	if (!free_place(front))
		loop_watch_remove(front->config.loop, &front->watch);
}

static void resized(struct vdev_listener *listener)
{
	struct front *front =
		(struct front *)(void *)((char *)listener -
					 offsetof(struct front, listener));

	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		if (front->sessions[i])
			session_resized(front->sessions[i]);
}

/* ---- life ---- */

int front_create(const struct front_config *config, struct front **ret_front,
		 struct error *reterr)
{
	struct front *front;
	int flags, rc;

	if (config->queues == 0 || config->queues > MESSAGE_QUEUES_MAX)
		return error_set(reterr, -EINVAL,
				 "vhost-user: %u queues: must be 1 to %u",
				 config->queues, MESSAGE_QUEUES_MAX);
	flags = fcntl(config->listen_fd, F_GETFL);
	if (flags < 0 ||
	    fcntl(config->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set(reterr, -errno,
				 "vhost-user: listening socket: %s",
				 strerror(errno));
	front = calloc(1, sizeof(*front));
	if (!front)
		return error_set(reterr, -ENOMEM, "vhost-user: no memory");
	front->config = *config;
	front->target = (struct blk_target){
		.vdev = config->vdev,
		.process = config->process,
		.queues = config->queues,
	};
	if (config->id)
		memcpy(front->target.id, config->id,
		       strnlen(config->id, sizeof(front->target.id)));
	front->watch.ready = accept_one;
	front->listener.resized = resized;
	rc = loop_timer_init(config->loop, &front->timer, accept_again);
	if (rc == 0)
		rc = loop_watch_add(config->loop, &front->watch,
				    config->listen_fd);
	if (rc < 0) {
		loop_timer_finish(config->loop, &front->timer);
		free(front);
		return error_set(reterr, rc, "vhost-user: %s", strerror(-rc));
	}
	vdev_listen(config->vdev, &front->listener);
	*ret_front = front;
	return 0;
}

void front_destroy(struct front *front)
{
	if (!front)
		return;
	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		session_destroy(front->sessions[i]);
	vdev_unlisten(front->config.vdev, &front->listener);
	loop_watch_remove(front->config.loop, &front->watch);
	loop_timer_finish(front->config.loop, &front->timer);
	close(front->config.listen_fd);
	free(front);
}

void front_drain(struct front *front, void (*drained)(void *arg), void *arg)
{
	front->draining = true;
	front->drained = drained;
	front->drained_arg = arg;
	loop_timer_cancel(front->config.loop, &front->timer);
	listen_if_room(front);
	for (unsigned int i = 0; i < FRONT_SESSIONS_MAX; i++)
		if (front->sessions[i])
			session_close(front->sessions[i]);
	drain_if_empty(front);
}

void front_status(const struct front *front, struct front_status *ret_status)
{
	*ret_status = (struct front_status){
		.sessions = session_count(front),
		.epoch = front->epoch,
		.attached = front->holder != NULL,
	};
}

int front_listen_fd(const struct front *front)
{
	return front->config.listen_fd;
}
