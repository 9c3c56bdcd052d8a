/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.c - see keeper.h */
#include "keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "asking.h"

struct keep keep;

void keeper_promise(const char *text, uint64_t now_ns)
{
	const struct sla sla = asking_sla(text);

	memset(&keep, 0xa5, sizeof(keep));
	keep_reset(&keep, &sla, now_ns);
}

struct keep_judgement keeper_judged(uint64_t now_ns)
{
	struct keep_judgement judgement;

	keep_judge(&keep, now_ns, &judgement);
	return judgement;
}

uint64_t keeper_run(uint64_t now_ns, uint64_t end_ns, unsigned int depth,
		    uint64_t period_ns, bool write, uint32_t bytes)
{
	while (keep.flows[write].waiting < depth)
		keep_arrive(&keep, write, bytes, now_ns);
	for (now_ns += period_ns; now_ns <= end_ns; now_ns += period_ns) {
		keep_done(&keep, write, bytes, true, period_ns * depth, now_ns);
		keep_arrive(&keep, write, bytes, now_ns);
	}
	return now_ns;
}

void keeper_finish(uint64_t now_ns)
{
	for (unsigned int d = 0; d < 2; d++)
		while (keep.flows[d].waiting > 0)
			keep_done(&keep, d, 1, false, 0, now_ns);
}
