/* SPDX-License-Identifier: Apache-2.0 */
/* vdev.c - see vdev.h */
#include "vdev/vdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/stats.h"
#include "sla/keep-count.h"
#include "vdev/device.h"
#include "vdev/again.h"
#include "vdev/slow.h"

#define SECTOR_BYTES	512U

/* By which 'process' (NULL: whoever) comes. */
static struct turns_way *way_of(struct vdev *vdev, struct vdev_process *process)
{
	return process && process->config.own_socket ? &process->way :
						       &vdev->way;
}

unsigned int vdev_turn(struct vdev *vdev, struct vdev_process *process,
		       struct turns_seat *seat, unsigned int found,
		       uint64_t now_ns)
{
	return turns_take(way_of(vdev, process), seat, found, now_ns);
}

void vdev_turn_back(struct vdev *vdev, struct vdev_process *process,
		    struct turns_seat *seat, unsigned int count)
{
	turns_give_back(way_of(vdev, process), seat, count);
}

static bool has_limits(const struct sched_limits *limits)
{
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		if (limits->limit_per_s[axis])
			return true;
	return false;
}

int vdev_create(const struct vdev_config *config, struct vdev **ret_vdev,
		struct error *reterr)
{
	const struct vdev_process_config unpromised = {
		.stats = config->default_stats,
	};
	const struct block_device *block = config->device->block;
	struct vdev *vdev;
	int result = -ENOMEM;

	if (config->size_bytes > config->volume->is.size_bytes)
		return error_set(reterr, -ENOSPC,
				 "vdev %s does not fit on its volume",
				 config->name);
	vdev = calloc(1, sizeof(*vdev));
	if (!vdev)
		return error_set(reterr, -ENOMEM, "no memory for vdev %s",
				 config->name);
	vdev->device = config->device;
	vdev->volume = config->volume;
	vdev->losses = vdev_losses(vdev);
	vdev->gate = config->gate;
	vdev->size_bytes = config->size_bytes;
	vdev->read_only = config->read_only || block->read_only ||
		vdev->volume->is.flags & FORMAT_VOLUME_SNAPSHOT;
	vdev->block_mask =
		(block->block_size > SECTOR_BYTES ? block->block_size :
						    SECTOR_BYTES) -
		1;
	vdev->name = strdup(config->name);
	if (!vdev->name) {
		error_set(reterr, -ENOMEM, "no memory for a vdev");
		goto err_after_alloc;
	}
	vdev->again.on_error = config->on_error;
	result = vdev_slow_create(&vdev->slow, reterr);
	if (result == 0)
		result = sched_group_create(vdev->gate->sched, &config->limits,
					    &vdev->group, reterr);
	if (result < 0)
		goto err_after_alloc;
	vdev->is_limited = has_limits(&config->limits);
	turns_way_init(&vdev->way, vdev->device->turns);
	result = vdev_process_create(vdev, &unpromised, &vdev->unpromised,
				     reterr);
	if (result < 0)
		goto err_after_group;
	result = vdev_again_init(vdev);
	if (result < 0)
		goto err_after_process;
	vdev_rebind(vdev);
	*ret_vdev = vdev;
	return 0;

err_after_process:
	error_set(reterr, result, "no memory for a vdev");
	vdev_process_free(vdev->unpromised);
err_after_group:
	sched_group_destroy(vdev->group);
err_after_alloc:
	vdev_slow_destroy(vdev->slow);
	free(vdev->name);
	free(vdev);
	return result;
}

static bool vdev_busy(const struct vdev *vdev)
{
	if (vdev->unpromised->outstanding || vdev->buried)
		return true;
	for (const struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->outstanding)
			return true;
	return false;
}

int vdev_destroy(struct vdev *vdev)
{
	vdev_device_settle(vdev->device);
	if (vdev_busy(vdev))
		return -EBUSY;
	while (vdev->processes) {
		struct vdev_process *process = vdev->processes;

		vdev->processes = process->next;
		vdev_process_free(process);
	}
	vdev_process_free(vdev->unpromised);
	vdev_again_finish(vdev);
	turns_way_finish(&vdev->way);
	sched_group_destroy(vdev->group);
	vdev_slow_destroy(vdev->slow);
	free(vdev->name);
	free(vdev);
	return 0;
}

int vdev_limits(struct vdev *vdev, const struct sched_limits *limits,
		struct error *reterr)
{
	const int result = sched_group_update(vdev->group, limits, reterr);

	if (result < 0)
		return result;
	vdev->is_limited = has_limits(limits);
	vdev_limited(vdev);
	return 0;
}

uint64_t vdev_size_bytes(const struct vdev *vdev)
{
	return vdev->size_bytes;
}

uint32_t vdev_block_size(const struct vdev *vdev)
{
	return vdev->block_mask + 1;
}

bool vdev_read_only(const struct vdev *vdev)
{
	return vdev->read_only;
}

struct vdev_refusals vdev_refused(const struct vdev *vdev)
{
	return vdev->refused;
}

struct volume *vdev_volume(const struct vdev *vdev)
{
	return vdev->volume;
}

int vdev_resize(struct vdev *vdev, uint64_t size_bytes)
{
	if (size_bytes & vdev->block_mask)
		return -EINVAL;
	if (size_bytes > vdev->volume->is.size_bytes)
		return -ENOSPC;
	vdev->size_bytes = size_bytes;
	for (struct vdev_listener *l = vdev->listeners; l; l = l->next)
		l->resized(l);
	return 0;
}

void vdev_listen(struct vdev *vdev, struct vdev_listener *listener)
{
	listener->next = vdev->listeners;
	vdev->listeners = listener;
}

void vdev_unlisten(struct vdev *vdev, struct vdev_listener *listener)
{
	struct vdev_listener **link = &vdev->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}
