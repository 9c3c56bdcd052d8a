/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe-process.c - answers as JSON, as host.h says: processes, and what was
 * delivered
 */
#include "host/describe.h"

#include <math.h>

#include "host/endpoint.h"
#include "host/host-data.h"

/* --- Fields -------------------------------------------------------------- */

void describe_set(json_t *object, const char *key, json_t *value)
{
	if (value)
		json_object_set_new(object, key, value);
}

void describe_set_u64(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

void describe_set_text(json_t *object, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(object, key, json_string(value));
}

/* --- What was delivered -------------------------------------------------- */

/* A rate as a whole number. */
static void set_rate(json_t *object, const char *key, double per_s)
{
	describe_set_u64(object, key, (uint64_t)llround(per_s));
}

/* null: nothing came that could have one. */
static void set_latency(json_t *object, const char *key,
			const struct histogram *histogram, double percent)
{
	if (histogram_count(histogram))
		describe_set_u64(object, key,
				 histogram_percentile(histogram, percent));
	else
		describe_set(object, key, json_null());
}

json_t *describe_delivered(const struct watch_delivered *delivered)
{
	json_t *object = json_object();
	struct histogram both = delivered->latency[0];

	set_rate(object, "iops",
		 delivered->requests_per_s[0] + delivered->requests_per_s[1]);
	set_rate(object, "read_iops", delivered->requests_per_s[0]);
	set_rate(object, "write_iops", delivered->requests_per_s[1]);
	set_rate(object, "bandwidth_bytes_per_s",
		 delivered->bytes_per_s[0] + delivered->bytes_per_s[1]);
	set_rate(object, "read_bandwidth_bytes_per_s",
		 delivered->bytes_per_s[0]);
	set_rate(object, "write_bandwidth_bytes_per_s",
		 delivered->bytes_per_s[1]);
	histogram_merge(&both, &delivered->latency[1]);
	set_latency(object, "latency_p50_ns", &both, 50.0);
	set_latency(object, "latency_p99_ns", &both, 99.0);
	describe_set(object, "window_s", json_real(delivered->window_s));
	return object;
}

static json_t *describe_counters(const struct stats_process *stats)
{
	static const char *const names[] = {"read", "write", "other"};
	json_t *object = json_object();
	unsigned int i;

	for (i = 0; i < 3; i++) {
		const struct stats_counters *counters =
			i < 2 ? &stats->direction[i] : &stats->other;

		describe_set(
			object, names[i],
			json_pack("{s:I, s:I, s:I}", "requests",
				  (json_int_t)stats_get(&counters->requests),
				  "bytes",
				  (json_int_t)stats_get(&counters->bytes),
				  "errors",
				  (json_int_t)stats_get(&counters->errors)));
	}
	describe_set_u64(object, "throttled", stats_get(&stats->throttled));
	return object;
}

/* --- Processes ----------------------------------------------------------- */

json_t *describe_limit(const struct sched_limits *limits)
{
	static const char *const names[SCHED_AXES] = {
		[SCHED_READ_IOPS] = "read_iops",
		[SCHED_WRITE_IOPS] = "write_iops",
		[SCHED_TOTAL_IOPS] = "iops",
		[SCHED_READ_BYTES] = "read_bandwidth_bytes_per_s",
		[SCHED_WRITE_BYTES] = "write_bandwidth_bytes_per_s",
		[SCHED_TOTAL_BYTES] = "bandwidth_bytes_per_s",
	};
	json_t *object = json_object();
	unsigned int i;

	for (i = 0; i < SCHED_AXES; i++)
		if (limits->limit_per_s[i])
			describe_set_u64(object, names[i],
					 limits->limit_per_s[i]);
	if (json_object_size(object))
		describe_set_u64(object, "burst_ns", limits->burst_ns);
	return object;
}

static const char *process_state(const struct reg_process *process)
{
	switch (process->state) {
	case REG_PROCESS_PENDING:
		return "pending";
	case REG_PROCESS_BOUND:
		return "bound";
	case REG_PROCESS_REFUSED:
		return "refused";
	case REG_PROCESS_REMOVING:
		return "ending";
	}
	return "pending";
}

static json_t *verdict_json(enum keep_verdict verdict)
{
	switch (verdict) {
	case KEEP_UNKNOWN:
		return json_null();
	case KEEP_KEPT:
		return json_true();
	case KEEP_BROKEN:
		return json_false();
	}
	return json_null();
}

static json_t *describe_specs(const struct reg_process *process,
			      const struct keep_judgement *judgement)
{
	json_t *array = json_array();
	unsigned int i;

	for (i = 0; i < process->sla.count; i++) {
		struct sla one = {.count = 1};
		char text[SLA_TEXT_MAX];
		json_t *spec;

		one.specs[0] = process->sla.specs[i];
		spec = json_pack("{s:s, s:o}", "text",
				 sla_format(&one, text, sizeof(text)), "kept",
				 verdict_json(judgement->specs[i].verdict));
		if (one.specs[0].metric == SLA_LATENCY) {
			describe_set_u64(spec, "conforming",
					 judgement->specs[i].conforming);
			describe_set_u64(spec, "late",
					 judgement->specs[i].late);
		}
		json_array_append_new(array, spec);
	}
	return array;
}

static void set_kept(json_t *object, const struct reg_process *process)
{
	static const struct keep_judgement unknown = {
		.verdict = KEEP_UNKNOWN,
	};
	const struct keep_judgement *judgement =
		process->watch && process->sla.count ?
		&process->watch->judgement :
		&unknown;

	describe_set(object, "kept", verdict_json(judgement->verdict));
	describe_set_u64(object, "window_s", judgement->window_s);
	describe_set_u64(object, "windows", judgement->windows);
	describe_set_u64(object, "windows_broken", judgement->windows_broken);
	describe_set(object, "specs", describe_specs(process, judgement));
}

const struct stats_process *describe_stats(const struct reg_vdev *vdev,
					   int slot)
{
	if (slot < 0)
		return NULL;
	return &endpoint_stats(reg_vdev_endpoint(vdev)->process)
			->processes[slot];
}

static void set_process_statistics(json_t *object,
				   const struct reg_process *process)
{
	const struct stats_process *stats =
		describe_stats(process->vdev, process->slot);
	struct watch_delivered delivered;

	watch_delivered(process->watch, stats, &delivered);
	describe_set(object, "delivered", describe_delivered(&delivered));
	set_kept(object, process);
	if (!stats)
		return;
	describe_set(object, "counters", describe_counters(stats));
	describe_set_u64(object, "queued", stats_get(&stats->queued));
	describe_set_u64(object, "in_flight", stats_get(&stats->in_flight));
}

/* What it waits for. */
static void set_pending_reason(json_t *object, const struct reg_vdev *vdev)
{
	const struct reg_device *device = vdev->pool->devices[0];
	struct error reason;

	for (unsigned int i = 0; i < vdev->pool->device_count; i++)
		if (vdev->pool->devices[i]->error.text[0])
			device = vdev->pool->devices[i];

	if (vdev->error.text[0])
		error_set(&reason, 0, "vdev %s: %s", vdev->name,
			  vdev->error.text);
	else if (device->error.text[0])
		error_set(&reason, 0, "device %s: %s", device->name,
			  device->error.text);
	else
		error_set(&reason, 0, "device %s is not ready yet",
			  device->name);
	describe_set_text(object, "reason", reason.text);
}

json_t *describe_process(const struct reg_process *process)
{
	char match[CONFIG_MATCH_TEXT_MAX], text[SLA_TEXT_MAX];
	json_t *object = json_pack(
		"{s:I, s:s, s:s, s:s, s:o, s:o, s:i, s:b, s:b, s:s}", "pasid",
		(json_int_t)process->pasid, "name", process->name, "vdev",
		process->vdev->name, "state", process_state(process), "sla",
		promise_sla_json(&process->sla), "limit",
		describe_limit(&process->limits), "weight",
		(int)(process->weight ? process->weight : 1), "session",
		process->is_session, "best_effort", process->is_best_effort,
		"origin",
		process->is_runtime || process->is_changed ? "runtime" :
							     "file");

	describe_set(
		object, "sla_text",
		json_string(sla_format(&process->sla, text, sizeof(text))));
	describe_derived(object, process);
	if (process->refusal.is_refused || process->is_unchosen)
		describe_set_text(object, "reason", process->refusal.text.text);
	if (process->refusal.is_refused)
		describe_set(object, "refusal",
			     promise_refusal_json(&process->refusal));
	if (process->state == REG_PROCESS_PENDING)
		set_pending_reason(object, process->vdev);
	if (process->match.kind != MATCH_NONE)
		describe_set_text(object,
				  match_is_of_peer(&process->match) ? "match" :
								      "ioprio",
				  config_format_match(&process->match, match,
						      sizeof(match)));
	describe_set_text(object, "vhost_user", process->vhost_user);
	describe_set_text(object, "error", process->error.text);
	describe_set_u64(object, "sessions", reg_process_sessions(process));
	set_process_statistics(object, process);
	return object;
}

json_t *host_processes(struct host *host)
{
	const struct reg_process *process;
	json_t *array = json_array();

	for (process = host->registry->processes; process;
	     process = process->next)
		json_array_append_new(array, describe_process(process));
	return array;
}

json_t *host_process(struct host *host, uint32_t pasid)
{
	struct reg_process *process = registry_process(host->registry, pasid);

	return process ? describe_process(process) : NULL;
}

static json_t *describe_latency(const struct histogram *histogram)
{
	static const struct {
		const char *name;
		double percent;
	} points[] = {
		{"p50_ns", 50.0}, {"p90_ns", 90.0},   {"p95_ns", 95.0},
		{"p99_ns", 99.0}, {"p99_9_ns", 99.9}, {"max_ns", 100.0},
	};
	uint64_t count = histogram_count(histogram);
	json_t *object = json_object();
	unsigned int i;

	describe_set_u64(object, "count", count);
	for (i = 0; count && i < 6; i++)
		describe_set_u64(
			object, points[i].name,
			histogram_percentile(histogram, points[i].percent));
	return object;
}

json_t *host_process_stats(struct host *host, uint32_t pasid)
{
	struct reg_process *process = registry_process(host->registry, pasid);
	const struct stats_process *stats;
	struct watch_delivered delivered;
	json_t *object;

	if (!process)
		return NULL;
	object = describe_process(process);
	stats = describe_stats(process->vdev, process->slot);
	if (!stats)
		return object;
	watch_delivered(process->watch, stats, &delivered);
	describe_set(object, "latency",
		     json_pack("{s:o, s:o}", "read",
			       describe_latency(&delivered.latency[0]), "write",
			       describe_latency(&delivered.latency[1])));
	describe_set(object, "latency_total",
		     json_pack("{s:o, s:o}", "read",
			       describe_latency(&stats->latency[0]), "write",
			       describe_latency(&stats->latency[1])));
	return object;
}
