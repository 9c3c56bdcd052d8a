/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-update.c - what is asked for at run time: a process with another
 * promise, limit, weight, priority or name (E13)
 *
 * It is changed at once, so that two verbs cannot be promised the same, and
 * as a whole: if it is refused, cannot be written down, or its endpoint says
 * no, take_back makes everything what it was before.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/records.h"
#include "host/want.h"

struct update_write {
	struct store_write write;
	struct host *host;
	struct reg_process *process;
	struct host_call *call;
	/* What it was; of what it points to it owns the name, if there is a
	 * new one. */
	struct reg_process before;
	struct error why;		/* it is taken back */
};

static void update_free(struct update_write *op)
{
	free(op->before.name);
	free(op);
}

/* What can be changed, from 'from' to 'to'. */
static void copy_changeable(struct reg_process *to,
			    const struct reg_process *from)
{
	to->sla = from->sla;
	to->derived = from->derived;
	strcpy(to->source, from->source);
	to->limits = from->limits;
	to->weight = from->weight;
	to->match = from->match;
	to->is_best_effort = from->is_best_effort;
	to->is_changed = from->is_changed;
	to->state = from->state;
	to->is_unchosen = from->is_unchosen;
	to->refusal = from->refusal;
}

/* --- Back ---------------------------------------------------------------- */

/* Everything is as it was. */
static void take_back(struct update_write *op)
{
	struct reg_process *process = op->process;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	struct promise_refusal refusal;

	copy_changeable(process, &op->before);
	if (op->before.name) {
		free(process->name);
		process->name = op->before.name;
		op->before.name = NULL;
	}
	if (!op->before.member.is_counted) {
		promise_leave(process);
		return;
	}
	if (promise_admit(process, &process->sla, &refusal) == 0)
		return;
	/* Somebody was promised, in between, what it had given up. */
	promise_leave(process);
	process->refusal = refusal;
	events_add(
		op->host->events, "refused", &subject,
		"process %u (%s) runs without a promise: it could not be changed, and what it had is promised to others: %s",
		process->pasid, process->name, refusal.text.text);
}

static void update_failed(struct update_write *op, const char *why)
{
	op->process->is_writing = false;
	host_answer(op->call, HOST_FAILED, NULL, "process %u: %s",
		    op->process->pasid, why);
	update_free(op);
}

static void update_taken_back(struct store_write *write)
{
	struct update_write *op =
		container_of(write, struct update_write, write);
	struct event_subject subject = {.pasid = op->process->pasid};

	if (write->result < 0)
		events_add(
			op->host->events, "error", &subject,
			"process %u is as it was, but that could not be written down: %s",
			op->process->pasid, write->error.text);
	update_failed(op, op->why.text);
}

/* Is its vdev known to its record alone? */
static bool is_chosen_for(const struct host *host, uint32_t pasid)
{
	const struct config *config = host->config;

	for (unsigned int i = 0; i < config->process_count; i++)
		if (config->processes[i].pasid == pasid)
			return config->processes[i].policy != NULL;
	return false;
}

/* One that is again as the file has it needs no other record. */
static int put_before(struct update_write *op)
{
	const struct reg_process *process = op->process;
	char pasid[16];

	if (!process->is_runtime && !process->is_changed &&
	    !process->is_unchosen && is_chosen_for(op->host, process->pasid))
		return records_put_process(&op->write, process, "chosen");
	if (process->is_runtime || process->is_changed)
		return records_put_process(&op->write, process,
					   process->is_runtime ? "added" :
								 "updated");
	snprintf(pasid, sizeof(pasid), "%u", process->pasid);
	return store_write_put(&op->write, STORE_PROCESS, pasid, NULL);
}

/* --- Forth --------------------------------------------------------------- */

static void update_told(struct bind_op *told, struct link_reply *reply)
{
	struct update_write *op = told->arg;
	struct reg_process *process = op->process;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};

	if (reply->result < 0 && reply->result != -ECONNRESET) {
		error_set(&op->why, reply->result, "%s", reply->text);
		take_back(op);
		store_write_init(&op->write, update_taken_back);
		op->write.result = put_before(op);
		if (op->write.result < 0)
			update_taken_back(&op->write);
		else
			store_write_start(op->host->store, &op->write);
		return;
	}
	process->is_writing = false;
	events_add(op->host->events, "updated", &subject,
		   "process %u (%s) has a new SLA, limit or weight",
		   process->pasid, process->name);
	/* An endpoint that went away gets it as it is now. */
	bind_sync(told->endpoint);
	host_answer(op->call, HOST_DONE, host_process(op->host, process->pasid),
		    "%s", "");
	update_free(op);
}

static void update_written(struct store_write *write)
{
	struct update_write *op =
		container_of(write, struct update_write, write);
	const struct bind_op told = {
		.process = op->process,
		.arg = op,
		.then = update_told,
	};

	if (write->result < 0) {
		take_back(op);
		update_failed(op, write->error.text);
	} else {
		bind_process_update(&told);
	}
}

static void take_wanted(struct reg_process *process,
			const struct wanted *wanted, bool best_effort)
{
	if (wanted->has_sla) {
		process->sla = wanted->sla;
		process->derived = wanted->derived;
	}
	if (wanted->source)
		strcpy(process->source, wanted->source);
	if (wanted->has_limit)
		memcpy(process->limits.limit_per_s, wanted->limits.limit_per_s,
		       sizeof(process->limits.limit_per_s));
	if (wanted->has_burst)
		process->limits.burst_ns = wanted->limits.burst_ns;
	if (wanted->weight)
		process->weight = wanted->weight;
	if (wanted->has_match)
		process->match = wanted->match;
	/* Entries from elsewhere say all of it, people what they want more. */
	if (best_effort || wanted->source)
		process->is_best_effort = best_effort;
	process->is_changed = process->entry[0] != '\0';
}

/* Count the promise that it has now.  Returns 0, or -errno after having said
 * why not. */
static int admit(struct update_write *op)
{
	struct reg_process *process = op->process;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	struct promise_refusal refusal;
	int ret = promise_admit(process, &process->sla, &refusal);

	if (ret == -ENOSPC && !process->is_best_effort) {
		events_add(op->host->events, "refused", &subject,
			   "process %u is refused: %s", process->pasid,
			   refusal.text.text);
		host_refuse(op->host, process, &process->sla, &refusal,
			    op->call);
		return ret;
	}
	if (ret < 0 && ret != -ENOSPC) {
		host_answer(op->call, HOST_FAILED, NULL, "out of memory");
		return ret;
	}
	if (ret == -ENOSPC)
		promise_leave(process);
	process->refusal = refusal;
	process->state = REG_PROCESS_BOUND;
	process->is_unchosen = false;	/* it is bound to this one now */
	return 0;
}

/* From here on there is something to take back. */
static void update_start(struct update_write *op,
			 const struct host_process_request *request,
			 const struct wanted *wanted, char *name)
{
	struct reg_process *process = op->process;
	/* One that was refused is tried again with whatever it has now. */
	bool admits = wanted->has_sla || request->best_effort ||
		process->state == REG_PROCESS_REFUSED;

	take_wanted(process, wanted, request->best_effort);
	if (admits && admit(op) < 0) {
		/* What it was promised was not touched. */
		copy_changeable(process, &op->before);
		free(name);
		op->before.name = NULL;
		update_free(op);
		return;
	}
	if (name)
		process->name = name;
	else
		op->before.name = NULL;
	process->is_writing = true;
	if (records_put_process(&op->write, process,
				process->is_runtime ? "added" : "updated") <
	    0) {
		take_back(op);
		update_failed(op, "out of memory");
		return;
	}
	store_write_start(op->host->store, &op->write);
}

static void process_change(struct host *host, struct reg_process *process,
			   const struct host_process_request *request,
			   const struct wanted *wanted, struct host_call *call)
{
	struct update_write *op = calloc(1, sizeof(*op));
	char *name = request->name ? strdup(request->name) : NULL;

	if (!op || (request->name && !name)) {
		free(name);
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->host = host;
	op->process = process;
	op->call = call;
	op->before = *process;
	store_write_init(&op->write, update_written);
	update_start(op, request, wanted, name);
}

/* Does it make sense together with what stays? */
static int check_update(const struct reg_process *process,
			const struct host_process_request *request,
			const struct reg_derived *derived,
			struct wanted *wanted, struct error *reterr)
{
	struct reg_process after = *process;
	int ret = want_parse(request, wanted, reterr);

	if (ret < 0)
		return ret;
	if (derived)
		wanted->derived = *derived;
	take_wanted(&after, wanted, false);
	return want_check_limits(&after.sla, &after.limits, reterr);
}

void verbs_update(struct host *host, const struct host_process_request *request,
		  const struct reg_derived *derived, struct host_call *call)
{
	struct reg_process *process =
		registry_process(host->registry, request->pasid);
	struct wanted wanted;
	struct error why;

	if (!process || process->state == REG_PROCESS_REMOVING)
		host_answer(call, HOST_NOT_FOUND, NULL,
			    "there is no process %u", request->pasid);
	else if (request->vdev || request->vhost_user || request->session)
		host_answer(
			call, HOST_USAGE, NULL,
			"process %u: its vdev, socket and session stay; release it and add it anew",
			request->pasid);
	else if (check_update(process, request, derived, &wanted, &why) < 0)
		host_answer(call, HOST_USAGE, NULL, "process %u: %s",
			    request->pasid, why.text);
	else if (process->is_writing)
		host_answer(call, HOST_CONFLICT, NULL,
			    "process %u is being changed: ask again",
			    request->pasid);
	else if (want_check_ready(process->vdev, &why) < 0 ||
		 want_check_alone(host, request, &wanted, process->vdev, &why) <
			 0)
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
	else
		process_change(host, process, request, &wanted, call);
}

void host_process_update(struct host *host,
			 const struct host_process_request *request,
			 struct host_call *call)
{
	verbs_update(host, request, NULL, call);
}
