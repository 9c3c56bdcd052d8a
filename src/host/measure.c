/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - what a device sustains: measured by its endpoint, written down
 *
 * At a device's first start, shortly, before anything is promised of it; and
 * whenever somebody asks.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/errand.h"
#include "host/holes.h"
#include "host/over.h"
#include "host/records.h"

#define FIRST_CALIBRATION_NS	UINT64_C(600000000)

struct capacity_write {
	struct store_write write;
	struct reg_device *device;
	struct host_call *call;
};

static void answer_calibrated(struct host_call *call, struct reg_device *device)
{
	if (call)
		host_answer(call, HOST_DONE,
			    host_device(device->endpoint->host, device->name),
			    "%s", "");
}

static void capacity_sent(struct bind_op *op, struct link_reply *reply)
{
	(void)reply;	/* it is in "device-add" when the endpoint is back */
	answer_calibrated(op->call, op->device);
}

/* From now on the endpoint goes by it, and need not keep it for us. */
static void send_capacity(struct reg_device *device, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.call = call,
		.then = capacity_sent,
	};

	if (!device->is_added) {
		answer_calibrated(call, device);
		return;
	}
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:o}", "op", "device-capacity", "name",
			   device->config->name, "capacity",
			   ctl_from_capacity(&device->capacity)),
		 -1);
}

/* Written down: the endpoint need not keep it any more.  Admission goes by it
 * since it was measured; whoever dies before this finds it at the endpoint, or
 * measures again. */
static void capacity_written(struct store_write *write)
{
	struct capacity_write *op =
		container_of(write, struct capacity_write, write);
	struct reg_device *device = op->device;
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	if (write->result < 0)
		events_add(host->events, "error", &subject,
			   "device %s: its calibration could not be stored: %s",
			   device->name, write->error.text);
	send_capacity(device, op->call);
	free(op);
}

static void store_capacity(struct reg_device *device, struct host_call *call)
{
	struct host *host = device->endpoint->host;
	struct capacity_write *op = calloc(1, sizeof(*op));

	if (op) {
		op->device = device;
		op->call = call;
		store_write_init(&op->write, capacity_written);
	}
	if (!op || records_put_capacity(&op->write, device) < 0) {
		free(op);
		send_capacity(device, call);
		return;
	}
	store_write_start(host->store, &op->write);
}

static void use_capacity(struct reg_device *device,
			 const struct capacity *capacity,
			 struct host_call *call)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	bool is_short = device->calibrate_ns == FIRST_CALIBRATION_NS && !call;

	device->capacity = *capacity;
	device->capacity.is_short = is_short;
	device->has_capacity = true;
	device->calibrated_at = (int64_t)time(NULL);
	device->measured_file = device->file;
	store_capacity(device, call);
	events_add(
		host->events, "calibrated", &subject, "device %s: %s",
		device->name,
		is_short ?
			"measured shortly, at its first start ('penstock device calibrate' measures it fully)" :
			"measured");
	over_measured(device);
}

void bind_capacity_check(struct reg_device *device)
{
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	if (!device->has_capacity || !device->config->path ||
	    identity_is_measured(&device->measured_file, &device->file))
		return;
	device->has_capacity = false;
	promise_forget_capacity(&device->promise);
	events_add(
		device->endpoint->host->events, "device-changed", &subject,
		"device %s: another file or disk is %s now than the one that was measured: it is measured anew",
		device->name, device->config->path);
}

/* What is measured with writes is nobody's, so that nobody gets it now. */
static struct extent measured_take(struct reg_device *device)
{
	struct extent none = {0, 0};
	struct extent range =
		extents_largest_free(&device->extents, device->size_bytes);

	if (range.size_bytes == 0 || device->measured.size_bytes ||
	    extents_take_at(&device->extents, range.offset_bytes,
			    range.size_bytes) < 0)
		return none;
	device->measured = range;
	return range;
}

void bind_measured_release(struct reg_device *device)
{
	if (!device->measured.size_bytes && !device->extents.is_closed)
		return;
	if (device->measured.size_bytes)
		extents_release(&device->extents,
				device->measured.offset_bytes);
	device->measured.size_bytes = 0;
	device->extents.is_closed = false;
	device->endpoint->host->bind.space_freed(device);
}

static void calibrate_answered(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	struct error why = {"the measurement makes no sense"};
	struct host_call *call = device->calibrate_call;
	struct capacity capacity;

	device->calibrate_call = NULL;
	device->is_measuring = false;
	if (op->endpoint->calibrating == device)
		op->endpoint->calibrating = NULL;
	if (reply->result == -ECONNRESET) {
		/* Perhaps it goes on, and is found again: its space stays taken
		 * until we know, or have the device's lock. */
		device->calibrate_ns = 0;
		host_answer(
			call, HOST_FAILED, NULL,
			"device %s: its endpoint died while it was measured",
			device->name);
		return;
	}
	bind_measured_release(device);
	if (reply->result == 0 &&
	    (ctl_to_capacity(json_object_get(reply->reply, "capacity"),
			     &capacity) < 0 ||
	     promise_set_capacity(&device->promise, &capacity, &why) < 0)) {
		reply->result = -EBADMSG;
		reply->text = why.text;
	}
	if (reply->result < 0)
		host_answer(call, HOST_FAILED, NULL, "device %s: %s",
			    device->name, reply->text);
	else
		use_capacity(device, &capacity, call);
	device->calibrate_ns = 0;
	device->endpoint->host->bind.device_measured(device, reply->result,
						     reply->text);
	bind_calibrate_next(op->endpoint);
}

/* --- Asking -------------------------------------------------------------- */

/* 'message' is taken over. */
static void ask_calibrate(struct reg_device *device, json_t *message)
{
	struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = calibrate_answered,
	};

	device->is_measuring = true;
	bind_ask(&op, message, -1);
}

/* Reads stay where there is data.  At a first start nobody was asked: only
 * what is blank is written. */
static void ask_anew(struct reg_device *device, const struct holes *holes)
{
	struct extent range = {0, 0};
	json_t *message, *data;

	if ((device->is_blank || holes->is_blank || device->calibrate_call) &&
	    !device->config->read_only)
		range = measured_take(device);
	message = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "op",
			    "device-calibrate", "name", device->config->name,
			    "duration_ns", (json_int_t)device->calibrate_ns,
			    "free_offset_bytes", (json_int_t)range.offset_bytes,
			    "free_size_bytes", (json_int_t)range.size_bytes,
			    "keep_allocated", holes->is_allocated);
	if (holes->is_known) {
		data = json_array();
		for (unsigned int i = 0; i < holes->data_count; i++)
			json_array_append_new(
				data,
				json_pack(
					"[I, I]",
					(json_int_t)holes->data[i].offset_bytes,
					(json_int_t)holes->data[i].size_bytes));
		json_object_set_new(message, "data", data);
	}
	ask_calibrate(device, message);
}

static void looked(void *arg, const struct holes *holes)
{
	struct reg_device *device = arg;
	struct host_call *call = device->calibrate_call;

	device->looking = NULL;
	if (device->is_measuring)
		return;		/* found at an endpoint meanwhile */
	if (device->is_added) {
		ask_anew(device, holes);
		return;
	}
	device->calibrate_call = NULL;
	device->calibrate_ns = 0;
	device->endpoint->calibrating = NULL;
	host_answer(call, HOST_FAILED, NULL,
		    "device %s: its endpoint died before it was measured",
		    device->name);
}

/* One at a time: two on one reactor would measure each other. */
void bind_calibrate_next(struct reg_endpoint *endpoint)
{
	const struct holes unknown = {.is_known = false};
	const struct holes nothing = {.is_known = true};
	struct reg_device *device = NULL;
	unsigned int i;

	if (endpoint->calibrating)
		return;
	for (i = 0; i < endpoint->device_count && !device; i++)
		if (endpoint->devices[i].calibrate_ns &&
		    endpoint->devices[i].is_added &&
		    !endpoint->devices[i].is_measuring)
			device = &endpoint->devices[i];
	if (!device)
		return;
	endpoint->calibrating = device;
	if (device->file.inode == 0)
		ask_anew(device, &unknown);	/* not a regular file */
	else if (!device->looking &&
		 holes_start(endpoint->host->loop, &device->file,
			     device->size_bytes, looked, device,
			     &device->looking) < 0)
		ask_anew(device, &nothing);
}

void bind_calibrate_found(struct reg_device *device, const json_t *asked)
{
	json_t *message = json_deep_copy(asked);

	json_object_set_new(message, "op", json_string("device-calibrate"));
	json_object_set_new(message, "name", json_string(device->config->name));
	device->extents.is_closed = true;
	device->calibrate_ns = (uint64_t)json_integer_value(
		json_object_get(asked, "duration_ns"));
	device->endpoint->calibrating = device;
	ask_calibrate(device, message);
}

void bind_calibrate_first(struct reg_device *device)
{
	device->state = REG_DEVICE_CALIBRATING;
	device->calibrate_ns = FIRST_CALIBRATION_NS;
	bind_calibrate_next(device->endpoint);
}

void bind_calibrate_finish(struct reg_device *device)
{
	errand_abandon(device->looking);
	device->looking = NULL;
}
