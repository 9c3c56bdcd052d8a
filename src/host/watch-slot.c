/* SPDX-License-Identifier: Apache-2.0 */
/* watch-slot.c - samples of one slot, and what they say; see watch.h */
#include "host/watch.h"

#include <stdlib.h>
#include <string.h>

#define LATENCY_NS	UINT64_C(5000000000)

static void copy_latency(struct watch_latency *copy,
			 const struct stats_process *stats, uint64_t now_ns)
{
	copy->at_ns = now_ns;
	memcpy(copy->direction, stats->latency, sizeof(copy->direction));
}

void watch_sample(struct watch_slot **slot, const struct stats_process *stats,
		  uint64_t now_ns)
{
	struct watch_slot *watch = *slot;
	struct watch_sample *sample;
	unsigned int i;

	if (!watch) {
		watch = calloc(1, sizeof(*watch));
		if (!watch)
			return;
		*slot = watch;
		copy_latency(&watch->before, stats, now_ns);
		copy_latency(&watch->between, stats, now_ns);
	}
	watch->newest = (watch->newest + 1) % (WATCH_SECONDS + 1);
	if (watch->count < WATCH_SECONDS + 1)
		watch->count++;
	sample = &watch->samples[watch->newest];
	sample->at_ns = now_ns;
	for (i = 0; i < 2; i++) {
		sample->requests[i] = stats_get(&stats->direction[i].requests);
		sample->bytes[i] = stats_get(&stats->direction[i].bytes);
	}
	if (now_ns - watch->between.at_ns >= LATENCY_NS) {
		watch->before = watch->between;
		copy_latency(&watch->between, stats, now_ns);
	}
}

void watch_delivered(const struct watch_slot *slot,
		     const struct stats_process *stats,
		     struct watch_delivered *ret_delivered)
{
	const struct watch_sample *newest, *oldest;
	struct watch_delivered delivered;
	unsigned int i;

	memset(&delivered, 0, sizeof(delivered));
	if (slot && slot->count >= 2) {
		newest = &slot->samples[slot->newest];
		oldest = &slot->samples[(slot->newest + WATCH_SECONDS + 2 -
					 slot->count) %
					(WATCH_SECONDS + 1)];
		delivered.window_s =
			(double)(newest->at_ns - oldest->at_ns) / 1e9;
		for (i = 0; i < 2; i++) {
			delivered.requests_per_s[i] =
				(double)(newest->requests[i] -
					 oldest->requests[i]) /
				delivered.window_s;
			delivered.bytes_per_s[i] =
				(double)(newest->bytes[i] - oldest->bytes[i]) /
				delivered.window_s;
		}
	}
	for (i = 0; slot && stats && i < 2; i++)
		histogram_subtract(&stats->latency[i],
				   &slot->before.direction[i],
				   &delivered.latency[i]);
	*ret_delivered = delivered;
}
