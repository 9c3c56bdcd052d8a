/* SPDX-License-Identifier: Apache-2.0 */
/* vdev-rig.c - see vdev-rig.h */
#include "vdev-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static int create_volume(struct vdev_rig *rig,
			 const struct vdev_rig_config *config)
{
	if (config->thin_bytes)
		return mapped_create_thin(&rig->mapped, config->block,
					  rig->device, config->thin_bytes,
					  config->volume_bytes);
	return mapped_create(&rig->mapped, config->block, rig->device,
			     config->volume_bytes, false);
}

void vdev_rig_create(struct vdev_rig *rig, const struct vdev_rig_config *config)
{
	static const struct loop_config loop = {.entries = 8};

	assert_int_equal(loop_create(&loop, &rig->loop, NULL), 0);
	rig->stats = calloc(1, sizeof(*rig->stats));
	assert_non_null(rig->stats);
	assert_int_equal(vdev_device_create(config->block, &config->sched,
					    &rig->stats->devices[0], rig->loop,
					    &rig->device, NULL),
			 0);
	assert_int_equal(vdev_gate_create(rig->loop, &rig->gate, NULL), 0);
	assert_int_equal(create_volume(rig, config), 0);
	const struct vdev_config vdev = {
		.name = "vd0",
		.device = rig->device,
		.gate = rig->gate,
		.volume = rig->mapped.volume,
		.size_bytes = config->vdev_bytes,
		.default_stats = &rig->stats->processes[0],
		.on_error = config->on_error,
	};
	assert_int_equal(vdev_create(&vdev, &rig->vdev, NULL), 0);
}

void vdev_rig_destroy(struct vdev_rig *rig)
{
	assert_int_equal(vdev_destroy(rig->vdev), 0);
	mapped_destroy(&rig->mapped);
	vdev_gate_destroy(rig->gate);
	vdev_device_destroy(rig->device);
	loop_destroy(rig->loop);
	free(rig->stats);
}
