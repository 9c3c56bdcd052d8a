/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-ports.c - devices of kind port: vdevs of other endpoints
 *
 * A port names a vdev of the file, or the pool that one is to be cut out of: it
 * is put into the file's list then, with a process that has the port's SLA, as
 * if somebody had written both there.
 */
#include "host/config-read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* What a device of this kind has beside what all have; made when it is first
 * named. */
static struct config_port *port_of(struct config_device *device)
{
	if (!device->port)
		device->port = calloc(1, sizeof(*device->port));
	return device->port;
}

int config_read_port_vdev(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	struct config_port *port = port_of(object);

	return port ? reader_name(reader, key, node, &port->vdev) : -ENOMEM;
}

int config_read_port_pool(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	struct config_port *port = port_of(object);

	return port ? reader_name(reader, key, node, &port->pool) : -ENOMEM;
}

int config_read_port_pasid(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *object)
{
	struct config_port *port = port_of(object);

	return port ? config_read_pasid(reader, key, node, &port->pasid) :
		      -ENOMEM;
}

int config_read_port_sla(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *object)
{
	struct config_port *port = port_of(object);

	return port ? config_read_sla(reader, key, node, &port->sla) : -ENOMEM;
}

/* A size, or of a port "equal". */
int config_read_device_size(struct reader *reader, const struct reader_key *key,
			    yaml_node_t *node, void *object)
{
	struct config_device *device = object;
	const char *text;
	int ret = reader_text(reader, key->name, node, &text);

	if (ret < 0)
		return ret;
	if (strcmp(text, "equal"))
		return reader_size(reader, key, node, &device->size_bytes);
	device->size_bytes = CONFIG_SIZE_EQUAL;
	return 0;
}

int config_check_port(struct reader *reader, struct config_device *device)
{
	const struct config_port *port = device->port;

	if (strcmp(device->kind, "port") != 0) {
		if (port || device->size_bytes == CONFIG_SIZE_EQUAL)
			return reader_fail(
				reader, device->line,
				"device '%s': only kind port has vdev, pool, pasid, sla, and a size of 'equal'",
				device->name);
		return 0;
	}
	if (!port || !port->vdev == !port->pool)
		return reader_fail(
			reader, device->line,
			"device '%s' of kind port: name the 'vdev' of another endpoint, or the 'pool' to make it of",
			device->name);
	if (device->path || device->export)
		return reader_fail(reader, device->line,
				   "device '%s': kind port has no path or uri",
				   device->name);
	if (port->vdev &&
	    (device->size_bytes || port->pasid || port->sla.count))
		return reader_fail(
			reader, device->line,
			"device '%s': its vdev '%s' and that one's processes say size, pasid and sla",
			device->name, port->vdev);
	if (port->pool && (!device->size_bytes || !port->pasid))
		return reader_fail(
			reader, device->line,
			"device '%s' of pool '%s': say 'size' (bytes, or equal) and 'pasid'",
			device->name, port->pool);
	return 0;
}

/* ---- what is made for a port ---- */

static int add_vdev(struct config *config, const struct config_device *device)
{
	struct config_vdev *vdevs = reallocarray(
		config->vdevs, config->vdev_count + 1U, sizeof(*vdevs));
	struct config_vdev *vdev;

	if (!vdevs)
		return -ENOMEM;
	config->vdevs = vdevs;
	vdev = &vdevs[config->vdev_count++];
	*vdev = (struct config_vdev){
		.name = strdup(device->port->vdev),
		.pool = strdup(device->port->pool),
		.size_bytes = device->size_bytes,
		.queues = 1,
		.limits.burst_ns = CONFIG_BURST_DEFAULT_NS,
		.served = true,
		.line = device->line,
	};
	return vdev->name && vdev->pool ? 0 : -ENOMEM;
}

static int add_process(struct config *config,
		       const struct config_device *device)
{
	struct config_process *processes =
		reallocarray(config->processes, config->process_count + 1U,
			     sizeof(*processes));
	struct config_process *process;

	if (!processes)
		return -ENOMEM;
	config->processes = processes;
	process = &processes[config->process_count++];
	*process = (struct config_process){
		.pasid = device->port->pasid,
		.name = strdup(device->port->vdev),
		.vdev = strdup(device->port->vdev),
		.sla = device->port->sla,
		.limits.burst_ns = CONFIG_BURST_DEFAULT_NS,
		.served = true,
		.line = device->line,
	};
	return process->name && process->vdev ? 0 : -ENOMEM;
}

/* "port-EP-DEVICE": of its endpoint and its own name. */
static int make_vdev(struct reader *reader,
		     const struct config_endpoint *endpoint,
		     struct config_device *device)
{
	struct error why;

	if (asprintf(&device->port->vdev, "port-%s-%s", endpoint->name,
		     device->name) < 0) {
		device->port->vdev = NULL;
		return -ENOMEM;
	}
	if (config_check_name(device->port->vdev, &why) < 0)
		return reader_fail(reader, device->line,
				   "device '%s': the vdev behind it: %s",
				   device->name, why.text);
	if (add_vdev(reader->config, device) < 0 ||
	    add_process(reader->config, device) < 0)
		return -ENOMEM;
	device->size_bytes = 0; /* its vdev's */
	return 0;
}

int config_make_ports(struct reader *reader)
{
	struct config *config = reader->config;
	int ret = 0;

	for (unsigned int i = 0; i < config->endpoint_count; i++)
		for (unsigned int j = 0;
		     ret == 0 && j < config->endpoints[i].device_count; j++) {
			struct config_device *device =
				&config->endpoints[i].devices[j];

			if (device->port && !device->port->vdev)
				ret = make_vdev(reader, &config->endpoints[i],
						device);
		}
	return ret;
}

/* ---- whether they can be ---- */

struct seen {
	const struct config_endpoint *ends[CONFIG_ENDPOINTS_MAX];
	unsigned int count;
};

static struct config_vdev *vdev_of(const struct config *config,
				   const struct config_device *device)
{
	for (unsigned int i = 0; i < config->vdev_count; i++)
		if (strcmp(config->vdevs[i].name, device->port->vdev) == 0)
			return &config->vdevs[i];
	return NULL;
}

static bool stands_on(const struct config *config,
		      const struct config_endpoint *from,
		      const struct config_endpoint *what, struct seen *seen)
{
	for (unsigned int i = 0; i < seen->count; i++)
		if (seen->ends[i] == from)
			return false;
	seen->ends[seen->count++] = from;
	for (unsigned int i = 0; i < from->device_count; i++) {
		const struct config_endpoint *next;

		if (!from->devices[i].port)
			continue;
		next = config_vdev_endpoint(config,
					    vdev_of(config, &from->devices[i]));
		if (next == what ||
		    (next && stands_on(config, next, what, seen)))
			return true;
	}
	return false;
}

/* Nobody else comes in there: it would see what the port's pool writes. */
static int check_vdev(struct reader *reader, const struct config_device *device,
		      const struct config_vdev *vdev)
{
	if (vdev->nbd || vdev->read_only)
		return reader_fail(
			reader, device->line,
			"device '%s': its vdev '%s' may have no other way in ('nbd'), nor be read-only",
			device->name, vdev->name);
	if (!vdev->served)
		return reader_fail(reader, device->line,
				   "device '%s': its vdev '%s' is not served",
				   device->name, vdev->name);
	return 0;
}

/* Where penstockd reaches it, if the file does not say. */
static int name_socket(struct reader *reader,
		       const struct config_device *device,
		       struct config_vdev *vdev)
{
	const size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path);

	if (vdev->vhost_user)
		return 0;
	if (asprintf(&vdev->vhost_user, "%s/%s.port", reader->config->state,
		     vdev->name) < 0) {
		vdev->vhost_user = NULL;
		return -ENOMEM;
	}
	if (strlen(vdev->vhost_user) < path_max)
		return 0;
	return reader_fail(
		reader, device->line,
		"device '%s': the socket %s of its vdev would have too long a path: give the vdev a 'vhost-user'",
		device->name, vdev->vhost_user);
}

static int check_one(struct reader *reader,
		     const struct config_endpoint *endpoint,
		     struct config_device *device)
{
	const struct config *config = reader->config;
	struct config_vdev *vdev = vdev_of(config, device);
	const struct config_endpoint *at = NULL;
	struct seen seen = {.count = 0};
	int ret;

	if (!vdev)
		return reader_fail(reader, device->line,
				   "device '%s': there is no vdev '%s'",
				   device->name, device->port->vdev);
	ret = check_vdev(reader, device, vdev);
	if (ret < 0)
		return ret;
	at = config_vdev_endpoint(config, vdev);
	if (at == endpoint)
		return reader_fail(
			reader, device->line,
			"device '%s': its vdev '%s' is of its own endpoint '%s': a port leads to another one",
			device->name, vdev->name, endpoint->name);
	if (at && stands_on(config, at, endpoint, &seen))
		return reader_fail(
			reader, device->line,
			"device '%s': endpoint '%s' of its vdev '%s' has ports that lead back to '%s'",
			device->name, at->name, vdev->name, endpoint->name);
	if (vdev->port)
		return reader_fail(
			reader, device->line,
			"device '%s': vdev '%s' is behind another port already",
			device->name, vdev->name);
	vdev->port = device;
	return name_socket(reader, device, vdev);
}

int config_check_ports(struct reader *reader)
{
	const struct config *config = reader->config;
	int ret = 0;

	for (unsigned int i = 0; i < config->endpoint_count; i++)
		for (unsigned int j = 0;
		     ret == 0 && j < config->endpoints[i].device_count; j++)
			if (config->endpoints[i].devices[j].port)
				ret = check_one(
					reader, &config->endpoints[i],
					&config->endpoints[i].devices[j]);
	return ret;
}
