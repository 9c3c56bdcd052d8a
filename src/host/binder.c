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
	return device->state == REG_DEVICE_READY ||
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
		if (vdev->is_placed && !vdev->is_journaled &&
		    vdev->state != REG_VDEV_FAILED)
			return;
	host->told_ready = true;
	if (host->hooks.ready)
		host->hooks.ready(host->hooks.arg);
}

/* --- Processes ----------------------------------------------------------- */

json_t *bind_process_message(const struct reg_process *process, const char *op)
{
	struct sched_params params;
	json_t *message;

	promise_params(process, &params);
	message = json_pack("{s:s, s:I, s:s, s:i, s:b, s:o, s:o}", "op", op,
			    "pasid", (json_int_t)process->pasid, "vdev",
			    process->vdev->name, "slot", process->slot,
			    "own_socket", process->vhost_user != NULL, "params",
			    ctl_from_sched_params(&params), "sla",
			    ctl_from_sla(&process->sla));
	if (process->has_match)
		json_object_set_new(message, "match_ioprio",
				    json_integer(process->match_ioprio));
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

void bind_admit(struct host *host, struct reg_process *process)
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
		    process->vdev->state == REG_VDEV_REMOVING ||
		    process->vdev->pool->device->state != REG_DEVICE_READY ||
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
	return vdev->is_placed && vdev->is_journaled &&
		vdev->pool->device->state == REG_DEVICE_READY &&
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
		if (process->vdev->is_added && !process->is_added &&
		    !process->is_writing &&
		    process->state == REG_PROCESS_BOUND &&
		    reg_vdev_endpoint(process->vdev) == endpoint)
			add_process(process);
	}
	for (vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (reg_vdev_endpoint(vdev) == endpoint && vdev->is_added &&
		    vdev_may_serve(vdev)) {
			bind_way_in(vdev, NULL);
			bind_nbd(vdev);
		}
}

/* --- Places -------------------------------------------------------------- */

struct placement_write {
	struct store_write write;
	struct reg_vdev *vdev;
};

static void placement_written(struct store_write *write)
{
	struct placement_write *op =
		container_of(write, struct placement_write, write);
	struct reg_vdev *vdev = op->vdev;

	vdev->is_writing = false;
	if (write->result < 0) {
		bind_vdev_failed(vdev, write->error.text);
	} else {
		vdev->is_journaled = true;
		bind_sync(reg_vdev_endpoint(vdev));
	}
	free(op);
	bind_touch(reg_vdev_endpoint(vdev)->host);
}

/* Find a place if it has none, write it down, then serve it. */
static void place_vdev(struct host *host, struct reg_vdev *vdev)
{
	struct placement_write *op;
	struct error why;

	if (!vdev->is_placed &&
	    registry_place(host->registry, vdev, &why) < 0) {
		bind_vdev_failed(vdev, why.text);
		return;
	}
	op = calloc(1, sizeof(*op));
	if (op) {
		op->vdev = vdev;
		store_write_init(&op->write, placement_written);
	}
	if (!op || records_put_placement(&op->write, vdev, &vdev->file) < 0) {
		free(op);
		bind_vdev_failed(vdev, "out of memory");
		return;
	}
	vdev->is_writing = true;
	store_write_start(host->store, &op->write);
}

/* Vdevs of this device that have no place, or one that is not written down. */
static void place_vdevs(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		if (vdev->pool->device != device ||
		    vdev->state != REG_VDEV_PENDING)
			continue;
		if (vdev->is_placed &&
		    vdev->offset_bytes + vdev->size_bytes > device->size_bytes)
			bind_vdev_failed(
				vdev,
				"its device is smaller than it was: part of the data is gone");
		else if (!vdev->is_journaled && !vdev->is_writing &&
			 (vdev->is_placed || !device->extents.is_closed))
			place_vdev(host, vdev);
	}
}

void bind_retry_vdevs(struct host *host)
{
	uint64_t now_ns = loop_clock_ns();
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		struct reg_device *device = vdev->pool->device;

		if (now_ns < vdev->retry_at_ns ||
		    !device->endpoint->is_connected ||
		    device->state != REG_DEVICE_READY || !bind_vdev_again(vdev))
			continue;
		place_vdevs(device);
		bind_sync(device->endpoint);
	}
}

void bind_space_freed(struct reg_device *device)
{
	if (device->state != REG_DEVICE_READY)
		return;
	place_vdevs(device);
	bind_sync(device->endpoint);
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
	device->told.text[0] = '\0';
	events_add(host->events, "device-ready", &subject, "device %s is ready",
		   device->name);
	if (registry_file_differs(host->registry, device))
		events_add(
			host->events, "error", &subject,
			"device %s: %s is another file than the one in which its vdevs were placed: they have what lies there now, and space that they give back stays taken; put that file back, or, if this is a copy of it, say 'penstock device accept %s'",
			device->name,
			device->file.path[0] ? device->file.path :
					       "what it has",
			device->name);
	place_vdevs(device);
	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->vdev->pool->device == device)
			bind_admit(host, process);
	bind_sync(device->endpoint);
	space_retry(host);
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
		vdev->is_listening = false;
		vdev->is_resizing = false;
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
