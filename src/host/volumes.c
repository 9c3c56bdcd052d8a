/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volumes.c - what a pool was found to hold, and volumes that nobody wants any
 * more
 *
 *   on disk as given up (by the verb, together with what it changes there)
 *   -> no vdev stands on it (unbind.c) -> volume-delete -> forgotten on disk
 *
 * Whatever fails, and wherever we die, it is begun anew by the tick, when its
 * pool is there: each step may be done twice.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "ctl/item.h"
#include "host/records.h"

#define RETRY_NS UINT64_C(30000000000)
#define BUSY_NS UINT64_C(1000000000)

/* --- Found --------------------------------------------------------------- */

static bool is_snapshot(const json_t *volume)
{
	return json_is_true(json_object_get(volume, "read_only"));
}

/* Does a vdev, or one that was, have this volume? */
static bool is_taken(const struct registry *registry, const char *uuid)
{
	const struct reg_doomed *doomed;
	const struct reg_vdev *vdev;
	const char *key;
	json_t *record;

	for (vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (strcmp(vdev->uuid, uuid) == 0)
			return true;
	for (doomed = registry->doomed; doomed; doomed = doomed->next)
		if (strcmp(doomed->uuid, uuid) == 0)
			return true;
	json_object_foreach(registry->orphans, key,
			    record) if (strcmp(item_text(record, "uuid"),
					       uuid) == 0) return true;
	return false;
}

const json_t *volumes_of_name(const struct host *host,
			      const struct reg_vdev *vdev)
{
	const char *uuid;
	json_t *volume;

	json_object_foreach(
		vdev->pool->volumes, uuid,
		volume) if (strcmp(item_text(volume, "name"), vdev->name) ==
				    0 &&
			    (vdev->read_only || !is_snapshot(volume)) &&
			    !is_taken(host->registry, uuid)) return volume;
	return NULL;
}

/* Is there a vdev that will have it? */
static bool is_awaited(const struct registry *registry,
		       const struct reg_pool *pool, const char *name)
{
	const struct reg_vdev *vdev = registry->vdevs;

	while (vdev &&
	       (vdev->pool != pool || vdev->uuid[0] ||
		strcmp(vdev->name, name) != 0))
		vdev = vdev->next;
	return vdev != NULL;
}

void volumes_tell_unknown(const struct reg_pool *pool)
{
	struct host *host = pool->endpoint->host;
	const struct event_subject subject = {.endpoint = pool->endpoint->name};
	const char *uuid;
	json_t *volume;

	json_object_foreach(pool->volumes, uuid, volume)
	{
		const char *name = item_text(volume, "name");

		if (!is_taken(host->registry, uuid) &&
		    !is_awaited(host->registry, pool, name))
			events_add(
				host->events, "space", &subject,
				"pool %s holds a %s '%s' (%s) that this penstockd does not know: a %svdev that is configured with this name and pool has what is in it",
				pool->name,
				is_snapshot(volume) ? "snapshot" : "volume",
				name, uuid,
				is_snapshot(volume) ? "read-only " : "");
	}
}

void volumes_take(struct reg_vdev *vdev, const json_t *volume)
{
	const uint64_t size_bytes = item_number(volume, "size_bytes");

	if (strlen(item_text(volume, "uuid")) == REG_UUID_MAX - 1)
		strcpy(vdev->uuid, item_text(volume, "uuid"));
	vdev->is_thick = json_is_true(json_object_get(volume, "thick"));
	vdev->is_made = true;
	if (vdev->is_equal || vdev->size_bytes < size_bytes)
		vdev->size_bytes = size_bytes;
}

uint64_t volumes_bytes(const struct reg_vdev *vdev)
{
	return item_number(json_object_get(vdev->pool->volumes, vdev->uuid),
			   "size_bytes");
}

/* --- Given up ------------------------------------------------------------ */

struct dooming {
	struct store_write write;
	struct host *host;
	struct reg_doomed *doomed;
};

static void answer(struct reg_doomed *doomed, enum host_result result,
		   const char *text)
{
	struct host_call *call = doomed->call;

	doomed->call = NULL;
	host_answer(call, result, NULL, "%s", text);
}

/* Not yet. */
static void put_off(struct host *host, struct reg_doomed *doomed,
		    const char *why)
{
	const struct event_subject subject = {.vdev = doomed->vdev};
	struct error text;

	doomed->is_busy = false;
	doomed->retry_ns = loop_clock_ns() + RETRY_NS;
	error_set(
		&text, -EAGAIN,
		"what vdev '%s' had in pool '%s' is not deleted: %s; it is tried again",
		doomed->vdev, doomed->pool->name, why);
	if (strcmp(doomed->told.text, text.text))
		events_add(host->events, "error", &subject, "%s", text.text);
	doomed->told = text;
	answer(doomed, HOST_FAILED, text.text);
}

static void forgotten(struct store_write *write)
{
	struct dooming *op = container_of(write, struct dooming, write);
	struct reg_doomed *doomed = op->doomed;
	struct reg_pool *pool = doomed->pool;
	struct host_call *call = doomed->call;
	struct host *host = op->host;

	if (write->result < 0) {
		put_off(host, doomed, write->error.text);
		free(op);
		return;
	}
	free(op);
	json_object_del(pool->volumes, doomed->uuid);
	registry_doomed_free(host->registry, doomed);
	if (!host->is_stopping)
		host->bind.pool_ready(pool);
	host_answer(call, HOST_DONE, NULL, "%s", "");
}

static void forget(struct host *host, struct reg_doomed *doomed)
{
	struct dooming *op = calloc(1, sizeof(*op));

	if (op) {
		op->host = host;
		op->doomed = doomed;
		store_write_init(&op->write, forgotten);
	}
	if (!op || records_forget_volume(&op->write, doomed->uuid) < 0) {
		free(op);
		put_off(host, doomed, "out of memory");
		return;
	}
	store_write_start(host->store, &op->write);
}

static void deleted(struct bind_op *op, struct link_reply *reply)
{
	struct reg_doomed *doomed = op->arg;
	struct host *host = op->endpoint->host;

	/* While we end, the store may have gone before us. */
	if (reply->result == -ECONNRESET || host->is_stopping) {
		doomed->is_busy = false;
		doomed->retry_ns = 0;
	} else if (reply->result == -EBUSY && !doomed->call) {
		doomed->is_busy = false;
		doomed->retry_ns = loop_clock_ns() + BUSY_NS;
	} else if (reply->result < 0) {
		put_off(host, doomed, reply->text);
	} else {
		forget(host, doomed);
	}
}

/* A device that has failed is not waited for. */
static void tell_failed(struct reg_doomed *doomed)
{
	const struct reg_pool *pool = doomed->pool;
	struct error why;

	doomed->retry_ns = 0;
	if (!doomed->call)
		return;
	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];

		if (device->state != REG_DEVICE_FAILED)
			continue;
		error_set(
			&why, -EAGAIN,
			"vdev '%s' is gone; what it had in pool '%s' is deleted when device %s is back (%s)",
			doomed->vdev, pool->name, device->name,
			device->error.text);
		answer(doomed, HOST_FAILED, why.text);
		return;
	}
}

static void try(struct host *host, struct reg_doomed *doomed)
{
	const struct bind_op op = {
		.endpoint = doomed->pool->endpoint,
		.arg = doomed,
		.then = deleted,
	};

	if (doomed->is_busy || host->is_stopping)
		return;
	if (!doomed->pool->is_loaded || !doomed->pool->endpoint->is_connected) {
		tell_failed(doomed);
		return;
	}
	doomed->is_busy = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s}", "op", "volume-delete", "pool",
			   doomed->pool->name, "uuid", doomed->uuid),
		 -1);
}

void volumes_doom(struct host *host, struct reg_doomed *doomed,
		  struct host_call *call)
{
	registry_doomed_add(host->registry, doomed);
	doomed->call = call;
	try(host, doomed);
}

void volumes_again(struct host *host, struct reg_doomed *doomed,
		   struct host_call *call)
{
	if (doomed->call) {
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' is being deleted", doomed->vdev);
		return;
	}
	doomed->call = call;
	try(host, doomed);
}

void volumes_retry(struct host *host)
{
	uint64_t now_ns = loop_clock_ns();
	struct reg_doomed *doomed, *next;

	for (doomed = host->registry->doomed; doomed; doomed = next) {
		next = doomed->next;
		if (now_ns >= doomed->retry_ns)
			try(host, doomed);
	}
}

void volumes_finish(struct host *host)
{
	struct reg_doomed *doomed;

	for (doomed = host->registry->doomed; doomed; doomed = doomed->next)
		answer(doomed, HOST_FAILED,
		       "penstockd ends; it goes on with it when it starts");
}
