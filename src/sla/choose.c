/* SPDX-License-Identifier: Apache-2.0 */
/* choose.c - see choose.h */
#include "sla/choose.h"

#include <errno.h>
#include <string.h>

#define AUTO	"auto"

static const char *const names[] = {
	[CHOOSE_LEAST_LOADED] = "least-loaded",
	[CHOOSE_BEST_FIT] = "best-fit",
	[CHOOSE_MOST_ROOM] = "most-room",
	[CHOOSE_LOWEST_LATENCY] = "lowest-latency",
	[CHOOSE_SPREAD] = "spread",
	[CHOOSE_RANDOM] = "random",
};

bool choose_is_asked(const char *text)
{
	const size_t length = strlen(AUTO);

	return strncmp(text, AUTO, length) == 0 &&
		(text[length] == '\0' || text[length] == ':');
}

int choose_parse(const char *text, enum choose_policy *ret_policy,
		 struct error *reterr)
{
	*ret_policy = CHOOSE_LEAST_LOADED;
	if (strcmp(text, AUTO) == 0)
		return 0;
	for (unsigned int i = 0; choose_is_asked(text) && i <= CHOOSE_RANDOM;
	     i++) {
		if (strcmp(text + strlen(AUTO ":"), names[i]) != 0)
			continue;
		*ret_policy = (enum choose_policy)i;
		return 0;
	}
	return error_set(
		reterr, -EINVAL,
		"'%s' names no policy: auto, or auto: with least-loaded, best-fit, most-room, lowest-latency, spread or random",
		text);
}

/* What the policy wants least of. */
static uint64_t cost(enum choose_policy policy,
		     const struct choose_candidate *candidate)
{
	switch (policy) {
	case CHOOSE_BEST_FIT:
		return UINT32_MAX - candidate->load_ppm;
	case CHOOSE_MOST_ROOM:
		return UINT64_MAX - candidate->free_bytes;
	case CHOOSE_LOWEST_LATENCY:
		return candidate->latency_ns;
	case CHOOSE_SPREAD:
		return candidate->processes;
	case CHOOSE_LEAST_LOADED:
	case CHOOSE_RANDOM:
		break;
	}
	return candidate->load_ppm;
}

static bool is_better(enum choose_policy policy,
		      const struct choose_candidate *one,
		      const struct choose_candidate *other)
{
	const uint64_t ours = cost(policy, one), theirs = cost(policy, other);

	if (ours != theirs)
		return ours < theirs;
	if (one->load_ppm != other->load_ppm)
		return one->load_ppm < other->load_ppm;
	return one->processes < other->processes;
}

static int pick_random(const struct choose_candidate *candidates,
		       unsigned int count, uint64_t random)
{
	unsigned int possible = 0;

	for (unsigned int i = 0; i < count; i++)
		possible += candidates[i].is_possible;
	if (!possible)
		return -1;
	random %= possible;
	for (unsigned int i = 0; i < count; i++)
		if (candidates[i].is_possible && random-- == 0)
			return (int)i;
	return -1;
}

int choose_pick(enum choose_policy policy,
		const struct choose_candidate *candidates, unsigned int count,
		uint64_t random)
{
	int best = -1;

	if (policy == CHOOSE_RANDOM)
		return pick_random(candidates, count, random);
	for (unsigned int i = 0; i < count; i++)
		if (candidates[i].is_possible &&
		    (best < 0 ||
		     is_better(policy, &candidates[i], &candidates[best])))
			best = (int)i;
	return best;
}
