/* SPDX-License-Identifier: Apache-2.0 */
/* calibrating.c - a device of an endpoint is measured: where its pool is
 * free, and where data are mapped */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <string.h>

#include "endpoint/fields.h"

#define CALIBRATION_MAX_NS	UINT64_C(600000000000)
/* Extents that are taken to be written to: so many, and half of what is open,
 * for others go on writing; but if there are, enough for what was written to be
 * read. */
#define EXTENTS_MOST		256U
#define EXTENTS_ENOUGH		16U
/* It is waited for so many to be open, if they will be. */
#define EXTENTS_AWAITED		64U
/* Of one range that is read. */
#define RUN_MOST		256U

void endpoint_measured_forget(struct endpoint_device *device)
{
	json_decref(device->measured);
	json_decref(device->measured_capacity);
	device->measured = device->measured_capacity = NULL;
}

/* ---- what a pool has for it ---- */

/* They are dirty now: zeroed before anybody gets them. */
static void give_back(struct endpoint_device *device)
{
	struct member *member;

	if (device->taken_extents == 0)
		return;
	member = device->member->add.member;
	for (uint32_t i = 0; i < device->taken_extents; i++)
		member_unref(member, device->first_taken + i);
	device->taken_extents = 0;
	member_kick(member);
}

/* Open ones in a row. */
static void take(struct endpoint_device *device)
{
	struct member *member = device->member->add.member;
	const struct pool *pool = device->member->pool->pool;
	const uint64_t open = member->space.total[SPACE_OPEN];
	uint64_t most = open / 2;
	uint32_t extent;

	if (most < EXTENTS_ENOUGH && open > EXTENTS_ENOUGH)
		most = EXTENTS_ENOUGH;
	if (most > pool_unpromised(pool) / 2)
		most = pool_unpromised(pool) / 2;
	if (most > EXTENTS_MOST)
		most = EXTENTS_MOST;
	device->taken_extents = 0;
	while (device->taken_extents < most &&
	       member_take(member,
			   device->taken_extents ?
				   device->first_taken + device->taken_extents :
				   SPACE_NONE,
			   &extent)) {
		if (device->taken_extents == 0)
			device->first_taken = extent;
		if (extent != device->first_taken + device->taken_extents) {
			member_give_back(member, extent);
			break;
		}
		device->taken_extents++;
	}
}

/* A run of 'volume' on the device, from 'index' on.  Returns where it ends. */
static uint32_t add_run(const struct member *member,
			const struct volume *volume, uint32_t index,
			struct range *range)
{
	const struct table *table = &volume->table;
	uint32_t first = 0;

	*range = (struct range){0};
	while (index < table->count &&
	       range->size_bytes < RUN_MOST * FORMAT_EXTENT_BYTES) {
		const uint32_t number = table_get(table, index) & TABLE_NUMBER;
		const uint32_t extent = number - member->config.first_number;

		if (!number || !member_has_number(member, number))
			break;
		if (range->size_bytes == 0) {
			first = extent;
			range->offset_bytes = member_offset(member, extent);
		}
		if (extent != first + range->size_bytes / FORMAT_EXTENT_BYTES)
			break;
		range->size_bytes += FORMAT_EXTENT_BYTES;
		index++;
	}
	return index;
}

/* Runs of what is mapped, spread over 'volume'. */
static void find_data(const struct member *member, const struct volume *volume,
		      struct range data[RANGES_MAX], unsigned int *count)
{
	const uint32_t step = volume->table.count / RANGES_MAX + 1;
	uint32_t index = 0;

	for (uint32_t at = 0; at < volume->table.count && *count < RANGES_MAX;
	     at += step) {
		uint32_t end;

		if (at > index)
			index = at;
		index = table_next(&volume->table, index, volume->table.count);
		if (index >= volume->table.count)
			return;
		end = add_run(member, volume, index, &data[*count]);
		*count += data[*count].size_bytes > 0;
		index = end > index ? end : index + 1;
	}
}

static void find_all_data(const struct endpoint_device *device,
			  struct range data[RANGES_MAX],
			  struct calibration_config *config)
{
	const struct member *member = device->member->add.member;

	for (const struct volume *v = device->member->pool->pool->volumes; v;
	     v = v->next)
		find_data(member, v, data, &config->data_count);
	config->data = data;
}

/* ---- it is measured ---- */

static void calibrated(void *arg, int result, const struct capacity *capacity)
{
	struct endpoint_device *device = arg;
	struct error error = {0};
	struct capacity behind;
	json_t *reply = NULL;

	if (result < 0) {
		error_set(&error, result, "device %s could not be measured: %s",
			  device->name, strerror(-result));
		endpoint_measured_forget(device);
	} else {
		/* It was measured without the way to it, through which what
		 * is promised passes. */
		behind = *capacity;
		for (unsigned int d = 0; d < 2; d++)
			capacity_behind(&behind.direction[d], CAPACITY_PATH_NS,
					device->immediate);
		device->measured_capacity = ctl_from_capacity(&behind);
		reply = json_pack("{s:O}", "capacity",
				  device->measured_capacity);
	}
	device->is_measured = false;
	give_back(device);
	endpoint_answer(device->endpoint, &device->calibration_answer, result,
			&error, reply);
	calibration_destroy(device->calibration);	/* the table is its */
	device->calibration = NULL;
}

/* Is this what an earlier penstockd asked for and got no answer to?  Then the
 * one that asks now is answered, at once or when it is measured. */
static bool take_over_measuring(struct endpoint_device *device, json_t *request,
				json_t *reply, int *ret_result)
{
	struct endpoint *endpoint = device->endpoint;

	if (!device->measured ||
	    device->calibration_answer.connection == endpoint->connection ||
	    !field_same_request(device->measured, request))
		return false;
	device->calibration_answer = endpoint_answer_later(endpoint, request);
	*ret_result = ENDPOINT_LATER;
	if (device->measured_capacity) {
		json_object_set(reply, "capacity", device->measured_capacity);
		*ret_result = 0;
	}
	return true;
}

static int begin(struct endpoint_device *device, struct error *reterr)
{
	const struct endpoint *endpoint = device->endpoint;
	struct calibration_config config = {
		.device = device->block,
		.loop = endpoint->loop,
		.duration_ns = device->measured_ns,
		/* A real-time thread that never sleeps would keep the kernel's
		 * own threads, which may be part of the device, from its core.
		 */
		.keep_awake = !endpoint->realtime,
		.done = calibrated,
		.arg = device,
	};
	struct range data[RANGES_MAX];
	int result;

	take(device);
	find_all_data(device, data, &config);
	if (device->taken_extents > 0) {
		config.free_offset_bytes = member_offset(
			device->member->add.member, device->first_taken);
		config.free_size_bytes =
			device->taken_extents * FORMAT_EXTENT_BYTES;
	}
	result = calibration_start(&config, &device->calibration, reterr);
	if (result < 0)
		give_back(device);
	return result;
}

bool endpoint_measuring_poll(struct endpoint_device *device)
{
	const struct member *member;
	struct error error = {0};
	int result;

	if (!device->is_measured || device->calibration)
		return false;
	member = device->member->add.member;
	if (member->space.total[SPACE_OPEN] < EXTENTS_AWAITED &&
	    member_is_moving(member))
		return true;
	result = begin(device, &error);
	if (result == 0)
		return false;
	device->is_measured = false;
	endpoint_measured_forget(device);
	endpoint_answer(device->endpoint, &device->calibration_answer, result,
			&error, NULL);
	return false;
}

static int check_device(const struct endpoint_device *device,
			struct error *reterr)
{
	if (device->is_measured)
		return error_set(reterr, -EBUSY,
				 "device %s is being measured already",
				 device->name);
	if (!device->member)
		return error_set(
			reterr, -EBUSY,
			"device %s can be measured when it is a pool's",
			device->name);
	if (!device->member->pool->is_started || !device->member->is_open ||
	    device->member->is_going || device->member->pool->is_going)
		return error_set(
			reterr, -EBUSY,
			"device %s can be measured when pool %s is started",
			device->name, device->member->pool->name);
	return 0;
}

int endpoint_device_calibrate(struct endpoint *endpoint, json_t *request,
			      int *fd, json_t *reply, struct error *reterr)
{
	struct endpoint_device *device;
	uint64_t duration_ns = 0;
	int result = endpoint_named_device(endpoint, request, &device, reterr);

	(void)fd;
	if (result == 0)
		result = field_u64(request, "duration_ns", CALIBRATION_MAX_NS,
				   &duration_ns, reterr);
	if (result < 0)
		return result;
	if (take_over_measuring(device, request, reply, &result))
		return result;
	result = check_device(device, reterr);
	if (result < 0)
		return result;
	endpoint_measured_forget(device);
	device->calibration_answer = endpoint_answer_later(endpoint, request);
	device->measured_ns = duration_ns;
	device->is_measured = true;
	device->measured = field_said(request);
	endpoint_pools_poll(endpoint);
	return ENDPOINT_LATER;
}
