/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-limit.c - a vdev's limit (of all its processes) and its policy for
 * errors, changed while it is used; and a vdev that is stopped goes on
 *
 * Written down, then told to the endpoint, as every verb; if that says no,
 * taken back.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/records.h"
#include "sla/limit.h"

struct limit_write {
	struct store_write write;
	struct host *host;
	struct reg_vdev *vdev;
	struct host_call *call;
	struct sched_limits before;
	enum on_error on_error_before;
	struct error why;		/* it is taken back */
};

static void limit_failed(struct limit_write *op, const char *why)
{
	op->vdev->is_writing = false;
	host_answer(op->call, HOST_FAILED, NULL, "vdev '%s': %s",
		    op->vdev->name, why);
	free(op);
}

static int put_limit(struct limit_write *op)
{
	return records_put_vdev(&op->write, op->vdev,
				op->vdev->is_runtime ? "created" : "changed");
}

static void limit_as_before(struct limit_write *op)
{
	op->vdev->limits = op->before;
	op->vdev->on_error = op->on_error_before;
}

static void limit_taken_back(struct store_write *write)
{
	struct limit_write *op = container_of(write, struct limit_write, write);
	struct event_subject subject = {.vdev = op->vdev->name};

	if (write->result < 0)
		events_add(
			op->host->events, "error", &subject,
			"vdev '%s' has its limit and policy of before, but that could not be written down: %s",
			op->vdev->name, write->error.text);
	limit_failed(op, op->why.text);
}

static void limit_told(struct bind_op *told, struct link_reply *reply)
{
	struct limit_write *op = told->arg;
	struct reg_vdev *vdev = op->vdev;
	struct event_subject subject = {.vdev = vdev->name};

	/* An endpoint that went away is told when it is back. */
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		error_set(&op->why, reply->result, "%s", reply->text);
		limit_as_before(op);
		store_write_init(&op->write, limit_taken_back);
		op->write.result = put_limit(op);
		if (op->write.result < 0)
			limit_taken_back(&op->write);
		else
			store_write_start(op->host->store, &op->write);
		return;
	}
	vdev->is_writing = false;
	events_add(op->host->events, "updated", &subject,
		   "vdev %s has a new limit or policy for errors", vdev->name);
	host_answer(op->call, HOST_DONE, host_vdev(op->host, vdev->name), "%s",
		    "");
	free(op);
}

static void limit_written(struct store_write *write)
{
	struct limit_write *op = container_of(write, struct limit_write, write);
	struct reg_vdev *vdev = op->vdev;
	struct bind_op told = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.arg = op,
		.then = limit_told,
	};
	struct link_reply nothing = {.fd = -1};

	if (write->result < 0) {
		limit_as_before(op);
		limit_failed(op, write->error.text);
	} else if (!vdev->is_added) {
		limit_told(&told, &nothing);
	} else {
		bind_ask(&told,
			 json_pack("{s:s, s:s, s:o, s:s}", "op", "vdev-limits",
				   "name", vdev->name, "limits",
				   ctl_from_sched_limits(&vdev->limits),
				   "on_error", on_error_name(vdev->on_error)),
			 -1);
	}
}

static int parse_change(const struct host_vdev_change *change,
			struct sched_limits *limits, enum on_error *on_error,
			struct error *reterr)
{
	int ret = 0;

	if (change->limit)
		ret = sla_parse_limit(change->limit, limits, reterr);
	if (ret == 0 && change->burst)
		ret = config_parse_burst(change->burst, &limits->burst_ns,
					 reterr);
	if (ret == 0 && change->on_error &&
	    on_error_parse(change->on_error, on_error) < 0)
		ret = error_set(reterr, -EINVAL,
				"on-error must be report, stop or retry");
	return ret;
}

void host_vdev_change(struct host *host, const char *name,
		      const struct host_vdev_change *change,
		      struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct sched_limits limits;
	enum on_error on_error;
	struct limit_write *op;
	struct error why;

	if (!vdev) {
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
		return;
	}
	if (vdev->is_writing || vdev->state == REG_VDEV_REMOVING) {
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' cannot be changed now", name);
		return;
	}
	limits = vdev->limits;
	on_error = vdev->on_error;
	if (parse_change(change, &limits, &on_error, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "vdev '%s': %s", name,
			    why.text);
		return;
	}
	op = calloc(1, sizeof(*op));
	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->host = host;
	op->vdev = vdev;
	op->call = call;
	op->before = vdev->limits;
	op->on_error_before = vdev->on_error;
	store_write_init(&op->write, limit_written);
	vdev->limits = limits;
	vdev->on_error = on_error;
	if (put_limit(op) < 0) {
		limit_as_before(op);
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	vdev->is_writing = true;
	store_write_start(host->store, &op->write);
}

/* --- Going on ------------------------------------------------------------ */

static void resumed(struct bind_op *op, struct link_reply *reply)
{
	struct host *host = op->endpoint->host;

	if (reply->result < 0)
		host_answer(op->call, HOST_FAILED, NULL, "vdev '%s': %s",
			    op->vdev->name, reply->text);
	else
		host_answer(op->call, HOST_DONE,
			    host_vdev(host, op->vdev->name), "%s", "");
}

void host_vdev_resume(struct host *host, const char *name,
		      struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct bind_op op = {.vdev = vdev, .call = call, .then = resumed};

	if (!vdev) {
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
		return;
	}
	op.endpoint = reg_vdev_endpoint(vdev);
	if (!vdev->is_there || vdev->state == REG_VDEV_REMOVING ||
	    !op.endpoint->is_connected) {
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' is not served now", name);
		return;
	}
	bind_ask(&op,
		 json_pack("{s:s, s:s}", "op", "vdev-resume", "name", name),
		 -1);
}
