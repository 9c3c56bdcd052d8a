/* SPDX-License-Identifier: Apache-2.0 */
/* leave.c - a device that a vdev stood on leaves the pool: see vdev.h */
#include "vdev/device.h"

struct vdev_device *vdev_home(const struct vdev *vdev)
{
	return vdev->device;
}

static void forget_way(struct vdev_process *process, uint32_t index)
{
	struct vdev_way *way = &process->ways[index];

	if (vdev_way_is_own(way))
		sched_client_destroy(way->client);
	*way = (struct vdev_way){0};
}

/* Those removed that still have something under way elsewhere. */
static void move_buried(struct vdev *vdev, struct vdev_device *home,
			uint32_t index)
{
	struct vdev_process **link = &vdev->device->buried;

	while (*link) {
		struct vdev_process *process = *link;

		if (process->vdev != vdev) {
			link = &process->next;
			continue;
		}
		forget_way(process, index);
		if (home == vdev->device) {
			link = &process->next;
			continue;
		}
		*link = process->next;
		process->next = home->buried;
		home->buried = process;
	}
}

static void forget_turns(struct vdev_process *process)
{
	turns_client_finish(&process->turns);
	turns_way_finish(&process->way);
}

static void take_turns(struct vdev *vdev, struct vdev_process *process)
{
	turns_way_init(&process->way, vdev->device->turns);
	turns_client_init(&process->turns,
			  process->config.own_socket ? &process->way :
						       &vdev->way,
			  &process->config.sched, loop_clock_ns());
}

void vdev_leave(struct vdev *vdev, const struct member *member,
		struct vdev_device *home)
{
	const struct vdev_device *old = vdev->device;

	vdev_device_settle(vdev->device);
	vdev->losses -= member->config.device->losses;
	move_buried(vdev, home, member->index);
	forget_way(vdev->unpromised, member->index);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		forget_way(p, member->index);
	vdev->device = home;
	if (old->turns == home->turns)
		return;
	forget_turns(vdev->unpromised);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		forget_turns(p);
	turns_way_finish(&vdev->way);
	turns_way_init(&vdev->way, home->turns);
	take_turns(vdev, vdev->unpromised);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		take_turns(vdev, p);
}
