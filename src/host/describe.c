/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - answers as JSON, as host.h says: devices, pools, vdevs, status
 */
#include "host/describe.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "host/endpoint.h"
#include "host/host-data.h"

/* --- Devices and pools --------------------------------------------------- */

static const struct stats_device *device_stats(const struct reg_device *device)
{
	return device->slot < 0 ? NULL :
				  &endpoint_stats(device->endpoint->process)
					   ->devices[device->slot];
}

static const char *ready_state(const struct reg_device *device)
{
	const struct stats_device *stats = device_stats(device);

	if (!device->endpoint->is_connected)
		return "waiting";
	if (stats && stats_get(&stats->stalled_ns))
		return "stalled";
	return device->is_leaving || device->leave.is_asked ? "leaving" :
							      "ready";
}

static const char *device_state(const struct reg_device *device)
{
	switch (device->state) {
	case REG_DEVICE_WAITING:
		return "waiting";
	case REG_DEVICE_CALIBRATING:
		return "calibrating";
	case REG_DEVICE_READY:
		return ready_state(device);
	case REG_DEVICE_FAILED:
		return "failed";
	}
	return "waiting";
}

static void set_leaving(json_t *object, const struct reg_device *device)
{
	const uint64_t left = evacuate_left(device);
	const uint64_t all = device->leave.all_bytes;
	const uint64_t now_ns = loop_clock_ns();

	json_object_set_new(object, "moving", json_boolean(device->is_moving));
	describe_set_u64(object, "left_bytes", left);
	describe_set_u64(object, "moved_bytes", left < all ? all - left : 0);
	describe_set_u64(object, "moved_percent", evacuate_percent(device));
	if (device->leave.is_replaced)
		describe_set_text(object, "replaced_by", device->leave.to);
	if (device->leave_again_ns > now_ns)
		describe_set_u64(object, "retry_in_s",
				 (device->leave_again_ns - now_ns) /
					 UINT64_C(1000000000));
}

static void set_device_statistics(json_t *object,
				  const struct reg_device *device)
{
	const struct stats_device *stats = device_stats(device);

	if (!stats)
		return;
	describe_set_u64(object, "capacity_milli",
			 stats_get(&stats->capacity_milli));
	describe_set_u64(object, "shortage_milli",
			 stats_get(&stats->shortage_milli));
	describe_set_u64(object, "shortages", stats_get(&stats->shortages));
	describe_set_u64(object, "in_flight", stats_get(&stats->in_flight));
	describe_set_u64(object, "window", stats_get(&stats->window));
	describe_set_u64(object, "queued", stats_get(&stats->queued));
	describe_set_u64(object, "errors", stats_get(&stats->errors));
	describe_set_u64(object, "retries", stats_get(&stats->retries));
	describe_set_u64(object, "stalled_ns", stats_get(&stats->stalled_ns));
	if (!device->is_member)
		return;
	describe_set_u64(object, "emptying_bytes",
			 stats_get(&stats->extents_dirty) * REG_EXTENT_BYTES);
	if (device->is_leaving || device->leave.is_asked)
		set_leaving(object, device);
	describe_set_u64(object, "bad_bytes",
			 stats_get(&stats->extents_bad) * REG_EXTENT_BYTES);
	describe_set_u64(object, "log_errors", stats_get(&stats->log_errors));
}

/* What volumes hold of it, or is being emptied of what they held. */
static uint64_t device_used_bytes(const struct reg_device *device)
{
	const struct stats_device *stats = device_stats(device);
	const uint64_t all = reg_round(device->size_bytes);
	uint64_t free_bytes;

	if (!stats || !device->is_member)
		return 0;
	free_bytes = stats_get(&stats->extents_free) * REG_EXTENT_BYTES;
	return free_bytes < all ? all - free_bytes : 0;
}

static json_t *describe_device(const struct reg_device *device)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s}", "name",
		device->name, "endpoint", device->endpoint->name, "device",
		device->config->name, "kind", device->config->kind,
		"size_bytes", (json_int_t)device->size_bytes, "allocated_bytes",
		(json_int_t)device_used_bytes(device), "read_only",
		device->config->read_only, "state", device_state(device));

	describe_set_text(object, "path",
			  device->path ? device->path : device->config->path);
	describe_set_text(object, "pool",
			  device->pool ? device->pool->name : NULL);
	describe_set_text(object, "error", device->error.text);
	describe_set_text(object, "fault", device->fault);
	describe_set_text(object, "uuid",
			  device->is_recorded ? device->uuid : NULL);
	if (device->is_member)
		describe_set_u64(object, "generation", device->generation);
	describe_set(object, "measuring",
		     device->is_measuring ? json_true() : NULL);
	describe_set(object, "calibration",
		     json_string(!device->has_capacity		   ? "none" :
					 device->capacity.is_short ? "short" :
								     "full"));
	if (device->has_capacity) {
		describe_set_u64(object, "calibrated_at",
				 (uint64_t)device->calibrated_at);
		describe_set(object, "capacity",
			     ctl_from_capacity(&device->capacity));
	}
	set_device_statistics(object, device);
	describe_set(object, "admission", promise_share_json(&device->promise));
	describe_set(object, "combined", promise_json(&device->promise));
	describe_set(object, "combined_text",
		     promise_text_json(&device->promise));
	return object;
}

json_t *host_devices(struct host *host)
{
	json_t *array = json_array();
	unsigned int i, j;

	for (i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++)
			if (!endpoint->devices[j].is_gone)
				json_array_append_new(
					array,
					describe_device(&endpoint->devices[j]));
	}
	return array;
}

json_t *host_device(struct host *host, const char *name)
{
	struct reg_device *device = registry_device(host->registry, name);

	return device ? describe_device(device) : NULL;
}

static const char *pool_state(const struct reg_pool *pool)
{
	bool is_whole = reg_pool_is_ready(pool);

	if (!is_whole)
		return pool->error.text[0] ? "failed" : "waiting";
	for (unsigned int i = 0; i < pool->device_count; i++)
		is_whole &= pool->devices[i]->is_member;
	return is_whole ? "ready" : "degraded";
}

struct pool_space {
	uint64_t all, used, reserved, free;	/* bytes */
};

static void pool_space(const struct reg_pool *pool,
		       const struct stats_pool *stats, struct pool_space *space)
{
	const uint64_t leaving = reg_pool_leaving_bytes(pool);

	space->all = reg_pool_bytes(pool);
	space->used = stats_get(&stats->used) * REG_EXTENT_BYTES;
	space->reserved = stats_get(&stats->reserved) * REG_EXTENT_BYTES;
	/* The last extent may be short. */
	if (space->used > space->all)
		space->used = space->all;
	if (space->reserved > space->all - space->used)
		space->reserved = space->all - space->used;
	space->free = space->all - space->used - space->reserved;
	space->free -= leaving < space->free ? leaving : space->free;
}

static const struct stats_pool *pool_stats(const struct reg_pool *pool)
{
	static const struct stats_pool none;

	return pool->slot < 0 ?
		&none :
		&endpoint_stats(pool->endpoint->process)->pools[pool->slot];
}

uint64_t describe_pool_free(const struct reg_pool *pool)
{
	struct pool_space space;

	pool_space(pool, pool_stats(pool), &space);
	return space.free;
}

static void set_space(json_t *object, const struct reg_pool *pool)
{
	const struct stats_pool *stats = pool_stats(pool);
	struct pool_space space;

	pool_space(pool, stats, &space);
	describe_set_u64(object, "size_bytes", space.all);
	describe_set_u64(object, "allocated_bytes", space.used);
	describe_set_u64(object, "reserved_bytes", space.reserved);
	describe_set_u64(object, "free_bytes", space.free);
	describe_set_u64(object, "promised_bytes",
			 stats_get(&stats->promised) * REG_EXTENT_BYTES);
	describe_set_u64(object, "level_percent", stats_get(&stats->level));
}

static json_t *describe_pool(struct host *host, const struct reg_pool *pool)
{
	json_t *vdevs = json_array(), *devices = json_array();
	json_t *members = json_array();
	const struct reg_vdev *vdev;
	uint64_t missing = 0;
	json_t *object;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->pool == pool && !vdev->part)
			json_array_append_new(vdevs, json_string(vdev->name));
	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];
		json_t *member = json_pack(
			"{s:s, s:b, s:s, s:I, s:I}", "name", device->name,
			"is_local", reg_device_is_local(device), "state",
			device_state(device), "size_bytes",
			(json_int_t)device->size_bytes, "allocated_bytes",
			(json_int_t)device_used_bytes(device));

		describe_set_text(member, "fault", device->fault);
		describe_set_text(member, "error", device->error.text);
		json_array_append_new(members, member);
		missing += !device->is_member;
		json_array_append_new(devices, json_string(device->name));
	}
	object = json_pack("{s:s, s:s, s:o, s:o, s:s, s:o}", "name", pool->name,
			   "endpoint", pool->endpoint->name, "devices", devices,
			   "members", members, "provisioning",
			   pool->config->thin ? "thin" : "thick", "vdevs",
			   vdevs);
	describe_set(object, "state", json_string(pool_state(pool)));
	describe_set_u64(object, "missing_devices", missing);
	describe_set_text(object, "error", pool->error.text);
	set_space(object, pool);
	describe_set(object, "combined", promise_json(&pool->promise));
	describe_set(object, "combined_text",
		     promise_text_json(&pool->promise));
	return object;
}

static json_t *pool_part(struct host *host, const struct reg_part *part)
{
	return describe_part(host->registry, part,
			     describe_pool(host, part->pool));
}

json_t *host_pools(struct host *host)
{
	json_t *array = json_array();
	unsigned int i;

	for (i = 0; i < host->registry->pool_count; i++)
		json_array_append_new(
			array, describe_pool(host, &host->registry->pools[i]));
	for (i = 0; i < host->registry->part_count; i++)
		json_array_append_new(
			array, pool_part(host, &host->registry->parts[i]));
	return array;
}

json_t *host_pool(struct host *host, const char *name)
{
	struct reg_part *part;
	struct reg_pool *pool = registry_place(host->registry, name, &part);

	if (part)
		return pool_part(host, part);
	return pool ? describe_pool(host, pool) : NULL;
}

/* --- Vdevs --------------------------------------------------------------- */

uint64_t describe_vdev_used(const struct reg_vdev *vdev)
{
	const struct stats_process *stats = describe_stats(vdev, vdev->slot);

	return stats && vdev->is_added ?
		stats_get(&stats->mapped) * REG_EXTENT_BYTES :
		0;
}

static const char *serving_state(const struct reg_vdev *vdev)
{
	const struct stats_process *stats = describe_stats(vdev, vdev->slot);

	if (!stats || !vdev->is_added)
		return "serving";
	if (stats_get(&stats->stopped_errno))
		return "stopped";
	return stats_get(&stats->hungry) ? "no-space" : "serving";
}

static const char *vdev_state(const struct reg_vdev *vdev)
{
	switch (vdev->state) {
	case REG_VDEV_PENDING:
		return "pending";
	case REG_VDEV_SERVING:
		return serving_state(vdev);
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

	watch_delivered(vdev->watch, describe_stats(vdev, vdev->slot), ret_sum);
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev || process->slot < 0)
			continue;
		watch_delivered(process->watch,
				describe_stats(vdev, process->slot), &one);
		if (one.window_s > ret_sum->window_s)
			ret_sum->window_s = one.window_s;
		for (i = 0; i < 2; i++) {
			ret_sum->requests_per_s[i] += one.requests_per_s[i];
			ret_sum->bytes_per_s[i] += one.bytes_per_s[i];
			histogram_merge(&ret_sum->latency[i], &one.latency[i]);
		}
	}
}

static void set_errors(json_t *object, const struct reg_vdev *vdev)
{
	const struct stats_process *stats = describe_stats(vdev, vdev->slot);
	uint64_t error;

	describe_set(object, "on_error",
		     json_string(on_error_name(vdev->on_error)));
	if (!stats)
		return;
	describe_set_u64(object, "errors", stats_get(&stats->device_errors));
	describe_set_u64(object, "retries", stats_get(&stats->retries));
	describe_set_u64(object, "no_space", stats_get(&stats->no_space));
	error = stats_get(&stats->stopped_errno);
	describe_set_text(object, "stopped_by",
			  error ? strerror((int)error) : NULL);
}

static const char *nbd_tls(const struct reg_nbd *nbd)
{
	if (!nbd->tls)
		return "none";
	return nbd->tls_required ? "required" : "offered";
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
	object = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:b, s:o, s:s}",
			   "name", vdev->name, "endpoint", endpoint->name,
			   "pool", reg_place_name(vdev), "state",
			   vdev_state(vdev), "size_bytes",
			   (json_int_t)size_bytes, "allocated_bytes",
			   (json_int_t)describe_vdev_used(vdev), "queues",
			   (int)vdev->queues, "read_only", vdev->read_only,
			   "limit", describe_limit(&vdev->limits), "origin",
			   vdev->is_runtime ? "runtime" : "file");
	if (vdev->pool->device_count == 1)
		describe_set_text(object, "device",
				  vdev->pool->devices[0]->name);
	describe_set_text(object, "error", vdev->error.text);
	set_errors(object, vdev);
	describe_set_text(object, "uuid", vdev->uuid[0] ? vdev->uuid : NULL);
	describe_set(object, "provisioning",
		     json_string(vdev->is_thick ? "thick" : "thin"));
	describe_set_text(object, "snapshot_of", vdev->of[0] ? vdev->of : NULL);
	describe_set_text(object, "snapshot_of_uuid",
			  vdev->of_uuid[0] ? vdev->of_uuid : NULL);
	describe_set_text(object, "vhost_user", vdev->vhost_user);
	describe_set_text(object, "nbd", vdev->nbd.at);
	if (vdev->nbd.at) {
		describe_set_text(object, "nbd_tls", nbd_tls(&vdev->nbd));
		describe_set_u64(object, "connections", vdev->nbd.connections);
		/* Whoever gives it both ways in says so (docs/control.md). */
		describe_set(object, "shared",
			     json_boolean(vdev->vhost_user != NULL));
	}
	describe_set(object, "combined", promise_json(&vdev->promise));
	describe_set(object, "combined_text",
		     promise_text_json(&vdev->promise));
	describe_set(object, "owner",
		     json_pack("{s:s, s:I, s:s}", "endpoint", endpoint->name,
			       "generation", (json_int_t)1, "phase",
			       endpoint->is_connected ? "serving" : "waiting"));
	describe_set_u64(object, "sessions",
			 vdev->sessions + vdev->nbd.sessions);
	describe_set(object, "attached",
		     json_boolean(vdev->is_attached || vdev->nbd.is_attached));
	sum_delivered(host, vdev, &delivered);
	describe_set(object, "delivered", describe_delivered(&delivered));
	describe_set(object, "processes", processes);
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

/* See loop_times; each with those before it, as a histogram has them. */
static json_t *describe_wakes(const struct stats_segment *stats)
{
	static const char *const names[] = {"within_50us", "within_200us",
					    "within_1ms", "count"};
	json_t *object = json_object();
	uint64_t count = 0;

	static_assert(sizeof(names) / sizeof(names[0]) == STATS_LATE_CLASSES,
		      "a name for each");
	for (unsigned int i = 0; i < STATS_LATE_CLASSES; i++) {
		count += stats_get(&stats->late[i]);
		describe_set(object, names[i], json_integer((json_int_t)count));
	}
	describe_set(object, "late_ns",
		     json_integer((json_int_t)stats_get(&stats->late_ns)));
	return object;
}

static json_t *describe_endpoint(const struct reg_endpoint *endpoint)
{
	const struct stats_segment *stats = endpoint_stats(endpoint->process);
	json_t *object = json_pack(
		"{s:s, s:s, s:i, s:i, s:b, s:i, s:f, s:o, s:I}", "name",
		endpoint->name, "state", endpoint_state_name(endpoint->process),
		"pid", (int)endpoint_pid(endpoint->process), "cpu",
		endpoint->config->cpu, "adopted",
		endpoint_adopted(endpoint->process), "restarts",
		(int)endpoint_restarts(endpoint->process), "busy_share",
		(double)endpoint->busy_milli / 1000.0, "wakes",
		describe_wakes(stats), "away_ns",
		(json_int_t)stats_get(&stats->away_ns));

	describe_set(object, "admission",
		     promise_share_json(&endpoint->promise));
	describe_set(object, "combined", promise_json(&endpoint->promise));
	describe_set(object, "combined_text",
		     promise_text_json(&endpoint->promise));
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
		describe_set_u64(object, names[i], counts[i]);
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
		"{s:s, s:i, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "host",
		host->config->host, "pid", (int)getpid(), "uptime_s",
		(json_int_t)((loop_clock_ns() - host->started_ns) /
			     1000000000U),
		"enforce", host->is_enforcing, "endpoints", endpoints,
		"devices", host_devices(host), "pools", host_pools(host),
		"vdevs", vdevs, "processes", describe_counts(host),
		"not_served", describe_not_served(host));
	return object;
}
