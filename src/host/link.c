/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - requests and replies over one control connection; see link.h */
#include "host/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "ctl/ctl.h"

#define LINK_SENT_MAX	32U	/* requests that wait for their replies */
#define LINK_RETRY_NS	UINT64_C(1000000)
#define LINK_BATCH	64U	/* messages for each wake-up */

struct link_request {
	struct link_request *next;
	json_t *message;
	int fd;
	uint64_t id;
	bool is_stale;		/* of before this connection */
	void (*done)(void *arg, struct link_reply *reply);
	void *arg;
};

static void request_free(struct link_request *request)
{
	json_decref(request->message);
	if (request->fd >= 0)
		close(request->fd);
	free(request);
}

/* Close from the loop, not from inside a call of the owner. */
static void link_break(struct link *link, int why)
{
	if (link->broken)
		return;
	link->broken = why;
	loop_timer_set(link->loop, &link->timer, loop_clock_ns());
}

static void fail_all(struct link_request *request)
{
	while (request) {
		struct link_request *next = request->next;
		struct link_reply reply = {
			.result = -ECONNRESET,
			.fd = -1,
			.text = "the endpoint is gone",
		};

		request->done(request->arg, &reply);
		request_free(request);
		request = next;
	}
}

static void take_unsent(struct link *link)
{
	struct link_request *request = link->unsent;

	link->unsent = request->next;
	if (!link->unsent)
		link->unsent_end = &link->unsent;
	request->next = NULL;
}

static void link_pump(struct link *link)
{
	while (link->fd >= 0 && link->unsent &&
	       link->sent_count < LINK_SENT_MAX && !link->broken) {
		struct link_request *request = link->unsent;
		int ret;

		if (request->is_stale) {
			take_unsent(link);
			fail_all(request);
			continue;
		}
		ret = request->message ?
			ctl_send(link->fd, request->message, request->fd) :
			-ENOMEM;
		if (ret == -EAGAIN) {
			loop_timer_set(link->loop, &link->timer,
				       loop_clock_ns() + LINK_RETRY_NS);
			return;
		}
		if (ret < 0) {
			link_break(link, ret);
			return;
		}
		take_unsent(link);
		json_decref(request->message);
		request->message = NULL;
		if (request->fd >= 0)
			close(request->fd);
		request->fd = -1;
		*link->sent_end = request;
		link->sent_end = &request->next;
		link->sent_count++;
	}
}

static void link_lost(struct link *link, int why)
{
	link_close(link);
	link->closed(link, why);
}

static void link_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct link *link = container_of(timer, struct link, timer);

	(void)now_ns;
	if (link->fd < 0) {
		struct link_request *unsent = link->unsent;

		link->unsent = NULL;
		link->unsent_end = &link->unsent;
		fail_all(unsent);
	} else if (link->broken) {
		link_lost(link, link->broken);
	} else {
		link_pump(link);
	}
}

static struct link_request *take_sent(struct link *link, uint64_t id)
{
	struct link_request **at = &link->sent;
	struct link_request *request;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	request = *at;
	if (request) {
		*at = request->next;
		if (!*at)
			link->sent_end = at;
		link->sent_count--;
	}
	return request;
}

static void link_answered(struct link *link, json_t *message, int *fd)
{
	json_int_t id = json_integer_value(json_object_get(message, "id"));
	struct link_request *request = take_sent(link, (uint64_t)id);
	struct link_reply reply = {
		.text = "",
		.reply = message,
		.fd = *fd,
	};
	const char *text;

	if (!request)
		return;		/* answers a question nobody has asked */
	if (!json_is_true(json_object_get(message, "ok"))) {
		json_int_t code =
			json_integer_value(json_object_get(message, "errno"));

		text = json_string_value(json_object_get(message, "error"));
		reply.text = text ? text : "the endpoint gave no reason";
		reply.result = code > 0 && code < 4096 ? (int)-code : -EIO;
	}
	request->done(request->arg, &reply);
	*fd = reply.fd;
	request_free(request);
}

static void link_ready(struct loop_watch *watch)
{
	struct link *link = container_of(watch, struct link, watch);
	unsigned int i;

	for (i = 0; i < LINK_BATCH && link->fd >= 0; i++) {
		json_t *message;
		int fd, ret;

		ret = ctl_receive(link->fd, &message, &fd);
		if (ret == -EAGAIN)
			break;
		if (ret < 0) {
			link_lost(link, ret);
			return;
		}
		if (json_object_get(message, "event"))
			link->event(link, message);
		else
			link_answered(link, message, &fd);
		if (fd >= 0)
			close(fd);
		json_decref(message);
	}
	if (link->fd >= 0)
		link_pump(link);
}

int link_init(struct link *link, struct loop *loop)
{
	memset(link, 0, sizeof(*link));
	link->loop = loop;
	link->fd = -1;
	link->unsent_end = &link->unsent;
	link->sent_end = &link->sent;
	link->watch.ready = link_ready;
	return loop_timer_init(loop, &link->timer, link_expired);
}

int link_open(struct link *link, int fd)
{
	struct link_request *request;
	int ret = loop_watch_add(link->loop, &link->watch, fd);

	if (ret < 0)
		return ret;
	/* What was asked for meanwhile must not get ahead of hello: it fails
	 * when the link is next pumped, not from inside this call. */
	for (request = link->unsent; request; request = request->next)
		request->is_stale = true;
	link->fd = fd;
	link->broken = 0;
	return 0;
}

void link_close(struct link *link)
{
	struct link_request *sent = link->sent;
	struct link_request *unsent = link->unsent;

	if (link->fd < 0)
		return;
	loop_watch_remove(link->loop, &link->watch);
	loop_timer_cancel(link->loop, &link->timer);
	close(link->fd);
	link->fd = -1;
	link->sent = NULL;
	link->sent_end = &link->sent;
	link->sent_count = 0;
	link->unsent = NULL;
	link->unsent_end = &link->unsent;
	fail_all(sent);
	fail_all(unsent);
}

void link_finish(struct link *link)
{
	link_close(link);
	/* What was asked for meanwhile, by those who were just answered. */
	while (link->unsent) {
		struct link_request *unsent = link->unsent;

		link->unsent = NULL;
		link->unsent_end = &link->unsent;
		fail_all(unsent);
	}
	loop_timer_finish(link->loop, &link->timer);
}

void link_request(struct link *link, json_t *message, int fd,
		  void (*done)(void *arg, struct link_reply *reply), void *arg)
{
	struct link_request *request = calloc(1, sizeof(*request));

	/* A request that can't be remembered can't be answered for: our own
	 * memory is gone, and the next penstockd will adopt. */
	if (!request)
		abort();
	request->message = message;
	request->fd = fd;
	request->done = done;
	request->arg = arg;
	request->id = ++link->last_id;
	json_object_set_new(message, "id",
			    json_integer((json_int_t)request->id));
	*link->unsent_end = request;
	link->unsent_end = &request->next;
	loop_timer_set(link->loop, &link->timer, loop_clock_ns());
}

bool link_idle(const struct link *link)
{
	return !link->sent && !link->unsent;
}
