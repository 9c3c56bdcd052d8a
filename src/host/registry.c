/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c - what there is on this host; see registry.h */
#include "host/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "host/history-slot.h"

/* --- Made from the configuration, freed ---------------------------------- */

/* Of the endpoint's core, by each request; 0: all that the device does. */
static uint64_t path_ns(const struct config_device *config)
{
	if (!strcmp(config->kind, "file"))
		return CAPACITY_FILE_PATH_NS;
	return config->model.servers > 0 ? CAPACITY_PATH_NS : 0;
}

static int make_device(struct registry *registry, struct reg_endpoint *endpoint,
		       const struct config_device *config)
{
	struct reg_device *device = &endpoint->devices[endpoint->device_count];

	device->config = config;
	device->endpoint = endpoint;
	device->slot = -1;
	device->memory_fd = -1;
	device->size_bytes = config->size_bytes;
	identity_of_path(&device->file, config->path);
	snprintf(device->name, sizeof(device->name), "%s/%s", endpoint->name,
		 config->name);
	endpoint->device_count++;
	return promise_init_device(&device->promise, &endpoint->promise,
				   registry->config->headroom_milli,
				   path_ns(config));
}

static int make_endpoint(struct registry *registry,
			 const struct config_endpoint *config)
{
	struct reg_endpoint *endpoint =
		&registry->endpoints[registry->endpoint_count];
	unsigned int i;
	int ret;

	endpoint->config = config;
	endpoint->name = config->name;
	endpoint->devices =
		calloc(config->device_count + 1U, sizeof(*endpoint->devices));
	if (!endpoint->devices)
		return -ENOMEM;
	registry->endpoint_count++;
	ret = promise_init_endpoint(&endpoint->promise);
	for (i = 0; ret == 0 && i < config->device_count; i++)
		if (config->devices[i].served)
			ret = make_device(registry, endpoint,
					  &config->devices[i]);
	return ret;
}

static int make_pool(struct registry *registry,
		     const struct config_pool *config)
{
	struct reg_pool *pool = &registry->pools[registry->pool_count];
	char name[2 * CONFIG_NAME_MAX + 2];

	snprintf(name, sizeof(name), "%s/%s", config->devices[0].endpoint,
		 config->devices[0].device);
	pool->config = config;
	pool->name = config->name;
	pool->device = registry_device(registry, name);
	if (!pool->device)
		return -EINVAL;
	registry->pool_count++;
	return 0;
}

int registry_create(const struct config *config, struct registry **ret_registry)
{
	struct registry *registry;
	unsigned int i;
	int ret = 0;

	registry = calloc(1, sizeof(*registry));
	if (!registry)
		return -ENOMEM;
	registry->config = config;
	registry->orphans = json_object();
	registry->endpoints = calloc(config->endpoint_count + 1U,
				     sizeof(*registry->endpoints));
	registry->pools =
		calloc(config->pool_count + 1U, sizeof(*registry->pools));
	if (!registry->endpoints || !registry->pools || !registry->orphans)
		ret = -ENOMEM;
	for (i = 0; ret == 0 && i < config->endpoint_count; i++)
		ret = make_endpoint(registry, &config->endpoints[i]);
	for (i = 0; ret == 0 && i < config->pool_count; i++)
		if (config->pools[i].served)
			ret = make_pool(registry, &config->pools[i]);
	if (ret < 0) {
		registry_destroy(registry);
		return ret;
	}
	*ret_registry = registry;
	return 0;
}

void registry_destroy(struct registry *registry)
{
	unsigned int i, j;

	if (!registry)
		return;
	while (registry->processes)
		registry_process_free(registry, registry->processes);
	while (registry->vdevs)
		registry_vdev_free(registry, registry->vdevs);
	for (i = 0; i < registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &registry->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++) {
			extents_finish(&endpoint->devices[j].extents);
			promise_finish(&endpoint->devices[j].promise);
		}
		promise_finish(&endpoint->promise);
		free(endpoint->devices);
	}
	free(registry->endpoints);
	free(registry->pools);
	while (registry->spaces) {
		struct reg_space *space = registry->spaces;

		registry->spaces = space->next;
		free(space);
	}
	json_decref(registry->orphans);
	free(registry);
}

/* --- Finding ------------------------------------------------------------- */

struct reg_device *registry_device(struct registry *registry, const char *name)
{
	struct reg_device *found = NULL;
	unsigned int i, j;

	for (i = 0; i < registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &registry->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++) {
			struct reg_device *device = &endpoint->devices[j];

			if (strcmp(device->name, name) == 0)
				return device;
			if (strcmp(device->config->name, name))
				continue;
			if (found)
				return NULL;	/* which one? */
			found = device;
		}
	}
	return found;
}

struct reg_pool *registry_pool(struct registry *registry, const char *name)
{
	unsigned int i;

	for (i = 0; i < registry->pool_count; i++)
		if (strcmp(registry->pools[i].name, name) == 0)
			return &registry->pools[i];
	return NULL;
}

struct reg_vdev *registry_vdev(struct registry *registry, const char *name)
{
	struct reg_vdev *vdev = registry->vdevs;

	while (vdev && strcmp(vdev->name, name))
		vdev = vdev->next;
	return vdev;
}

struct reg_process *registry_process(struct registry *registry, uint32_t pasid)
{
	struct reg_process *process = registry->processes;

	while (process && process->pasid != pasid)
		process = process->next;
	return process;
}

bool reg_device_is_judged(const struct reg_device *device)
{
	return device->state == REG_DEVICE_READY ||
		(device->has_capacity &&
		 device->state != REG_DEVICE_CALIBRATING);
}

struct reg_endpoint *reg_vdev_endpoint(const struct reg_vdev *vdev)
{
	return vdev->pool->device->endpoint;
}

/* --- Vdevs and processes ------------------------------------------------- */

static void set_nbd(const struct config *config, struct reg_vdev *vdev)
{
	vdev->nbd.listen_fd = -1;
	for (unsigned int i = 0; i < config->vdev_count; i++) {
		const struct config_vdev *entry = &config->vdevs[i];

		if (!entry->served || strcmp(entry->name, vdev->name) != 0)
			continue;
		vdev->nbd.at = entry->nbd;
		vdev->nbd.connections = entry->connections;
	}
}

struct reg_vdev *registry_vdev_new(struct registry *registry, const char *name,
				   struct reg_pool *pool)
{
	struct reg_vdev **end = &registry->vdevs;
	struct reg_vdev *vdev = calloc(1, sizeof(*vdev));

	if (!vdev)
		return NULL;
	vdev->name = strdup(name);
	if (!vdev->name || promise_init(&vdev->promise) < 0) {
		free(vdev->name);
		free(vdev);
		return NULL;
	}
	vdev->pool = pool;
	vdev->slot = -1;
	vdev->listen_fd = -1;
	set_nbd(registry->config, vdev);
	while (*end)
		end = &(*end)->next;
	*end = vdev;
	return vdev;
}

unsigned int reg_vdev_sessions(const struct registry *registry,
			       const struct reg_vdev *vdev)
{
	const struct reg_process *process;
	unsigned int count = vdev->sessions + vdev->nbd.sessions;

	for (process = registry->processes; process; process = process->next)
		if (process->vdev == vdev)
			count += process->sessions + process->nbd_sessions;
	return count;
}

unsigned int reg_process_sessions(const struct reg_process *process)
{
	const unsigned int named = process->sessions + process->nbd_sessions;

	if (process->vhost_user || process->is_named)
		return named;
	return named + process->vdev->sessions + process->vdev->nbd.sessions;
}

void registry_vdev_free(struct registry *registry, struct reg_vdev *vdev)
{
	struct reg_vdev **link = &registry->vdevs;

	while (*link != vdev)
		link = &(*link)->next;
	*link = vdev->next;
	if (vdev->is_placed)
		extents_release(&vdev->pool->device->extents,
				vdev->offset_bytes);
	reg_slot_release(reg_vdev_endpoint(vdev), vdev->slot);
	promise_finish(&vdev->promise);
	free(vdev->space);
	free(vdev->watch);
	free(vdev->vhost_user);
	free(vdev->name);
	free(vdev);
}

struct reg_process *registry_process_new(struct registry *registry,
					 uint32_t pasid, struct reg_vdev *vdev)
{
	struct reg_process **end = &registry->processes;
	struct reg_process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->pasid = pasid;
	process->vdev = vdev;
	process->slot = -1;
	process->listen_fd = -1;
	while (*end)
		end = &(*end)->next;
	*end = process;
	return process;
}

void registry_process_free(struct registry *registry,
			   struct reg_process *process)
{
	struct reg_process **link = &registry->processes;

	while (*link != process)
		link = &(*link)->next;
	*link = process->next;
	promise_leave(process);
	reg_slot_release(reg_vdev_endpoint(process->vdev), process->slot);
	free(process->watch);
	history_slot_free(process->history);
	free(process->vhost_user);
	free(process->name);
	free(process);
}

/* --- Space given back ---------------------------------------------------- */

struct reg_space *registry_space_new(struct reg_device *device,
				     const struct extent *range,
				     const struct identity *file,
				     const char *vdev)
{
	struct reg_space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	space->device = device;
	space->range = *range;
	space->file = *file;
	snprintf(space->vdev, sizeof(space->vdev), "%s", vdev);
	return space;
}

void registry_space_add(struct registry *registry, struct reg_space *space)
{
	space->next = registry->spaces;
	registry->spaces = space;
}

struct reg_space *registry_space(struct registry *registry, const char *vdev)
{
	struct reg_space *space = registry->spaces;

	while (space && strcmp(space->vdev, vdev))
		space = space->next;
	return space;
}

void registry_space_free(struct registry *registry, struct reg_space *space)
{
	struct reg_space **link = &registry->spaces;

	while (*link != space)
		link = &(*link)->next;
	*link = space->next;
	extents_release(&space->device->extents, space->range.offset_bytes);
	free(space);
}

/* --- Places -------------------------------------------------------------- */

/* E3: what the vdevs with a size of their own leave, in equal parts. */
uint64_t registry_equal_size(const struct registry *registry,
			     const struct reg_vdev *vdev)
{
	const struct reg_device *device = vdev->pool->device;
	const struct reg_vdev *other;
	uint64_t fixed_bytes = 0, equals = 0;
	unsigned int i;

	for (other = registry->vdevs; other; other = other->next) {
		bool is_equal = other->size_bytes == CONFIG_SIZE_EQUAL;

		if (other->pool->device != device)
			continue;
		for (i = 0; !is_equal && i < registry->config->vdev_count;
		     i++) {
			const struct config_vdev *entry =
				&registry->config->vdevs[i];

			is_equal = entry->size_bytes == CONFIG_SIZE_EQUAL &&
				strcmp(entry->name, other->name) == 0;
		}
		if (is_equal)
			equals++;
		else
			fixed_bytes += extents_round(other->size_bytes);
	}
	if (equals == 0 || fixed_bytes >= device->size_bytes)
		return 0;
	return (device->size_bytes - fixed_bytes) / equals / EXTENT_BYTES *
		EXTENT_BYTES;
}

static bool lies_elsewhere(const struct identity *file,
			   const struct reg_device *device)
{
	return device->file.path[0] == '\0' ?
		file->path[0] != '\0' :
		!identity_is_recorded(file, &device->file);
}

bool registry_file_differs(const struct registry *registry,
			   const struct reg_device *device)
{
	struct identity file;
	const char *name;
	json_t *record;

	for (const struct reg_vdev *vdev = registry->vdevs; vdev;
	     vdev = vdev->next)
		if (vdev->pool->device == device && vdev->is_placed &&
		    lies_elsewhere(&vdev->file, device))
			return true;
	for (const struct reg_space *space = registry->spaces; space;
	     space = space->next)
		if (space->device == device &&
		    lies_elsewhere(&space->file, device))
			return true;
	json_object_foreach(registry->orphans, name, record)
	{
		const char *on =
			json_string_value(json_object_get(record, "device"));

		identity_from_json(&file, json_object_get(record, "file"));
		if (on && strcmp(on, device->name) == 0 &&
		    lies_elsewhere(&file, device))
			return true;
	}
	return false;
}

int registry_place(struct registry *registry, struct reg_vdev *vdev,
		   struct error *reterr)
{
	struct reg_device *device = vdev->pool->device;
	uint64_t size_bytes = vdev->size_bytes;
	char wanted[UNITS_TEXT_MAX], largest[UNITS_TEXT_MAX];
	int ret;

	if (size_bytes == CONFIG_SIZE_EQUAL)
		size_bytes = registry_equal_size(registry, vdev);
	ret = size_bytes ? extents_take(&device->extents, device->size_bytes,
					size_bytes, &vdev->offset_bytes) :
			   -ENOSPC;
	if (ret == -ENOMEM)
		return error_set(reterr, ret, "out of memory");
	if (ret < 0)
		return error_set(
			reterr, ret,
			"pool '%s' has no place for vdev '%s' of %s: the largest free one is %s",
			vdev->pool->name, vdev->name,
			units_format_size(wanted, sizeof(wanted), size_bytes),
			units_format_size(
				largest, sizeof(largest),
				extents_largest_free(&device->extents,
						     device->size_bytes)
					.size_bytes));
	vdev->size_bytes = size_bytes;
	vdev->file = device->file;
	vdev->is_placed = true;
	return 0;
}

/* --- Slots --------------------------------------------------------------- */

int reg_slot_take(struct reg_endpoint *endpoint)
{
	unsigned int i;

	for (i = 0; i < STATS_PROCESSES / 64; i++) {
		uint64_t free_bits = ~endpoint->slots_taken[i];

		if (free_bits) {
			unsigned int bit =
				(unsigned int)__builtin_ctzll(free_bits);

			endpoint->slots_taken[i] |= UINT64_C(1) << bit;
			return (int)(i * 64U + bit);
		}
	}
	return -ENOSPC;
}

void reg_slot_reserve(struct reg_endpoint *endpoint, unsigned int slot)
{
	if (slot < STATS_PROCESSES)
		endpoint->slots_taken[slot / 64] |= UINT64_C(1) << slot % 64;
}

void reg_slot_release(struct reg_endpoint *endpoint, int slot)
{
	if (slot >= 0 && slot < (int)STATS_PROCESSES)
		endpoint->slots_taken[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}
