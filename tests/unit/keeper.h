/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - one promise and its client, in invented time, for tests of keep
 */
#ifndef KEEPER_H
#define KEEPER_H

#include "sla/keep-count.h"
#include "sla/keep.h"

#define MS	UINT64_C(1000000)
#define S	UINT64_C(1000000000)
#define START	(UINT64_C(5000) * S + 37 * MS)	/* inside a window */

extern struct keep keep;

/* 'keep' is of this promise. */
void keeper_promise(const char *text, uint64_t now_ns);
struct keep_judgement keeper_judged(uint64_t now_ns);
/* A client that always has 'depth' requests waiting, and a device that
 * completes one each 'period_ns'; until 'end_ns'. */
uint64_t keeper_run(uint64_t now_ns, uint64_t end_ns, unsigned int depth,
		    uint64_t period_ns, bool write, uint32_t bytes);
/* What is under way ends. */
void keeper_finish(uint64_t now_ns);

#endif
