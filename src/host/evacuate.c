/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate.c - what is on a device goes to the others of its pool, or to one
 * that replaces it
 *
 *   on disk -> member-evacuate -> evacuated -> (replaced: remove.c)
 *
 * What was asked for is on disk before it begins, and that the device is
 * leaving is kept on itself before anything moves; an endpoint that has it so
 * and does not move anything is asked to go on.  What failed is tried again
 * after a while, or when it is asked for.
 * Nothing moves to where a process is not promised what it is.
 */
#include "host/host-data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/endpoint.h"
#include "host/records.h"

#define SECOND_NS	UINT64_C(1000000000)
#define RETRY_MIN_NS	(10 * SECOND_NS)
#define RETRY_MAX_NS	(600 * SECOND_NS)
#define TOLD_STEP	25U	/* percent */

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
	const struct reg_leave *leave = &device->leave;
	json_t *asked = message(device, "member-evacuate");

	if (leave->bytes_per_s)
		json_object_set_new(
			asked, "bandwidth_bytes_per_s",
			json_integer((json_int_t)leave->bytes_per_s));
	/* The pool's devices are all of its endpoint. */
	if (leave->to[0])
		json_object_set_new(asked, "to",
				    json_string(strrchr(leave->to, '/') + 1));
	return asked;
}

/* --- How far it is ------------------------------------------------------- */

uint64_t evacuate_left(const struct reg_device *device)
{
	const struct stats_segment *stats =
		endpoint_stats(device->endpoint->process);

	return device->slot < 0 ?
		0 :
		stats_get(&stats->devices[device->slot].extents_used) *
			REG_EXTENT_BYTES;
}

unsigned int evacuate_percent(const struct reg_device *device)
{
	const uint64_t all = device->leave.all_bytes / REG_EXTENT_BYTES;
	const uint64_t left = evacuate_left(device) / REG_EXTENT_BYTES;

	if (all == 0 || left > all)
		return left == 0 ? 100 : 0;
	return (unsigned int)((all - left) * 100 / all);
}

static void tell_percent(struct reg_device *device)
{
	const struct event_subject subject = subject_of(device);
	const unsigned int percent =
		evacuate_percent(device) / TOLD_STEP * TOLD_STEP;

	if (!device->is_moving || percent <= device->told_percent ||
	    percent == 100)
		return;
	device->told_percent = percent;
	events_add(device->endpoint->host->events, "evacuating", &subject,
		   "device %s: %u %% has moved, %" PRIu64 " of %" PRIu64
		   " bytes are left",
		   device->name, evacuate_percent(device),
		   evacuate_left(device), device->leave.all_bytes);
}

/* --- On disk ------------------------------------------------------------- */

/* Another wish: on disk, then asked of the endpoint; it is as before if that
 * refuses. */
struct wish {
	struct store_write write;
	struct reg_device *device;
	struct reg_leave before;
	struct host_call *call;
};

static void write_wish(struct wish *wish,
		       void (*done)(struct store_write *write))
{
	store_write_init(&wish->write, done);
	wish->write.result = records_put_device(&wish->write, wish->device);
	if (wish->write.result < 0) {
		error_set(&wish->write.error, wish->write.result,
			  "out of memory");
		done(&wish->write);
		return;
	}
	store_write_start(wish->device->endpoint->host->store, &wish->write);
}

static void wish_taken_back(struct store_write *write)
{
	struct wish *wish = container_of(write, struct wish, write);
	struct reg_device *device = wish->device;
	const struct event_subject subject = subject_of(device);

	if (write->result < 0)
		events_add(
			device->endpoint->host->events, "error", &subject,
			"device %s: what was refused could not be forgotten: %s",
			device->name, write->error.text);
	device->is_asking = false;
	free(wish);
}

static void take_back(struct wish *wish)
{
	wish->device->leave = wish->before;
	write_wish(wish, wish_taken_back);
}

static void make_wish(struct reg_device *device, const struct reg_leave *leave,
		      struct host_call *call,
		      void (*written)(struct store_write *write))
{
	struct wish *wish = calloc(1, sizeof(*wish));

	if (!wish) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	wish->device = device;
	wish->before = device->leave;
	wish->call = call;
	device->leave = *leave;
	device->is_asking = true;
	write_wish(wish, written);
}

/* Returns whether it is on disk; else it is answered and freed. */
static bool is_written(struct wish *wish)
{
	if (wish->write.result == 0)
		return true;
	wish->device->leave = wish->before;
	wish->device->is_asking = false;
	host_answer(wish->call, HOST_FAILED, NULL, "%s",
		    wish->write.error.text);
	free(wish);
	return false;
}

/* --- It goes on ---------------------------------------------------------- */

/* It stays as it is, for a while. */
static void put_off(struct reg_device *device, const char *why)
{
	const struct event_subject subject = subject_of(device);

	device->is_moving = false;
	device->leave_retry_ns = device->leave_retry_ns ?
		2 * device->leave_retry_ns :
		RETRY_MIN_NS;
	if (device->leave_retry_ns > RETRY_MAX_NS)
		device->leave_retry_ns = RETRY_MAX_NS;
	device->leave_again_ns = loop_clock_ns() + device->leave_retry_ns;
	events_add(
		device->endpoint->host->events, "error", &subject,
		"device %s is leaving, and stays as it is (%s): tried again in %" PRIu64
		" s, or when it is asked for",
		device->name, why, device->leave_retry_ns / SECOND_NS);
}

/* It was accepted once, or whoever asked has no answer: asked for all the same,
 * until somebody says that it stays. */
static void gone_on(struct bind_op *op, struct link_reply *reply)
{
	if (reply->result >= 0)
		op->device->is_leaving = true;
	else if (reply->result != -ECONNRESET)
		put_off(op->device, reply->text);
}

void evacuate_resume(struct reg_device *device)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = gone_on,
	};

	if ((!device->is_leaving && !device->leave.is_asked) ||
	    device->is_moving || device->is_asking || device->is_parting ||
	    !device->is_member || !device->endpoint->is_connected)
		return;
	device->is_moving = true;
	device->leave_again_ns = 0;
	bind_ask(&op, evacuate_message(device), -1);
}

void evacuate_tick(struct host *host, uint64_t now_ns)
{
	for (unsigned int i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		for (unsigned int j = 0; j < endpoint->device_count; j++) {
			struct reg_device *device = &endpoint->devices[j];

			if (device->leave_again_ns &&
			    now_ns >= device->leave_again_ns)
				evacuate_resume(device);
			tell_percent(device);
		}
	}
}

/* --- It ends ------------------------------------------------------------- */

static void replaced(struct host_call *call, const struct host_reply *reply)
{
	if (reply->result != HOST_DONE)
		put_off(container_of(call, struct reg_device, replaced_call),
			reply->text);
}

static void empty(struct reg_device *device)
{
	const struct event_subject subject = subject_of(device);

	device->leave_retry_ns = 0;
	events_add(device->endpoint->host->events, "evacuated", &subject,
		   "device %s is evacuated: nothing is on it any more",
		   device->name);
	if (!device->leave.is_replaced || device->is_parting)
		return;
	device->replaced_call.done = replaced;
	remove_begin(device, &device->replaced_call);
}

/* endpoint's event 'evacuated' */
void evacuate_ended(struct reg_device *device, const json_t *event)
{
	const int error =
		(int)json_integer_value(json_object_get(event, "errno"));
	const json_int_t left =
		json_integer_value(json_object_get(event, "left"));
	const json_int_t stayed =
		json_integer_value(json_object_get(event, "stayed_count"));
	struct error why;

	device->is_moving = false;
	if (error == ECANCELED || error == EINTR)
		return;
	if (error == 0) {
		empty(device);
		return;
	}
	error_set(&why, -error,
		  "%s: %lld bytes are on it, of which %lld could not be moved",
		  strerror(error),
		  (long long)left * (long long)REG_EXTENT_BYTES,
		  (long long)stayed * (long long)REG_EXTENT_BYTES);
	put_off(device, why.text);
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
	else if (device->is_asking || device->is_parting)
		host_answer(call, HOST_CONFLICT, NULL,
			    "device %s is being changed: ask again",
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

/* Returns true when all that is promised will hold where it goes: at 'to', or
 * (NULL) at all others. */
static bool may_leave(const struct reg_device *device,
		      const struct reg_device *to, struct host_call *call)
{
	const struct reg_pool *pool = device->pool;

	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_process *process;

		if (pool->devices[i] == device ||
		    (to && pool->devices[i] != to) ||
		    !pool->devices[i]->is_member)
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
	struct wish *wish = op->arg;
	struct reg_device *device = op->device;
	const struct event_subject subject = subject_of(device);

	if (reply->result == -ECONNRESET) {
		host_answer(
			wish->call, HOST_FAILED, NULL,
			"endpoint %s is gone: device %s is evacuated when it is back",
			device->endpoint->name, device->name);
	} else if (reply->result < 0) {
		host_answer(wish->call,
			    reply->result == -ENOSPC ? HOST_REFUSED :
						       HOST_CONFLICT,
			    NULL, "%s", reply->text);
		take_back(wish);
		return;
	} else {
		device->is_leaving = true;
		device->is_moving = true;
		device->told_percent = 0;
		device->leave_retry_ns = device->leave_again_ns = 0;
		events_add(device->endpoint->host->events, "evacuating",
			   &subject,
			   "device %s is being evacuated%s%s: %" PRIu64
			   " bytes are on it",
			   device->name,
			   device->leave.to[0] ? ", replaced by " : "",
			   device->leave.to, evacuate_left(device));
		host_answer(wish->call, HOST_DONE,
			    host_device(device->endpoint->host, device->name),
			    "%s", "");
	}
	device->is_asking = false;
	free(wish);
}

static void leave_written(struct store_write *write)
{
	struct wish *wish = container_of(write, struct wish, write);
	const struct bind_op op = {
		.endpoint = wish->device->endpoint,
		.device = wish->device,
		.arg = wish,
		.then = begun,
	};

	if (is_written(wish))
		bind_ask(&op, evacuate_message(wish->device), -1);
}

static void begin(struct reg_device *device, const struct reg_device *to,
		  uint64_t bytes_per_s, struct host_call *call)
{
	struct reg_leave leave = device->leave;

	leave.is_asked = true;
	leave.is_replaced = to != NULL;
	strcpy(leave.to, to ? to->name : "");
	if (bytes_per_s)
		leave.bytes_per_s = bytes_per_s;
	if (!device->is_leaving || leave.all_bytes == 0)
		leave.all_bytes = evacuate_left(device);
	make_wish(device, &leave, call, leave_written);
}

void host_device_evacuate(struct host *host, const char *name,
			  uint64_t bytes_per_s, struct host_call *call)
{
	struct reg_device *device = NULL;

	if (!find(host, name, &device, call))
		return;
	if (device->leave.is_replaced)
		host_answer(
			call, HOST_CONFLICT, NULL,
			"device %s is being replaced by %s: 'penstock device replace' changes that, or cancels it",
			device->name, device->leave.to);
	else if (may_leave(device, NULL, call))
		begin(device, NULL, bytes_per_s, call);
}

/* Can 'to' take the place of 'device'? */
static bool may_replace(const struct reg_device *device,
			const struct reg_device *to, struct host_call *call)
{
	enum host_result result;
	struct error why;

	if (to == device || to->pool != device->pool)
		host_answer(call, HOST_CONFLICT, NULL,
			    "device %s is %s: name another one of pool %s",
			    to->name,
			    to == device ? "the one to be replaced" :
					   "not of its pool",
			    device->pool->name);
	else if (to->is_leaving)
		host_answer(call, HOST_CONFLICT, NULL,
			    "device %s is leaving itself", to->name);
	else if (device->is_leaving && strcmp(device->leave.to, to->name) != 0)
		host_answer(call, HOST_CONFLICT, NULL,
			    "device %s goes to %s already: cancel that first",
			    device->name,
			    device->leave.to[0] ? device->leave.to :
						  "all others");
	else if ((result = remove_may(device, &why)) != HOST_DONE)
		host_answer(call, result, NULL, "%s", why.text);
	else
		return may_leave(device, to, call);
	return false;
}

void host_device_replace(struct host *host, const char *name, const char *by,
			 uint64_t bytes_per_s, struct host_call *call)
{
	struct reg_device *device = NULL, *to = NULL;

	if (find(host, name, &device, call) && find(host, by, &to, call) &&
	    may_replace(device, to, call))
		begin(device, to, bytes_per_s, call);
}

static void stays(struct bind_op *op, struct link_reply *reply)
{
	struct wish *wish = op->arg;
	struct reg_device *device = op->device;
	const struct event_subject subject = subject_of(device);

	if (reply->result < 0) {
		host_answer(wish->call, HOST_FAILED, NULL, "%s", reply->text);
		take_back(wish);
		return;
	}
	device->is_leaving = false;
	device->is_moving = false;
	device->leave_retry_ns = device->leave_again_ns = 0;
	events_add(device->endpoint->host->events, "evacuating", &subject,
		   "device %s is not evacuated any more: it stays",
		   device->name);
	host_answer(wish->call, HOST_DONE,
		    host_device(device->endpoint->host, device->name), "%s",
		    "");
	device->is_asking = false;
	free(wish);
}

static void stay_written(struct store_write *write)
{
	struct wish *wish = container_of(write, struct wish, write);
	const struct bind_op op = {
		.endpoint = wish->device->endpoint,
		.device = wish->device,
		.arg = wish,
		.then = stays,
	};

	if (is_written(wish))
		bind_ask(&op, message(wish->device, "member-stay"), -1);
}

void host_device_stay(struct host *host, const char *name,
		      struct host_call *call)
{
	const struct reg_leave none = {0};
	struct reg_device *device = NULL;

	if (find(host, name, &device, call))
		make_wish(device, &none, call, stay_written);
}
