/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-check.c - what no single section can see
 *
 * Names that must be unique or must exist, sockets, room; and which parts
 * can't be served because what they stand on can't.
 */
#include "host/config-read.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "base/units.h"
#include "sla/limit.h"

#define EXTENT_BYTES	(UINT64_C(1) << 20)

/* --- Unique names -------------------------------------------------------- */

static int check_endpoint_names(struct reader *reader)
{
	const struct config *config = reader->config;
	const size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path);
	unsigned int i, j;

	for (i = 0; i < config->endpoint_count; i++) {
		const struct config_endpoint *endpoint = &config->endpoints[i];
		const struct config_endpoint *other;

		for (j = 0; j < i; j++) {
			other = &config->endpoints[j];
			if (strcmp(endpoint->name, other->name) == 0)
				return reader_fail(
					reader, endpoint->line,
					"endpoint '%s' twice (first in line %u)",
					endpoint->name, other->line);
		}
		if (strlen(config->state) + strlen(endpoint->name) +
			    sizeof("/.control") >
		    path_max)
			return reader_fail(
				reader, endpoint->line,
				"the control socket of '%s' in %s would have too long a path (%zu characters at most)",
				endpoint->name, config->state, path_max - 1);
	}
	return 0;
}

/* Within one endpoint names differ; in the whole file, paths. */
static int check_device(struct reader *reader, unsigned int endpoint_index,
			unsigned int device_index)
{
	const struct config *config = reader->config;
	const struct config_device *device =
		&config->endpoints[endpoint_index].devices[device_index];
	unsigned int i, j;

	for (i = 0; i <= endpoint_index; i++) {
		const struct config_endpoint *endpoint = &config->endpoints[i];
		unsigned int end = i == endpoint_index ? device_index :
							 endpoint->device_count;

		for (j = 0; j < end; j++) {
			const struct config_device *other =
				&endpoint->devices[j];

			if (i == endpoint_index &&
			    strcmp(device->name, other->name) == 0)
				return reader_fail(
					reader, device->line,
					"device '%s' twice in endpoint '%s' (first in line %u)",
					device->name, endpoint->name,
					other->line);
			if (device->path && other->path &&
			    strcmp(device->path, other->path) == 0)
				return reader_fail(
					reader, device->line,
					"device '%s': path %s is device '%s' already (line %u)",
					device->name, device->path, other->name,
					other->line);
		}
	}
	return 0;
}

static int check_devices(struct reader *reader)
{
	const struct config *config = reader->config;
	unsigned int i, j;
	int ret;

	for (i = 0; i < config->endpoint_count; i++) {
		for (j = 0; j < config->endpoints[i].device_count; j++) {
			ret = check_device(reader, i, j);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* --- Sockets ------------------------------------------------------------- */

struct socket_use {
	const char *path;
	const char *of;
	unsigned int line;
};

/* The i-th path at which somebody is to listen; path NULL: none here. */
static struct socket_use socket_at(const struct config *config, unsigned int i)
{
	struct socket_use use = {NULL, NULL, 0};

	if (i == 0) {
		use.path = config->api.unix_path;
		use.of = "the API";
		use.line = config->api.line;
		return use;
	}
	i--;
	if (i < 2 * config->vdev_count) {
		const struct config_vdev *vdev = &config->vdevs[i / 2];

		use.path = vdev->vhost_user;
		if (i % 2)
			use.path = vdev->nbd &&
					strncmp(vdev->nbd, "unix:", 5) == 0 ?
				vdev->nbd + 5 :
				NULL;
		use.of = vdev->name;
		use.line = vdev->line;
		return use;
	}
	i -= 2 * config->vdev_count;
	use.path = config->processes[i].vhost_user;
	use.of = config->processes[i].name;
	use.line = config->processes[i].line;
	return use;
}

static int check_sockets(struct reader *reader)
{
	const struct config *config = reader->config;
	unsigned int count = 1 + 2 * config->vdev_count + config->process_count;
	unsigned int i, j;

	for (i = 1; i < count; i++) {
		struct socket_use use = socket_at(config, i);

		for (j = 0; use.path && j < i; j++) {
			struct socket_use other = socket_at(config, j);

			if (other.path && strcmp(use.path, other.path) == 0)
				return reader_fail(
					reader, use.line,
					"socket %s of '%s' is that of %s already (line %u)",
					use.path, use.of, other.of, other.line);
		}
	}
	return 0;
}

/* --- Pools --------------------------------------------------------------- */

static const struct config_endpoint *find_endpoint(const struct config *config,
						   const char *name)
{
	unsigned int i;

	for (i = 0; i < config->endpoint_count; i++)
		if (strcmp(config->endpoints[i].name, name) == 0)
			return &config->endpoints[i];
	return NULL;
}

static const struct config_device *find_device(
	const struct config *config, const struct config_pool_device *at)
{
	const struct config_endpoint *endpoint =
		find_endpoint(config, at->endpoint);
	unsigned int i;

	for (i = 0; endpoint && i < endpoint->device_count; i++)
		if (strcmp(endpoint->devices[i].name, at->device) == 0)
			return &endpoint->devices[i];
	return NULL;
}

static struct config_pool *find_pool(const struct config *config,
				     const char *name)
{
	unsigned int i;

	for (i = 0; i < config->pool_count; i++)
		if (strcmp(config->pools[i].name, name) == 0)
			return &config->pools[i];
	return NULL;
}

static bool is_local(const struct config *config,
		     const struct config_pool_device *at)
{
	return !at->host || strcmp(at->host, config->host) == 0;
}

/* Is the device of 'pool' at index 'k' named before, here or elsewhere? */
static int check_device_once(struct reader *reader, unsigned int pool_index,
			     unsigned int device_index)
{
	const struct config *config = reader->config;
	const struct config_pool *pool = &config->pools[pool_index];
	const struct config_pool_device *at = &pool->devices[device_index];
	unsigned int i, j;

	for (i = 0; i <= pool_index; i++) {
		const struct config_pool *other = &config->pools[i];
		unsigned int end =
			i == pool_index ? device_index : other->device_count;

		for (j = 0; j < end; j++) {
			const struct config_pool_device *there =
				&other->devices[j];

			if (is_local(config, at) != is_local(config, there) ||
			    (!is_local(config, at) &&
			     strcmp(at->host, there->host)) ||
			    strcmp(at->endpoint, there->endpoint) ||
			    strcmp(at->device, there->device))
				continue;
			return reader_fail(
				reader, at->line,
				"device %s/%s is in pool '%s' already (line %u)",
				at->endpoint, at->device, other->name,
				there->line);
		}
	}
	return 0;
}

static int check_pool_devices(struct reader *reader, unsigned int pool_index)
{
	const struct config *config = reader->config;
	struct config_pool *pool = &config->pools[pool_index];
	unsigned int i;
	int ret;

	pool->served = true;
	for (i = 0; i < pool->device_count; i++) {
		const struct config_pool_device *at = &pool->devices[i];
		const struct config_device *device;

		ret = check_device_once(reader, pool_index, i);
		if (ret < 0)
			return ret;
		if (!is_local(config, at)) {
			pool->served = false;
			ret = reader_note(reader, at->line,
					  "pool '%s': device %s/%s of host %s",
					  pool->name, at->endpoint, at->device,
					  at->host);
			if (ret < 0)
				return ret;
			continue;
		}
		device = find_device(config, at);
		if (!device)
			return reader_fail(
				reader, at->line,
				"pool '%s': there is no device %s/%s",
				pool->name, at->endpoint, at->device);
		if (!device->served)
			pool->served = false;
	}
	return 0;
}

static bool has_several_endpoints(const struct config_pool *pool)
{
	for (unsigned int i = 1; i < pool->device_count; i++)
		if (strcmp(pool->devices[i].endpoint,
			   pool->devices[0].endpoint) != 0)
			return true;
	return false;
}

static int check_pool(struct reader *reader, unsigned int index)
{
	const struct config *config = reader->config;
	struct config_pool *pool = &config->pools[index];
	unsigned int i;
	int ret;

	for (i = 0; i < index; i++)
		if (strcmp(config->pools[i].name, pool->name) == 0)
			return reader_fail(reader, pool->line,
					   "pool '%s' twice (first in line %u)",
					   pool->name, config->pools[i].line);
	if (pool->from)
		return 0;	/* check_part, when all others are known */
	if (pool->device_count > CONFIG_POOL_DEVICES_MAX)
		return reader_fail(
			reader, pool->line,
			"pool '%s': %u devices: at most %u in one pool",
			pool->name, pool->device_count,
			CONFIG_POOL_DEVICES_MAX);
	ret = check_pool_devices(reader, index);
	if (ret == 0 && has_several_endpoints(pool)) {
		pool->served = false;
		ret = reader_note(reader, pool->line,
				  "pool '%s': devices of several endpoints",
				  pool->name);
	}
	return ret;
}

/* --- Vdevs --------------------------------------------------------------- */

/* What it has; 0: that is not known here. */
static uint64_t room_of(const struct config *config,
			const struct config_pool *pool)
{
	uint64_t bytes = 0;

	if (pool->from)
		return pool->size_bytes == CONFIG_SIZE_EQUAL ? 0 :
							       pool->size_bytes;
	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct config_device *device =
			find_device(config, &pool->devices[i]);

		if (device->size_bytes == 0)
			return 0;
		bytes += device->size_bytes;
	}
	return bytes;
}

static uint64_t whole_extents(uint64_t bytes)
{
	return bytes == CONFIG_SIZE_EQUAL ?
		0 :
		(bytes + EXTENT_BYTES - 1) / EXTENT_BYTES * EXTENT_BYTES;
}

/* Is there room in 'pool' for 'what' of that size, beside the parts before
 * 'part' and the vdevs before 'vdev' (NULL: beside none of them)? */
static int check_room(struct reader *reader, const struct config_pool *pool,
		      const struct config_pool *part,
		      const struct config_vdev *vdev)
{
	const struct config *config = reader->config;
	const uint64_t all_bytes = room_of(config, pool);
	const uint64_t wanted = vdev ? vdev->size_bytes : part->size_bytes;
	const struct config_pool *parts_end =
		vdev ? config->pools + config->pool_count : part;
	char size[UNITS_TEXT_MAX], free_text[UNITS_TEXT_MAX];
	const struct config_pool *other;
	const struct config_vdev *before;
	uint64_t used_bytes = 0;

	if (pool->thin || all_bytes == 0 || wanted == CONFIG_SIZE_EQUAL)
		return 0;
	for (other = config->pools; other < parts_end; other++)
		if (other->from && strcmp(other->from, pool->name) == 0)
			used_bytes += whole_extents(other->size_bytes);
	for (before = config->vdevs; vdev && before < vdev; before++)
		if (strcmp(before->pool, pool->name) == 0)
			used_bytes += whole_extents(before->size_bytes);
	if (used_bytes <= all_bytes && wanted <= all_bytes - used_bytes)
		return 0;
	units_format_size(size, sizeof(size), wanted);
	units_format_size(free_text, sizeof(free_text),
			  used_bytes < all_bytes ? all_bytes - used_bytes : 0);
	return reader_fail(reader, vdev ? vdev->line : part->line,
			   "%s '%s' of %s does not fit: pool '%s' has %s left",
			   vdev ? "vdev" : "pool",
			   vdev ? vdev->name : part->name, size, pool->name,
			   free_text);
}

/* A part has its own room in a pool whose other users cannot take it: nothing
 * may be thin from there on. */
static int check_part(struct reader *reader, struct config_pool *part)
{
	const struct config *config = reader->config;
	const struct config_pool *of = part;
	bool is_thin = part->thin;

	for (unsigned int steps = 0; of->from; steps++) {
		const struct config_pool *next = find_pool(config, of->from);

		if (!next)
			return reader_fail(
				reader, of->line,
				"pool '%s': there is no pool '%s' to split it from",
				of->name, of->from);
		if (steps >= config->pool_count)
			return reader_fail(reader, part->line,
					   "pool '%s' is split from itself",
					   part->name);
		of = next;
		is_thin |= of->thin;
	}
	if (is_thin || !of->served)
		return reader_note(reader, part->line,
				   "pool '%s': from: %s, %s", part->name,
				   part->from,
				   is_thin ? "thin" : "which is not served");
	part->served = true;
	if (part->size_bytes == 0)
		part->size_bytes = CONFIG_SIZE_EQUAL;
	return check_room(reader, find_pool(config, part->from), part, NULL);
}

/* The pool with the devices of one that is served. */
static const struct config_pool *find_whole(const struct config *config,
					    const struct config_pool *pool)
{
	while (pool->from)
		pool = find_pool(config, pool->from);
	return pool;
}

static int check_vdev(struct reader *reader, struct config_vdev *vdev)
{
	const struct config *config = reader->config;
	const struct config_pool *pool, *whole;
	const struct config_vdev *other;

	for (other = config->vdevs; other < vdev; other++)
		if (strcmp(other->name, vdev->name) == 0)
			return reader_fail(reader, vdev->line,
					   "vdev '%s' twice (first in line %u)",
					   vdev->name, other->line);
	if (vdev->endpoint && !find_endpoint(config, vdev->endpoint))
		return reader_fail(reader, vdev->line,
				   "vdev '%s': there is no endpoint '%s'",
				   vdev->name, vdev->endpoint);
	pool = find_pool(config, vdev->pool);
	if (!pool)
		return reader_fail(reader, vdev->line,
				   "vdev '%s': there is no pool '%s'",
				   vdev->name, vdev->pool);
	if (!vdev->served)
		return 0;
	if (!pool->served) {
		vdev->served = false;
		return reader_note(reader, vdev->line,
				   "vdev '%s': its pool '%s' is not served",
				   vdev->name, pool->name);
	}
	whole = find_whole(config, pool);
	if (vdev->endpoint &&
	    strcmp(vdev->endpoint, whole->devices[0].endpoint)) {
		vdev->served = false;
		return reader_note(
			reader, vdev->line,
			"vdev '%s': endpoint '%s' with a pool of endpoint '%s'",
			vdev->name, vdev->endpoint, whole->devices[0].endpoint);
	}
	return check_room(reader, pool, NULL, vdev);
}

const struct config_endpoint *config_vdev_endpoint(
	const struct config *config, const struct config_vdev *vdev)
{
	const struct config_pool *pool =
		vdev && vdev->served ? find_pool(config, vdev->pool) : NULL;
	const struct config_pool *whole =
		pool ? find_whole(config, pool) : NULL;

	return whole && whole->device_count ?
		find_endpoint(config, whole->devices[0].endpoint) :
		NULL;
}

/* --- Processes ----------------------------------------------------------- */

static const struct config_vdev *find_vdev(const struct config *config,
					   const char *name)
{
	unsigned int i;

	for (i = 0; i < config->vdev_count; i++)
		if (strcmp(config->vdevs[i].name, name) == 0)
			return &config->vdevs[i];
	return NULL;
}

static int check_process_differs(struct reader *reader,
				 const struct config_process *process)
{
	const struct config_process *other;

	for (other = reader->config->processes; other < process; other++) {
		if (other->pasid == process->pasid)
			return reader_fail(reader, process->line,
					   "pasid %u twice (first in line %u)",
					   process->pasid, other->line);
		if (strcmp(other->name, process->name) == 0)
			return reader_fail(
				reader, process->line,
				"process '%s' twice (first in line %u)",
				process->name, other->line);
		if (match_is_same(&process->match, &other->match) &&
		    process->vdev && other->vdev &&
		    strcmp(process->vdev, other->vdev) == 0)
			return reader_fail(
				reader, process->line,
				"processes %u and %u of vdev '%s' match the same %s",
				other->pasid, process->pasid, process->vdev,
				match_kind_text(process->match.kind));
	}
	return 0;
}

/* Its own limit below what it is promised: that could never be kept. */
static int check_process_limit(struct reader *reader,
			       const struct config_process *process)
{
	struct sched_params params;
	struct error why;

	if (sla_to_sched(&process->sla, &process->limits, 1, true, &params,
			 &why) < 0)
		return reader_fail(reader, process->line, "process %u: %s",
				   process->pasid, why.text);
	return 0;
}

static int check_process(struct reader *reader, struct config_process *process)
{
	const struct config_vdev *vdev;
	int ret;

	ret = check_process_differs(reader, process);
	if (ret == 0)
		ret = check_process_limit(reader, process);
	if (ret < 0 || !process->vdev)
		return ret;
	vdev = find_vdev(reader->config, process->vdev);
	if (!vdev)
		return reader_fail(reader, process->line,
				   "process %u: there is no vdev '%s'",
				   process->pasid, process->vdev);
	if (vdev->served)
		return 0;
	process->served = false;
	return reader_note(reader, process->line,
			   "process %u: its vdev '%s' is not served",
			   process->pasid, vdev->name);
}

int config_check_processes(struct reader *reader)
{
	struct config *config = reader->config;
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < config->process_count; i++) {
		ret = check_process_differs(reader, &config->processes[i]);
		if (ret == 0)
			ret = check_process_limit(reader,
						  &config->processes[i]);
	}
	return ret;
}

int config_check(struct reader *reader)
{
	struct config *config = reader->config;
	unsigned int i;
	int ret;

	ret = check_endpoint_names(reader);
	if (ret == 0)
		ret = config_make_ports(reader);
	if (ret == 0)
		ret = check_devices(reader);
	for (i = 0; ret == 0 && i < config->pool_count; i++)
		ret = check_pool(reader, i);
	for (i = 0; ret == 0 && i < config->pool_count; i++)
		if (config->pools[i].from)
			ret = check_part(reader, &config->pools[i]);
	for (i = 0; ret == 0 && i < config->vdev_count; i++)
		ret = check_vdev(reader, &config->vdevs[i]);
	if (ret == 0)
		ret = config_check_ports(reader);
	for (i = 0; ret == 0 && i < config->process_count; i++)
		ret = check_process(reader, &config->processes[i]);
	if (ret == 0)
		ret = check_sockets(reader);
	return ret;
}
