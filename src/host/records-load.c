/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records-load.c - the registry as the file says it, changed by what the store
 * remembers of run time
 *
 * Vdevs first, then where each lies and what is being emptied, then processes:
 * each needs those before it.  What no longer fits the file is said and left.
 */
#include "host/records.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/item.h"
#include "host/events.h"
#include "store/store.h"

/* Is 'record' a change of what the file still says? */
static bool still_holds(const json_t *record, const char *entry)
{
	return record && strcmp(item_text(record, "entry"), entry) == 0;
}

static int copy_path(const json_t *record, char **ret_path)
{
	const char *path = item_text(record, "vhost_user");

	if (*path == '\0')
		return 0;
	*ret_path = strdup(path);
	return *ret_path ? 0 : -ENOMEM;
}

static bool is_state(const json_t *record, const char *state)
{
	return strcmp(item_text(record, "state"), state) == 0;
}

static bool is_op(const json_t *record, const char *op)
{
	return record && strcmp(item_text(record, "op"), op) == 0;
}

/* Of a vdev; one that was written before there were any has none. */
static int load_terms(const json_t *record, struct reg_vdev *vdev)
{
	const json_t *on_error = json_object_get(record, "on_error");

	if (on_error &&
	    on_error_parse(json_string_value(on_error), &vdev->on_error) < 0)
		return -EUCLEAN;
	return ctl_to_sched_limits(json_object_get(record, "limits"),
				   &vdev->limits) < 0 ?
		-EUCLEAN :
		0;
}

/* One that was made at run time, 'entry' being what the file says of it. */
static int load_made_vdev(struct registry *registry, struct events *events,
			  const char *name, const json_t *record,
			  const char *entry)
{
	struct event_subject subject = {.vdev = name};
	struct reg_part *part;
	struct reg_pool *pool =
		registry_place(registry, item_text(record, "pool"), &part);
	struct reg_vdev *vdev;

	if (!pool) {
		events_add(
			events, "error", &subject,
			"vdev '%s', created at run time: there is no pool '%s' any more",
			name, item_text(record, "pool"));
		return 0;
	}
	vdev = registry_vdev_new(registry, name, pool);
	if (!vdev)
		return -ENOMEM;
	vdev->part = part;
	vdev->is_runtime = true;
	strcpy(vdev->entry, entry);
	vdev->size_bytes = item_number(record, "size_bytes");
	vdev->queues = (unsigned int)item_number(record, "queues");
	vdev->read_only = json_is_true(json_object_get(record, "read_only"));
	snprintf(vdev->of, sizeof(vdev->of), "%s", item_text(record, "of"));
	snprintf(vdev->of_uuid, sizeof(vdev->of_uuid), "%s",
		 item_text(record, "of_uuid"));
	if (load_terms(record, vdev) < 0)
		return -EUCLEAN;
	return copy_path(record, &vdev->vhost_user);
}

static int load_file_vdev(struct registry *registry, struct events *events,
			  const json_t *records,
			  const struct config_vdev *entry)
{
	const json_t *record = json_object_get(records, entry->name);
	char hash[RECORDS_HASH_MAX];
	struct reg_part *part;
	struct reg_vdev *vdev;

	if (!entry->served)
		return 0;
	records_hash_vdev(entry, hash);
	if (!still_holds(record, hash))
		record = NULL;
	if (is_op(record, "deleted"))
		return 0;
	if (is_op(record, "created"))
		return load_made_vdev(registry, events, entry->name, record,
				      hash);
	vdev = registry_vdev_new(registry, entry->name,
				 registry_place(registry, entry->pool, &part));
	if (!vdev)
		return -ENOMEM;
	vdev->part = part;
	strcpy(vdev->entry, hash);
	vdev->size_bytes = entry->size_bytes;
	if (record && item_number(record, "size_bytes"))
		vdev->size_bytes = item_number(record, "size_bytes");
	vdev->is_equal = vdev->size_bytes == CONFIG_SIZE_EQUAL;
	vdev->queues = entry->queues;
	vdev->read_only = entry->read_only;
	vdev->limits = entry->limits;
	vdev->on_error = entry->on_error;
	if (record && load_terms(record, vdev) < 0)
		return -EUCLEAN;
	if (entry->vhost_user) {
		vdev->vhost_user = strdup(entry->vhost_user);
		if (!vdev->vhost_user)
			return -ENOMEM;
	}
	return 0;
}

/* One that the file does not name. */
static int load_runtime_vdev(struct registry *registry, struct events *events,
			     const char *name, const json_t *record)
{
	if (!is_op(record, "created") || registry_vdev(registry, name) ||
	    *item_text(record, "entry"))
		return 0;
	return load_made_vdev(registry, events, name, record, "");
}

/* A volume whose vdev nobody names any more. */
static int load_orphan(struct registry *registry, struct events *events,
		       json_t *record)
{
	const char *name = item_text(record, "vdev");
	struct event_subject subject = {.vdev = name};

	events_add(
		events, "space", &subject,
		"vdev '%s' is not configured any more; its data stay in pool %s until it is deleted",
		name, item_text(record, "pool"));
	return json_object_set(registry->orphans, name, record) < 0 ? -ENOMEM :
								      0;
}

/* Of a pool that is not configured now: it waits on disk until it is. */
static int load_doomed(struct registry *registry, const json_t *record)
{
	struct reg_pool *pool =
		registry_pool(registry, item_text(record, "pool"));
	struct reg_doomed *doomed;

	if (!pool)
		return 0;
	doomed = registry_doomed_new(pool, item_text(record, "uuid"),
				     item_text(record, "vdev"));
	if (!doomed)
		return -ENOMEM;
	registry_doomed_add(registry, doomed);
	return 0;
}

/* The size that it had, if the file or a change at run time says another. */
static void load_size(struct reg_vdev *vdev, struct events *events,
		      uint64_t size_bytes)
{
	struct event_subject subject = {.vdev = vdev->name};

	vdev->is_journaled = true;
	if (vdev->is_equal)
		vdev->size_bytes = size_bytes;
	if (vdev->size_bytes > size_bytes)
		vdev->is_journaled = false;	/* it grows */
	if (vdev->size_bytes >= size_bytes)
		return;
	events_add(
		events, "error", &subject,
		"vdev '%s' keeps its size: the file asks for less, which would cut off data (use 'penstock vdev resize')",
		vdev->name);
	vdev->size_bytes = size_bytes;
}

/* What a vdev stands on. */
static int load_volume(struct registry *registry, struct events *events,
		       json_t *record)
{
	const char *name = item_text(record, "vdev");
	const char *pool = item_text(record, "pool");
	struct reg_vdev *vdev = registry_vdev(registry, name);
	struct event_subject subject = {.vdev = name};

	if (is_state(record, "deleting"))
		return load_doomed(registry, record);
	if (vdev && strcmp(vdev->pool->name, pool) != 0) {
		vdev->state = REG_VDEV_FAILED;
		error_set(
			&vdev->error, -ENODEV,
			"its data lie in pool '%s', not in '%s' (delete the vdev to give them up)",
			pool, vdev->pool->name);
		events_add(events, "error", &subject, "vdev '%s': %s", name,
			   vdev->error.text);
		return json_object_set(registry->orphans, name, record) < 0 ?
			-ENOMEM :
			0;
	}
	if (!vdev)
		return load_orphan(registry, events, record);
	if (strlen(item_text(record, "uuid")) != REG_UUID_MAX - 1)
		return -EUCLEAN;
	strcpy(vdev->uuid, item_text(record, "uuid"));
	vdev->is_thick = json_is_true(json_object_get(record, "thick"));
	vdev->is_made = is_state(record, "there");
	load_size(vdev, events, item_number(record, "size_bytes"));
	return 0;
}

/* What it was asked to do goes on (evacuate.c). */
static void load_leave(struct reg_device *device, const json_t *record)
{
	struct reg_leave *leave = &device->leave;

	if (!record)
		return;
	leave->is_asked = true;
	leave->is_replaced = json_is_true(json_object_get(record, "replaced"));
	snprintf(leave->to, sizeof(leave->to), "%s", item_text(record, "to"));
	leave->bytes_per_s = item_number(record, "bytes_per_s");
	leave->all_bytes = item_number(record, "all_bytes");
}

/* The file still names one that was removed. */
static void load_removed(struct registry *registry, struct events *events,
			 struct reg_device *device, const json_t *record)
{
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	char entry[RECORDS_HASH_MAX];

	if (!device->pool)
		return;
	records_hash_device(device, entry);
	if (!still_holds(record, entry))
		return;
	if (device->pool->device_count == 1) {
		events_add(
			events, "error", &subject,
			"device %s was removed at run time, but is the only one of pool %s now: it is taken in again",
			device->name, device->pool->name);
		return;
	}
	events_add(
		events, "device-removed", &subject,
		"device %s stays out of pool %s: it was removed at run time, and the file says of it what it said then",
		device->name, device->pool->name);
	registry_drop_device(registry, device);
}

static int load_device(struct registry *registry, struct events *events,
		       const char *name, const json_t *record)
{
	struct reg_device *device = registry_device(registry, name);

	if (!device)
		return 0;
	if (is_op(record, "removed")) {
		load_removed(registry, events, device, record);
		return 0;
	}
	if (strlen(item_text(record, "uuid")) != REG_UUID_MAX - 1)
		return -EUCLEAN;
	strcpy(device->uuid, item_text(record, "uuid"));
	device->is_recorded = true;
	device->is_held = json_is_true(json_object_get(record, "held"));
	load_leave(device, json_object_get(record, "leave"));
	return 0;
}

static int apply_derived(struct reg_process *process, const json_t *record)
{
	struct reg_derived *derived = &process->derived;

	if (!record)
		return 0;
	derived->specs = (uint32_t)item_number(record, "specs");
	derived->is_kept_up = json_is_true(json_object_get(record, "kept_up"));
	derived->options = (struct derive_options){
		.window_s = (uint32_t)item_number(record, "window_s"),
		.percentile_milli =
			(uint32_t)item_number(record, "percentile_milli"),
		.headroom_milli =
			(uint32_t)item_number(record, "headroom_milli"),
		.is_split = json_is_true(json_object_get(record, "split")),
	};
	return derived->options.window_s < DERIVE_WINDOW_MIN_S ||
			derived->options.window_s > DERIVE_WINDOW_MAX_S ||
			derived->options.percentile_milli == 0 ||
			derived->options.percentile_milli > 100000 ||
			derived->options.headroom_milli > DERIVE_HEADROOM_MAX ?
		-EUCLEAN :
		0;
}

static int apply_process(struct reg_process *process, const json_t *record)
{
	json_int_t ioprio =
		json_integer_value(json_object_get(record, "ioprio"));
	const char *match = json_string_value(json_object_get(record, "match"));
	struct error why;

	process->name = strdup(item_text(record, "name"));
	process->weight = (uint32_t)item_number(record, "weight");
	process->is_session = json_is_true(json_object_get(record, "session"));
	process->is_best_effort =
		json_is_true(json_object_get(record, "best_effort"));
	snprintf(process->source, sizeof(process->source), "%s",
		 item_text(record, "source"));
	if (!process->name)
		return -ENOMEM;
	if (ioprio >= 0)
		process->match = (struct match){MATCH_IOPRIO, (uint16_t)ioprio};
	else if (match && config_parse_match(match, &process->match, &why) < 0)
		return -EUCLEAN;
	if (ctl_to_sched_limits(json_object_get(record, "limits"),
				&process->limits) < 0 ||
	    ctl_to_sla(json_object_get(record, "sla"), &process->sla) < 0 ||
	    apply_derived(process, json_object_get(record, "derived")) < 0)
		return -EUCLEAN;
	return copy_path(record, &process->vhost_user);
}

static int apply_entry(struct reg_process *process,
		       const struct config_process *entry)
{
	process->name = strdup(entry->name);
	process->weight = entry->weight;
	process->is_best_effort = entry->best_effort;
	process->match = entry->match;
	process->limits = entry->limits;
	process->sla = entry->sla;
	if (!process->name)
		return -ENOMEM;
	if (entry->vhost_user) {
		process->vhost_user = strdup(entry->vhost_user);
		if (!process->vhost_user)
			return -ENOMEM;
	}
	return 0;
}

/* One that was added at run time, 'entry' being what the file says of it. */
static int load_added_process(struct registry *registry, struct events *events,
			      uint32_t pasid, const json_t *record,
			      const char *entry)
{
	struct event_subject subject = {.pasid = pasid};
	struct reg_vdev *vdev =
		registry_vdev(registry, item_text(record, "vdev"));
	struct reg_process *process;

	if (!vdev) {
		events_add(
			events, "error", &subject,
			"process %u, added at run time: there is no vdev '%s' any more",
			pasid, item_text(record, "vdev"));
		return 0;
	}
	process = registry_process_new(registry, pasid, vdev);
	if (!process)
		return -ENOMEM;
	process->is_runtime = true;
	strcpy(process->entry, entry);
	return apply_process(process, record);
}

static int load_file_process(struct registry *registry, struct events *events,
			     const json_t *records,
			     const struct config_process *entry)
{
	struct reg_process *process;
	struct reg_vdev *vdev;
	const json_t *record;
	const char *name = entry->vdev ? entry->vdev : "";
	char key[16], hash[RECORDS_HASH_MAX];

	if (!entry->served)
		return 0;
	snprintf(key, sizeof(key), "%u", entry->pasid);
	record = json_object_get(records, key);
	/* What was chosen holds, whatever else the entry says by now. */
	if (entry->policy && !is_op(record, "released"))
		name = item_text(record, "vdev");
	records_hash_process(entry, hash);
	if (!still_holds(record, hash))
		record = NULL;
	if (is_op(record, "released"))
		return 0;
	if (is_op(record, "added"))
		return load_added_process(registry, events, entry->pasid,
					  record, hash);
	vdev = registry_vdev(registry, name);
	if (!vdev && entry->policy)
		return registry_unchosen_add(registry, entry);
	/* Deleted at run time, and its processes; perhaps made again, without
	 * them. */
	if (!vdev || (vdev->is_runtime && vdev->entry[0] && !entry->policy))
		return 0;
	process = registry_process_new(registry, entry->pasid, vdev);
	if (!process)
		return -ENOMEM;
	strcpy(process->entry, hash);
	process->is_changed = record && !is_op(record, "chosen");
	return record ? apply_process(process, record) :
			apply_entry(process, entry);
}

static int load_runtime_process(struct registry *registry,
				struct events *events, const char *key,
				const json_t *record)
{
	uint32_t pasid = (uint32_t)strtoul(key, NULL, 10);

	if (*item_text(record, "entry") || is_op(record, "released") ||
	    registry_process(registry, pasid))
		return 0;
	if (pasid == 0 || pasid > CONFIG_PASID_MAX)
		return -EUCLEAN;
	return load_added_process(registry, events, pasid, record, "");
}

/* A table measured on a device configured like this, or none.  Whether it is
 * the same file or disk is seen when that is open (measure.c). */
static int load_capacity(struct reg_device *device, const json_t *records)
{
	const json_t *record = json_object_get(records, device->name);
	json_t *identity;
	int ret = 0;

	if (!record)
		return 0;
	/* A size taken from the file itself is not known yet. */
	if (device->size_bytes == 0)
		device->size_bytes = item_number(
			json_object_get(record, "device"), "size_bytes");
	identity = records_device_identity(device);
	device->size_bytes = device->config->size_bytes;
	if (!identity)
		return -ENOMEM;
	if (json_equal(identity, json_object_get(record, "device"))) {
		ret = ctl_to_capacity(json_object_get(record, "capacity"),
				      &device->capacity);
		device->has_capacity = ret == 0;
		device->calibrated_at = (int64_t)item_number(record, "at");
		identity_from_json(&device->measured_file,
				   json_object_get(record, "file"));
	}
	json_decref(identity);
	return ret < 0 ? -EUCLEAN : 0;
}

struct loaded {
	json_t *records[STORE_KINDS];
};

static int load_vdevs(struct registry *registry, const struct loaded *loaded,
		      struct events *events)
{
	const struct config *config = registry->config;
	const char *key;
	json_t *record;
	unsigned int i;
	int ret = 0;

	for (i = 0; ret == 0 && i < config->vdev_count; i++)
		ret = load_file_vdev(registry, events,
				     loaded->records[STORE_VDEV],
				     &config->vdevs[i]);
	json_object_foreach(loaded->records[STORE_VDEV], key, record)
	{
		if (ret == 0)
			ret = load_runtime_vdev(registry, events, key, record);
	}
	json_object_foreach(loaded->records[STORE_VOLUME], key, record)
	{
		if (ret == 0)
			ret = load_volume(registry, events, record);
	}
	return ret;
}

static int load_processes(struct registry *registry,
			  const struct loaded *loaded, struct events *events)
{
	const struct config *config = registry->config;
	const char *key;
	json_t *record;
	unsigned int i;
	int ret = 0;

	for (i = 0; ret == 0 && i < config->process_count; i++)
		ret = load_file_process(registry, events,
					loaded->records[STORE_PROCESS],
					&config->processes[i]);
	json_object_foreach(loaded->records[STORE_PROCESS], key, record)
	{
		if (ret == 0)
			ret = load_runtime_process(registry, events, key,
						   record);
	}
	return ret;
}

static int load_devices(struct registry *registry, const struct loaded *loaded,
			struct events *events)
{
	const char *key;
	json_t *record;
	unsigned int i, j;
	int ret = 0;

	json_object_foreach(loaded->records[STORE_DEVICE], key, record)
	{
		if (ret == 0)
			ret = load_device(registry, events, key, record);
	}
	for (i = 0; ret == 0 && i < registry->endpoint_count; i++)
		for (j = 0; ret == 0 && j < registry->endpoints[i].device_count;
		     j++)
			ret = load_capacity(&registry->endpoints[i].devices[j],
					    loaded->records[STORE_CAPACITY]);
	return ret;
}

int records_load(struct registry *registry, struct store *store,
		 struct events *events, struct error *reterr)
{
	struct loaded loaded = {{NULL}};
	unsigned int kind;
	int ret = 0;

	for (kind = 0; ret == 0 && kind < STORE_KINDS; kind++)
		ret = store_load(store, kind, &loaded.records[kind], reterr);
	if (ret == 0) {
		ret = load_vdevs(registry, &loaded, events);
		if (ret == 0)
			ret = load_processes(registry, &loaded, events);
		if (ret == 0)
			ret = load_devices(registry, &loaded, events);
		if (ret < 0)
			error_set(
				reterr, ret,
				ret == -EUCLEAN ?
					"the state in %s is damaged: restore it, or move it away to start afresh" :
					"out of memory reading the state in %s",
				registry->config->state);
	}
	for (kind = 0; kind < STORE_KINDS; kind++)
		json_decref(loaded.records[kind]);
	return ret;
}
