/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c - what the endpoint says to its penstockd */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "endpoint/fields.h"

void endpoint_hang_up(struct endpoint *endpoint)
{
	if (endpoint->connection_fd < 0)
		return;
	loop_watch_remove(endpoint->loop, &endpoint->connection_watch);
	close(endpoint->connection_fd);
	endpoint->connection_fd = -1;
}

/* A penstockd that does not read its replies is as good as gone. */
void endpoint_send(struct endpoint *endpoint, const json_t *message, int fd)
{
	if (endpoint->connection_fd < 0)
		return;
	if (ctl_send(endpoint->connection_fd, message, fd) < 0)
		endpoint_hang_up(endpoint);
}

void endpoint_tell(struct endpoint *endpoint, json_t *event)
{
	endpoint_send(endpoint, event, -1);
	json_decref(event);
}

void endpoint_reply(struct endpoint *endpoint, json_int_t id, json_t *reply)
{
	if (!reply)
		reply = json_object();
	json_object_set_new(reply, "id", json_integer(id));
	json_object_set_new(reply, "ok", json_true());
	endpoint_send(endpoint, reply, -1);
	json_decref(reply);
}

void endpoint_reply_error(struct endpoint *endpoint, json_int_t id, int result,
			  const struct error *error)
{
	json_t *reply =
		json_pack("{s:I, s:s, s:i}", "id", id, "error",
			  error->text[0] ? error->text : strerror(-result),
			  "errno", -result);

	endpoint_send(endpoint, reply, -1);
	json_decref(reply);
}

struct endpoint_later endpoint_answer_later(const struct endpoint *endpoint,
					    const json_t *request)
{
	return (struct endpoint_later){
		.id = json_integer_value(json_object_get(request, "id")),
		.connection = endpoint->connection,
	};
}

void endpoint_answer(struct endpoint *endpoint,
		     const struct endpoint_later *later, int result,
		     const struct error *error, json_t *reply)
{
	if (later->connection != endpoint->connection) {
		json_decref(reply);
		return;
	}
	if (result < 0) {
		json_decref(reply);
		endpoint_reply_error(endpoint, later->id, result, error);
	} else {
		endpoint_reply(endpoint, later->id, reply);
	}
}

void endpoint_work_begin(struct endpoint *endpoint, struct endpoint_work *work,
			 json_t *request)
{
	work->endpoint = endpoint;
	work->said = field_said(request);
	work->answer = endpoint_answer_later(endpoint, request);
	work->next = endpoint->works;
	endpoint->works = work;
}

void endpoint_work_drop(struct endpoint_work *work)
{
	struct endpoint_work **link = &work->endpoint->works;

	while (*link != work)
		link = &(*link)->next;
	*link = work->next;
	json_decref(work->said);
	work->said = NULL;
}

void endpoint_work_end(struct endpoint_work *work, int result,
		       const struct error *error, json_t *reply)
{
	endpoint_work_drop(work);
	endpoint_answer(work->endpoint, &work->answer, result, error, reply);
}

int endpoint_work_take_over(struct endpoint *endpoint, json_t *request,
			    struct error *reterr)
{
	struct endpoint_work *work = endpoint->works;

	while (work && !field_same_request(work->said, request))
		work = work->next;
	if (!work)
		return 0;
	if (work->answer.connection == endpoint->connection)
		return error_set(reterr, -EBUSY, "this is under way already");
	work->answer = endpoint_answer_later(endpoint, request);
	return ENDPOINT_LATER;
}
