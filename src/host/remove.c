/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - a device that holds nothing leaves its pool, for good
 *
 *   nothing is promised there -> member-remove -> on disk -> device-remove
 *
 * Before it is on disk it is a member again after whatever death: nothing was
 * done.  After that an endpoint that still has it is told to let it go
 * (adopt.c), and the next penstockd skips the file's entry (records-load.c).
 *
 * Its superblock stays: whoever names it in a file has an empty device.
 */
#include "host/host-data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/container.h"
#include "host/records.h"

struct removal {
	struct store_write write;
	struct reg_device *device;
	struct host_call *call;
};

/* --- Its processes ------------------------------------------------------- */

/* They take space elsewhere from now on, or there again. */
static void tell_processes(const struct reg_pool *pool)
{
	const struct registry *registry = pool->registry;

	for (struct reg_process *process = registry->processes; process;
	     process = process->next) {
		const struct bind_op told = {
			.process = process,
			.then = bind_ignore,
		};

		if (process->vdev->pool == pool && process->is_added)
			bind_process_update(&told);
	}
}

/* That is promised something there, and at no other device that is there. */
static const struct reg_process *unpromised_without(
	const struct reg_device *device)
{
	const struct reg_pool *pool = device->pool;
	const struct reg_process *process = pool->registry->processes;
	uint32_t others = 0;

	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i] != device && pool->devices[i]->is_member)
			others |= UINT32_C(1) << i;
	for (; process; process = process->next)
		if (process->vdev->pool == pool && process->member.is_counted &&
		    process->member.devices &&
		    !(process->member.devices & others))
			return process;
	return NULL;
}

/* --- It goes ------------------------------------------------------------- */

static void stays(struct reg_device *device, struct host_call *call,
		  enum host_result result, const char *text)
{
	device->is_parting = false;
	if (device->is_member)
		tell_processes(device->pool);
	else
		bind_device_start(device);
	host_answer(call, result, NULL, "%s", text);
}

/* Its place in the statistics is free. */
static void closed(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;

	if (reply->result < 0)
		return;		/* the next endpoint knows nothing of it */
	device->endpoint->device_slots_taken &= ~(UINT64_C(1) << device->slot);
	device->slot = -1;
}

static void gone(struct reg_device *device)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = closed,
	};
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	struct host *host = device->endpoint->host;
	struct reg_pool *pool = device->pool;

	device->is_parting = device->is_leaving = false;
	device->is_recorded = device->is_held = false;
	device->state = REG_DEVICE_FAILED;
	loop_timer_cancel(host->loop, &device->retry);
	registry_drop_device(host->registry, device);
	if (device->is_added)
		bind_ask(&op,
			 json_pack("{s:s, s:s}", "op", "device-remove", "name",
				   device->config->name),
			 -1);
	device->is_added = false;
	if (device->memory_fd >= 0)
		close(device->memory_fd);
	device->memory_fd = -1;
	events_add(
		host->events, "device-removed", &subject,
		"device %s has left pool %s%s%s: take it out of the file, too",
		device->name, pool->name,
		device->leave.is_replaced ? ", replaced by " : "",
		device->leave.is_replaced ? device->leave.to : "");
	bind_pool_settle(pool);
	bind_touch(host);
}

static void removal_written(struct store_write *write)
{
	struct removal *removal = container_of(write, struct removal, write);
	struct reg_device *device = removal->device;

	if (write->result < 0) {
		stays(device, removal->call, HOST_FAILED, write->error.text);
	} else {
		gone(device);
		host_answer(removal->call, HOST_DONE, NULL, "%s", "");
	}
	free(removal);
}

static void write_down(struct reg_device *device, struct host_call *call)
{
	struct removal *removal = calloc(1, sizeof(*removal));

	if (removal) {
		removal->device = device;
		removal->call = call;
		store_write_init(&removal->write, removal_written);
	}
	if (!removal || records_put_removed(&removal->write, device) < 0) {
		free(removal);
		stays(device, call, HOST_FAILED, "out of memory");
		return;
	}
	store_write_start(device->endpoint->host->store, &removal->write);
}

static void has_left(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;

	if (reply->result == -ECONNRESET) {
		stays(device, op->call, HOST_FAILED,
		      "its endpoint is gone: ask again");
	} else if (reply->result < 0) {
		stays(device, op->call,
		      reply->result == -ENOSPC ? HOST_REFUSED : HOST_CONFLICT,
		      reply->text);
	} else {
		device->is_member = false;
		write_down(device, op->call);
	}
}

/* --- May it go? ---------------------------------------------------------- */

static int check_ready(const struct reg_device *device, struct error *reterr)
{
	const struct reg_pool *pool = device->pool;

	if (!pool)
		return error_set(
			reterr, -EBUSY,
			"device %s is in no pool: take it out of the file",
			device->name);
	if (device->is_parting)
		return error_set(reterr, -EBUSY,
				 "device %s is being removed already",
				 device->name);
	if (pool->device_count == 1)
		return error_set(
			reterr, -EBUSY,
			"device %s is the last one of pool %s: delete its vdevs and take the pool out of the file",
			device->name, pool->name);
	if (!device->is_member || !pool->is_loaded ||
	    device->state != REG_DEVICE_READY ||
	    !device->endpoint->is_connected)
		return error_set(
			reterr, -EBUSY,
			"device %s is not there%s%s: what it holds is not known",
			device->name, device->error.text[0] ? ", " : "",
			device->error.text);
	if (device->is_recording || device->is_asking || device->is_measuring ||
	    device->calibrate_ns)
		return error_set(
			reterr, -EBUSY,
			"device %s is being changed or measured: ask again",
			device->name);
	return 0;
}

/* What a thick pool and its parts are promised to have; of a thin one its
 * endpoint knows. */
static int check_room(const struct reg_device *device, struct error *reterr)
{
	const struct reg_pool *pool = device->pool;
	const uint64_t unpromised =
		registry_unpromised(pool->registry, pool, NULL);

	/* What one has that is leaving is counted for nobody any more. */
	if (pool->config->thin || device->is_leaving ||
	    unpromised >= device->size_bytes)
		return 0;
	return error_set(
		reterr, -ENOSPC,
		"device %s stays: %" PRIu64 " bytes of its %" PRIu64
		" are reserved for what pool %s's vdevs and parts are promised to have",
		device->name, device->size_bytes - unpromised,
		device->size_bytes, pool->name);
}

enum host_result remove_may(const struct reg_device *device,
			    struct error *reterr)
{
	const struct reg_process *process;

	if (check_ready(device, reterr) < 0)
		return HOST_CONFLICT;
	if (check_room(device, reterr) < 0)
		return HOST_REFUSED;
	process = unpromised_without(device);
	if (!process)
		return HOST_DONE;
	error_set(
		reterr, -ENOSPC,
		"device %s stays: process %u (%s) is promised what it is on no other device that is there",
		device->name, process->pasid, process->name);
	return HOST_REFUSED;
}

void remove_begin(struct reg_device *device, struct host_call *call)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.call = call,
		.then = has_left,
	};
	struct error why;
	const enum host_result result = remove_may(device, &why);

	if (result != HOST_DONE) {
		host_answer(call, result, NULL, "%s", why.text);
		return;
	}
	device->is_parting = true;
	tell_processes(device->pool);
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s}", "op", "member-remove", "pool",
			   device->pool->name, "device", device->config->name),
		 -1);
}

void host_device_remove(struct host *host, const char *name,
			struct host_call *call)
{
	struct reg_device *device = registry_device(host->registry, name);

	if (device)
		remove_begin(device, call);
	else
		host_answer(
			call, HOST_NOT_FOUND, NULL,
			"there is no device '%s' (or several: say ENDPOINT/DEVICE)",
			name);
}
