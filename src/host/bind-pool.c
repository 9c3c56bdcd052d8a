/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-pool.c - devices on their way into their pool, and its volumes
 *
 *   its UUID is on disk -> member-add --+
 *   the same of the pool's others ------+-> pool-start -> its volumes are
 *   known -> (never measured: measure.c) -> ready
 *
 * A pool starts without those of its devices that have failed, or are long in
 * coming; one that is on its way is waited for.
 *
 * A device's UUID is written down before it is claimed, and that it holds
 * something before the first volume is made on it: from then on no other
 * device, and no blank one, is taken in its place.  What only lives in memory
 * may always be blank.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "ctl/item.h"
#include "host/endpoint.h"
#include "host/records.h"

/* --- On disk ------------------------------------------------------------- */

struct device_write {
	struct store_write write;
	struct reg_device *device;
};

static void ask_member(struct reg_device *device);

static void device_written(struct store_write *write)
{
	struct device_write *op =
		container_of(write, struct device_write, write);
	struct reg_device *device = op->device;

	device->is_recording = false;
	device->is_recorded |= write->result == 0;
	if (write->result < 0) {
		device->is_joining = false;
		bind_device_failed(device, NULL, write->error.text);
	} else if (device->is_joining && device->endpoint->is_connected) {
		ask_member(device);
	}
	free(op);
}

/* Whoever dies before it is written finds the device as it is now. */
static void record_uuid(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	struct device_write *op;

	if (device->is_recording)
		return;
	op = calloc(1, sizeof(*op));
	if (op) {
		op->device = device;
		store_write_init(&op->write, device_written);
	}
	if (!op || records_put_device(&op->write, device) < 0) {
		free(op);
		device->is_joining = false;
		bind_device_failed(device, NULL, "out of memory");
		return;
	}
	device->is_recording = true;
	store_write_start(host->store, &op->write);
}

struct held_write {
	struct store_write write;
	struct reg_pool *pool;
};

static void held_written(struct store_write *write)
{
	struct held_write *op = container_of(write, struct held_write, write);
	struct events *events = op->pool->endpoint->host->events;

	if (write->result < 0)
		events_add(events, "error", NULL, "pool %s: %s", op->pool->name,
			   write->error.text);
	else
		bind_pool_held(op->pool);
	free(op);
}

void bind_pool_held(struct reg_pool *pool)
{
	for (unsigned int i = 0; i < pool->device_count; i++)
		pool->devices[i]->is_held |= pool->devices[i]->is_member;
}

/* Volumes were found on it. */
static void record_held(struct reg_pool *pool)
{
	struct held_write *op = calloc(1, sizeof(*op));

	if (!op)
		return;		/* at the next start */
	op->pool = pool;
	store_write_init(&op->write, held_written);
	if (records_put_held(&op->write, pool) < 0 || op->write.count == 0)
		free(op);
	else
		store_write_start(pool->endpoint->host->store, &op->write);
}

/* --- Its volumes are known ----------------------------------------------- */

/* All is known of the pool: measure it, or use it. */
static void go_on(struct reg_device *device)
{
	struct host *host = device->endpoint->host;

	if (device->state == REG_DEVICE_READY ||
	    device->state == REG_DEVICE_CALIBRATING)
		return;
	if (device->config->port)
		(void)ports_promise(device);
	if (device->has_capacity)
		host->bind.device_ready(device);
	else if (device->is_measuring)
		device->state = REG_DEVICE_CALIBRATING;
	else
		bind_calibrate_first(device);
}

static void loaded(struct reg_pool *pool)
{
	pool->is_loading = false;
	pool->is_loaded = true;
	pool->error.text[0] = '\0';
	if (json_object_size(pool->volumes) > 0)
		record_held(pool);
	volumes_tell_unknown(pool);
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_member)
			go_on(pool->devices[i]);
	if (reg_pool_is_ready(pool))
		pool->endpoint->host->bind.pool_ready(pool);
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_member)
			evacuate_resume(pool->devices[i]);
}

static void ask_volumes(struct reg_pool *pool, json_int_t from);

static void take_page(struct reg_pool *pool, const json_t *page)
{
	const json_t *next = json_object_get(page, "next");
	json_t *volume;
	size_t i;

	json_array_foreach(json_object_get(page, "volumes"), i, volume)
		json_object_set(pool->volumes, item_text(volume, "uuid"),
				volume);
	if (next)
		ask_volumes(pool, json_integer_value(next));
	else
		loaded(pool);
}

static void pool_failed(struct reg_pool *pool, const char *text)
{
	pool->is_starting = false;
	pool->is_loading = false;
	error_set(&pool->error, -EIO, "%s", text);
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_member)
			bind_device_failed(pool->devices[i], NULL, text);
}

static void volumes_told(struct bind_op *op, struct link_reply *reply)
{
	struct reg_pool *pool = op->arg;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result < 0)
		pool_failed(pool, reply->text);
	else
		take_page(pool, reply->reply);
}

static void ask_volumes(struct reg_pool *pool, json_int_t from)
{
	const struct bind_op op = {
		.endpoint = pool->endpoint,
		.arg = pool,
		.then = volumes_told,
	};

	bind_ask(&op,
		 json_pack("{s:s, s:s, s:I}", "op", "volumes", "pool",
			   pool->name, "from", from),
		 -1);
}

static void begin_loading(struct reg_pool *pool)
{
	json_decref(pool->volumes);
	pool->volumes = json_object();
	pool->is_loading = true;
}

/* What was missing is there: vdevs whose volumes it has, what is to be deleted
 * there, and requests that wait for it go on. */
static void come_late(struct reg_device *device)
{
	struct reg_pool *pool = device->pool;
	struct host *host = pool->endpoint->host;
	const struct bind_op op = {
		.endpoint = pool->endpoint,
		.then = bind_ignore,
	};
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	struct reg_vdev *vdev;

	events_add(host->events, "device-recovered", &subject,
		   "device %s is back in pool %s, with what it holds",
		   device->name, pool->name);
	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		if (vdev->pool != pool)
			continue;
		bind_vdev_again(vdev);
		if (vdev->is_there && vdev->on_error == ON_ERROR_STOP)
			bind_ask(&op,
				 json_pack("{s:s, s:s}", "op", "vdev-resume",
					   "name", vdev->name),
				 -1);
	}
	for (struct reg_doomed *doomed = host->registry->doomed; doomed;
	     doomed = doomed->next)
		if (doomed->pool == pool)
			doomed->retry_ns = 0;
	pool->is_loading = true;
	ask_volumes(pool, 0);
}

void bind_pool_load(struct reg_pool *pool)
{
	if (!pool->is_started || pool->is_loaded || pool->is_loading)
		return;
	begin_loading(pool);
	ask_volumes(pool, 0);
}

/* --- Started ------------------------------------------------------------- */

static void pool_started(struct bind_op *op, struct link_reply *reply)
{
	struct reg_pool *pool = op->arg;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result < 0) {
		pool_failed(pool, reply->text);
		return;
	}
	pool->is_starting = false;
	pool->is_started = true;
	begin_loading(pool);
	take_page(pool, reply->reply);
}

void bind_pool_settle(struct reg_pool *pool)
{
	const struct bind_op op = {
		.endpoint = pool->endpoint,
		.arg = pool,
		.then = pool_started,
	};
	unsigned int members = 0;

	if (!pool->endpoint->is_connected || pool->is_starting)
		return;
	if (pool->is_started) {
		bind_pool_load(pool);
		return;
	}
	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];

		members += device->is_member;
		if (!device->is_member &&
		    (device->is_joining || !device->error.text[0]))
			return;		/* it comes */
	}
	if (members == 0)
		return;
	pool->is_starting = true;
	bind_ask(
		&op,
		json_pack("{s:s, s:s}", "op", "pool-start", "pool", pool->name),
		-1);
}

/* --- Members ------------------------------------------------------------- */

/* In one word, for 'penstock device list'. */
static const char *fault_of(int result)
{
	switch (result) {
	case -ENODATA:
		return "blank";
	case -ENOMSG:
		return "foreign";
	case -EPROTONOSUPPORT:
		return "newer";
	case -ESTALE:
		return "another";
	case -ENOSPC:
		return "shrunk";
	case -EUCLEAN:
		return "damaged";
	case -EEXIST:
		return "clone";
	case -EBUSY:
		return "late";
	default:
		return NULL;
	}
}

/* Its file is closed, to be opened again when it is tried again. */
static void refuse(struct reg_device *device, int result, const char *text)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = bind_ignore,
	};

	bind_ask(&op,
		 json_pack("{s:s, s:s}", "op", "device-remove", "name",
			   device->config->name),
		 -1);
	device->is_added = false;
	bind_device_failed(device, fault_of(result), text);
}

static void refused(struct reg_device *device, int result, const char *text)
{
	struct error why;

	if (device->is_held && (result == -ESTALE || result == -ENODATA)) {
		error_set(
			&why, -ESTALE,
			"%s is %s than the one with UUID %s, which held data: put that one back",
			device->path ? device->path : "it",
			result == -ESTALE ? "another device" :
					    "blank, so another device",
			device->uuid);
		result = -ESTALE;
	} else {
		error_set(&why, result, "%s", text);
	}
	refuse(device, result, why.text);
}

static void twin_removed(struct bind_op *op, struct link_reply *reply)
{
	struct error why;

	if (reply->result == -ECONNRESET)
		return;
	op->device->is_joining = false;
	error_set(
		&why, -EEXIST,
		"it is a copy of device %s: take it away, or wipe it to use it as a blank one",
		(const char *)op->arg);
	refuse(op->device, -EEXIST, why.text);
}

/* It was opened, and changed in nothing but its generation. */
static void refuse_twin(struct reg_device *device,
			const struct reg_device *twin)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.arg = (void *)(uintptr_t)twin->name,
		.then = twin_removed,
	};

	device->is_joining = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s}", "op", "member-remove", "pool",
			   device->pool->name, "device", device->config->name),
		 -1);
}

void bind_pool_found(struct reg_device *device, const json_t *found)
{
	device->is_member = true;
	device->is_leaving = json_is_true(json_object_get(found, "leaving"));
	device->size_bytes = (uint64_t)json_integer_value(
		json_object_get(found, "size_bytes"));
	device->generation = (uint64_t)json_integer_value(
		json_object_get(found, "generation"));
	if (strlen(item_text(found, "uuid")) == REG_UUID_MAX - 1)
		strcpy(device->uuid, item_text(found, "uuid"));
}

static void member_added(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	struct host *host = device->endpoint->host;
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	const struct reg_device *twin;
	char uuid[REG_UUID_MAX];

	if (reply->result == -ECONNRESET)
		return;
	device->is_joining = false;
	if (reply->result < 0) {
		refused(device, reply->result, reply->text);
		return;
	}
	twin = bind_find_owner(device, item_text(reply->reply, "uuid"));
	if (twin) {
		refuse_twin(device, twin);
		return;
	}
	strcpy(uuid, device->uuid);
	bind_pool_found(device, reply->reply);
	/* What was found holds, until something is made on it. */
	if (strcmp(uuid, device->uuid) != 0)
		record_uuid(device);
	if (json_is_true(json_object_get(reply->reply, "claimed")))
		events_add(
			host->events, "device-claimed", &subject,
			"device %s was blank: it is pool %s's now, with UUID %s",
			device->name, device->pool->name, device->uuid);
	if (device->pool->is_loaded &&
	    json_is_true(json_object_get(reply->reply, "claimed")))
		go_on(device);
	else if (device->pool->is_loaded)
		come_late(device);
	else
		bind_pool_settle(device->pool);
}

static void ask_member(struct reg_device *device)
{
	const struct config_device *config = device->config;
	const bool is_known = device->is_held && reg_device_is_lasting(device);
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = member_added,
	};

	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I}", "op",
			   "member-add", "pool", device->pool->name, "device",
			   config->name, "uuid", device->uuid, "known",
			   is_known, "claim", !is_known && !config->read_only,
			   "zeroed", device->is_zeroed, "size_bytes",
			   (json_int_t)config->size_bytes),
		 -1);
}

static void pool_added(struct bind_op *op, struct link_reply *reply)
{
	struct reg_pool *pool = op->arg;

	if (reply->result >= 0 || reply->result == -ECONNRESET)
		return;
	pool->is_added = false;
	error_set(&pool->error, reply->result, "%s", reply->text);
}

/* Returns 0 or -ENOSPC. */
static int add_pool(struct reg_pool *pool)
{
	struct stats_segment *stats = endpoint_stats(pool->endpoint->process);
	const struct bind_op op = {
		.endpoint = pool->endpoint,
		.arg = pool,
		.then = pool_added,
	};

	if (pool->is_added)
		return 0;
	if (pool->slot < 0)
		pool->slot = reg_bit_take(&pool->endpoint->pool_slots_taken);
	if (pool->slot < 0)
		return pool->slot;
	memset(&stats->pools[pool->slot], 0, sizeof(stats->pools[0]));
	pool->is_added = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:i}", "op", "pool-add", "name",
			   pool->name, "slot", pool->slot),
		 -1);
	return 0;
}

void bind_pool_join(struct reg_device *device)
{
	struct reg_pool *pool = device->pool;

	if (device->is_joining || !device->endpoint->is_connected)
		return;
	if (!pool) {
		/* Nothing can lie on it. */
		if (device->state != REG_DEVICE_READY)
			device->endpoint->host->bind.device_ready(device);
		return;
	}
	if (device->is_member) {
		bind_pool_settle(pool);
		return;
	}
	if (add_pool(pool) < 0) {
		bind_device_failed(device, NULL,
				   "its endpoint has too many pools");
		return;
	}
	device->is_joining = true;
	if (device->is_recorded)
		ask_member(device);
	else if (!device->uuid[0] && reg_uuid_make(device->uuid) < 0)
		abort();	/* there is no randomness: as without memory */
	else
		record_uuid(device);
}

void bind_pool_reset(struct reg_pool *pool)
{
	pool->is_added = false;
	pool->is_starting = false;
	pool->is_started = false;
	pool->is_loading = false;
	pool->is_loaded = false;
}
