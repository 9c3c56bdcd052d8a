/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binder.c - makes endpoints match the registry: vdevs, ways in, processes
 *
 * What is missing is asked for, in the order in which it depends on one
 * another, without waiting: an endpoint answers in order, but for what takes
 * its time (measuring, draining a way in).  When it dies nothing is missing
 * any more but everything, and the same function asks again.
 */
#include "host/host-data.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/endpoint.h"
#include "host/listen.h"
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

/* --- Vdevs --------------------------------------------------------------- */

static void vdev_failed(struct reg_vdev *vdev, const char *text)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct event_subject subject = {
		.vdev = vdev->name,
		.endpoint = endpoint->name,
	};

	vdev->state = REG_VDEV_FAILED;
	if (strcmp(vdev->error.text, text) == 0)
		return;
	error_set(&vdev->error, -EIO, "%s", text);
	events_add(endpoint->host->events, "error", &subject, "vdev %s: %s",
		   vdev->name, text);
}

static void vdev_added(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result < 0) {
		vdev->is_added = false;
		vdev_failed(vdev, reply->text);
		return;
	}
	if (vdev->state == REG_VDEV_PENDING)
		vdev->state = REG_VDEV_SERVING;
}

static void add_vdev(struct reg_vdev *vdev)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct stats_segment *stats = endpoint_stats(endpoint->process);
	struct bind_op op = {
		.endpoint = endpoint,
		.vdev = vdev,
		.then = vdev_added,
	};

	if (vdev->slot < 0) {
		vdev->slot = reg_slot_take(endpoint);
		if (vdev->slot < 0) {
			vdev_failed(
				vdev,
				"the endpoint has too many vdevs and processes");
			return;
		}
		memset(&stats->processes[vdev->slot], 0,
		       sizeof(stats->processes[0]));
	}
	vdev->is_added = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:b, s:i, s:o}",
			   "op", "vdev-add", "name", vdev->name, "device",
			   vdev->pool->device->config->name, "offset_bytes",
			   (json_int_t)vdev->offset_bytes, "size_bytes",
			   (json_int_t)vdev->size_bytes, "queues",
			   (int)vdev->queues, "read_only", vdev->read_only,
			   "slot", vdev->slot, "limits",
			   ctl_from_sched_limits(&vdev->limits)),
		 -1);
}

static void ignore(struct bind_op *op, struct link_reply *reply)
{
	(void)op;
	(void)reply;
}

/* It was found with another size than it is to have, which is written down by
 * now; and nobody else writes to the space that it gets. */
static void resize_vdev(struct reg_vdev *vdev)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = ignore,
	};

	if (!vdev->is_resizing || vdev->is_writing ||
	    vdev->pool->device->extents.is_closed)
		return;
	vdev->is_resizing = false;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:I}", "op", "vdev-resize", "name",
			   vdev->name, "size_bytes",
			   (json_int_t)vdev->size_bytes),
		 -1);
}

/* --- Ways in ------------------------------------------------------------- */

/* Once for each reason: it is tried again every second. */
static void say_no_way_in(struct reg_vdev *vdev, struct reg_process *process,
			  const struct error *why)
{
	struct events *events = reg_vdev_endpoint(vdev)->host->events;
	struct error *said = process ? &process->error : &vdev->error;
	struct event_subject subject = {
		.vdev = vdev->name,
		.pasid = process ? process->pasid : 0,
	};

	if (strcmp(said->text, why->text) == 0)
		return;
	*said = *why;
	if (process)
		events_add(events, "error", &subject,
			   "process %u of vdev %s: %s", process->pasid,
			   vdev->name, why->text);
	else
		events_add(events, "error", &subject, "vdev %s: %s", vdev->name,
			   why->text);
}

static void listening(struct bind_op *op, struct link_reply *reply)
{
	struct reg_process *process = op->process;
	struct reg_vdev *vdev = op->vdev;
	struct error why;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result >= 0) {
		if (process)
			process->error.text[0] = '\0';
		else if (vdev->state != REG_VDEV_FAILED)
			vdev->error.text[0] = '\0';
		return;
	}
	if (process)
		process->is_listening = false;
	else
		vdev->is_listening = false;
	/* The one before it is still drained: bind_retry_listeners. */
	if (reply->result == -EBUSY || vdev->state == REG_VDEV_FAILED)
		return;
	if (!process) {
		vdev_failed(vdev, reply->text);
	} else if (process->is_added) {
		error_set(&why, reply->result, "%s", reply->text);
		say_no_way_in(vdev, process, &why);
	}
}

/* Open the socket if it is not, and hand a copy over. */
static void add_listener(struct reg_vdev *vdev, struct reg_process *process)
{
	const char *path = process ? process->vhost_user : vdev->vhost_user;
	int *listen_fd = process ? &process->listen_fd : &vdev->listen_fd;
	bool *is_listening =
		process ? &process->is_listening : &vdev->is_listening;
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.process = process,
		.then = listening,
	};
	struct error why;
	int fd;

	if (!path || *is_listening)
		return;
	if (*listen_fd < 0 && listen_open(path, listen_fd, &why) < 0) {
		say_no_way_in(vdev, process, &why);
		return;
	}
	fd = fcntl(*listen_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;		/* tried again by bind_retry_listeners */
	*is_listening = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:i}", "op", "listen", "vdev",
			   vdev->name, "pasid",
			   process ? (int)process->pasid : 0),
		 fd);
}

void bind_retry_listeners(struct host *host)
{
	struct reg_process *process;
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->is_added && vdev->state == REG_VDEV_SERVING &&
		    reg_vdev_endpoint(vdev)->is_connected)
			add_listener(vdev, NULL);
	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->is_added && process->state == REG_PROCESS_BOUND &&
		    reg_vdev_endpoint(process->vdev)->is_connected)
			add_listener(process->vdev, process);
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
	add_listener(process->vdev, process);
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
	if (promise_admit(host->registry, process, &process->sla, &refusal) ==
	    0) {
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
static bool readmit(struct host *host, struct reg_process *process)
{
	struct promise_refusal refusal;
	int ret =
		promise_admit(host->registry, process, &process->sla, &refusal);

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
			.then = ignore,
		};

		if ((!is_refused && !is_unpromised) || process->is_writing ||
		    process->vdev->state == REG_VDEV_REMOVING ||
		    process->vdev->pool->device->state != REG_DEVICE_READY ||
		    !readmit(host, process))
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
			add_vdev(vdev);
		else
			resize_vdev(vdev);
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
		    vdev_may_serve(vdev))
			add_listener(vdev, NULL);
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
		vdev_failed(vdev, write->error.text);
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
		vdev_failed(vdev, why.text);
		return;
	}
	op = calloc(1, sizeof(*op));
	if (op) {
		op->vdev = vdev;
		store_write_init(&op->write, placement_written);
	}
	if (!op || records_put_placement(&op->write, vdev) < 0) {
		free(op);
		vdev_failed(vdev, "out of memory");
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
			vdev_failed(
				vdev,
				"its device is smaller than it was: part of the data is gone");
		else if (!vdev->is_journaled && !vdev->is_writing &&
			 (vdev->is_placed || !device->extents.is_closed))
			place_vdev(host, vdev);
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

	if (promise_set_capacity(&device->promise, &device->capacity, &why) <
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
	unsigned int sessions = process->vhost_user ? process->sessions :
						      process->vdev->sessions;

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
		if (vdev->state == REG_VDEV_SERVING)
			vdev->state = REG_VDEV_PENDING;
	}
}
