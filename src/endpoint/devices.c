/* SPDX-License-Identifier: Apache-2.0 */
/* devices.c - devices of an endpoint: adding, removing */
#include "endpoint/endpoint.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint/fields.h"

/* Requests inside a device: as many as it takes for nearly all of its rate;
 * of one whose depth nobody has measured: */
#define WINDOW_RATE_MILLI	950U
#define WINDOW_DEFAULT		32U
#define WINDOW_MIN		1U
#define WINDOW_LEAST		8U	/* a knee below may be noise */
#define WINDOW_MAX		1024U
#define SECOND_NS		UINT64_C(1000000000)
#define SMALL_KIB		4U
#define LARGE_KIB		128U

struct endpoint_device *endpoint_find_device(struct endpoint *endpoint,
					     const char *name)
{
	struct endpoint_device *device = endpoint->devices;

	while (device && (!name || strcmp(device->name, name)))
		device = device->next;
	return device;
}

/* A 4 KiB and a 128 KiB request at full depth give the two coefficients of
 * the linear model: a base for each request and a price for each KiB. */
static void cost_from_curve(const struct capacity_curve *curve,
			    uint64_t *ret_request_ns, uint64_t *ret_per_kib_ns)
{
	uint64_t small_ns, large_ns, per_kib_ns = 0, iops = 0;

	for (unsigned int i = 0; i < curve->count; i++)
		if (curve->points[i].iops > iops)
			iops = curve->points[i].iops;
	if (!iops)
		return;
	small_ns = SECOND_NS / iops;
	if (curve->bytes_per_s) {
		large_ns = LARGE_KIB * 1024 * SECOND_NS / curve->bytes_per_s;
		if (large_ns > small_ns)
			per_kib_ns =
				(large_ns - small_ns) / (LARGE_KIB - SMALL_KIB);
	}
	if (SMALL_KIB * per_kib_ns >= small_ns)
		per_kib_ns = small_ns / (2 * SMALL_KIB);
	*ret_request_ns = small_ns - SMALL_KIB * per_kib_ns;
	*ret_per_kib_ns = per_kib_ns;
}

static struct sched_config sched_config_from(const struct capacity *capacity,
					     bool immediate)
{
	struct sched_config config = {
		.immediate = immediate,
		.window_min = WINDOW_MIN,
		.window_max = WINDOW_LEAST,
	};

	for (unsigned int d = 0; d < 2; d++) {
		/* More inside the device only adds waiting, and what is inside
		 * can't be overtaken any more. */
		uint32_t window = capacity_depth(&capacity->direction[d],
						 WINDOW_RATE_MILLI);

		if (window == 0)
			window = WINDOW_DEFAULT;
		cost_from_curve(&capacity->direction[d],
				&config.cost.request_ns[d],
				&config.cost.per_kib_ns[d]);
		if (window > config.window_max)
			config.window_max = window;
	}
	if (config.window_max > WINDOW_MAX)
		config.window_max = WINDOW_MAX;
	return config;
}

static int read_model(const json_t *json, struct block_model *ret_model,
		      struct error *reterr)
{
	struct block_model model = {0};
	uint64_t servers = 0, sigma = 0, errors = 0;
	int result;

	if (!json)
		return 0;
	result = field_u64(json, "servers", 4096, &servers, reterr);
	if (result == 0)
		result = field_u64(json, "read_median_ns", 60 * SECOND_NS,
				   &model.read_median_ns, reterr);
	if (result == 0)
		result = field_u64(json, "write_median_ns", 60 * SECOND_NS,
				   &model.write_median_ns, reterr);
	if (result == 0)
		result = field_u64(json, "per_kib_ns", SECOND_NS,
				   &model.per_kib_ns, reterr);
	if (result == 0)
		result = field_u64(json, "sigma_milli", 3000, &sigma, reterr);
	if (result == 0)
		result =
			field_u64(json, "seed", INT64_MAX, &model.seed, reterr);
	if (result == 0)
		result = field_u64(json, "error_ppm", 1000000, &errors, reterr);
	if (result == 0)
		result = field_u64(json, "stall_every_ns", 3600 * SECOND_NS,
				   &model.stall_every_ns, reterr);
	if (result == 0)
		result = field_u64(json, "stall_ns", 3600 * SECOND_NS,
				   &model.stall_ns, reterr);
	if (result < 0)
		return result;
	model.servers = (uint32_t)servers;
	model.sigma_milli = (uint32_t)sigma;
	model.error_ppm = (uint32_t)errors;
	*ret_model = model;
	return 0;
}

static int read_config(json_t *request, struct block_config *config,
		       struct capacity *capacity, uint64_t *slot,
		       struct error *reterr)
{
	const json_t *table = json_object_get(request, "capacity");
	int result = field_name(request, "kind", &config->kind, reterr);

	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &config->size_bytes, reterr);
	if (result == 0)
		result = field_bool(request, "read_only", &config->read_only,
				    reterr);
	if (result == 0)
		result = field_u64(request, "slot", STATS_DEVICES - 1, slot,
				   reterr);
	if (result == 0)
		result = read_model(json_object_get(request, "model"),
				    &config->model, reterr);
	if (result == 0 && table && ctl_to_capacity(table, capacity) < 0)
		result = error_set(reterr, -EINVAL,
				   "'capacity' is not a calibration table");
	return result;
}

void endpoint_device_free(struct endpoint_device *device)
{
	vdev_device_destroy(device->device);
	block_close(device->block);
	endpoint_export_free(device->export);
	if (device->memory_fd >= 0)
		close(device->memory_fd);
	json_decref(device->said);
	json_decref(device->measured);
	json_decref(device->measured_capacity);
	free(device->name);
	free(device);
}

/* Memory is kept by penstockd too, so that it outlives us; after adoption it
 * asks for it back. */
static int keep_memory(const struct block_config *config, int *ret_fd)
{
	*ret_fd = -1;
	assert(config->kind);
	if (strcmp(config->kind, "memory") || config->fd < 0)
		return 0;
	*ret_fd = fcntl(config->fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? -errno : 0;
}

int endpoint_device_serve(struct endpoint_device *device,
			  const struct endpoint_device_wish *wish,
			  struct error *reterr)
{
	const struct block_config *config = &wish->block;
	struct endpoint *endpoint = device->endpoint;
	struct sched_config sched;
	int result;

	device->immediate = (!strcmp(config->kind, "memory") ||
			     !strcmp(config->kind, "nullio")) &&
		config->model.servers == 0;
	device->stats = &endpoint->stats->devices[wish->slot];
	sched = sched_config_from(&wish->capacity, device->immediate);
	result = vdev_device_create(device->block, &sched, device->stats,
				    endpoint->loop, &device->device, reterr);
	if (result == 0 && device->immediate)
		vdev_device_share(device->device, &endpoint->turns);
	if (result < 0)
		return result;
	sched_enforce(vdev_device_sched(device->device), endpoint->enforce,
		      loop_clock_ns());
	device->told_errors = stats_get(&device->stats->errors);
	device->stalled_since_ns = loop_clock_ns();
	device->next = endpoint->devices;
	endpoint->devices = device;
	return 0;
}

static int device_open(struct endpoint_device *device,
		       const struct endpoint_device_wish *wish, json_t *request,
		       int *fd, struct error *reterr)
{
	int result;

	assert(wish->block.kind);
	if (!strcmp(wish->block.kind, "nbd") ||
	    !strcmp(wish->block.kind, "port"))
		return endpoint_export_open(device, wish, request, fd, reterr);
	result = keep_memory(&wish->block, &device->memory_fd);
	if (result < 0)
		return error_set(reterr, result,
				 "no descriptor left for device %s",
				 device->name);
	result = block_open(&wish->block, device->endpoint->loop,
			    &device->block, reterr);
	if (result < 0)
		return result;
	*fd = -1;
	return endpoint_device_serve(device, wish, reterr);
}

int endpoint_device_add(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr)
{
	struct endpoint_device_wish wish = {.block.fd = *fd};
	struct endpoint_device *device;
	const char *name;
	int result = field_name(request, "name", &name, reterr);

	if (result == 0)
		result = read_config(request, &wish.block, &wish.capacity,
				     &wish.slot, reterr);
	if (result < 0)
		return result;
	device = endpoint_find_device(endpoint, name);
	if (device && !field_same_request(device->said, request))
		return error_set(reterr, -EEXIST, "device %s exists", name);
	if (device)
		goto out;

	device = calloc(1, sizeof(*device));
	if (!device)
		return error_set(reterr, -ENOMEM, "no memory for device %s",
				 name);
	device->endpoint = endpoint;
	device->memory_fd = -1;
	device->said = field_said(request);
	device->name = strdup(name);
	result = -ENOMEM;
	if (device->name)
		result = device_open(device, &wish, request, fd, reterr);
	else
		error_set(reterr, result, "no memory");
	if (result < 0)
		endpoint_device_free(device);
	if (result != 0)
		return result;
out:
	assert(device->block);
	json_object_set_new(
		reply, "size_bytes",
		json_integer((json_int_t)device->block->size_bytes));
	return 0;
}

int endpoint_named_device(struct endpoint *endpoint, const json_t *request,
			  struct endpoint_device **ret_device,
			  struct error *reterr)
{
	const char *name;
	int result = field_name(request, "name", &name, reterr);

	if (result < 0)
		return result;
	*ret_device = endpoint_find_device(endpoint, name);
	if (!*ret_device)
		return error_set(reterr, -ENOENT, "no device %s", name);
	return 0;
}

int endpoint_device_capacity(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr)
{
	json_t *table = json_object_get(request, "capacity");
	struct endpoint_device *device;
	struct sched_config config;
	struct capacity capacity;
	int result = endpoint_named_device(endpoint, request, &device, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	if (ctl_to_capacity(table, &capacity) < 0)
		return error_set(reterr, -EINVAL,
				 "'capacity' is not a calibration table");
	config = sched_config_from(&capacity, device->immediate);
	result = sched_configure(vdev_device_sched(device->device), &config,
				 reterr);
	if (result == 0)
		json_object_set(device->said, "capacity", table);
	/* It has been written down: nobody will ask for it again. */
	if (result == 0 && !device->is_measured)
		endpoint_measured_forget(device);
	return result;
}

int endpoint_device_remove(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr)
{
	struct endpoint_device **link = &endpoint->devices;
	struct endpoint_device *device;
	int result = endpoint_named_device(endpoint, request, &device, reterr);

	(void)fd;
	(void)reply;
	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return result;
	if (device->member)
		endpoint_members_poll(device->member->pool);
	if (device->member)
		return error_set(reterr, -EBUSY, "device %s is of pool %s",
				 device->name, device->member->pool->name);
	while (*link != device)
		link = &(*link)->next;
	*link = device->next;
	endpoint_device_free(device);
	return 0;
}
