/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.c - what is asked for at run time: processes that come and go
 *
 * Each verb: check (usage), admit (refused), write down, then act.  What is
 * checked and admitted holds at once, so that two verbs cannot be promised
 * the same; if it cannot be written down it is taken back.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/history.h"
#include "host/listen.h"
#include "host/records.h"
#include "host/want.h"
#include "sla/choose.h"

/* --- Writing down -------------------------------------------------------- */

struct process_write {
	struct store_write write;
	struct host *host;
	struct reg_process *process;
	struct host_call *call;
	struct error why; /* it is taken back */
};

static struct process_write *write_new(struct host *host,
				       struct reg_process *process,
				       struct host_call *call,
				       void (*done)(struct store_write *write))
{
	struct process_write *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->host = host;
	op->process = process;
	op->call = call;
	store_write_init(&op->write, done);
	return op;
}

/* Forget the change of a process that is no longer, or was never, there. */
static int put_released(struct store_write *write,
			const struct reg_process *process)
{
	char pasid[16];

	if (process->entry[0])
		return records_put_process(write, process, "released");
	snprintf(pasid, sizeof(pasid), "%u", process->pasid);
	return store_write_put(write, STORE_PROCESS, pasid, NULL);
}

/* --- Adding -------------------------------------------------------------- */

/* It is as if nobody had asked. */
static void add_taken_back(struct store_write *write)
{
	struct process_write *op =
		container_of(write, struct process_write, write);
	struct event_subject subject = {.pasid = op->process->pasid};

	if (write->result < 0)
		events_add(
			op->host->events, "error", &subject,
			"process %u is not added, but that could not be written down: %s",
			op->process->pasid, write->error.text);
	op->process->is_writing = false;
	host_answer(op->call, HOST_FAILED, NULL, "process %u: %s",
		    op->process->pasid, op->why.text);
	unbind_process(op->process, NULL);
	free(op);
}

static void process_add_told(struct bind_op *told, struct link_reply *reply)
{
	struct process_write *op = told->arg;
	struct reg_process *process = op->process;
	const struct reg_vdev *vdev = process->vdev;
	bool is_vdev_failed = vdev->state == REG_VDEV_FAILED;
	bool is_served = !is_vdev_failed &&
		(reply->result == 0 || reply->result == -ECONNRESET);

	if (is_served || process->is_writing ||
	    process->state != REG_PROCESS_BOUND) {
		host_answer(op->call, HOST_DONE,
			    host_process(op->host, process->pasid), "%s", "");
		free(op);
		return;
	}
	if (is_vdev_failed)
		error_set(&op->why, -EIO, "vdev %s: %s", vdev->name,
			  vdev->error.text);
	else
		error_set(&op->why, reply->result, "%s", reply->text);
	process->state = REG_PROCESS_REMOVING;
	process->is_writing = true;
	promise_leave(process);
	store_write_init(&op->write, add_taken_back);
	op->write.result = put_released(&op->write, process);
	if (op->write.result < 0)
		add_taken_back(&op->write);
	else
		store_write_start(op->host->store, &op->write);
}

static void process_add_written(struct store_write *write)
{
	struct process_write *op =
		container_of(write, struct process_write, write);
	struct reg_process *process = op->process;
	struct host *host = op->host;
	struct bind_op told = {.arg = op, .then = process_add_told};
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};

	if (write->result < 0) {
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		listen_close(process->listen_fd, process->vhost_user);
		registry_process_free(host->registry, process);
		free(op);
		return;
	}
	process->is_writing = false;
	events_add(host->events, "admitted", &subject,
		   "process %u (%s) is bound to vdev %s%s", process->pasid,
		   process->name, process->vdev->name,
		   process->refusal.is_refused ? ", as best effort" : "");
	bind_sync(reg_vdev_endpoint(process->vdev));
	told.process = process;
	bind_process_update(&told);
}

static struct reg_process *process_make(
	struct host *host, const struct host_process_request *request,
	const struct wanted *wanted, struct reg_vdev *vdev)
{
	struct reg_process *process;

	process = registry_process_new(host->registry, request->pasid, vdev);
	if (!process)
		return NULL;
	if (request->name)
		process->name = strdup(request->name);
	else if (asprintf(&process->name, "process-%u", request->pasid) < 0)
		process->name = NULL;
	if (request->vhost_user)
		process->vhost_user = strdup(request->vhost_user);
	if (!process->name || (request->vhost_user && !process->vhost_user)) {
		registry_process_free(host->registry, process);
		return NULL;
	}
	process->sla = wanted->sla;
	process->limits = wanted->limits;
	if (!wanted->has_burst)
		process->limits.burst_ns = CONFIG_BURST_DEFAULT_NS;
	process->weight = wanted->weight;
	process->match = wanted->match;
	if (request->source)
		strcpy(process->source, request->source);
	process->is_session = request->session;
	/* A guest that never came up keeps nothing for ever (E12). */
	process->is_awaited = request->session &&
		(request->vhost_user || match_is_of_peer(&process->match) ||
		 vdev->sessions + vdev->nbd.sessions == 0);
	process->is_best_effort = request->best_effort;
	process->is_runtime = !request->is_from_file;
	records_entry_process(host->config, request->pasid, process->entry);
	process->is_writing = true;
	return process;
}

/* Admit it, open its socket and write it down; says how that ends. */
static void process_enter(struct host *host, struct reg_process *process,
			  struct host_call *call)
{
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	const struct config_socket whose = config_socket_of(
		host->config, process->vdev->name, process->pasid);
	struct promise_refusal refusal;
	struct process_write *op;
	struct error why;
	int ret;

	ret = promise_admit(process, &process->sla, &refusal);
	if (ret == -ENOSPC && !process->is_best_effort) {
		events_add(host->events, "refused", &subject,
			   "process %u is refused: %s", process->pasid,
			   refusal.text.text);
		host_refuse(host, process, &process->sla, &refusal, call);
		registry_process_free(host->registry, process);
		return;
	}
	if (ret == -ENOSPC)
		process->refusal = refusal;
	process->state = REG_PROCESS_BOUND;
	/* Whoever asks learns at once that nobody could connect. */
	if (process->vhost_user &&
	    listen_open(process->vhost_user, &whose, &process->listen_fd,
			&why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "process %u: %s",
			    process->pasid, why.text);
		registry_process_free(host->registry, process);
		return;
	}
	op = write_new(host, process, call, process_add_written);
	if (!op ||
	    records_put_process(&op->write, process,
				process->is_runtime ? "added" : "chosen") < 0) {
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		listen_close(process->listen_fd, process->vhost_user);
		registry_process_free(host->registry, process);
		return;
	}
	store_write_start(host->store, &op->write);
}

/* Named, or chosen.  NULL: 'call' is answered. */
static struct reg_vdev *find_vdev(struct host *host,
				  const struct host_process_request *request,
				  const struct wanted *wanted,
				  struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, request->vdev);
	struct error why;

	if (choose_is_asked(request->vdev))
		return choose_vdev(host, request, wanted, call);
	if (!vdev || vdev->state == REG_VDEV_REMOVING) {
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    request->vdev);
		return NULL;
	}
	if (want_check_ready(vdev, &why) < 0) {
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
		return NULL;
	}
	return vdev;
}

void host_process_add(struct host *host,
		      const struct host_process_request *request,
		      struct host_call *call)
{
	struct reg_process *process, *refused = NULL;
	struct wanted wanted;
	struct reg_vdev *vdev;
	struct error why;

	if (request->pasid == 0 || request->pasid > CONFIG_PASID_MAX) {
		host_answer(call, HOST_USAGE, NULL, "a PASID is from 1 to %u",
			    CONFIG_PASID_MAX);
		return;
	}
	error_set(&why, -EINVAL, "which vdev?");
	if (!request->vdev || want_parse(request, &wanted, &why) < 0 ||
	    want_check_limits(&wanted.sla, &wanted.limits, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "process %u: %s",
			    request->pasid, why.text);
		return;
	}
	if (wanted.match.kind && request->vhost_user) {
		host_answer(
			call, HOST_USAGE, NULL,
			"process %u: a match or a socket of its own, not both",
			request->pasid);
		return;
	}
	process = registry_process(host->registry, request->pasid);
	if (process && process->state == REG_PROCESS_REFUSED &&
	    !process->is_writing) {
		/* Its place is free: it was never served. */
		refused = process;
		process = NULL;
	}
	if (process) {
		host_answer(
			call, HOST_CONFLICT, NULL,
			"process %u is bound to vdev '%s' already: update or release it",
			request->pasid, process->vdev->name);
		return;
	}
	vdev = find_vdev(host, request, &wanted, call);
	if (!vdev)
		return;
	if (want_check_alone(host, request, &wanted, vdev, &why) < 0) {
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
		return;
	}
	if (refused)
		registry_process_free(host->registry, refused);
	process = process_make(host, request, &wanted, vdev);
	if (!process)
		host_answer(call, HOST_FAILED, NULL, "out of memory");
	else
		process_enter(host, process, call);
}

/* --- Releasing ----------------------------------------------------------- */

void verbs_leave(struct reg_process *process)
{
	process->state_before = process->state;
	process->state = REG_PROCESS_REMOVING;
	promise_leave(process);
}

static void stay_told(struct bind_op *told, struct link_reply *reply)
{
	struct event_subject subject = {.pasid = told->process->pasid};

	if (reply->result < 0 && reply->result != -ECONNRESET)
		events_add(told->endpoint->host->events, "error", &subject,
			   "process %u: %s", told->process->pasid, reply->text);
}

/* It ran, and goes on; without a promise if what it had is somebody else's
 * now. */
static void stay_bound(struct host *host, struct reg_process *process)
{
	const struct bind_op told = {.process = process, .then = stay_told};
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	bool was_refused = process->refusal.is_refused;

	process->state = REG_PROCESS_BOUND;
	if (promise_admit(process, &process->sla, &process->refusal) < 0) {
		promise_leave(process);
		if (!was_refused)
			events_add(
				host->events, "refused", &subject,
				"process %u (%s) runs without a promise: it was not removed, and what it had is promised to others: %s",
				process->pasid, process->name,
				process->refusal.text.text);
	}
	bind_process_update(&told);
}

void verbs_stay(struct host *host, struct reg_process *process)
{
	process->state = process->state_before;
	if (process->state == REG_PROCESS_BOUND) {
		stay_bound(host, process);
	} else if (process->state != REG_PROCESS_REMOVING) {
		process->state = REG_PROCESS_PENDING;
		if (reg_pool_is_ready(process->vdev->pool))
			bind_admit(host, process);
	}
}

static void process_release_written(struct store_write *write)
{
	struct process_write *op =
		container_of(write, struct process_write, write);
	struct reg_process *process = op->process;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};

	process->is_writing = false;
	if (write->result < 0) {
		verbs_stay(op->host, process);
		bind_sync(reg_vdev_endpoint(process->vdev));
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		events_add(op->host->events, "released", &subject,
			   "process %u (%s) is released", process->pasid,
			   process->name);
		history_release(op->host->history, process);
		unbind_process(process, op->call);
	}
	free(op);
}

void verbs_release(struct host *host, struct reg_process *process,
		   struct host_call *call)
{
	struct reg_unchosen *unchosen;
	struct process_write *op;

	if (process->is_writing) {
		host_answer(call, HOST_CONFLICT, NULL,
			    "process %u is being changed: ask again",
			    process->pasid);
		return;
	}
	op = write_new(host, process, call, process_release_written);
	if (!op || put_released(&op->write, process) < 0) {
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	unchosen = registry_unchosen(host->registry, process->pasid);
	if (unchosen)
		registry_unchosen_free(host->registry, unchosen);
	verbs_leave(process);
	process->is_writing = true;
	store_write_start(host->store, &op->write);
}

void host_process_release(struct host *host, uint32_t pasid,
			  struct host_call *call)
{
	struct reg_process *process = registry_process(host->registry, pasid);

	if (process && process->state == REG_PROCESS_REMOVING &&
	    process->vdev->state != REG_VDEV_REMOVING && process->is_added &&
	    !process->is_going && !process->is_writing)
		unbind_process(process, call); /* it did not go before */
	else if (!process || process->state == REG_PROCESS_REMOVING)
		host_answer(call, HOST_NOT_FOUND, NULL,
			    "there is no process %u", pasid);
	else
		verbs_release(host, process, call);
}
