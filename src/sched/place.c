/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - what of place.h is not in line */
#include "sched/place.h"

void place_wait(struct sched *sched, struct sched_client *client,
		unsigned int lane, uint64_t limit_ns)
{
	client->state[lane] = LANE_WAITING;
	if (client->queues[lane] & IN_LIMITS)
		return;
	client->queues[lane] |= IN_LIMITS;
	wheel_insert(&sched->limits, place_id(client, lane), limit_ns);
	if (limit_ns < sched->timers_ns)
		sched->timers_ns = limit_ns;
}

/* With many clients nearly all time would go into waiting for their memory:
 * so first clients, then the heads of their queues are asked for in time. */
void place_fetch_next(const struct sched *sched, struct wheel *wheel)
{
	uint32_t end;

	for (uint32_t i = wheel_look(wheel, 0, WHEEL_AHEAD, &end); i < end;
	     i++) {
		const struct sched_client *client =
			client_of(sched, wheel->run[i].id);

		__builtin_prefetch(client, 1);
		__builtin_prefetch(&client->fifos, 1);
	}
	for (uint32_t i = wheel_look(wheel, 1, WHEEL_AHEAD / 2, &end); i < end;
	     i++) {
		const struct sched_client *client =
			client_of(sched, wheel->run[i].id);

		__builtin_prefetch(client->fifos[0].head, 1);
		__builtin_prefetch(client->fifos[1].head, 1);
	}
}
