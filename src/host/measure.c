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

/* Written down: from now on it is what admission goes by. */
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
	answer_calibrated(op->call, device);
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
		answer_calibrated(call, device);
		return;
	}
	store_write_start(host->store, &op->write);
}

static void capacity_sent(struct bind_op *op, struct link_reply *reply)
{
	(void)op;
	(void)reply;	/* it is in "device-add" when the endpoint is back */
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
	struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = capacity_sent,
	};
	bool is_short = device->calibrate_ns == FIRST_CALIBRATION_NS && !call;

	device->capacity = *capacity;
	device->capacity.is_short = is_short;
	device->has_capacity = true;
	device->calibrated_at = (int64_t)time(NULL);
	store_capacity(device, call);
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:o}", "op", "device-capacity", "name",
			   device->config->name, "capacity",
			   ctl_from_capacity(&device->capacity)),
		 -1);
	events_add(
		host->events, "calibrated", &subject, "device %s: %s",
		device->name,
		is_short ?
			"measured shortly, at its first start ('penstock device calibrate' measures it fully)" :
			"measured");
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

static void measured_release(struct reg_device *device)
{
	if (device->measured.size_bytes)
		extents_release(&device->extents,
				device->measured.offset_bytes);
	device->measured.size_bytes = 0;
}

static void calibrate_answered(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;
	struct error why = {"the measurement makes no sense"};
	struct host_call *call = device->calibrate_call;
	struct capacity capacity;

	device->calibrate_call = NULL;
	measured_release(device);
	if (op->endpoint->calibrating == device)
		op->endpoint->calibrating = NULL;
	if (reply->result == -ECONNRESET) {
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

/* One at a time: two on one reactor would measure each other. */
void bind_calibrate_next(struct reg_endpoint *endpoint)
{
	struct bind_op op = {
		.endpoint = endpoint,
		.then = calibrate_answered,
	};
	struct reg_device *device = NULL;
	struct extent free_range = {0, 0};
	unsigned int i;

	if (endpoint->calibrating)
		return;
	for (i = 0; i < endpoint->device_count && !device; i++)
		if (endpoint->devices[i].calibrate_ns &&
		    endpoint->devices[i].is_added)
			device = &endpoint->devices[i];
	if (!device)
		return;
	/* At a first start nobody was asked: only what was blank is written. */
	if ((device->is_blank || device->calibrate_call) &&
	    !device->config->read_only)
		free_range = measured_take(device);
	endpoint->calibrating = device;
	op.device = device;
	bind_ask(
		&op,
		json_pack("{s:s, s:s, s:I, s:I, s:I}", "op", "device-calibrate",
			  "name", device->config->name, "duration_ns",
			  (json_int_t)device->calibrate_ns, "free_offset_bytes",
			  (json_int_t)free_range.offset_bytes,
			  "free_size_bytes", (json_int_t)free_range.size_bytes),
		-1);
}

void bind_calibrate_first(struct reg_device *device)
{
	device->state = REG_DEVICE_CALIBRATING;
	device->calibrate_ns = FIRST_CALIBRATION_NS;
	bind_calibrate_next(device->endpoint);
}
