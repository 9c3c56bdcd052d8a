/* SPDX-License-Identifier: Apache-2.0 */
/*
 * what-if.c - would it be admitted?  (E8)
 *
 * The same road as a real admission, and back at once: nothing can come
 * between, so that nobody sees the probe.
 */
#include "host/host-data.h"

#include <errno.h>

#include "host/promise.h"

/* Where it is promised. */
static json_t *devices_of(const struct reg_process *process)
{
	const struct reg_pool *pool = process->vdev->pool;
	json_t *devices = json_array();

	for (unsigned int i = 0; i < pool->device_count; i++)
		if (process->member.devices >> i & 1)
			json_array_append_new(
				devices, json_string(pool->devices[i]->name));
	return devices;
}

void host_admission(struct host *host, const char *vdev_name,
		    const char *sla_text, struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, vdev_name);
	struct reg_process probe = {.vdev = vdev};
	struct promise_refusal refusal;
	struct error why;
	json_t *devices;
	struct sla sla;
	int ret;

	if (!vdev || vdev->state == REG_VDEV_REMOVING) {
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    vdev_name);
		return;
	}
	if (sla_parse(sla_text, &sla, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "sla: %s", why.text);
		return;
	}
	if (reg_pool_unjudged(vdev->pool)) {
		host_answer(
			call, HOST_CONFLICT, NULL,
			"device %s is not measured yet: ask again in a second",
			reg_pool_unjudged(vdev->pool)->name);
		return;
	}
	ret = promise_admit(&probe, &sla, &refusal);
	devices = devices_of(&probe);
	promise_leave(&probe);
	if (ret == -ENOSPC)
		host_refuse(host, &probe, &sla, &refusal, call);
	else if (ret < 0)
		host_answer(call, HOST_FAILED, NULL, "out of memory");
	else
		host_answer(call, HOST_DONE,
			    json_pack("{s:b, s:s, s:O}", "admitted", 1, "vdev",
				      vdev->name, "devices", devices),
			    "%s", "");
	json_decref(devices);
}
