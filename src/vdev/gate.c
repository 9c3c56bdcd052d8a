/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.c - where the limits of vdevs hold
 *
 *	front --> gate --> look-up in a volume --> turn at a device --> device
 *	          limits   (slow.c: pieces)        promises, weight
 *
 * One budget over all devices of a pool, as exact as over one: it is one
 * scheduler's, which orders by nothing but limits.  Whoever has none passes by.
 */
#include "vdev/device.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "vdev/again.h"

/* As in device.c. */
#define PASS_MAX	64U

static unsigned int gate_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct vdev_gate *gate = container_of(poller, struct vdev_gate, poller);
	struct sched_request *next;
	unsigned int work = 0;

	while (work < PASS_MAX &&
	       (next = sched_next(gate->sched, now_ns)) != NULL) {
		struct vdev_request *request = vdev_request_of_sched(next);

		sched_complete(gate->sched, next, now_ns);
		if (!vdev_device_refuses(request) &&
		    !vdev_again_holds(request, true))
			vdev_gate_passed(request, now_ns);
		work++;
	}
	if (sched_wake_ns(gate->sched) == UINT64_MAX)
		loop_poller_remove(gate->loop, &gate->poller);
	return work;
}

bool vdev_gate_lets(struct vdev_gate *gate, struct vdev_request *request,
		    uint64_t now_ns)
{
	if (sched_submit(gate->sched, request->process->client, &request->sched,
			 now_ns) == SCHED_GO) {
		sched_complete(gate->sched, &request->sched, now_ns);
		return true;
	}
	/* Rounds cost nothing while nothing waits. */
	if (!gate->poller.link)
		loop_poller_add(gate->loop, &gate->poller);
	vdev_device_waits(request, now_ns);
	return false;
}

static uint64_t gate_arm(struct loop_poller *poller, uint64_t now_ns)
{
	const struct vdev_gate *gate =
		container_of(poller, struct vdev_gate, poller);
	const uint64_t wake_ns = sched_wake_ns(gate->sched);

	return wake_ns <= now_ns ? 0 : wake_ns;
}

static uint64_t gate_quiet_until(struct loop_poller *poller, uint64_t now_ns)
{
	(void)now_ns;
	return sched_wake_ns(
		container_of(poller, struct vdev_gate, poller)->sched);
}

int vdev_gate_create(struct loop *loop, struct vdev_gate **ret_gate,
		     struct error *reterr)
{
	static const struct sched_config config = {.immediate = true};
	static const struct sched_params no_limits;
	struct vdev_gate *gate = calloc(1, sizeof(*gate));
	int result;

	if (!gate)
		return error_set(reterr, -ENOMEM, "no memory for limits");
	result = sched_create(&config, &gate->sched, reterr);
	if (result == 0) {
		result = sched_client_create(gate->sched, NULL, &no_limits,
					     loop_now_ns(loop),
					     &gate->unlimited, reterr);
		if (result < 0)
			sched_destroy(gate->sched);
	}
	if (result < 0) {
		free(gate);
		return result;
	}
	gate->loop = loop;
	gate->poller.poll = gate_poll;
	gate->poller.arm = gate_arm;
	gate->poller.quiet_until = gate_quiet_until;
	*ret_gate = gate;
	return 0;
}

void vdev_gate_destroy(struct vdev_gate *gate)
{
	if (!gate)
		return;
	loop_poller_remove(gate->loop, &gate->poller);
	sched_client_destroy(gate->unlimited);
	sched_destroy(gate->sched);
	free(gate);
}

void vdev_gate_enforce(struct vdev_gate *gate, bool on, uint64_t now_ns)
{
	sched_enforce(gate->sched, on, now_ns);
}
