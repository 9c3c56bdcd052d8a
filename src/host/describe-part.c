/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe-part.c - a part of a pool (E2) as JSON: it has the devices of its
 * pool, and room, vdevs and promises of its own
 */
#include "host/describe.h"

#include <string.h>

/* In it, or in a part of it. */
static bool is_inside(const struct reg_part *part, const struct reg_vdev *vdev)
{
	const struct reg_part *at = vdev->part;

	while (at && at != part)
		at = at->of;
	return at != NULL;
}

static void set_combined(json_t *object, const struct registry *registry,
			 const struct reg_part *part)
{
	const struct reg_process *process;
	struct promise promise;

	if (promise_init(&promise) < 0)
		return;
	for (process = registry->processes; process; process = process->next)
		if (process->member.is_counted &&
		    is_inside(part, process->vdev) &&
		    combine_add(promise.combine, &process->member.sla) < 0)
			break;		/* no memory */
	if (!process) {
		describe_set(object, "combined", promise_json(&promise));
		describe_set(object, "combined_text",
			     promise_text_json(&promise));
	}
	promise_finish(&promise);
}

/* Devices that are away with some of this vdev. */
static uint64_t vdev_missing(const struct reg_vdev *vdev)
{
	const json_t *volume = json_object_get(vdev->pool->volumes, vdev->uuid);

	return (uint64_t)json_integer_value(
		json_object_get(volume, "missing_devices"));
}

/* As they were when the pool was put together, less those that came. */
static uint64_t part_missing(const json_t *pool,
			     const struct registry *registry,
			     const struct reg_part *part)
{
	const uint64_t away = (uint64_t)json_integer_value(
		json_object_get(pool, "missing_devices"));
	uint64_t most = 0;

	for (const struct reg_vdev *vdev = registry->vdevs; vdev;
	     vdev = vdev->next)
		if (is_inside(part, vdev) && vdev_missing(vdev) > most)
			most = vdev_missing(vdev);
	return most < away ? most : away;
}

/* The same steps as a pool's. */
static uint64_t level_percent(uint64_t all_bytes, uint64_t free_bytes)
{
	static const uint64_t percents[] = {100, 95, 90, 80};

	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		if (all_bytes &&
		    free_bytes <= all_bytes / 100 * (100 - percents[i]))
			return percents[i];
	return 0;
}

json_t *describe_part(const struct registry *registry,
		      const struct reg_part *part, json_t *pool)
{
	const uint64_t all = registry_part_bytes(registry, part);
	const uint64_t free_bytes =
		registry_unpromised(registry, part->pool, part);
	const uint64_t missing = part_missing(pool, registry, part);
	uint64_t used = 0, promised = 0;
	json_t *vdevs = json_array();
	const struct reg_vdev *vdev;

	for (vdev = registry->vdevs; vdev; vdev = vdev->next) {
		if (vdev->part != part)
			continue;
		json_array_append_new(vdevs, json_string(vdev->name));
		used += describe_vdev_used(vdev);
		promised += vdev->uuid[0] ? reg_round(vdev->size_bytes) : 0;
	}
	describe_set_text(pool, "name", part->name);
	describe_set_text(pool, "from", part->config->from);
	describe_set(pool, "vdevs", vdevs);
	if (reg_pool_is_ready(part->pool))
		describe_set_text(pool, "state",
				  missing ? "degraded" : "ready");
	describe_set_u64(pool, "missing_devices", missing);
	describe_set_u64(pool, "size_bytes", all);
	describe_set_u64(pool, "allocated_bytes", used);
	describe_set_u64(pool, "reserved_bytes",
			 promised > used ? promised - used : 0);
	describe_set_u64(pool, "free_bytes", free_bytes);
	describe_set_u64(pool, "promised_bytes", promised);
	describe_set_u64(pool, "level_percent", level_percent(all, free_bytes));
	set_combined(pool, registry, part);
	return pool;
}
