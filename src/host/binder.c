/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binder.c - makes endpoints match the registry
 *
 * What is missing is asked for, in the order in which it depends on one
 * another, without waiting: an endpoint answers in order, but for what takes
 * its time (measuring, draining a way in).  When it dies nothing is missing
 * any more but everything, and the same function asks again.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/endpoint.h"
#include "host/records.h"

/* --- Ready --------------------------------------------------------------- */

static bool device_settled(const struct reg_device *device)
{
	return device->is_gone || device->state == REG_DEVICE_READY ||
		device->state == REG_DEVICE_FAILED || device->error.text[0];
}

/* All that it was asked for is answered; a measurement may take minutes, and
 * is waited for only where nothing is known of the device (device_settled). */
static bool endpoint_settled(const struct reg_endpoint *endpoint)
{
	unsigned int measuring = 0, i;

	if (!endpoint->is_connected)
		return false;
	for (i = 0; i < endpoint->device_count; i++) {
		if (!device_settled(&endpoint->devices[i]))
			return false;
		measuring += endpoint->devices[i].is_measuring;
	}
	return endpoint->pending == measuring;
}

void bind_check_ready(struct host *host)
{
	unsigned int i;

	if (host->told_ready)
		return;
	for (i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		/* One that dies again and again does not hold up the rest. */
		if (endpoint_restarts(endpoint->process) >= 3)
			continue;
		if (!endpoint_settled(endpoint))
			return;
	}
	for (const struct reg_vdev *vdev = host->registry->vdevs; vdev;
	     vdev = vdev->next)
		if (vdev->uuid[0] && !vdev->is_journaled &&
		    vdev->state != REG_VDEV_FAILED)
			return;
	host->told_ready = true;
	if (host->hooks.ready)
		host->hooks.ready(host->hooks.arg);
}

/* --- Processes ----------------------------------------------------------- */

/* Where its vdev may take space for it (E10); NULL: at any device. */
static json_t *devices_of(const struct reg_process *process)
{
	const struct reg_pool *pool = process->vdev->pool;
	const struct promise_member *member = &process->member;
	json_t *devices;

	if (!pool->config->thin || process->vdev->is_thick ||
	    pool->device_count == 1 || !member->is_counted || !member->devices)
		return NULL;
	devices = json_array();
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_member &&
		    !pool->devices[i]->is_parting && member->devices >> i & 1)
			json_array_append_new(
				devices,
				json_string(pool->devices[i]->config->name));
	if (json_array_size(devices) > 0)
		return devices;
	json_decref(devices);
	return NULL;
}

json_t *bind_process_message(const struct reg_process *process, const char *op)
{
	struct sched_params params;
	char field[16];
	json_t *message;

	promise_params(process, &params);
	message = json_pack(
		"{s:s, s:I, s:s, s:i, s:b, s:o, s:o, s:o*}", "op", op, "pasid",
		(json_int_t)process->pasid, "vdev", process->vdev->name, "slot",
		process->slot, "own_socket", process->vhost_user != NULL,
		"params", ctl_from_sched_params(&params), "sla",
		ctl_from_sla(&process->sla), "devices", devices_of(process));
	if (process->match.kind != MATCH_NONE) {
		snprintf(field, sizeof(field), "match_%s",
			 match_word(process->match.kind));
		json_object_set_new(message, field,
				    json_integer(process->match.number));
	}
	return message;
}

static void process_added(struct bind_op *op, struct link_reply *reply)
{
	struct event_subject subject = {
		.pasid = op->process->pasid,
		.vdev = op->process->vdev->name,
	};

	if (reply->result >= 0 || reply->result == -ECONNRESET)
		return;
	op->process->is_added = false;
	if (op->process->vdev->state != REG_VDEV_FAILED)
		events_add(op->endpoint->host->events, "error", &subject,
			   "process %u: %s", op->process->pasid, reply->text);
}

static void add_process(struct reg_process *process)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(process->vdev);
	struct stats_segment *stats = endpoint_stats(endpoint->process);
	struct bind_op op = {
		.endpoint = endpoint,
		.process = process,
		.vdev = process->vdev,
		.then = process_added,
	};

	if (process->slot < 0) {
		process->slot = reg_slot_take(endpoint);
		if (process->slot < 0)
			return;
		memset(&stats->processes[process->slot], 0,
		       sizeof(stats->processes[0]));
	}
	process->is_added = true;
	bind_ask(&op, bind_process_message(process, "process-add"), -1);
	bind_way_in(process->vdev, process);
}

void bind_process_update(const struct bind_op *op)
{
	struct bind_op copy = *op;
	struct link_reply nothing = {.fd = -1};

	copy.endpoint = reg_vdev_endpoint(op->process->vdev);
	if (op->process->is_added && copy.endpoint->is_connected)
		bind_ask(&copy,
			 bind_process_message(op->process, "process-update"),
			 -1);
	else
		op->then(&copy, &nothing);
}

static void admit(struct host *host, struct reg_process *process)
{
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	struct promise_refusal refusal;

	if (process->state != REG_PROCESS_PENDING)
		return;
	memset(&process->refusal, 0, sizeof(process->refusal));
	if (promise_admit(process, &process->sla, &refusal) == 0) {
		process->state = REG_PROCESS_BOUND;
		return;
	}
	process->refusal = refusal;
	if (process->is_best_effort) {
		process->state = REG_PROCESS_BOUND;
		events_add(
			host->events, "refused", &subject,
			"process %u (%s) runs without a promise, as best effort: %s",
			process->pasid, process->name, refusal.text.text);
		return;
	}
	process->state = REG_PROCESS_REFUSED;
	events_add(host->events, "refused", &subject,
		   "process %u (%s) is refused: %s", process->pasid,
		   process->name, refusal.text.text);
}

void bind_admit(struct host *host, struct reg_process *process)
{
	admit(host, process);
	ports_tell(process->vdev);
}

/* There may be room now.  Returns whether. */
static bool readmit(struct reg_process *process)
{
	struct promise_refusal refusal;
	int ret = promise_admit(process, &process->sla, &refusal);

	if (ret == 0)
		memset(&process->refusal, 0, sizeof(process->refusal));
	else if (refusal.is_refused)
		process->refusal = refusal;	/* what is short now */
	return ret == 0;
}

void bind_retry_refused(struct host *host)
{
	struct reg_process *process;

	for (process = host->registry->processes; process;
	     process = process->next) {
		bool is_refused = process->state == REG_PROCESS_REFUSED;
		bool is_unpromised = process->state == REG_PROCESS_BOUND &&
			process->refusal.is_refused;
		struct event_subject subject = {
			.pasid = process->pasid,
			.vdev = process->vdev->name,
		};
		const struct bind_op told = {
			.process = process,
			.then = bind_ignore,
		};

		if ((!is_refused && !is_unpromised) || process->is_writing ||
		    process->is_unchosen ||
		    process->vdev->state == REG_VDEV_REMOVING ||
		    !reg_pool_is_ready(process->vdev->pool) ||
		    !readmit(process))
			continue;
		process->state = REG_PROCESS_BOUND;
		events_add(
			host->events, "admitted", &subject,
			"process %u (%s): there is room now, its promise holds",
			process->pasid, process->name);
		bind_process_update(&told);
		bind_sync(reg_vdev_endpoint(process->vdev));
	}
}

/* --- Sync ---------------------------------------------------------------- */

static bool vdev_may_serve(const struct reg_vdev *vdev)
{
	return vdev->uuid[0] && vdev->is_journaled &&
		reg_pool_is_ready(vdev->pool) &&
		(vdev->state == REG_VDEV_PENDING ||
		 vdev->state == REG_VDEV_SERVING);
}

void bind_sync(struct reg_endpoint *endpoint)
{
	struct registry *registry = endpoint->host->registry;
	struct reg_process *process;
	struct reg_vdev *vdev;
	unsigned int i;

	if (!endpoint->is_connected || endpoint->host->is_stopping)
		return;
	for (i = 0; i < endpoint->device_count; i++)
		if (endpoint->devices[i].state == REG_DEVICE_WAITING)
			bind_device_start(&endpoint->devices[i]);
	for (i = 0; i < registry->pool_count; i++)
		if (registry->pools[i].endpoint == endpoint)
			bind_pool_load(&registry->pools[i]);
	for (vdev = registry->vdevs; vdev; vdev = vdev->next) {
		if (reg_vdev_endpoint(vdev) != endpoint ||
		    !vdev_may_serve(vdev))
			continue;
		if (!vdev->is_added)
			bind_vdev_add(vdev);
		else
			bind_vdev_resize(vdev);
	}
	/* Processes before ways in: the first request finds its process. */
	for (process = registry->processes; process; process = process->next) {
		if (process->vdev->is_there && !process->is_added &&
		    !process->is_writing &&
		    process->state == REG_PROCESS_BOUND &&
		    reg_vdev_endpoint(process->vdev) == endpoint)
			add_process(process);
	}
	for (vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (reg_vdev_endpoint(vdev) == endpoint && vdev->is_there &&
		    vdev_may_serve(vdev)) {
			bind_way_in(vdev, NULL);
			bind_nbd(vdev);
		}
}

/* --- Volumes ------------------------------------------------------------- */

struct volume_write {
	struct store_write write;
	struct reg_vdev *vdev;
};

static void volume_written(struct store_write *write)
{
	struct volume_write *op =
		container_of(write, struct volume_write, write);
	struct reg_vdev *vdev = op->vdev;

	vdev->is_writing = false;
	if (write->result < 0) {
		bind_vdev_failed(vdev, write->error.text);
	} else {
		vdev->is_journaled = true;
		bind_pool_held(vdev->pool);
		bind_sync(reg_vdev_endpoint(vdev));
	}
	free(op);
	bind_touch(reg_vdev_endpoint(vdev)->host);
}

/* Write down what its volume is, then serve it. */
static void record_volume(struct host *host, struct reg_vdev *vdev)
{
	struct volume_write *op = calloc(1, sizeof(*op));

	if (op) {
		op->vdev = vdev;
		store_write_init(&op->write, volume_written);
	}
	if (!op ||
	    records_put_volume(&op->write, vdev,
			       vdev->is_made ? "there" : "making") < 0 ||
	    records_put_held(&op->write, vdev->pool) < 0) {
		free(op);
		bind_vdev_failed(vdev, "out of memory");
		return;
	}
	vdev->is_writing = true;
	store_write_start(host->store, &op->write);
}

/* It has none yet: the one of its name that the pool holds and nobody else
 * has (our records were lost), or one to be made.  Returns 0, -ENOSPC or -EIO
 * with a reason. */
static int choose_volume(struct host *host, struct reg_vdev *vdev,
			 struct error *reterr)
{
	uint64_t size_bytes = vdev->size_bytes;
	const json_t *found = volumes_of_name(host, vdev);
	struct event_subject subject = {.vdev = vdev->name};

	if (found) {
		volumes_take(vdev, found);
		events_add(
			host->events, "space", &subject,
			"vdev '%s' has the volume of this name that was found in pool %s",
			vdev->name, vdev->pool->name);
		return 0;
	}
	if (vdev->is_equal)
		size_bytes = registry_equal_size(host->registry, vdev);
	if (size_bytes == 0)
		return error_set(reterr, -ENOSPC,
				 "the others leave nothing of pool '%s'",
				 reg_place_name(vdev));
	if (reg_uuid_make(vdev->uuid) < 0)
		return error_set(reterr, -EIO, "there is no randomness");
	vdev->size_bytes = size_bytes;
	vdev->is_thick = !vdev->pool->config->thin;
	return 0;
}

/* Is its volume there, if it was? */
static bool is_lost(struct reg_vdev *vdev)
{
	const struct reg_pool *pool = vdev->pool;

	vdev->volume_bytes = volumes_bytes(vdev);
	/* Nothing empty takes a snapshot's place. */
	if (vdev->volume_bytes || !vdev->is_made ||
	    (!reg_pool_is_lasting(pool) && !vdev->of_uuid[0]))
		return false;
	bind_vdev_failed(
		vdev,
		"its volume is not on the devices of its pool: put the device back that has it, or delete the vdev to give its data up");
	return true;
}

/* Vdevs of this pool of which not all is on disk. */
static void give_volumes(struct reg_pool *pool)
{
	struct host *host = pool->endpoint->host;
	struct reg_vdev *vdev;
	struct error why;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		if (vdev->pool != pool || vdev->is_writing ||
		    (vdev->state != REG_VDEV_PENDING &&
		     vdev->state != REG_VDEV_SERVING))
			continue;
		if (!vdev->uuid[0] && choose_volume(host, vdev, &why) < 0)
			bind_vdev_failed(vdev, why.text);
		else if ((vdev->is_added || !is_lost(vdev)) &&
			 !vdev->is_journaled)
			record_volume(host, vdev);
	}
}

void bind_retry_vdevs(struct host *host)
{
	uint64_t now_ns = loop_clock_ns();
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		struct reg_pool *pool = vdev->pool;

		if (now_ns < vdev->retry_at_ns ||
		    !pool->endpoint->is_connected || !reg_pool_is_ready(pool) ||
		    !bind_vdev_again(vdev))
			continue;
		give_volumes(pool);
		bind_sync(pool->endpoint);
	}
}

void bind_pool_ready(struct reg_pool *pool)
{
	if (!reg_pool_is_ready(pool))
		return;
	give_volumes(pool);
	bind_sync(pool->endpoint);
	volumes_retry(pool->endpoint->host);
}

/* It came after its pool: what is promised holds there, too. */
static void extend_promise(struct reg_process *process)
{
	struct host *host = reg_vdev_endpoint(process->vdev)->host;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	const struct bind_op told = {
		.process = process,
		.then = bind_ignore,
	};
	const uint32_t before = process->member.devices;
	struct promise_refusal refusal;

	if (process->vdev->pool->device_count == 1 ||
	    process->state != REG_PROCESS_BOUND || process->is_writing ||
	    !process->member.is_counted)
		return;
	if (promise_admit(process, &process->sla, &refusal) == 0) {
		if (process->member.devices != before)
			bind_process_update(&told);
	} else {
		events_add(
			host->events, "error", &subject,
			"process %u (%s): what comes to lie on a device that joined its pool is not promised: %s",
			process->pasid, process->name, refusal.text.text);
	}
}

/* Every device that is there is known. */
static void admit_if_judged(struct host *host, struct reg_process *process)
{
	const struct reg_pool *pool = process->vdev->pool;

	for (unsigned int i = 0; i < pool->device_count; i++)
		if (pool->devices[i]->is_member &&
		    pool->devices[i]->state != REG_DEVICE_READY)
			return;
	bind_admit(host, process);
}

void bind_device_ready(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	struct reg_process *process;
	struct error why;

	if (device->has_capacity &&
	    promise_set_capacity(&device->promise, &device->capacity, &why) <
		    0) {
		/* What was stored makes no sense: it is measured again. */
		events_add(host->events, "error", &subject,
			   "device %s: its calibration is not used: %s",
			   device->name, why.text);
		device->has_capacity = false;
		bind_calibrate_first(device);
		return;
	}
	device->state = REG_DEVICE_READY;
	device->retry_ns = 0;
	device->fault = NULL;
	device->told.text[0] = '\0';
	events_add(host->events, "device-ready", &subject, "device %s is ready",
		   device->name);
	if (!device->pool)
		return;
	/* What has a size can be promised. */
	if (reg_pool_is_ready(device->pool))
		give_volumes(device->pool);
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev->pool != device->pool)
			continue;
		if (process->state == REG_PROCESS_PENDING)
			admit_if_judged(host, process);
		else
			extend_promise(process);
	}
	bind_pool_ready(device->pool);
}

/* --- Losing -------------------------------------------------------------- */

/* A front that was there, or could still have come, can come back when there
 * is a way in again: its time runs from then (watch.c). */
static void await_front(struct reg_process *process)
{
	unsigned int sessions = reg_process_sessions(process);

	if (!process->is_session)
		return;
	process->is_awaited |= sessions || process->hold_until_ns;
	process->hold_until_ns = 0;
}

void bind_reset(struct reg_endpoint *endpoint)
{
	struct registry *registry = endpoint->host->registry;
	struct reg_process *process;
	struct reg_vdev *vdev;
	unsigned int i;

	endpoint->is_connected = false;
	for (i = 0; i < endpoint->device_count; i++)
		bind_device_reset(&endpoint->devices[i]);
	for (i = 0; i < registry->pool_count; i++)
		if (registry->pools[i].endpoint == endpoint)
			bind_pool_reset(&registry->pools[i]);
	for (process = registry->processes; process; process = process->next) {
		if (reg_vdev_endpoint(process->vdev) != endpoint)
			continue;
		await_front(process);
		process->is_added = false;
		process->is_listening = false;
		process->sessions = 0;
		process->nbd_sessions = 0;
		process->is_attached = false;
	}
	for (vdev = registry->vdevs; vdev; vdev = vdev->next) {
		if (reg_vdev_endpoint(vdev) != endpoint)
			continue;
		vdev->is_added = false;
		vdev->is_there = false;
		vdev->is_listening = false;
		vdev->is_resizing = false;
		vdev->volume_bytes = 0;
		vdev->sessions = 0;
		vdev->is_attached = false;
		vdev->nbd.is_listening = false;
		vdev->nbd.sessions = 0;
		vdev->nbd.is_attached = false;
		if (vdev->state == REG_VDEV_SERVING)
			vdev->state = REG_VDEV_PENDING;
		else
			bind_vdev_again(vdev);
	}
}
