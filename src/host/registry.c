/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c - what there is on this host; see registry.h */
#include "host/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "host/history-slot.h"

/* --- Made from the configuration, freed ---------------------------------- */

/* Of the endpoint's core, by each request; 0: all that the device does. */
static uint64_t path_ns(const struct config_device *config)
{
	if (!strcmp(config->kind, "file") || config->port)
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
	device->path = config->export ? NULL : config->path;
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

	pool->registry = registry;
	pool->config = config;
	pool->name = config->name;
	pool->slot = -1;
	for (unsigned int i = 0; i < config->device_count; i++) {
		const struct config_pool_device *at = &config->devices[i];
		char name[2 * CONFIG_NAME_MAX + 2];
		struct reg_device *device;

		snprintf(name, sizeof(name), "%s/%s", at->endpoint, at->device);
		device = registry_device(registry, name);
		if (!device || pool->device_count == CONFIG_POOL_DEVICES_MAX)
			return -EINVAL;
		device->pool = pool;
		pool->endpoint = device->endpoint;
		pool->devices[pool->device_count++] = device;
	}
	registry->pool_count++;
	return promise_init(&pool->promise);
}

/* Returns 0, or -EAGAIN: what it is cut out of is not there yet. */
static int make_part(struct registry *registry,
		     const struct config_pool *config)
{
	struct reg_part *part = &registry->parts[registry->part_count];

	part->pool = registry_place(registry, config->from, &part->of);
	if (!part->pool)
		return -EAGAIN;
	part->config = config;
	part->name = config->name;
	registry->part_count++;
	return 0;
}

/* In any order; the configuration has no circles. */
static void make_parts(struct registry *registry)
{
	const struct config *config = registry->config;
	struct reg_part *part;
	unsigned int before;

	do {
		before = registry->part_count;
		for (unsigned int i = 0; i < config->pool_count; i++)
			if (config->pools[i].served && config->pools[i].from &&
			    (!registry_place(registry, config->pools[i].name,
					     &part)))
				(void)make_part(registry, &config->pools[i]);
	} while (registry->part_count > before);
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
	registry->parts =
		calloc(config->pool_count + 1U, sizeof(*registry->parts));
	if (!registry->endpoints || !registry->pools || !registry->parts ||
	    !registry->orphans)
		ret = -ENOMEM;
	for (i = 0; ret == 0 && i < config->endpoint_count; i++)
		ret = make_endpoint(registry, &config->endpoints[i]);
	for (i = 0; ret == 0 && i < config->pool_count; i++)
		if (config->pools[i].served && !config->pools[i].from)
			ret = make_pool(registry, &config->pools[i]);
	if (ret == 0)
		make_parts(registry);
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
	while (registry->unchosen)
		registry_unchosen_free(registry, registry->unchosen);
	while (registry->processes)
		registry_process_free(registry, registry->processes);
	while (registry->vdevs)
		registry_vdev_free(registry, registry->vdevs);
	for (i = 0; i < registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &registry->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++)
			promise_finish(&endpoint->devices[j].promise);
		promise_finish(&endpoint->promise);
		free(endpoint->devices);
	}
	for (i = 0; i < registry->pool_count; i++) {
		promise_finish(&registry->pools[i].promise);
		json_decref(registry->pools[i].volumes);
	}
	free(registry->endpoints);
	free(registry->pools);
	free(registry->parts);
	while (registry->doomed)
		registry_doomed_free(registry, registry->doomed);
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

			if (device->is_gone)
				continue;
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

void registry_drop_device(struct registry *registry, struct reg_device *device)
{
	struct reg_pool *pool = device->pool;
	struct reg_process *process;
	unsigned int at = 0;

	while (pool->devices[at] != device)
		at++;
	for (process = registry->processes; process; process = process->next)
		if (process->vdev->pool == pool)
			promise_drop(process, at);
	pool->device_count--;
	memmove(&pool->devices[at], &pool->devices[at + 1],
		(pool->device_count - at) * sizeof(*pool->devices));
	for (process = registry->processes; process; process = process->next)
		if (process->vdev->pool == pool)
			promise_place_back(process);
	device->pool = NULL;
	device->is_gone = true;
}

struct reg_pool *registry_pool(struct registry *registry, const char *name)
{
	unsigned int i;

	for (i = 0; i < registry->pool_count; i++)
		if (strcmp(registry->pools[i].name, name) == 0)
			return &registry->pools[i];
	return NULL;
}

struct reg_pool *registry_place(struct registry *registry, const char *name,
				struct reg_part **ret_part)
{
	*ret_part = NULL;
	for (unsigned int i = 0; i < registry->part_count; i++) {
		if (strcmp(registry->parts[i].name, name) != 0)
			continue;
		*ret_part = &registry->parts[i];
		return registry->parts[i].pool;
	}
	return registry_pool(registry, name);
}

struct reg_vdev *registry_vdev(struct registry *registry, const char *name)
{
	struct reg_vdev *vdev = registry->vdevs;

	while (vdev && strcmp(vdev->name, name))
		vdev = vdev->next;
	return vdev;
}

const struct reg_vdev *registry_snapshot_due(const struct registry *registry,
					     const struct reg_vdev *vdev)
{
	const struct reg_vdev *due = registry->vdevs;

	while (due &&
	       (!due->of_uuid[0] || strcmp(due->of_uuid, vdev->uuid) != 0 ||
		due->is_made || due->is_there))
		due = due->next;
	return due;
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
	return vdev->pool->endpoint;
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
		vdev->nbd.tls = entry->has_tls ? &entry->tls : NULL;
		vdev->nbd.tls_required = entry->tls_required;
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

	if (process->vhost_user || process->is_named ||
	    match_is_of_peer(&process->match))
		return named;
	return named + process->vdev->sessions + process->vdev->nbd.sessions;
}

void registry_vdev_free(struct registry *registry, struct reg_vdev *vdev)
{
	struct reg_vdev **link = &registry->vdevs;

	while (*link != vdev)
		link = &(*link)->next;
	*link = vdev->next;
	reg_slot_release(reg_vdev_endpoint(vdev), vdev->slot);
	promise_finish(&vdev->promise);
	free(vdev->doomed);
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

/* --- Processes without a vdev yet ---------------------------------------- */

int registry_unchosen_add(struct registry *registry,
			  const struct config_process *entry)
{
	struct reg_unchosen **link = &registry->unchosen;
	struct reg_unchosen *unchosen = calloc(1, sizeof(*unchosen));

	if (!unchosen)
		return -ENOMEM;
	unchosen->entry = entry;
	while (*link)
		link = &(*link)->next;
	*link = unchosen;
	return 0;
}

void registry_unchosen_free(struct registry *registry,
			    struct reg_unchosen *unchosen)
{
	struct reg_unchosen **link = &registry->unchosen;

	while (*link != unchosen)
		link = &(*link)->next;
	*link = unchosen->next;
	free(unchosen);
}

struct reg_unchosen *registry_unchosen(struct registry *registry,
				       uint32_t pasid)
{
	struct reg_unchosen *unchosen = registry->unchosen;

	while (unchosen && unchosen->entry->pasid != pasid)
		unchosen = unchosen->next;
	return unchosen;
}

/* --- Volumes to be deleted ----------------------------------------------- */

struct reg_doomed *registry_doomed_new(struct reg_pool *pool, const char *uuid,
				       const char *vdev)
{
	struct reg_doomed *doomed = calloc(1, sizeof(*doomed));

	if (!doomed)
		return NULL;
	doomed->pool = pool;
	snprintf(doomed->uuid, sizeof(doomed->uuid), "%s", uuid);
	snprintf(doomed->vdev, sizeof(doomed->vdev), "%s", vdev);
	return doomed;
}

void registry_doomed_add(struct registry *registry, struct reg_doomed *doomed)
{
	doomed->next = registry->doomed;
	registry->doomed = doomed;
}

struct reg_doomed *registry_doomed(struct registry *registry, const char *vdev)
{
	struct reg_doomed *doomed = registry->doomed;

	while (doomed && strcmp(doomed->vdev, vdev))
		doomed = doomed->next;
	return doomed;
}

void registry_doomed_free(struct registry *registry, struct reg_doomed *doomed)
{
	struct reg_doomed **link = &registry->doomed;

	while (*link != doomed)
		link = &(*link)->next;
	*link = doomed->next;
	free(doomed);
}

int reg_uuid_make(char uuid[REG_UUID_MAX])
{
	unsigned char bytes[(REG_UUID_MAX - 1) / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40); /* RFC 4122 */
	bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(uuid + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* --- Pools --------------------------------------------------------------- */

uint64_t reg_round(uint64_t size_bytes)
{
	return (size_bytes + REG_EXTENT_BYTES - 1) / REG_EXTENT_BYTES *
		REG_EXTENT_BYTES;
}

uint64_t reg_pool_bytes(const struct reg_pool *pool)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < pool->device_count; i++)
		bytes += pool->devices[i]->size_bytes;
	return bytes;
}

uint64_t reg_pool_leaving_bytes(const struct reg_pool *pool)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_leaving)
			bytes += pool->devices[i]->size_bytes;
	return bytes;
}

bool reg_pool_is_ready(const struct reg_pool *pool)
{
	unsigned int members = 0;

	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];

		if (device->is_member && device->state != REG_DEVICE_READY)
			return false;
		members += device->is_member;
	}
	return pool->is_loaded && members > 0;
}

const struct reg_device *reg_pool_unjudged(const struct reg_pool *pool)
{
	const struct reg_device *unjudged = NULL;

	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];

		if (!reg_device_is_judged(device) &&
		    (device->is_member || pool->device_count == 1 ||
		     device->state != REG_DEVICE_FAILED))
			unjudged = device;
	}
	return unjudged;
}

bool reg_device_is_lasting(const struct reg_device *device)
{
	const struct config_port *port = device->config->port;
	const char *kind = device->config->kind;

	if (port && device->pool) {
		const struct reg_vdev *vdev =
			registry_vdev(device->pool->registry, port->vdev);

		return vdev && reg_pool_is_lasting(vdev->pool);
	}
	return strcmp(kind, "memory") != 0 && strcmp(kind, "nullio") != 0;
}

bool reg_device_is_local(const struct reg_device *device)
{
	return !device->config->export && !device->config->port;
}

bool reg_pool_is_lasting(const struct reg_pool *pool)
{
	bool is_lasting = true;

	for (unsigned int i = 0; i < pool->device_count; i++)
		is_lasting &= reg_device_is_lasting(pool->devices[i]);
	return is_lasting;
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

int reg_bit_take(uint64_t *taken)
{
	int bit;

	if (~*taken == 0)
		return -ENOSPC;
	bit = __builtin_ctzll(~*taken);
	*taken |= UINT64_C(1) << bit;
	return bit;
}
