/* SPDX-License-Identifier: Apache-2.0 */
/* core.c - see core.h */
#include "sla/core.h"

#include <errno.h>
#include <stdlib.h>

typedef unsigned __int128 u128;

struct core {
	struct core_share *shares;
};

int core_create(struct core **ret_core)
{
	struct core *core = calloc(1, sizeof(*core));

	if (!core)
		return -ENOMEM;
	*ret_core = core;
	return 0;
}

void core_destroy(struct core *core)
{
	if (!core)
		return;
	while (core->shares)
		core_leave(core->shares);
	free(core);
}

void core_join(struct core *core, struct core_share *share,
	       unsigned int usable_milli)
{
	share->core = core;
	share->usable_milli = usable_milli;
	share->next = core->shares;
	share->link = &core->shares;
	if (share->next)
		share->next->link = &share->next;
	core->shares = share;
}

void core_leave(struct core_share *share)
{
	if (!share->core)
		return;
	*share->link = share->next;
	if (share->next)
		share->next->link = share->link;
	share->core = NULL;
}

/* What must be there for the promises of 'share', 'whole_milli' thousandths of
 * which may be promised. */
static u128 needed(const struct core_share *share, unsigned int whole_milli)
{
	return (share->promised * whole_milli + share->usable_milli - 1) /
		share->usable_milli;
}

u128 core_allows(const struct core_share *share)
{
	const unsigned int milli = share->usable_milli;
	u128 allowed, taken = 0;

	if (!share->core)
		return ~(u128)0;
	allowed = (u128)CORE_SECOND * milli / 1000;
	for (const struct core_share *s = share->core->shares; s; s = s->next)
		if (s != share)
			taken += needed(s, milli);
	return allowed > taken ? allowed - taken : 0;
}

void core_report(const struct core *core, struct core_report *ret_report)
{
	const u128 ppm = CORE_SECOND / 1000000;
	u128 promised = 0;

	*ret_report = (struct core_report){.allowed_ppm = 1000000};
	for (const struct core_share *s = core->shares; s; s = s->next) {
		promised += needed(s, 1000);
		if (s->promised > core_allows(s))
			ret_report->is_over = true;
	}
	promised /= ppm;
	ret_report->promised_ppm =
		promised < UINT32_MAX ? (uint32_t)promised : UINT32_MAX;
}
