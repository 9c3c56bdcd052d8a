/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-limit.c - a vdev's limit (of all its processes), changed while it is
 * used
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

static void limit_taken_back(struct store_write *write)
{
	struct limit_write *op = container_of(write, struct limit_write, write);
	struct event_subject subject = {.vdev = op->vdev->name};

	if (write->result < 0)
		events_add(
			op->host->events, "error", &subject,
			"vdev '%s' has its limit of before, but that could not be written down: %s",
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
		vdev->limits = op->before;
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
		   "vdev %s has a new limit", vdev->name);
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
		vdev->limits = op->before;
		limit_failed(op, write->error.text);
	} else if (!vdev->is_added) {
		limit_told(&told, &nothing);
	} else {
		bind_ask(&told,
			 json_pack("{s:s, s:s, s:o}", "op", "vdev-limits",
				   "name", vdev->name, "limits",
				   ctl_from_sched_limits(&vdev->limits)),
			 -1);
	}
}

static int parse_limits(const char *limit, const char *burst,
			struct sched_limits *limits, struct error *reterr)
{
	int ret = 0;

	if (limit)
		ret = sla_parse_limit(limit, limits, reterr);
	if (ret == 0 && burst)
		ret = config_parse_burst(burst, &limits->burst_ns, reterr);
	return ret;
}

void host_vdev_limit(struct host *host, const char *name, const char *limit,
		     const char *burst, struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct sched_limits limits;
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
	if (parse_limits(limit, burst, &limits, &why) < 0) {
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
	store_write_init(&op->write, limit_written);
	vdev->limits = limits;
	if (put_limit(op) < 0) {
		vdev->limits = op->before;
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	vdev->is_writing = true;
	store_write_start(host->store, &op->write);
}
