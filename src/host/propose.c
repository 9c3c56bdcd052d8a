/* SPDX-License-Identifier: Apache-2.0 */
/*
 * propose.c - an SLA from what a process was seen to use: shown, accepted, or
 * kept up (E7)
 *
 * What is accepted goes the way of every update: through admission, written
 * down, told to the endpoint.  Which specifications are derived is written
 * down with them; what a person stated stays, and whoever states a new SLA
 * ends the keeping up.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/container.h"
#include "host/describe.h"
#include "host/history.h"

/* Whoever was refused what was derived is not asked for again sooner. */
#define REFUSED_S	600

struct propose_op {
	struct history_read read;
	struct host *host;
	struct host_call *call;		/* NULL: it is kept up */
	struct host_call kept_call;
	struct derive_options options;
	bool accept, keep_up;
	int64_t now_s;			/* kept up: when it was asked */
};

/* --- As JSON ------------------------------------------------------------- */

static void set_observed(json_t *object, const char *prefix,
			 const uint64_t top_per_s[DERIVE_AXES],
			 const uint64_t latency_ns[DERIVE_POINTS])
{
	char key[64], point[8];

	snprintf(key, sizeof(key), "%siops", prefix);
	describe_set_u64(object, key, top_per_s[DERIVE_REQUESTS]);
	snprintf(key, sizeof(key), "%sbandwidth_bytes_per_s", prefix);
	describe_set_u64(object, key, top_per_s[DERIVE_BYTES]);
	for (unsigned int i = 0; i < DERIVE_POINTS; i++) {
		sla_format_percentile(derive_points[i], point, sizeof(point));
		if (strchr(point, '.'))
			*strchr(point, '.') = '_';
		snprintf(key, sizeof(key), "%slatency_%s_ns", prefix, point);
		if (latency_ns[i])
			describe_set_u64(object, key, latency_ns[i]);
	}
}

static json_t *observed_json(const struct derive_cell *cell)
{
	static const char *const prefixes[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = "",
		[SLA_READ] = "read_",
		[SLA_WRITE] = "write_",
	};
	json_t *object = json_object();

	describe_set_u64(object, "seconds", cell->seconds);
	describe_set_u64(object, "requests",
			 cell->sum[0][DERIVE_REQUESTS] +
				 cell->sum[1][DERIVE_REQUESTS]);
	for (unsigned int i = 0; i < SLA_DIRECTIONS; i++)
		set_observed(object, prefixes[i], cell->top_per_s[i],
			     cell->latency_ns[i]);
	return object;
}

/* The specifications whose bit is set, each as text. */
static json_t *texts_json(const struct sla *sla, uint32_t bits)
{
	json_t *array = json_array();
	char text[SLA_TEXT_MAX];

	for (unsigned int i = 0; i < sla->count; i++)
		if (bits & (UINT32_C(1) << i))
			json_array_append_new(array,
					      json_string(sla_format_specs(
						      &sla->specs[i], 1, text,
						      sizeof(text))));
	return array;
}

static void set_options(json_t *object, const struct derive_options *options)
{
	describe_set_u64(object, "window_s", options->window_s);
	describe_set(object, "percentile",
		     json_real(options->percentile_milli / 1000.0));
	describe_set(object, "headroom",
		     json_real(options->headroom_milli / 1000.0));
	describe_set(object, "split", json_boolean(options->is_split));
}

void describe_derived(json_t *object, const struct reg_process *process)
{
	json_t *kept_up;

	if (process->derived.specs)
		describe_set(object, "derived",
			     texts_json(&process->sla, process->derived.specs));
	if (!process->derived.is_kept_up)
		return;
	kept_up = json_object();
	set_options(kept_up, &process->derived.options);
	describe_set(object, "kept_up", kept_up);
}

static json_t *proposal_json(const struct reg_process *process,
			     const struct derive_options *options,
			     const struct derive_proposal *proposal)
{
	json_t *object = json_pack("{s:I, s:s, s:s}", "pasid",
				   (json_int_t)process->pasid, "name",
				   process->name, "vdev", process->vdev->name);
	struct sla stated, derived;
	char text[SLA_TEXT_MAX];

	set_options(object, options);
	describe_set(object, "observed", observed_json(&proposal->observed));
	derive_stated(&proposal->sla, proposal->derived, &stated);
	derive_stated(&proposal->sla, ~proposal->derived, &derived);
	describe_set(object, "stated_text",
		     json_string(sla_format(&stated, text, sizeof(text))));
	describe_set(object, "proposed", promise_sla_json(&derived));
	describe_set(object, "proposed_text",
		     json_string(sla_format(&derived, text, sizeof(text))));
	describe_set(
		object, "sla_text",
		json_string(sla_format(&proposal->sla, text, sizeof(text))));
	describe_set(object, "bounded",
		     texts_json(&proposal->sla, proposal->bounded));
	return object;
}

/* --- Proposing ----------------------------------------------------------- */

static int propose(const struct propose_op *op,
		   const struct reg_process *process,
		   struct derive_proposal *ret_proposal)
{
	const struct sched_limits *const limits[] = {
		&process->limits,
		&process->vdev->limits,
	};
	struct sla stated;

	derive_stated(&process->sla, process->derived.specs, &stated);
	return derive_propose(op->read.cells, op->read.count, &op->options,
			      &stated, limits, 2, ret_proposal);
}

static void accept_proposal(struct propose_op *op,
			    const struct reg_process *process,
			    const struct derive_proposal *proposal,
			    struct host_call *call)
{
	const struct reg_derived derived = {
		.specs = proposal->derived,
		.is_kept_up = op->keep_up,
		.options = op->options,
	};
	char text[SLA_TEXT_MAX];
	const struct host_process_request request = {
		.pasid = process->pasid,
		.sla = sla_format(&proposal->sla, text, sizeof(text)),
	};

	verbs_update(op->host, &request, &derived, call);
}

static void asked_done(struct history_read *read)
{
	struct propose_op *op = container_of(read, struct propose_op, read);
	struct reg_process *process =
		registry_process(op->host->registry, read->pasid);
	struct derive_proposal proposal;
	int ret;

	if (read->result < 0)
		host_answer(op->call, HOST_FAILED, NULL, "process %u: %s",
			    read->pasid, read->error.text);
	else if (!process || process->state == REG_PROCESS_REMOVING)
		host_answer(op->call, HOST_NOT_FOUND, NULL,
			    "there is no process %u", read->pasid);
	else if ((ret = propose(op, process, &proposal)) == -ENODATA)
		host_answer(
			op->call, HOST_CONFLICT, NULL,
			"process %u: no request was seen in that time: ask for a longer window",
			read->pasid);
	else if (ret < 0)
		host_answer(op->call, HOST_FAILED, NULL, "out of memory");
	else if (op->accept && proposal.derived == 0)
		host_answer(
			op->call, HOST_CONFLICT, NULL,
			"process %u: all that was seen is stated in its SLA already, and that stays",
			read->pasid);
	else if (op->accept)
		accept_proposal(op, process, &proposal, op->call);
	else
		host_answer(op->call, HOST_DONE,
			    proposal_json(process, &op->options, &proposal),
			    "%s", "");
	free(op);
}

static int parse_options(const struct host_derive_request *request,
			 struct derive_options *options, struct error *reterr)
{
	int ret = 0;

	*options = derive_default;
	options->is_split = request->split;
	if (request->window)
		ret = derive_parse_window(request->window, &options->window_s,
					  reterr);
	if (ret == 0 && request->percentile)
		ret = derive_parse_percentile(request->percentile,
					      &options->percentile_milli,
					      reterr);
	if (ret == 0 && request->headroom)
		ret = derive_parse_headroom(request->headroom,
					    &options->headroom_milli, reterr);
	return ret;
}

void host_process_derive(struct host *host,
			 const struct host_derive_request *request,
			 struct host_call *call)
{
	struct reg_process *process =
		registry_process(host->registry, request->pasid);
	struct derive_options options;
	struct propose_op *op;
	struct error why;

	if (!process) {
		host_answer(call, HOST_NOT_FOUND, NULL,
			    "there is no process %u", request->pasid);
		return;
	}
	if (parse_options(request, &options, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "%s", why.text);
		return;
	}
	op = calloc(1, sizeof(*op));
	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->host = host;
	op->call = call;
	op->options = options;
	op->accept = request->accept || request->keep_up;
	op->keep_up = request->keep_up;
	op->read.done = asked_done;
	op->read.window_s = options.window_s;
	history_read(host->history, process, &op->read);
}

/* --- Kept up ------------------------------------------------------------- */

static void tell_kept(struct host *host, const struct reg_process *process)
{
	char text[SLA_TEXT_MAX] = "none";

	if (process->sla.count)
		sla_format(&process->sla, text, sizeof(text));
	host_changed(host, "derived", "process %u updated: sla %s",
		     process->pasid, text);
}

static void kept_answered(struct host_call *call,
			  const struct host_reply *reply)
{
	struct propose_op *op =
		container_of(call, struct propose_op, kept_call);
	struct reg_process *process =
		registry_process(op->host->registry, op->read.pasid);

	if (process) {
		process->is_deriving = false;
		if (reply->result == HOST_DONE)
			tell_kept(op->host, process);
		if (reply->result == HOST_REFUSED)
			process->derive_after_s = op->now_s + REFUSED_S;
	}
	free(op);
}

static void kept_read(struct history_read *read)
{
	struct propose_op *op = container_of(read, struct propose_op, read);
	struct reg_process *process =
		registry_process(op->host->registry, read->pasid);
	struct derive_proposal proposal;

	if (process)
		process->is_deriving = false;
	/* It may have been changed, and another have its number. */
	if (read->result < 0 || !process || !process->derived.is_kept_up ||
	    process->state != REG_PROCESS_BOUND || process->is_writing ||
	    propose(op, process, &proposal) < 0 ||
	    !derive_settle(&process->sla, process->derived.specs, &proposal)) {
		free(op);
		return;
	}
	process->is_deriving = true;
	accept_proposal(op, process, &proposal, &op->kept_call);
}

static void derive_again(struct host *host, struct reg_process *process,
			 int64_t now_s)
{
	struct propose_op *op = calloc(1, sizeof(*op));

	if (!op)
		return;
	op->host = host;
	op->options = process->derived.options;
	op->keep_up = true;
	op->now_s = now_s;
	op->kept_call.done = kept_answered;
	op->read.done = kept_read;
	op->read.window_s = op->options.window_s;
	process->is_deriving = true;
	history_read(host->history, process, &op->read);
}

void propose_again(struct host *host, int64_t now_s)
{
	struct reg_process *process, *next;

	for (process = host->registry->processes; process; process = next) {
		next = process->next;
		if (process->derived.is_kept_up && !process->is_deriving &&
		    process->state == REG_PROCESS_BOUND &&
		    !process->is_writing && now_s >= process->derive_after_s)
			derive_again(host, process, now_s);
	}
}

/* --- Report -------------------------------------------------------------- */

struct report_op {
	struct history_report report;
	struct host_call *call;
};

static json_t *sum_json(const struct history_sum *sum)
{
	const struct derive_cell *cell = &sum->cell;
	const uint64_t judged_s = cell->kept_s + cell->broken_s;
	const uint64_t requests =
		cell->sum[0][DERIVE_REQUESTS] + cell->sum[1][DERIVE_REQUESTS];
	const uint64_t p99_ns = cell->latency_ns[SLA_TOTAL][DERIVE_POINT_P99];
	json_t *object = json_pack(
		"{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "pasid",
		(json_int_t)sum->process.pasid, "name", sum->process.name,
		"vdev", sum->process.vdev, "seconds", (json_int_t)cell->seconds,
		"requests", (json_int_t)requests, "iops",
		(json_int_t)cell->top_per_s[SLA_TOTAL][DERIVE_REQUESTS],
		"bandwidth_bytes_per_s",
		(json_int_t)cell->top_per_s[SLA_TOTAL][DERIVE_BYTES], "kept_s",
		(json_int_t)cell->kept_s, "broken_s",
		(json_int_t)cell->broken_s, "kept_share",
		judged_s ? json_real((double)cell->kept_s / (double)judged_s) :
			   json_null());

	if (p99_ns)
		describe_set_u64(object, "latency_p99_ns", p99_ns);
	if (sum->released_s)
		describe_set_u64(object, "released", (uint64_t)sum->released_s);
	return object;
}

static void report_done(struct history_report *report)
{
	struct report_op *op = container_of(report, struct report_op, report);
	json_t *processes = json_array();

	for (size_t i = 0; report->result == 0 && i < report->count; i++)
		json_array_append_new(processes, sum_json(&report->sums[i]));
	if (report->result < 0) {
		json_decref(processes);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    report->error.text);
	} else {
		host_answer(
			op->call, HOST_DONE,
			json_pack("{s:I, s:I, s:o}", "since",
				  (json_int_t)(time(NULL) - report->window_s),
				  "window_s", (json_int_t)report->window_s,
				  "processes", processes),
			"%s", "");
	}
	free(op);
}

void host_report(struct host *host, const char *since, struct host_call *call)
{
	struct report_op *op = calloc(1, sizeof(*op));
	struct error why;

	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->call = call;
	op->report.done = report_done;
	op->report.window_s = 86400;
	if (since &&
	    derive_parse_window(since, &op->report.window_s, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "%s", why.text);
		free(op);
		return;
	}
	history_report(host->history, &op->report);
}
