/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.c - devices that are vdevs of other endpoints: when they can be
 * reached, and what was promised to them
 *
 * The promise of the process that comes in by the vdev's own way is what the
 * port's device sustains: what is promised here rests on what was promised
 * there, where admission holds it (E11).  Without one it is measured through
 * the port, as any device.
 */
#include "host/host-data.h"

#include <errno.h>
#include <string.h>

#include "host/endpoint.h"
#include "sla/capacity.h"

struct reg_vdev *ports_vdev(const struct reg_device *device)
{
	const struct config_port *port = device->config->port;

	return port ?
		registry_vdev(device->endpoint->host->registry, port->vdev) :
		NULL;
}

struct reg_device *ports_device(struct registry *registry,
				const struct reg_vdev *vdev)
{
	for (unsigned int i = 0; i < registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &registry->endpoints[i];

		for (unsigned int j = 0; j < endpoint->device_count; j++) {
			const struct config_port *port =
				endpoint->devices[j].config->port;

			if (port && strcmp(port->vdev, vdev->name) == 0)
				return &endpoint->devices[j];
		}
	}
	return NULL;
}

/* The process as which requests of the vdev's own way in are done. */
static const struct reg_process *process_of(const struct registry *registry,
					    const struct reg_vdev *vdev)
{
	const struct reg_process *process = registry->processes;

	while (process &&
	       (process->vdev != vdev || process->vhost_user ||
		process->match.kind != MATCH_NONE))
		process = process->next;
	return process;
}

bool ports_is_reachable(const struct reg_device *device, struct error *reterr)
{
	const struct registry *registry = device->endpoint->host->registry;
	const struct reg_vdev *vdev = ports_vdev(device);
	const struct reg_process *process;

	if (!vdev) {
		error_set(reterr, -ENOENT, "there is no vdev %s any more",
			  device->config->port->vdev);
		return false;
	}
	if (!vdev->is_there || !vdev->is_listening) {
		error_set(reterr, -EAGAIN,
			  "vdev %s of endpoint %s is not there%s%s", vdev->name,
			  reg_vdev_endpoint(vdev)->name,
			  vdev->error.text[0] ? ": " : "", vdev->error.text);
		return false;
	}
	process = process_of(registry, vdev);
	error_set(reterr, -EAGAIN,
		  "it is not known yet what vdev %s is promised", vdev->name);
	return !process || process->state != REG_PROCESS_PENDING;
}

void ports_tell(struct reg_vdev *vdev)
{
	struct reg_device *device =
		ports_device(reg_vdev_endpoint(vdev)->host->registry, vdev);

	if (device && !device->is_added)
		bind_device_start(device);
}

bool ports_promise(struct reg_device *device)
{
	const struct registry *registry = device->endpoint->host->registry;
	const struct reg_vdev *vdev = ports_vdev(device);
	const struct reg_process *process =
		vdev ? process_of(registry, vdev) : NULL;
	struct capacity capacity;

	if (!process || process->state != REG_PROCESS_BOUND ||
	    !process->member.is_counted ||
	    !capacity_from_sla(&process->sla, &capacity))
		return false;
	if (!device->has_capacity ||
	    memcmp(&capacity, &device->capacity, sizeof(capacity)) != 0)
		bind_capacity_promised(device, &capacity);
	return true;
}

void ports_look(struct host *host)
{
	for (unsigned int i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		for (unsigned int j = 0; j < endpoint->device_count; j++)
			if (endpoint->devices[j].config->port &&
			    endpoint->devices[j].state == REG_DEVICE_READY)
				(void)ports_promise(&endpoint->devices[j]);
	}
}

/* Is there an endpoint that has not ended and has a port to it? */
static bool is_needed(const struct reg_endpoint *endpoint)
{
	const struct registry *registry = endpoint->host->registry;

	for (unsigned int i = 0; i < registry->endpoint_count; i++) {
		const struct reg_endpoint *other = &registry->endpoints[i];

		for (unsigned int j = 0;
		     !other->has_ended && j < other->device_count; j++) {
			const struct reg_vdev *vdev =
				ports_vdev(&other->devices[j]);

			if (vdev && reg_vdev_endpoint(vdev) == endpoint)
				return true;
		}
	}
	return false;
}

void ports_stop(struct host *host)
{
	for (unsigned int i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		if (endpoint->is_ending || is_needed(endpoint))
			continue;
		endpoint->is_ending = true;
		endpoint_stop(endpoint->process);
	}
}
