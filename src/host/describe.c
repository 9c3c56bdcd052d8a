/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - answers as JSON, as host.h says
 */
#include "host/host-data.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "host/endpoint.h"
#include "host/watch.h"

static void set(json_t *object, const char *key, json_t *value)
{
	if (value)
		json_object_set_new(object, key, value);
}

static void set_u64(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(object, key, json_string(value));
}

/* --- Devices and pools --------------------------------------------------- */

static const char *device_state(const struct reg_device *device)
{
	switch (device->state) {
	case REG_DEVICE_WAITING:
		return "waiting";
	case REG_DEVICE_CALIBRATING:
		return "calibrating";
	case REG_DEVICE_READY:
		return device->endpoint->is_connected ? "ready" : "waiting";
	case REG_DEVICE_FAILED:
		return "failed";
	}
	return "waiting";
}

static void set_device_statistics(json_t *object,
				  const struct reg_device *device)
{
	const struct stats_device *stats;

	if (device->slot < 0)
		return;
	stats = &endpoint_stats(device->endpoint->process)
			 ->devices[device->slot];
	set_u64(object, "capacity_milli", stats_get(&stats->capacity_milli));
	set_u64(object, "shortage_milli", stats_get(&stats->shortage_milli));
	set_u64(object, "shortages", stats_get(&stats->shortages));
	set_u64(object, "in_flight", stats_get(&stats->in_flight));
	set_u64(object, "window", stats_get(&stats->window));
	set_u64(object, "queued", stats_get(&stats->queued));
	set_u64(object, "errors", stats_get(&stats->errors));
	set_u64(object, "stalled_ns", stats_get(&stats->stalled_ns));
}

static json_t *describe_device(const struct reg_device *device)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s}", "name",
		device->name, "endpoint", device->endpoint->name, "device",
		device->config->name, "kind", device->config->kind,
		"size_bytes", (json_int_t)device->size_bytes, "allocated_bytes",
		(json_int_t)extents_taken_bytes(&device->extents), "read_only",
		device->config->read_only, "state", device_state(device));

	set_text(object, "path", device->config->path);
	set_text(object, "error", device->error.text);
	set(object, "calibration",
	    json_string(!device->has_capacity		  ? "none" :
				device->capacity.is_short ? "short" :
							    "full"));
	if (device->has_capacity) {
		set_u64(object, "calibrated_at",
			(uint64_t)device->calibrated_at);
		set(object, "capacity", ctl_from_capacity(&device->capacity));
	}
	set_device_statistics(object, device);
	set(object, "admission", promise_share_json(&device->promise));
	set(object, "combined", promise_json(&device->promise));
	set(object, "combined_text", promise_text_json(&device->promise));
	return object;
}

json_t *host_devices(struct host *host)
{
	json_t *array = json_array();
	unsigned int i, j;

	for (i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++)
			json_array_append_new(
				array, describe_device(&endpoint->devices[j]));
	}
	return array;
}

json_t *host_device(struct host *host, const char *name)
{
	struct reg_device *device = registry_device(host->registry, name);

	return device ? describe_device(device) : NULL;
}

static json_t *describe_pool(struct host *host, const struct reg_pool *pool)
{
	const struct reg_device *device = pool->device;
	uint64_t taken_bytes = extents_taken_bytes(&device->extents);
	json_t *vdevs = json_array();
	const struct reg_vdev *vdev;
	json_t *object;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->pool == pool)
			json_array_append_new(vdevs, json_string(vdev->name));
	/* The last extent may be short. */
	if (taken_bytes > device->size_bytes)
		taken_bytes = device->size_bytes;
	object = json_pack("{s:s, s:[s], s:s, s:I, s:I, s:I, s:I, s:o}", "name",
			   pool->name, "devices", device->name, "provisioning",
			   "thick", "size_bytes",
			   (json_int_t)device->size_bytes, "allocated_bytes",
			   (json_int_t)taken_bytes, "free_bytes",
			   (json_int_t)(device->size_bytes - taken_bytes),
			   "largest_free_bytes",
			   (json_int_t)extents_largest_free(&device->extents,
							    device->size_bytes)
				   .size_bytes,
			   "vdevs", vdevs);
	set(object, "combined", promise_json(&device->promise));
	set(object, "combined_text", promise_text_json(&device->promise));
	return object;
}

json_t *host_pools(struct host *host)
{
	json_t *array = json_array();
	unsigned int i;

	for (i = 0; i < host->registry->pool_count; i++)
		json_array_append_new(
			array, describe_pool(host, &host->registry->pools[i]));
	return array;
}

json_t *host_pool(struct host *host, const char *name)
{
	struct reg_pool *pool = registry_pool(host->registry, name);

	return pool ? describe_pool(host, pool) : NULL;
}

/* --- What was delivered -------------------------------------------------- */

/* A rate as a whole number. */
static void set_rate(json_t *object, const char *key, double per_s)
{
	set_u64(object, key, (uint64_t)llround(per_s));
}

/* null: nothing came that could have one. */
static void set_latency(json_t *object, const char *key,
			const struct histogram *histogram, double percent)
{
	if (histogram_count(histogram))
		set_u64(object, key, histogram_percentile(histogram, percent));
	else
		set(object, key, json_null());
}

static json_t *describe_delivered(const struct watch_delivered *delivered)
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
	set(object, "window_s", json_real(delivered->window_s));
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

		set(object, names[i],
		    json_pack("{s:I, s:I, s:I}", "requests",
			      (json_int_t)stats_get(&counters->requests),
			      "bytes", (json_int_t)stats_get(&counters->bytes),
			      "errors",
			      (json_int_t)stats_get(&counters->errors)));
	}
	set_u64(object, "throttled", stats_get(&stats->throttled));
	return object;
}

/* --- Processes ----------------------------------------------------------- */

static json_t *describe_limit(const struct sched_limits *limits)
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
			set_u64(object, names[i], limits->limit_per_s[i]);
	if (json_object_size(object))
		set_u64(object, "burst_ns", limits->burst_ns);
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
			set_u64(spec, "conforming",
				judgement->specs[i].conforming);
			set_u64(spec, "late", judgement->specs[i].late);
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

	set(object, "kept", verdict_json(judgement->verdict));
	set_u64(object, "window_s", judgement->window_s);
	set_u64(object, "windows", judgement->windows);
	set_u64(object, "windows_broken", judgement->windows_broken);
	set(object, "specs", describe_specs(process, judgement));
}

static const struct stats_process *stats_of(const struct reg_vdev *vdev,
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
		stats_of(process->vdev, process->slot);
	struct watch_delivered delivered;

	watch_delivered(process->watch, stats, &delivered);
	set(object, "delivered", describe_delivered(&delivered));
	set_kept(object, process);
	if (!stats)
		return;
	set(object, "counters", describe_counters(stats));
	set_u64(object, "queued", stats_get(&stats->queued));
	set_u64(object, "in_flight", stats_get(&stats->in_flight));
}

/* What it waits for. */
static void set_pending_reason(json_t *object, const struct reg_vdev *vdev)
{
	const struct reg_device *device = vdev->pool->device;
	struct error reason;

	if (vdev->error.text[0])
		error_set(&reason, 0, "vdev %s: %s", vdev->name,
			  vdev->error.text);
	else if (device->error.text[0])
		error_set(&reason, 0, "device %s: %s", device->name,
			  device->error.text);
	else
		error_set(&reason, 0, "device %s is not ready yet",
			  device->name);
	set_text(object, "reason", reason.text);
}

static json_t *describe_process(const struct reg_process *process)
{
	char ioprio[CONFIG_IOPRIO_TEXT_MAX], text[SLA_TEXT_MAX];
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

	set(object, "sla_text",
	    json_string(sla_format(&process->sla, text, sizeof(text))));
	if (process->refusal.is_refused) {
		set_text(object, "reason", process->refusal.text.text);
		set(object, "refusal", promise_refusal_json(&process->refusal));
	}
	if (process->state == REG_PROCESS_PENDING)
		set_pending_reason(object, process->vdev);
	if (process->has_match)
		set_text(object, "ioprio",
			 config_format_ioprio(process->match_ioprio, ioprio,
					      sizeof(ioprio)));
	set_text(object, "vhost_user", process->vhost_user);
	set_text(object, "error", process->error.text);
	set_u64(object, "sessions",
		process->vhost_user ? process->sessions :
				      process->vdev->sessions);
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

	set_u64(object, "count", count);
	for (i = 0; count && i < 6; i++)
		set_u64(object, points[i].name,
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
	stats = stats_of(process->vdev, process->slot);
	if (!stats)
		return object;
	watch_delivered(process->watch, stats, &delivered);
	set(object, "latency",
	    json_pack("{s:o, s:o}", "read",
		      describe_latency(&delivered.latency[0]), "write",
		      describe_latency(&delivered.latency[1])));
	set(object, "latency_total",
	    json_pack("{s:o, s:o}", "read",
		      describe_latency(&stats->latency[0]), "write",
		      describe_latency(&stats->latency[1])));
	return object;
}

/* --- Vdevs --------------------------------------------------------------- */

static const char *vdev_state(const struct reg_vdev *vdev)
{
	switch (vdev->state) {
	case REG_VDEV_PENDING:
		return "pending";
	case REG_VDEV_SERVING:
		return "serving";
	case REG_VDEV_FAILED:
		return "failed";
	case REG_VDEV_REMOVING:
		return "ending";
	}
	return "pending";
}

/* All requests of a vdev: those of its processes and those of nobody. */
static void sum_delivered(struct host *host, const struct reg_vdev *vdev,
			  struct watch_delivered *ret_sum)
{
	const struct reg_process *process;
	struct watch_delivered one;
	unsigned int i;

	watch_delivered(vdev->watch, stats_of(vdev, vdev->slot), ret_sum);
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev || process->slot < 0)
			continue;
		watch_delivered(process->watch, stats_of(vdev, process->slot),
				&one);
		if (one.window_s > ret_sum->window_s)
			ret_sum->window_s = one.window_s;
		for (i = 0; i < 2; i++) {
			ret_sum->requests_per_s[i] += one.requests_per_s[i];
			ret_sum->bytes_per_s[i] += one.bytes_per_s[i];
			histogram_merge(&ret_sum->latency[i], &one.latency[i]);
		}
	}
}

static json_t *describe_vdev(struct host *host, const struct reg_vdev *vdev)
{
	const struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	const struct reg_process *process;
	uint64_t size_bytes =
		vdev->size_bytes == CONFIG_SIZE_EQUAL ? 0 : vdev->size_bytes;
	struct watch_delivered delivered;
	json_t *processes = json_array();
	json_t *object;

	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->vdev == vdev)
			json_array_append_new(processes,
					      describe_process(process));
	object = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:b, s:o, s:s}",
		"name", vdev->name, "endpoint", endpoint->name, "pool",
		vdev->pool->name, "device", vdev->pool->device->name, "state",
		vdev_state(vdev), "size_bytes", (json_int_t)size_bytes,
		"allocated_bytes",
		(json_int_t)(vdev->is_placed ? extents_round(size_bytes) : 0),
		"queues", (int)vdev->queues, "read_only", vdev->read_only,
		"limit", describe_limit(&vdev->limits), "origin",
		vdev->is_runtime ? "runtime" : "file");
	set_text(object, "error", vdev->error.text);
	set_text(object, "vhost_user", vdev->vhost_user);
	set(object, "combined", promise_json(&vdev->promise));
	set(object, "combined_text", promise_text_json(&vdev->promise));
	set(object, "owner",
	    json_pack("{s:s, s:I, s:s}", "endpoint", endpoint->name,
		      "generation", (json_int_t)1, "phase",
		      endpoint->is_connected ? "serving" : "waiting"));
	set_u64(object, "sessions", vdev->sessions);
	set(object, "attached", json_boolean(vdev->is_attached));
	sum_delivered(host, vdev, &delivered);
	set(object, "delivered", describe_delivered(&delivered));
	set(object, "processes", processes);
	return object;
}

json_t *host_vdevs(struct host *host)
{
	const struct reg_vdev *vdev;
	json_t *array = json_array();

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		json_array_append_new(array, describe_vdev(host, vdev));
	return array;
}

json_t *host_vdev(struct host *host, const char *name)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);

	return vdev ? describe_vdev(host, vdev) : NULL;
}

/* --- Status -------------------------------------------------------------- */

static json_t *describe_endpoint(const struct reg_endpoint *endpoint)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:i, s:i, s:b, s:i, s:f}", "name", endpoint->name,
		"state", endpoint_state_name(endpoint->process), "pid",
		(int)endpoint_pid(endpoint->process), "cpu",
		endpoint->config->cpu, "adopted",
		endpoint_adopted(endpoint->process), "restarts",
		(int)endpoint_restarts(endpoint->process), "busy_share",
		(double)endpoint->busy_milli / 1000.0);

	set(object, "combined", promise_json(&endpoint->promise));
	set(object, "combined_text", promise_text_json(&endpoint->promise));
	return object;
}

static json_t *describe_counts(struct host *host)
{
	static const char *const names[] = {
		"pending", "bound", "refused", "unknown", "kept", "broken",
	};
	uint64_t counts[6] = {0};
	const struct reg_process *process;
	json_t *object = json_object();
	unsigned int i;

	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->state == REG_PROCESS_REMOVING)
			continue;
		counts[process->state]++;
		if (process->state != REG_PROCESS_BOUND ||
		    process->sla.count == 0)
			continue;
		counts[3 +
		       (process->watch ? process->watch->judgement.verdict :
					 KEEP_UNKNOWN)]++;
	}
	for (i = 0; i < 6; i++)
		set_u64(object, names[i], counts[i]);
	return object;
}

static json_t *describe_not_served(struct host *host)
{
	const struct config *config = host->config;
	json_t *array = json_array();
	unsigned int i;

	for (i = 0; i < config->note_count; i++) {
		struct error where;

		error_set(&where, 0, "%s:%u", config->file,
			  config->notes[i].line);
		json_array_append_new(array,
				      json_pack("{s:s, s:s}", "where",
						where.text, "what",
						config->notes[i].text));
	}
	return array;
}

json_t *host_status(struct host *host)
{
	json_t *endpoints = json_array();
	json_t *vdevs = host_vdevs(host);
	json_t *object, *vdev;
	unsigned int i;
	size_t j;

	for (i = 0; i < host->registry->endpoint_count; i++)
		json_array_append_new(
			endpoints,
			describe_endpoint(&host->registry->endpoints[i]));
	json_array_foreach(vdevs, j, vdev) json_object_del(vdev, "processes");
	object = json_pack(
		"{s:s, s:i, s:I, s:b, s:o, s:o, s:o, s:o, s:o}", "host",
		host->config->host, "pid", (int)getpid(), "uptime_s",
		(json_int_t)((loop_clock_ns() - host->started_ns) /
			     1000000000U),
		"enforce", host->is_enforcing, "endpoints", endpoints,
		"devices", host_devices(host), "vdevs", vdevs, "processes",
		describe_counts(host), "not_served", describe_not_served(host));
	return object;
}
