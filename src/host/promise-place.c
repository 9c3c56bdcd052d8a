/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise-place.c - at which devices of its pool a process is promised what it
 * is (E8, E10)
 *
 * All of it at each of them: its requests may go to any, and all to one.
 *
 *   thin   at every device that has some of its vdev, and at those of the
 *          others that have room for it; what its vdev takes later is taken
 *          where all of its processes are promised what they are, so there
 *          must be one such device.
 *   thick  at every device: space is kept for it in its pool, not on some of
 *          its devices.
 *
 * A device that is not there has no say; when it comes, it is asked.
 */
#include "host/promise.h"

#include <errno.h>
#include <string.h>

#include "host/endpoint.h"
#include "host/registry.h"

/* Data may come to lie there: it is there, or is known from before. */
static bool is_usable(const struct reg_device *device)
{
	return !device->is_parting &&
		(device->is_member || reg_device_is_judged(device) ||
		 device->pool->device_count == 1);
}

/* Places in the statistics of those devices that have some of it. */
static uint64_t mapped_on(const struct reg_vdev *vdev)
{
	const struct stats_segment *stats =
		endpoint_stats(vdev->pool->endpoint->process);
	const json_t *volume;

	if (vdev->is_there && vdev->slot >= 0)
		return stats_get(&stats->processes[vdev->slot].mapped_on);
	volume = json_object_get(vdev->pool->volumes, vdev->uuid);
	return (uint64_t)json_integer_value(
		json_object_get(volume, "mapped_on"));
}

/* Must it be promised there? */
static bool is_needed(const struct reg_vdev *vdev,
		      const struct reg_device *device)
{
	return !vdev->pool->config->thin || vdev->is_thick ||
		vdev->pool->device_count == 1 ||
		(device->slot >= 0 && mapped_on(vdev) >> device->slot & 1);
}

/* Of a thin vdev, where all its other processes are promised what they are. */
static uint32_t others_devices(const struct registry *registry,
			       const struct reg_process *process)
{
	uint32_t devices = UINT32_MAX;

	for (const struct reg_process *other = registry->processes; other;
	     other = other->next)
		if (other != process && other->vdev == process->vdev &&
		    other->member.devices)
			devices &= other->member.devices;
	return devices;
}

/* The core's time is the same whichever device a request goes to. */
static bool is_core_paid(const struct reg_pool *pool,
			 const struct promise_member *member, unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (member->admitted[j] &&
		    strcmp(pool->devices[j]->config->kind,
			   pool->devices[i]->config->kind) == 0)
			return true;
	return false;
}

static int admit_at(struct reg_process *process, unsigned int i,
		    const struct sla *sla, struct admission_refusal *why)
{
	const struct reg_pool *pool = process->vdev->pool;
	struct promise_member *member = &process->member;
	const struct admission_request request = {
		.sla = sla,
		.vdev_size_bytes = process->vdev->size_bytes,
		.is_core_paid = is_core_paid(pool, member, i),
	};

	if (member->admitted[i])
		return admission_update(member->admitted[i], &request, why);
	return admission_admit(pool->devices[i]->promise.admission, &request,
			       &member->admitted[i], why);
}

static void release_at(struct promise_member *member, unsigned int i)
{
	admission_release(member->admitted[i]);
	member->admitted[i] = NULL;
}

void promise_place_back(struct reg_process *process)
{
	struct promise_member *member = &process->member;
	const uint32_t devices = member->is_counted ? member->devices : 0;
	unsigned int i;

	for (i = 0; i < CONFIG_POOL_DEVICES_MAX; i++)
		if (!(devices >> i & 1))
			release_at(member, i);
	/* What was there did fit. */
	for (i = 0; i < CONFIG_POOL_DEVICES_MAX; i++)
		if (devices >> i & 1 &&
		    admit_at(process, i, &member->sla, NULL) < 0)
			release_at(member, i);
}

void promise_drop(struct reg_process *process, unsigned int at)
{
	struct promise_member *member = &process->member;
	const uint32_t before = (UINT32_C(1) << at) - 1;

	if (member->is_counted && member->devices >> at & 1)
		combine_remove(
			process->vdev->pool->devices[at]->promise.combine,
			&member->sla);
	member->devices =
		(member->devices & before) | (member->devices >> 1 & ~before);
	release_at(member, at);
	for (; at + 1 < CONFIG_POOL_DEVICES_MAX; at++)
		member->admitted[at] = member->admitted[at + 1];
	member->admitted[at] = NULL;
}

int promise_place(struct reg_process *process, const struct sla *sla,
		  uint32_t *ret_devices, struct reg_device **reterr_at,
		  struct admission_refusal *reterr_why)
{
	const struct reg_vdev *vdev = process->vdev;
	struct promise_member *member = &process->member;
	struct admission_refusal why;
	uint32_t devices = 0;
	bool is_refused = false;
	unsigned int i;
	int ret = 0;

	for (i = 0; ret == 0 && i < vdev->pool->device_count; i++) {
		struct reg_device *device = vdev->pool->devices[i];

		if (sla->count > 0 && is_usable(device))
			ret = admit_at(process, i, sla, &why);
		else
			release_at(member, i);
		if (ret == 0 && member->admitted[i])
			devices |= UINT32_C(1) << i;
		if (ret == 0)
			continue;
		if (!is_refused) {
			*reterr_at = device;
			*reterr_why = why;
		}
		is_refused = true;
		if (ret == -ENOSPC && !is_needed(vdev, device)) {
			release_at(member, i);
			ret = 0;
		}
	}
	if (ret == 0 && is_refused &&
	    !(devices & others_devices(vdev->pool->registry, process)))
		ret = -ENOSPC;
	if (ret < 0)
		promise_place_back(process);
	else
		*ret_devices = devices;
	return ret;
}
