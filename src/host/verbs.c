/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.c - what is asked for at run time: processes
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
#include "base/units.h"
#include "host/listen.h"
#include "host/records.h"

/* --- Writing down -------------------------------------------------------- */

struct process_write {
	struct store_write write;
	struct host *host;
	struct reg_process *process;
	struct host_call *call;
	struct sla sla_before;		/* of an update, to be taken back */
	struct sched_limits limits_before;
	uint32_t weight_before;
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

/* --- What is asked for --------------------------------------------------- */

/* A request, checked. */
struct wanted {
	struct sla sla;
	struct sched_limits limits;
	uint32_t weight;
	bool has_sla, has_limit, has_burst, has_ioprio, has_match;
	uint16_t ioprio;
};

static int want_limits(const struct host_process_request *request,
		       struct wanted *wanted, struct error *reterr)
{
	int ret = 0;

	if (request->limit) {
		wanted->has_limit = true;
		ret = config_parse_limit(request->limit, &wanted->limits,
					 reterr);
	}
	if (ret == 0 && request->burst) {
		wanted->has_burst = true;
		ret = units_parse_duration(request->burst,
					   &wanted->limits.burst_ns, reterr);
		if (ret == 0 && wanted->limits.burst_ns > UINT64_C(10000000000))
			ret = error_set(reterr, -EINVAL,
					"burst: more than 10 s");
	}
	return ret;
}

static int want(const struct host_process_request *request,
		struct wanted *wanted, struct error *reterr)
{
	int ret;

	memset(wanted, 0, sizeof(*wanted));
	wanted->weight = request->weight;
	if (request->weight > CONFIG_WEIGHT_MAX)
		return error_set(reterr, -EINVAL, "weight: from 1 to %u",
				 CONFIG_WEIGHT_MAX);
	if (request->name) {
		ret = config_check_name(request->name, reterr);
		if (ret < 0)
			return ret;
	}
	if (request->sla) {
		wanted->has_sla = true;
		ret = strcmp(request->sla, "none") == 0 ?
			0 :
			sla_parse(request->sla, &wanted->sla, reterr);
		if (ret < 0)
			return ret;
	}
	if (request->ioprio) {
		wanted->has_ioprio = true;
		wanted->has_match = strcmp(request->ioprio, "none") != 0;
		ret = wanted->has_match ?
			config_parse_ioprio(request->ioprio, &wanted->ioprio,
					    reterr) :
			0;
		if (ret < 0)
			return ret;
	}
	if (request->vhost_user) {
		ret = config_check_socket(request->vhost_user, reterr);
		if (ret < 0)
			return ret;
	}
	return want_limits(request, wanted, reterr);
}

/* Does nobody else of this vdev go by the same priority, name or socket? */
static int check_alone(struct host *host, uint32_t pasid, const char *name,
		       const struct reg_vdev *vdev, bool has_match,
		       uint16_t ioprio, const char *vhost_user,
		       struct error *reterr)
{
	const struct reg_process *other;
	const struct reg_vdev *at;

	for (other = host->registry->processes; other; other = other->next) {
		if (other->pasid == pasid)
			continue;
		if (name && strcmp(other->name, name) == 0)
			return error_set(reterr, -EEXIST,
					 "process %u has the name '%s' already",
					 other->pasid, name);
		if (has_match && other->vdev == vdev && other->has_match &&
		    other->match_ioprio == ioprio)
			return error_set(
				reterr, -EEXIST,
				"process %u of vdev '%s' matches this I/O priority already",
				other->pasid, vdev->name);
		if (vhost_user && other->vhost_user &&
		    strcmp(other->vhost_user, vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "process %u has the socket %s already",
					 other->pasid, vhost_user);
	}
	for (at = host->registry->vdevs; vhost_user && at; at = at->next)
		if (at->vhost_user && strcmp(at->vhost_user, vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "vdev '%s' has the socket %s already",
					 at->name, vhost_user);
	return 0;
}

/* Refused: say so, to whoever asked and to those who watch. */
static void answer_refused(struct host *host, struct reg_process *process,
			   const struct sla *sla,
			   const struct promise_refusal *refusal,
			   struct host_call *call)
{
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	json_t *value = promise_refusal_json(refusal);

	json_object_set_new(value, "device",
			    json_string(process->vdev->pool->device->name));
	json_object_set_new(value, "where",
			    promise_where(host->registry, process, sla));
	events_add(host->events, "refused", &subject,
		   "process %u is refused: %s", process->pasid,
		   refusal->text.text);
	host_answer(call, HOST_REFUSED, value, "%s", refusal->text.text);
}

/* --- Adding -------------------------------------------------------------- */

static void process_add_written(struct store_write *write)
{
	struct process_write *op =
		container_of(write, struct process_write, write);
	struct reg_process *process = op->process;
	struct host *host = op->host;
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
	bind_process_update(process, op->call);
	free(op);
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
	process->has_match = wanted->has_match;
	process->match_ioprio = wanted->ioprio;
	process->is_session = request->session;
	process->is_best_effort = request->best_effort;
	process->is_runtime = true;
	process->is_writing = true;
	return process;
}

/* Admit it, open its socket and write it down; says how that ends. */
static void process_enter(struct host *host, struct reg_process *process,
			  struct host_call *call)
{
	struct promise_refusal refusal;
	struct process_write *op;
	struct error why;
	int ret;

	ret = promise_admit(host->registry, process, &process->sla, &refusal);
	if (ret == -ENOSPC && !process->is_best_effort) {
		answer_refused(host, process, &process->sla, &refusal, call);
		registry_process_free(host->registry, process);
		return;
	}
	if (ret == -ENOSPC)
		process->refusal = refusal;
	process->state = REG_PROCESS_BOUND;
	/* Whoever asks learns at once that nobody could connect. */
	if (process->vhost_user &&
	    listen_open(process->vhost_user, &process->listen_fd, &why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "process %u: %s",
			    process->pasid, why.text);
		registry_process_free(host->registry, process);
		return;
	}
	op = write_new(host, process, call, process_add_written);
	if (!op || records_put_process(&op->write, process, "added") < 0) {
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		listen_close(process->listen_fd, process->vhost_user);
		registry_process_free(host->registry, process);
		return;
	}
	store_write_start(host->store, &op->write);
}

void host_process_add(struct host *host,
		      const struct host_process_request *request,
		      struct host_call *call)
{
	struct reg_process *process;
	struct wanted wanted;
	struct reg_vdev *vdev;
	struct error why;

	if (request->pasid == 0 || request->pasid > CONFIG_PASID_MAX) {
		host_answer(call, HOST_USAGE, NULL, "a PASID is from 1 to %u",
			    CONFIG_PASID_MAX);
		return;
	}
	if (!request->vdev || want(request, &wanted, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "process %u: %s",
			    request->pasid,
			    request->vdev ? why.text : "which vdev?");
		return;
	}
	if (wanted.has_match && request->vhost_user) {
		host_answer(
			call, HOST_USAGE, NULL,
			"process %u: an I/O priority or a socket of its own, not both",
			request->pasid);
		return;
	}
	vdev = registry_vdev(host->registry, request->vdev);
	if (!vdev || vdev->state == REG_VDEV_REMOVING) {
		host_answer(call, HOST_FAILED, NULL, "there is no vdev '%s'",
			    request->vdev);
		return;
	}
	if (vdev->pool->device->state == REG_DEVICE_CALIBRATING ||
	    !vdev->pool->device->has_capacity) {
		host_answer(
			call, HOST_FAILED, NULL,
			"device %s is not measured yet: ask again in a second",
			vdev->pool->device->name);
		return;
	}
	process = registry_process(host->registry, request->pasid);
	if (process && process->state == REG_PROCESS_REFUSED &&
	    !process->is_writing) {
		/* Its place is free: it was never served. */
		registry_process_free(host->registry, process);
		process = NULL;
	}
	if (process) {
		host_answer(
			call, HOST_FAILED, NULL,
			"process %u is bound to vdev '%s' already: update or release it",
			request->pasid, process->vdev->name);
		return;
	}
	if (check_alone(host, request->pasid, request->name, vdev,
			wanted.has_match, wanted.ioprio, request->vhost_user,
			&why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return;
	}
	process = process_make(host, request, &wanted, vdev);
	if (!process)
		host_answer(call, HOST_FAILED, NULL, "out of memory");
	else
		process_enter(host, process, call);
}

/* --- Updating ------------------------------------------------------------ */

static void process_update_written(struct store_write *write)
{
	struct process_write *op =
		container_of(write, struct process_write, write);
	struct reg_process *process = op->process;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	struct promise_refusal refusal;

	process->is_writing = false;
	if (write->result < 0) {
		process->sla = op->sla_before;
		process->limits = op->limits_before;
		process->weight = op->weight_before;
		promise_admit(op->host->registry, process, &process->sla,
			      &refusal);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		events_add(op->host->events, "updated", &subject,
			   "process %u (%s) has a new SLA, limit or weight",
			   process->pasid, process->name);
		bind_process_update(process, op->call);
	}
	free(op);
}

static void take_wanted(struct reg_process *process,
			const struct wanted *wanted, bool best_effort)
{
	if (wanted->has_limit)
		memcpy(process->limits.limit_per_s, wanted->limits.limit_per_s,
		       sizeof(process->limits.limit_per_s));
	if (wanted->has_burst)
		process->limits.burst_ns = wanted->limits.burst_ns;
	if (wanted->weight)
		process->weight = wanted->weight;
	if (wanted->has_ioprio) {
		process->has_match = wanted->has_match;
		process->match_ioprio = wanted->ioprio;
	}
	if (best_effort)
		process->is_best_effort = true;
}

/* Returns 0 or -errno after having said why not. */
static int update_sla(struct host *host, struct reg_process *process,
		      const struct sla *sla, bool best_effort,
		      struct host_call *call)
{
	struct promise_refusal refusal;
	int ret = promise_admit(host->registry, process, sla, &refusal);

	if (ret == -ENOSPC && !best_effort && !process->is_best_effort) {
		answer_refused(host, process, sla, &refusal, call);
		return ret;
	}
	if (ret == -ENOSPC)
		promise_leave(process);
	memset(&process->refusal, 0, sizeof(process->refusal));
	if (ret == -ENOSPC)
		process->refusal = refusal;
	process->sla = *sla;
	process->state = REG_PROCESS_BOUND;
	return 0;
}

static int rename_process(struct host *host, struct reg_process *process,
			  const char *name, struct host_call *call)
{
	struct error why;
	char *copy;

	if (!name)
		return 0;
	if (check_alone(host, process->pasid, name, process->vdev, false, 0,
			NULL, &why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return -EEXIST;
	}
	copy = strdup(name);
	if (!copy) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return -ENOMEM;
	}
	free(process->name);
	process->name = copy;
	return 0;
}

static void process_change(struct host *host, struct reg_process *process,
			   const struct host_process_request *request,
			   const struct wanted *wanted, struct host_call *call)
{
	struct process_write *op;

	op = write_new(host, process, call, process_update_written);
	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->sla_before = process->sla;
	op->limits_before = process->limits;
	op->weight_before = process->weight;
	if (rename_process(host, process, request->name, call) < 0) {
		free(op);
		return;
	}
	/* One that was refused is tried again with whatever it has now. */
	if ((wanted->has_sla || process->state == REG_PROCESS_REFUSED ||
	     request->best_effort) &&
	    update_sla(host, process,
		       wanted->has_sla ? &wanted->sla : &process->sla,
		       request->best_effort, call) < 0) {
		free(op);
		return;
	}
	take_wanted(process, wanted, request->best_effort);
	process->is_changed = process->entry[0] != '\0';
	process->is_writing = true;
	if (records_put_process(&op->write, process,
				process->is_runtime ? "added" : "updated") <
	    0) {
		process->is_writing = false;
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	store_write_start(host->store, &op->write);
}

void host_process_update(struct host *host,
			 const struct host_process_request *request,
			 struct host_call *call)
{
	struct reg_process *process =
		registry_process(host->registry, request->pasid);
	struct wanted wanted;
	struct error why;

	if (!process || process->state == REG_PROCESS_REMOVING) {
		host_answer(call, HOST_FAILED, NULL, "there is no process %u",
			    request->pasid);
		return;
	}
	if (request->vdev || request->vhost_user || request->session) {
		host_answer(
			call, HOST_USAGE, NULL,
			"process %u: its vdev, socket and session stay; release it and add it anew",
			request->pasid);
		return;
	}
	if (want(request, &wanted, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "process %u: %s",
			    request->pasid, why.text);
		return;
	}
	if (process->is_writing) {
		host_answer(call, HOST_FAILED, NULL,
			    "process %u is being changed: ask again",
			    request->pasid);
		return;
	}
	if (check_alone(host, request->pasid, NULL, process->vdev,
			wanted.has_match, wanted.ioprio, NULL, &why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return;
	}
	process_change(host, process, request, &wanted, call);
}

/* --- Releasing ----------------------------------------------------------- */

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
		process->state = REG_PROCESS_PENDING;
		bind_admit(op->host, process);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		events_add(op->host->events, "released", &subject,
			   "process %u (%s) is released", process->pasid,
			   process->name);
		unbind_process(process, op->call);
	}
	free(op);
}

void verbs_release(struct host *host, struct reg_process *process,
		   struct host_call *call)
{
	struct process_write *op;

	if (process->is_writing) {
		host_answer(call, HOST_FAILED, NULL,
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
	/* E6: from now on it does not count. */
	process->state = REG_PROCESS_REMOVING;
	process->is_writing = true;
	promise_leave(process);
	store_write_start(host->store, &op->write);
}

void host_process_release(struct host *host, uint32_t pasid,
			  struct host_call *call)
{
	struct reg_process *process = registry_process(host->registry, pasid);

	if (!process || process->state == REG_PROCESS_REMOVING) {
		host_answer(call, HOST_FAILED, NULL, "there is no process %u",
			    pasid);
		return;
	}
	verbs_release(host, process, call);
}
