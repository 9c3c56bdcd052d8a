/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate.c - what is on a device goes to the others of its pool
 *
 * That it is leaving is kept on the device itself before anything moves; an
 * endpoint that has it so and does not move anything is asked to go on.
 * Nothing moves to where a process is not promised what it is.
 */
#include "host/host-data.h"

#include <errno.h>
#include <string.h>

static struct event_subject subject_of(const struct reg_device *device)
{
	return (struct event_subject){
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
}

static json_t *message(const struct reg_device *device, const char *op)
{
	return json_pack("{s:s, s:s, s:s}", "op", op, "pool",
			 device->pool->name, "device", device->config->name);
}

/* Without a rate it goes on as fast as the endpoint knows, who may have gone on
 * all the while. */
static json_t *evacuate_message(const struct reg_device *device)
{
	json_t *asked = message(device, "member-evacuate");

	if (device->leave_bytes_per_s)
		json_object_set_new(
			asked, "bandwidth_bytes_per_s",
			json_integer((json_int_t)device->leave_bytes_per_s));
	return asked;
}

/* --- It goes on ---------------------------------------------------------- */

static void gone_on(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	const struct event_subject subject = subject_of(device);

	if (reply->result >= 0 || reply->result == -ECONNRESET)
		return;
	device->is_moving = false;
	events_add(device->endpoint->host->events, "error", &subject,
		   "device %s is leaving and stays as it is: %s", device->name,
		   reply->text);
}

void evacuate_resume(struct reg_device *device)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = gone_on,
	};

	if (!device->is_leaving || device->is_moving ||
	    !device->endpoint->is_connected)
		return;
	device->is_moving = true;
	bind_ask(&op, evacuate_message(device), -1);
}

/* endpoint's event 'evacuated' */
void evacuate_ended(struct reg_device *device, const json_t *event)
{
	struct events *events = device->endpoint->host->events;
	const struct event_subject subject = subject_of(device);
	const int error =
		(int)json_integer_value(json_object_get(event, "errno"));
	const json_int_t left =
		json_integer_value(json_object_get(event, "left"));
	const json_int_t stayed =
		json_integer_value(json_object_get(event, "stayed_count"));

	device->is_moving = false;
	if (error == ECANCELED || error == EINTR)
		return;
	if (error == 0)
		events_add(events, "evacuated", &subject,
			   "device %s is evacuated: nothing is on it any more",
			   device->name);
	else
		events_add(
			events, "error", &subject,
			"device %s is not evacuated (%s): %lld bytes are on it, of which %lld could not be moved",
			device->name, strerror(error),
			(long long)left * (long long)REG_EXTENT_BYTES,
			(long long)stayed * (long long)REG_EXTENT_BYTES);
}

/* --- Verbs --------------------------------------------------------------- */

static bool find(struct host *host, const char *name,
		 struct reg_device **ret_device, struct host_call *call)
{
	struct reg_device *device = registry_device(host->registry, name);

	if (!device)
		host_answer(
			call, HOST_NOT_FOUND, NULL,
			"there is no device '%s' (or several: say ENDPOINT/DEVICE)",
			name);
	else if (!device->pool || !device->is_member ||
		 device->state != REG_DEVICE_READY ||
		 !device->endpoint->is_connected)
		host_answer(call, HOST_CONFLICT, NULL, "device %s is not ready",
			    device->name);
	else
		*ret_device = device;
	return device && *ret_device == device;
}

/* The process that is promised something, and not at 'other'. */
static const struct reg_process *unpromised_at(const struct reg_pool *pool,
					       unsigned int other)
{
	const struct reg_process *process =
		pool->endpoint->host->registry->processes;

	for (; process; process = process->next)
		if (process->vdev->pool == pool && process->member.is_counted &&
		    process->member.sla.count > 0 &&
		    !process->member.admitted[other])
			return process;
	return NULL;
}

/* Returns true when all that is promised will hold. */
static bool may_leave(const struct reg_device *device, struct host_call *call)
{
	const struct reg_pool *pool = device->pool;

	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_process *process;

		if (pool->devices[i] == device || !pool->devices[i]->is_member)
			continue;
		process = unpromised_at(pool, i);
		if (!process)
			continue;
		host_answer(
			call, HOST_REFUSED, NULL,
			"device %s stays: process %u (%s) cannot be promised what it is on device %s, where its data would go",
			device->name, process->pasid, process->name,
			pool->devices[i]->name);
		return false;
	}
	return true;
}

static void begun(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	const struct event_subject subject = subject_of(device);

	if (reply->result == -ECONNRESET) {
		host_answer(op->call, HOST_FAILED, NULL,
			    "endpoint %s is gone: ask again",
			    device->endpoint->name);
		return;
	}
	if (reply->result < 0) {
		host_answer(op->call,
			    reply->result == -ENOSPC ? HOST_REFUSED :
						       HOST_CONFLICT,
			    NULL, "%s", reply->text);
		return;
	}
	device->is_leaving = true;
	device->is_moving = true;
	events_add(device->endpoint->host->events, "evacuating", &subject,
		   "device %s is being evacuated", device->name);
	host_answer(op->call, HOST_DONE,
		    host_device(device->endpoint->host, device->name), "%s",
		    "");
}

void host_device_evacuate(struct host *host, const char *name,
			  uint64_t bytes_per_s, struct host_call *call)
{
	struct bind_op op = {.call = call, .then = begun};

	if (!find(host, name, &op.device, call) || !may_leave(op.device, call))
		return;
	op.endpoint = op.device->endpoint;
	op.device->leave_bytes_per_s = bytes_per_s;
	bind_ask(&op, evacuate_message(op.device), -1);
}

static void stays(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	const struct event_subject subject = subject_of(device);

	if (reply->result < 0) {
		host_answer(op->call, HOST_FAILED, NULL, "%s", reply->text);
		return;
	}
	device->is_leaving = false;
	device->is_moving = false;
	events_add(device->endpoint->host->events, "evacuating", &subject,
		   "device %s is not evacuated any more: it stays",
		   device->name);
	host_answer(op->call, HOST_DONE,
		    host_device(device->endpoint->host, device->name), "%s",
		    "");
}

void host_device_stay(struct host *host, const char *name,
		      struct host_call *call)
{
	struct bind_op op = {.call = call, .then = stays};

	if (!find(host, name, &op.device, call))
		return;
	op.endpoint = op.device->endpoint;
	bind_ask(&op, message(op.device, "member-stay"), -1);
}
