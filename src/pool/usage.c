/* SPDX-License-Identifier: Apache-2.0 */
/* usage.c - see usage.h */
#include "pool/usage.h"

#define HYSTERESIS_PERCENT	2U

enum usage_level usage_level(const struct usage *usage, enum usage_level before)
{
	static const uint64_t percents[USAGE_LEVELS] = {
		[USAGE_80] = 80,
		[USAGE_90] = 90,
		[USAGE_95] = 95,
	};
	const uint64_t taken = (usage->used + usage->reserved) * 100;
	enum usage_level level = USAGE_FINE;

	for (unsigned int i = USAGE_80; i < USAGE_LEVELS; i++) {
		uint64_t percent = percents[i];

		if (i <= (unsigned int)before)
			percent -= HYSTERESIS_PERCENT;
		if (usage->capacity && taken >= percent * usage->capacity)
			level = (enum usage_level)i;
	}
	return level;
}
