/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-random.c - guests do anything, and it crashes again and again
 *
 * usage: test-pool-random [FIRST-SEED [SEEDS [CRASHES]]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "pool-rig.h"

#define SEEDS	(100U / RIG_SHARE)
#define CRASHES	20U

static void campaign(struct rig *rig, uint64_t seed, uint64_t crashes)
{
	const struct rig_config config = {
		.devices = 1 + (uint32_t)(seed % RIG_DEVICES_MAX),
		.extents = 16 + (uint32_t)(seed % 5) * 4,
		.area_blocks = 48 + (uint32_t)(seed % 3) * 4,
		.open_extents = seed % 2 ? 2 : 0,
		.log_limit_blocks = seed % 4 ? 0 : 6,
		.seed = seed,
	};

	rig_init(rig, &config);
	while (rig->crashes < crashes) {
		for (uint64_t left = 20 + rig_random(rig, 600); left > 0;
		     left--) {
			if (rig_random(rig, 3) == 0)
				rig_anything(rig);
			else
				rig_event(rig);
		}
		rig_crash(rig, rig_random(rig, 2));
	}
	rig_finish(rig);
}

static uint64_t number(int argc, char **argv, int i, uint64_t otherwise)
{
	return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	const uint64_t first = number(argc, argv, 1, 1);
	const uint64_t seeds = number(argc, argv, 2, SEEDS);
	const uint64_t crashes = number(argc, argv, 3, CRASHES);
	uint64_t events = 0, writes = 0, compactions = 0, refused = 0;
	uint64_t moved = 0;
	struct rig *rig = malloc(sizeof(*rig));

	if (!rig)
		return 1;
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		campaign(rig, seed, crashes);
		events += rig->events;
		writes += rig->writes;
		compactions += rig->compactions;
		refused += rig->refused;
		moved += rig->moved;
	}
	printf("%ju crashes, %ju completions, %ju writes, %ju compactions, %ju writes without space, %ju extents moved\n",
	       (uintmax_t)(seeds * crashes), (uintmax_t)events,
	       (uintmax_t)writes, (uintmax_t)compactions, (uintmax_t)refused,
	       (uintmax_t)moved);
	free(rig);
	return 0;
}
