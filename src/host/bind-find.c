/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-find.c - which device of a pool lies at which path
 *
 * A device is known by the UUID in its superblock, which is read before
 * anything is done with it; paths change (disks are named anew at each boot).
 *
 *	another one of its pool   -> where is that one?
 *		at its own path   -> this is a copy: refused
 *		not there         -> the two change paths, and open again
 *		not known yet     -> wait for it
 *	one of another pool       -> refused
 *	anything else             -> its endpoint knows what to say of it
 *
 * Each change of paths brings at least one device to where it is, so it ends.
 */
#include "host/host-data.h"

#include <errno.h>
#include <string.h>

#define PATIENCE_NS UINT64_C(5000000000)

struct reg_device *bind_find_owner(const struct reg_device *device,
				   const char *uuid)
{
	const struct registry *registry = device->endpoint->host->registry;

	for (unsigned int i = 0; i < registry->endpoint_count; i++) {
		const struct reg_endpoint *endpoint = &registry->endpoints[i];

		for (unsigned int j = 0; j < endpoint->device_count; j++) {
			struct reg_device *other = &endpoint->devices[j];

			if (other != device && other->is_recorded &&
			    strcmp(other->uuid, uuid) == 0)
				return other;
		}
	}
	return NULL;
}

/* --- Paths --------------------------------------------------------------- */

/* The device of its pool that is looked for there, or NULL. */
static struct reg_device *find_at(const struct reg_device *device,
				  const char *path)
{
	const struct reg_pool *pool = device->pool;

	for (unsigned int i = 0; pool && i < pool->device_count; i++)
		if (pool->devices[i]->path &&
		    strcmp(pool->devices[i]->path, path) == 0)
			return pool->devices[i];
	return NULL;
}

bool bind_find_is_at(const struct reg_device *device, const char *path)
{
	const char *configured = device->config->path;

	if (strcmp(configured ? configured : "", path) == 0)
		return true;
	return device->path && device->is_recorded && find_at(device, path);
}

static void change_paths(struct reg_device *device, struct reg_device *other)
{
	const char *path = device->path;

	device->path = other->path;
	other->path = path;
}

void bind_find_take(struct reg_device *device, const char *path)
{
	struct reg_device *other = device->path ? find_at(device, path) : NULL;

	if (other)
		change_paths(device, other);
}

/* --- One that is another ------------------------------------------------- */

static void refuse_copy(struct reg_device *device, const struct reg_device *of,
			const char *path)
{
	struct error why;

	error_set(
		&why, -EEXIST,
		"%s is a copy of device %s, which is at %s: take the wrong one away, or wipe it to use it as a blank one",
		device->path, of->name, path);
	bind_device_failed(device, "clone", why.text);
}

static void refuse_wrong(struct reg_device *device, const struct reg_device *is)
{
	struct error why;

	error_set(
		&why, -ESTALE,
		"%s is device %s of %s%s, or a copy of it (UUID %s): put the right one there, or correct the configuration",
		device->path, is->name, is->pool ? "pool " : "no pool",
		is->pool ? is->pool->name : "", is->uuid);
	bind_device_failed(device, "another", why.text);
}

bool bind_find(struct reg_device *device, const char *uuid)
{
	const struct reg_device *is;

	device->found_uuid[0] = '\0';
	device->is_right =
		device->is_recorded && strcmp(uuid, device->uuid) == 0;
	if (!device->pool || device->is_right || !*uuid)
		return true;
	is = bind_find_owner(device, uuid);
	if (!is)
		return true;
	if (is->pool != device->pool || !is->path) {
		refuse_wrong(device, is);
		return false;
	}
	strcpy(device->found_uuid, uuid);
	loop_timer_set(device->endpoint->host->loop, &device->retry,
		       loop_clock_ns() + PATIENCE_NS);
	return false;
}

void bind_find_expired(struct reg_device *device)
{
	const struct reg_device *is =
		bind_find_owner(device, device->found_uuid);
	struct error why;

	error_set(&why, -EBUSY,
		  "%s is device %s, and what is at %s does not answer",
		  device->path, is ? is->name : "?", is ? is->path : "?");
	bind_device_failed(device, "another", why.text);
}

/* --- Settled ------------------------------------------------------------- */

static void tell(const struct reg_device *device)
{
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	events_add(
		device->endpoint->host->events, "device-changed", &subject,
		"device %s was found at %s by its UUID, and not at %s: correct its path in the configuration",
		device->name, device->path, device->config->path);
}

static void begin_anew(struct reg_device *device)
{
	device->found_uuid[0] = '\0';
	device->is_busy = false;
	device->state = REG_DEVICE_WAITING;
	device->error.text[0] = '\0';
	device->fault = NULL;
	device->retry_ns = 0;
}

/* Are there two of it? */
static struct reg_device *find_copy(const struct reg_device *device)
{
	const struct reg_pool *pool = device->pool;

	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i] != device &&
		    strcmp(pool->devices[i]->found_uuid, device->found_uuid) ==
			    0)
			return pool->devices[i];
	return NULL;
}

/* Is all known that can be? */
static bool is_known(const struct reg_pool *pool, const struct reg_device *is)
{
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->opening)
			return false;
	return is->is_right || is->is_member ||
		is->state == REG_DEVICE_FAILED || is->found_uuid[0];
}

static void settle_one(struct reg_device *device)
{
	struct reg_device *is = bind_find_owner(device, device->found_uuid);
	const struct reg_device *copy = find_copy(device);
	bool is_mutual;

	if (!is || !is_known(device->pool, is))
		return;
	if (is->is_right || is->is_member || copy) {
		refuse_copy(device, is, copy ? copy->path : is->path);
		return;
	}
	is_mutual = strcmp(is->found_uuid, device->uuid) == 0;
	change_paths(device, is);
	begin_anew(device);
	begin_anew(is);
	tell(is);
	if (is_mutual)
		tell(device);
	bind_device_start(is);
	bind_device_start(device);
}

void bind_find_settle(const struct reg_pool *pool)
{
	for (unsigned int i = 0; pool && i < pool->device_count; i++)
		if (pool->devices[i]->is_busy &&
		    pool->devices[i]->found_uuid[0])
			settle_one(pool->devices[i]);
}
