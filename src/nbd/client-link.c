/* SPDX-License-Identifier: Apache-2.0 */
/* client-link.c - one connection of a client: how it is waited for, its
 * handshake, its end; see client-data.h */
#include "nbd/client-data.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/container.h"

/* Looked at for so long after the last work of it. */
#define COOL_NS			UINT64_C(50000)
/* When it cannot be waited for. */
#define AGAIN_NS		UINT64_C(100000)
#define STEPS_PER_TURN		8U

/* ---- waiting ---- */

static bool has_something_to_send(const struct client_link *link)
{
	if (link->greet)
		return link->greet->out_sent < link->greet->out_bytes;
	return link->queue.first != NULL && !link->leaving;
}

void link_heat(struct client_link *link)
{
	if (link->polling)
		return;
	link->polling = true;
	if (link->watching)
		loop_watch_remove(link->client->config.loop, &link->watch);
	link->watching = false;
	loop_poller_add(link->client->config.loop, &link->poller);
}

static void finish(struct client_link *link);

static void room_came(struct loop_op *op, int result)
{
	struct client_link *link = container_of(op, struct client_link, room);

	(void)result;
	link->awaiting_room = false;
	link->blocked = false;
	if (link->orphaned)
		finish(link);
	else
		link_heat(link);
}

/* Returns false: not now. */
static bool await_room(struct client_link *link)
{
	struct io_uring_sqe *sqe;

	if (link->awaiting_room)
		return true;
	sqe = loop_sqe(link->client->config.loop, &link->room);
	if (!sqe)
		return false;
	link->room.done = room_came;
	link->awaiting_room = true;
	io_uring_prep_poll_add(sqe, link->stream.fd, POLLOUT);
	return true;
}

static void stop_polling(struct client_link *link)
{
	if (link->polling)
		loop_poller_remove(link->client->config.loop, &link->poller);
	link->polling = false;
	if (link->watching)
		loop_watch_remove(link->client->config.loop, &link->watch);
	link->watching = false;
}

/* The server's end is waited for, too: always. */
static void cool(struct client_link *link)
{
	if (stream_has_input(&link->stream) ||
	    (link->blocked && !await_room(link)))
		return;
	if (loop_watch_add(link->client->config.loop, &link->watch,
			   link->stream.fd) < 0)
		return;
	loop_poller_remove(link->client->config.loop, &link->poller);
	link->polling = false;
	link->watching = true;
}

static void socket_ready(struct loop_watch *watch)
{
	struct client_link *link =
		container_of(watch, struct client_link, watch);

	link->busy_ns = loop_now_ns(link->client->config.loop);
	link_heat(link);
}

/* ---- the end ---- */

void link_fail(struct client_link *link, const char *format, ...)
{
	va_list args;

	if (!link->lost) {
		va_start(args, format);
		error_vset(&link->why, -EPROTO, format, args);
		va_end(args);
	}
	link->lost = true;
}

/* The kernel may still have the poll for room: who shuts the socket ends it. */
static void finish(struct client_link *link)
{
	if (link->awaiting_room || link->in_poll)
		return;
	stream_finish(&link->stream);
	free(link->greet);
	free(link);
}

void link_orphan(struct client_link *link)
{
	stop_polling(link);
	stream_shut(&link->stream);
	link->lost = true;
	link->orphaned = true;
	finish(link);
}

/* ---- the handshake ---- */

static unsigned int greet_send(struct client_link *link)
{
	struct greet *greet = link->greet;
	struct iovec iov = {
		.iov_base = greet->out + greet->out_sent,
		.iov_len = greet->out_bytes - greet->out_sent,
	};
	const ssize_t sent = stream_send(&link->stream, &iov, 1);

	link->blocked = sent == 0;
	if (sent < 0) {
		link_fail(link, "the server hung up in the handshake");
		return 0;
	}
	greet->out_sent += (size_t)sent;
	if (greet->out_sent == greet->out_bytes)
		greet->out_sent = greet->out_bytes = 0;
	return sent > 0;
}

static unsigned int greet_receive(struct client_link *link)
{
	struct greet *greet = link->greet;
	const ssize_t got =
		stream_receive(&link->stream, greet->in + greet->have,
			       greet->want - greet->have);

	if (got < 0) {
		link_fail(link, "the server hung up in the handshake");
		return 0;
	}
	greet->have += (uint32_t)got;
	if (greet->have == greet->want)
		greet_take(greet);
	return got > 0;
}

/* Go on with TLS; returns whether it is there. */
static unsigned int greet_shake(struct client_link *link)
{
	const struct client *client = link->client;
	struct stream *stream = &link->stream;
	struct error error;
	int rc;

	if (!stream_is_secure(stream) &&
	    stream_secure(stream, client->keys, client->host) < 0) {
		link_fail(link, "no memory for TLS");
		return 0;
	}
	rc = stream_shake(stream, &error);
	if (rc == -EPROTO)
		link_fail(link, "%s", error.text);
	else if (rc < 0)
		link_fail(link, "the server hung up in the handshake of TLS");
	link->blocked = rc == 0 && stream_has_output(stream);
	if (rc <= 0)
		return 0;
	greet_secured(link->greet);
	return 1;
}

static unsigned int greet_poll(struct client_link *link)
{
	struct greet *greet = link->greet;
	unsigned int found = 0, now = 1;

	for (unsigned int i = 0; i < STEPS_PER_TURN && now && !link->lost;
	     i++) {
		if (has_something_to_send(link))
			now = greet_send(link);
		else if (greet->step == GREET_TLS)
			now = greet_shake(link);
		else
			now = greet_receive(link);
		found += now;
		if (greet->step == GREET_FAILED) {
			link_fail(link, "%s", greet->error.text);
		} else if (greet->step == GREET_DONE) {
			if (client_link_up(link)) {
				free(greet);
				link->greet = NULL;
			}
			break;
		}
	}
	return found;
}

/* ---- the poller ---- */

static unsigned int serve(struct client_link *link)
{
	unsigned int found = 0;

	if (has_something_to_send(link) && !link->awaiting_room)
		found += link_send(link);
	if (!link->lost)
		found += link_receive(link);
	/* What the answers led to. */
	if (found > 0 && !link->lost && has_something_to_send(link) &&
	    !link->blocked)
		found += link_send(link);
	if (!link->lost && link->leaving && link->unanswered == 0)
		link_fail(link, "the server is shutting down");
	return found;
}

static unsigned int link_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct client_link *link =
		container_of(poller, struct client_link, poller);
	unsigned int found;

	link->in_poll = true;
	found = link->greet ? greet_poll(link) : serve(link);
	if (link->lost && !link->orphaned)
		client_link_down(link);
	link->in_poll = false;
	if (link->orphaned) {
		finish(link);
		return found + 1;
	}
	if (found > 0)
		link->busy_ns = now_ns;
	else if (now_ns - link->busy_ns > COOL_NS)
		cool(link);
	return found;
}

static uint64_t link_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct client_link *link =
		container_of(poller, struct client_link, poller);

	if ((has_something_to_send(link) && !link->blocked) ||
	    stream_has_input(&link->stream))
		return 0;
	cool(link);
	return link->polling ? now_ns + AGAIN_NS : UINT64_MAX;
}

/* ---- life ---- */

int link_create(struct client *client, unsigned int number, int fd,
		struct client_link **ret_link)
{
	struct client_link *link = malloc(sizeof(*link));
	struct greet *greet = malloc(sizeof(*greet));
	const int flags = fcntl(fd, F_GETFL);

	if (!link || !greet) {
		free(link);
		free(greet);
		return -ENOMEM;
	}
	/* All but its input, which needs no zeroes. */
	__builtin_memset(link, 0, offsetof(struct client_link, input));
	greet_init(greet, client->export_name, client->keys != NULL);
	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	link->client = client;
	link->number = number;
	link->greet = greet;
	link->poller.poll = link_poll;
	link->poller.arm = link_arm;
	link->watch.ready = socket_ready;
	link->since_ns = loop_now_ns(client->config.loop);
	link->busy_ns = link->since_ns;
	stream_init(&link->stream, fd);
	link_heat(link);
	*ret_link = link;
	return 0;
}
