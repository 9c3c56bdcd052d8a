/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device-sim.h - a device and its users in invented time, around a scheduler
 *
 * The device has some servers; a request is served by one of them for a time
 * drawn from a log-normal distribution (seeded), first come first served.
 * Users ("loads") keep a number of requests outstanding, or send one every so
 * often.  Everything that happens, happens at an exact nanosecond; the same
 * seed gives the same run.
 */
#ifndef DEVICE_SIM_H
#define DEVICE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "sched/sched.h"

#define SIM_WINDOW_NS	UINT64_C(100000000)
#define SIM_WINDOWS	4096U
#define SIM_MS		UINT64_C(1000000)
#define SIM_S		UINT64_C(1000000000)

struct sim_config {
	uint32_t servers;	/* 0: any number */
	uint64_t service_ns[2];	/* median, by direction */
	uint64_t per_kib_ns;
	uint32_t sigma_milli;	/* 0: always the median */
	/* Longer by so much for each other one that is being served. */
	uint32_t crowding_milli;
	uint64_t seed;
	struct sched_config sched; /* cost and window left 0: as they fit */
};

struct sim_load_config {
	struct sched_params params;
	struct sched_group *group;
	uint32_t depth;		/* most requests outstanding */
	uint64_t every_ns;	/* 0: always 'depth'; else one so often */
	uint32_t bytes;		/* 0: 4096 */
	uint32_t write_percent;
};

struct sim;
struct sim_load {
	struct sim_load_config config;
	struct sched_client *client;
	struct sim *sim;
	struct sim_request *requests, *idle;
	uint64_t next_ns;	/* when the next is sent, if 'every_ns' */
	bool running;
	uint32_t outstanding;
	/* since sim_reset */
	uint64_t done[2], done_bytes, started;
	uint64_t latency_total_ns;
	struct histogram latency;
	uint32_t windows[SIM_WINDOWS];	/* completed in each 100 ms */
	uint64_t last_sequence[2];	/* order of leaving, by direction */
};

struct sim {
	struct sim_config config;
	struct sched *sched;
	uint64_t now_ns, began_ns;
	uint64_t random;
	uint32_t speed_milli;	/* 1000: as configured */
	struct sim_request *waiting, **waiting_end;	/* inside the device */
	uint32_t busy;
	struct sim_request **heap;	/* being served, by when it ends */
	uint32_t heap_count, heap_capacity;
	struct sim_load **loads;
	uint32_t load_count;
	/* Called for each request that is given out, if set. */
	void (*started)(struct sim_load *load, struct sched_request *request);
};

void sim_init(struct sim *sim, const struct sim_config *config);
void sim_finish(struct sim *sim);
uint64_t sim_random(struct sim *sim);
/* The load does nothing before sim_start. */
struct sim_load *sim_load(struct sim *sim,
			  const struct sim_load_config *config);
void sim_start(struct sim_load *load);
void sim_start_all(struct sim *sim);
/* No new requests; those outstanding go on. */
void sim_stop(struct sim_load *load);
void sim_run(struct sim *sim, uint64_t for_ns);
/* Count from here on. */
void sim_reset(struct sim *sim);
/* Completed per second since sim_reset. */
uint64_t sim_rate(const struct sim_load *load);
/* The least completed in any whole 100 ms window since sim_reset. */
uint32_t sim_worst_window(const struct sim_load *load);
/* How many whole windows had less than 'count'. */
uint32_t sim_windows_below(const struct sim_load *load, uint32_t count);
struct sched_report sim_report(const struct sim *sim);

#endif
