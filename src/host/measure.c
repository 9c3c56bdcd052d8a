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
#include <string.h>
#include <time.h>

#include "base/container.h"
#include "ctl/ctl.h"
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

void bind_capacity_promised(struct reg_device *device,
			    const struct capacity *capacity)
{
	memcpy(&device->capacity, capacity, sizeof(device->capacity));
	device->has_capacity = true;
	device->calibrated_at = (int64_t)time(NULL);
	/* When it is ready, that is done of itself. */
	if (device->state == REG_DEVICE_READY &&
	    promise_set_capacity(&device->promise, capacity, NULL) == 0)
		over_measured(device);
	store_capacity(device, NULL);
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
		device->name,
		device->path ? device->path : device->config->path);
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
		/* Perhaps it goes on, and is found again. */
		device->calibrate_ns = 0;
		host_answer(
			call, HOST_FAILED, NULL,
			"device %s: its endpoint died while it was measured",
			device->name);
		return;
	}
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

/* One at a time: two on one reactor would measure each other. */
void bind_calibrate_next(struct reg_endpoint *endpoint)
{
	struct reg_device *device = NULL;
	unsigned int i;

	if (endpoint->calibrating)
		return;
	for (i = 0; i < endpoint->device_count && !device; i++)
		if (endpoint->devices[i].calibrate_ns &&
		    endpoint->devices[i].is_member &&
		    !endpoint->devices[i].is_measuring)
			device = &endpoint->devices[i];
	if (!device)
		return;
	endpoint->calibrating = device;
	ask_calibrate(device,
		      json_pack("{s:s, s:s, s:I}", "op", "device-calibrate",
				"name", device->config->name, "duration_ns",
				(json_int_t)device->calibrate_ns));
}

void bind_calibrate_found(struct reg_device *device, const json_t *asked)
{
	json_t *message = json_deep_copy(asked);

	json_object_set_new(message, "op", json_string("device-calibrate"));
	json_object_set_new(message, "name", json_string(device->config->name));
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
