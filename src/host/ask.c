/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - one request to an endpoint, and what it is about
 *
 * The lowest of the binder's files: the others ask through it, and what it
 * learns for them goes up through 'struct bind_hooks'.
 */
#include "host/host-data.h"

#include <stdlib.h>

#include "host/endpoint.h"

void bind_touch(struct host *host)
{
	loop_timer_set(host->loop, &host->settle, loop_clock_ns());
}

static void op_answered(void *arg, struct link_reply *reply)
{
	struct bind_op *op = arg;
	struct host *host = op->endpoint->host;

	op->endpoint->pending--;
	op->then(op, reply);
	free(op);
	bind_touch(host);
}

void bind_ask(const struct bind_op *op, json_t *message, int fd)
{
	struct bind_op *copy = malloc(sizeof(*copy));

	if (!copy)
		abort();	/* as in link_request */
	*copy = *op;
	op->endpoint->pending++;
	endpoint_request(op->endpoint->process, message, fd, op_answered, copy);
}

void bind_ignore(struct bind_op *op, struct link_reply *reply)
{
	(void)op;
	(void)reply;
}
