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

void host_admission(struct host *host, const char *vdev_name,
		    const char *sla_text, struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, vdev_name);
	struct reg_process probe = {.vdev = vdev};
	struct promise_refusal refusal;
	struct error why;
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
	promise_leave(&probe);
	if (ret == -ENOSPC)
		host_refuse(host, &probe, &sla, &refusal, call);
	else if (ret < 0)
		host_answer(call, HOST_FAILED, NULL, "out of memory");
	else
		host_answer(call, HOST_DONE,
			    json_pack("{s:b, s:s, s:s}", "admitted", 1, "vdev",
				      vdev->name, "device",
				      vdev->pool->devices[0]->name),
			    "%s", "");
}
