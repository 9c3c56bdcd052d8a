/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.h - which request goes to the device next (E8, E9)
 *
 * One scheduler for each device.  Clients are processes; groups put a common
 * limit over several clients (a VM).  For each client: reservation, limit
 * with burst, weight and latency; on requests and on bytes; reads, writes
 * and both together.  A request is either passed on at once (SCHED_GO: a few
 * instructions when nothing binds) or queued and later given out by
 * sched_next.
 *
 * When sched_submit has queued something or sched_complete was called, the
 * caller asks sched_next until it says NULL.
 *
 * Pure: reads no clock (callers pass CLOCK_MONOTONIC or invented time),
 * does no I/O, does not log.  After a client is created nothing allocates.
 * Threads: none; a scheduler belongs to one reactor.
 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct sched;
struct sched_client;
struct sched_group;

enum sched_direction { SCHED_READ, SCHED_WRITE };

/* An axis is (direction, unit): what a rate can be promised or limited on. */
enum sched_axis {
	SCHED_READ_IOPS,
	SCHED_WRITE_IOPS,
	SCHED_TOTAL_IOPS,
	SCHED_READ_BYTES,
	SCHED_WRITE_BYTES,
	SCHED_TOTAL_BYTES,
	SCHED_AXES
};

#define SCHED_RATE_MAX		(UINT64_C(1) << 42)	/* per second */
#define SCHED_WEIGHT_DEFAULT	100U
#define SCHED_WEIGHT_MAX	1000000U
#define SCHED_CLIENTS_MAX	131072U		/* of one scheduler */
#define SCHED_GROUPS_MAX	4096U
/* A limit whose requests come or are fetched late, as callers that sleep do,
 * makes up for as much, also where burst_ns is less: in any time t it passes
 * at most 1 + rate * (t + max(burst_ns, SCHED_LATE_NS)), and with callers in
 * time and a client that has not paused 1 + rate * (t + burst_ns). */
#define SCHED_LATE_NS		UINT64_C(2000000)
/* sched_client_ready_ns says this much less than it knows, so that a front
 * has time to wake up. */
#define SCHED_LEAD_NS		UINT64_C(50000)

struct sched_params {
	uint64_t reservation_per_s[SCHED_AXES];	/* 0: none */
	uint64_t limit_per_s[SCHED_AXES];	/* 0: none */
	uint64_t burst_ns;	/* how far work may run ahead of a limit */
	uint32_t weight;	/* 1 .. SCHED_WEIGHT_MAX; 0: the default */
	uint64_t latency_ns[2];	/* strictest promise by direction, 0: none */
};

struct sched_limits {		/* of a group */
	uint64_t limit_per_s[SCHED_AXES];
	uint64_t burst_ns;
};

enum sched_shortage_policy {
	SCHED_SHORTAGE_PROPORTIONAL, /* every reservation by the same factor */
	SCHED_SHORTAGE_WEIGHT,		/* by weight */
};

/* How long the device is busy with a request, as calibrated; corrected all
 * the time from completions. */
struct sched_cost {
	uint64_t request_ns[2];		/* by direction, at full depth */
	uint64_t per_kib_ns[2];
};

struct sched_config {
	struct sched_cost cost;
	/* Requests inside the device.  The greatest should be what it needs
	 * for its full rate, or twice that: what is inside is out of reach, so
	 * more leaves nothing to order by weight or reservation.  A promise of
	 * latency makes the window shrink from there. */
	uint32_t window_min, window_max;
	/* True: the device completes inside submit (memory, nullio), so there
	 * is nothing to order inside it: limits hold here, and reservations,
	 * weights and latencies where its requests come from (turns.h). */
	bool immediate;
	enum sched_shortage_policy shortage;
};

/* Embedded in the caller's request; the scheduler's from submit to complete. */
struct sched_request {
	union {
		struct sched_request *next;	/* while queued or drained */
		uint64_t start_ns;		/* from when it was given out */
	};
	struct sched_client *client;
	uint64_t arrival_ns;
	uint32_t bytes;		/* set by the caller; 0 for flush */
	uint8_t direction;	/* set by the caller; enum sched_direction */
};

enum sched_verdict { SCHED_GO, SCHED_QUEUED };

/* Returns 0, -EINVAL (with reason) or -ENOMEM. */
int sched_create(const struct sched_config *config, struct sched **ret_sched,
		 struct error *reterr);
/* The device was measured anew: takes effect at once. */
int sched_configure(struct sched *sched, const struct sched_config *config,
		    struct error *reterr);
/* All clients and groups must be gone. */
void sched_destroy(struct sched *sched);

/* 'group' may be NULL.  Same errors. */
int sched_group_create(struct sched *sched, const struct sched_limits *limits,
		       struct sched_group **ret_group, struct error *reterr);
int sched_group_update(struct sched_group *group,
		       const struct sched_limits *limits, struct error *reterr);
void sched_group_destroy(struct sched_group *group);	/* no clients left */

int sched_client_create(struct sched *sched, struct sched_group *group,
			const struct sched_params *params, uint64_t now_ns,
			struct sched_client **ret_client, struct error *reterr);
/* Takes effect at once, also for what is queued (E13). */
int sched_client_update(struct sched_client *client,
			const struct sched_params *params, uint64_t now_ns,
			struct error *reterr);
/* Takes every queued request off, in order, linked by 'next' (NULL: none);
 * the caller ends them or submits them for another client. */
struct sched_request *sched_client_drain(struct sched_client *client);
/* The same, of those that are wanted. */
struct sched_request *sched_client_take(
	struct sched_client *client,
	bool (*is_wanted)(struct sched_request *request, const void *arg),
	const void *arg, uint64_t now_ns);
/* Queued requests that are wanted wait for no limit any more: they are charged
 * to all that apply, which is owed afterwards, and go on among the requests of
 * 'unlimited', a client without limits and group.  A client that has no limit
 * keeps what it has queued. */
void sched_client_let_go(struct sched_client *client,
			 struct sched_client *unlimited,
			 bool (*is_wanted)(struct sched_request *request,
					   const void *arg),
			 const void *arg, uint64_t now_ns);
/* Nothing queued; requests in flight may still complete (they are counted
 * off the device, their client is no longer looked at). */
void sched_client_destroy(struct sched_client *client);

/* Off: every request passes and only in-flight counts are kept (the demo's
 * "without enforcement"). */
void sched_enforce(struct sched *sched, bool on, uint64_t now_ns);

/* SCHED_GO: send it to the device now.  Otherwise it is queued. */
enum sched_verdict sched_submit(struct sched *sched,
				struct sched_client *client,
				struct sched_request *request, uint64_t now_ns);

/* Of one client: requests that are paid for and did not come yet.  Only those
 * of the very time at which they were paid for pass; what is left of them is
 * given back when another comes.  All zero at first; its caller keeps it, but
 * looks at nothing in it. */
struct sched_passes {
	uint64_t at_ns;		/* of the last that passed */
	uint64_t slope;		/* what was paid for each, as in meter.h */
	uint32_t left;
};

/* The same as sched_submit where nothing but limits holds a request
 * ('immediate'), without a request: true: nothing holds it, and it was charged;
 * it is neither counted nor completed.  False: nothing was done, submit it. */
bool sched_pass(struct sched *sched, struct sched_client *client,
		struct sched_passes *passes, uint64_t now_ns);
/* Requests come many at a time, so they are charged many at a time.  True: it
 * has passed; false: ask above. */
static inline bool sched_pass_paid(struct sched_passes *passes, uint64_t now_ns)
{
	if (passes->left == 0 || passes->at_ns != now_ns)
		return false;
	passes->left--;
	return true;
}
/* None is left: the next one has to ask. */
void sched_pass_back(struct sched_client *client, struct sched_passes *passes);

/* The next request for the device, or NULL. */
struct sched_request *sched_next(struct sched *sched, uint64_t now_ns);
/* When sched_next may next give something out without a submit or a
 * completion before; UINT64_MAX: never. */
uint64_t sched_wake_ns(const struct sched *sched);
/* The device has finished 'request' (given out before). */
void sched_complete(struct sched *sched, struct sched_request *request,
		    uint64_t now_ns);
/* The caller was away until 'now_ns', and has fetched no completions: what is
 * inside the device since then tells nothing of the device. */
void sched_away(struct sched *sched, uint64_t now_ns);

/* The earliest time at which one more request of this client could start, as
 * things stand: its front need not be told of new requests before then.
 * 0: now. */
uint64_t sched_client_ready_ns(const struct sched_client *client);

/* Requests of this client that wait here. */
uint32_t sched_client_queued(const struct sched_client *client);

struct sched_report {
	uint32_t in_flight, window, queued;
	uint32_t capacity_milli; /* measured capacity / calibrated, in 1/1000 */
	uint32_t shortage_milli; /* factor on reservations now; 1000: none */
	uint64_t shortages;		/* times that a shortage began */
};
void sched_report(const struct sched *sched, struct sched_report *ret_report);

#endif
