/* SPDX-License-Identifier: Apache-2.0 */
/* derive-rig.c - see derive-rig.h */
#include "derive-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "ctl/stats.h"
#include "host/endpoint.h"
#include "host/history.h"
#include "host/host-data.h"

#define READ_NS		UINT64_C(1900000)

/* Never back, whatever host it is. */
static uint64_t now_ns;
static int64_t now_s;

static bool second(struct rig *rig)
{
	bool is_over;

	now_ns += 1000000000U;
	now_s++;
	is_over = history_second(rig->host->history, now_ns, now_s);
	if (is_over)
		propose_again(rig->host, now_s);
	return is_over;
}

void derive_begin(struct rig *rig)
{
	loop_timer_set(rig->loop, &rig->host->tick, UINT64_MAX / 2);
	if (!now_s) {
		now_ns = loop_clock_ns() + UINT64_C(1000000000000);
		now_s = time(NULL) + 3600;
	}
	/* The first tells where to count from. */
	second(rig);
	derive_rest(rig);
}

void derive_use(struct rig *rig, uint32_t pasid, uint64_t reads, uint64_t bytes)
{
	struct reg_process *process =
		registry_process(rig->host->registry, pasid);
	struct stats_process *stats;

	if (!now_s)
		derive_begin(rig);
	assert_non_null(process);
	assert_true(process->slot >= 0);
	stats = &endpoint_stats(reg_vdev_endpoint(process->vdev)->process)
			 ->processes[process->slot];
	stats_add(&stats->direction[0].requests, reads);
	stats_add(&stats->direction[0].bytes, bytes);
	histogram_add(&stats->latency[0], READ_NS, (uint32_t)reads);
	second(rig);
}

void derive_rest(struct rig *rig)
{
	while (!second(rig))
		continue;
	/* Whatever that made it ask for is answered before. */
	host_report(rig->host, NULL, &rig->call);
	rig_answer(rig, HOST_DONE);
}
