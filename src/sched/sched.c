/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.c - the way of a request, and how the whole works
 *
 * It began as mClock (OSDI 2010): each client has a time at which its next
 * request is owed to it (reservation), one before which it may not start
 * (limit), and a virtual time that advances the slower the greater its weight.
 *
 *                     nobody waits, below the limit,
 *                     window not full
 *   sched_submit --------------------------------------------> device
 *        |                                                       ^
 *        v                                             sched_next|
 *   lane (a FIFO for each client and direction)                  |
 *        |                                                       |
 *        +-- over its limit? --> WAITING --(limit's time)--+     |
 *        |                       a wheel, by time          |     |
 *        +<------------------------------------------------+     |
 *        |                                                       |
 *        +-- owed now? --------> DUE    wheel by deadline -------+ first
 *        |                        ^                              |
 *        +-- else -------------> SPARE  wheel by virtual time ---+ then
 *                                 |     ^
 *                                 +-----+ (when it becomes owed: to DUE)
 *
 * Only the head of a lane is ever looked at, so a decision is a few queue
 * operations, O(1) in the wheels (base/wheel.c).  A lane over its limit may be
 * left in SPARE while others are before it; the limit is looked at again when
 * its turn comes.  So is everything that the client's other direction may have
 * used up meanwhile: such a lane is placed anew.
 *
 * With thousands of clients the time goes into waiting for their memory.  So a
 * decision touches two cache lines of its client and the request; entries in
 * the wheels are written next to each other and never looked for: one that is
 * out of date is left where it is (state.h).  And what a wheel will give out
 * next is fetched while others are being served (place_look_ahead).
 *
 * That a spare lane is due shows when the next is picked, at its entry in
 * 'dues'.  What comes out there has mostly the earliest deadline of all, and
 * is served at once; it goes to DUE only if others may be before it.
 *
 * Lanes of a group with a limit hang below that group's lane of the same
 * direction, which stands in DUE and SPARE for its best member, or waits as a
 * whole, so that a group's limit costs the same for one member and for many.
 *
 * What can be relied on
 * - Limits.  GCRA on every axis that applies, the latest decides, and tags
 *   advance from when a request was due and not from when somebody came to
 *   fetch it; so the long-run rate is the limit, exactly.  See SCHED_LATE_NS.
 *   What a limit must not hold (sched_client_let_go) is owed to it afterwards.
 * - Reservations are measured by a clock that a shortage holds (shortage.c)
 *   and charged only by what was served because it was owed, so that spare
 *   time never counts against a promise.  An axis that was not owed gains no
 *   more than the one request.  At most DEBT_NS is made up for, at most
 *   CREDIT_NS saved.
 * - Latency.  Due lanes go by deadline: when it was due or, if later, when it
 *   came, and the latency promised.  Of a client's reads and writes that are
 *   due together the first that came is first, so that none waits longer than
 *   at exactly the promised rate; who was promised no latency is served in
 *   turns.  What is inside the device is beyond reach, so the window (window.c)
 *   keeps that short.
 * - Weight.  Start-time fair queueing: virtual time is the start of what was
 *   served last, and whoever returns starts there: O(1), whether it was away
 *   for a millisecond or an hour, without a claim and without a debt.  Reserved
 *   service counts, up to AHEAD_MAX_NS.  Requests that pass while nobody waits
 *   don't: there is nothing to be fair about.
 * - Nobody without a promise starves unless reservations use up the device.
 *
 * Immediate devices (memory, nullio) finish inside submit: there is no depth
 * to control and nobody to be before, the reactor itself is what is shared.
 * There limits hold as always, and the window is open.  Reservations, weights
 * and latencies are followed before a request comes here: turns.c decides how
 * many are taken from a front at a time.
 *
 * Invariants
 * - gate_ns is 0 if something is ready or nothing is enforced, else timers_ns:
 *   before it, with the window open, a request of a plain client that
 *   its limit allows overtakes nobody.  All who change these call
 *   sched_set_gate.
 * - A lane with requests is in exactly one state, one without is LANE_IDLE.
 * - timers_ns is never after the first time at which something becomes ready
 *   by itself (an entry in 'limits', or a group's).
 * - in_flight counts what was given out and not completed, of any client,
 *   also of those that are gone.
 */
#include "sched/sched.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sched/charge.h"
#include "sched/group.h"
#include "sched/lane.h"
#include "sched/pick.h"
#include "sched/shortage.h"
#include "sched/state.h"
#include "sched/window.h"

#define COST_FIGURE_MAX	(UINT64_C(1) << 40)
/* Of sched_pass: paid for at a time, by who has 1000 a second or more. */
#define PASSES		32U
#define PASS_SLOPE_MAX	(UINT64_C(1000000) << 32)

static int check_config(const struct sched_config *config, struct error *reterr)
{
	for (unsigned int d = 0; d < 2; d++)
		if (config->cost.request_ns[d] > COST_FIGURE_MAX ||
		    config->cost.per_kib_ns[d] > COST_FIGURE_MAX)
			return error_set(reterr, -EINVAL,
					 "cost of a request is beyond %" PRIu64
					 " ns",
					 COST_FIGURE_MAX);
	if (!config->immediate &&
	    (config->window_min == 0 ||
	     config->window_max < config->window_min))
		return error_set(
			reterr, -EINVAL,
			"window of %u to %u requests: give a least of 1 and a greatest not below it",
			config->window_min, config->window_max);
	return 0;
}

static void apply_config(struct sched *sched, const struct sched_config *config)
{
	sched->config = *config;
	sched->immediate = config->immediate;
	for (unsigned int d = 0; d < 2; d++) {
		sched->request_ns[d] = config->cost.request_ns[d];
		if (sched->request_ns[d] == 0)
			sched->request_ns[d] = 1;
		sched->byte_slope[d] = config->cost.per_kib_ns[d] << 22;
	}
	window_configure(sched);
}

/* Not cleared: what is not used shall take no memory. */
static int table_create(struct sched *sched)
{
	void *memory;

	if (posix_memalign(&memory, TABLE_ALIGN, sizeof(*sched->table)) != 0)
		return -ENOMEM;
	sched->table = memory;
	sched->first = sched->table->clients;
	sched->table->sched = sched;
	for (uint32_t i = 0; i < CHUNKS; i++)
		sched->table->chunks[i] = NULL;
	return 0;
}

int sched_create(const struct sched_config *config, struct sched **ret_sched,
		 struct error *reterr)
{
	struct sched *sched;
	const int result = check_config(config, reterr);

	if (result < 0)
		return result;
	sched = aligned_alloc(64, (sizeof(*sched) + 63) / 64 * 64);
	if (!sched)
		return error_set(reterr, -ENOMEM, "no memory for a scheduler");
	*sched = (struct sched){.enforcing = true, .timers_ns = UINT64_MAX};
	wheel_init(&sched->limits, 1);
	wheel_init(&sched->dues, 1);
	wheel_init(&sched->due, 1);
	wheel_init(&sched->spare, 1);
	if (table_create(sched) < 0 || group_init(sched) < 0 ||
	    window_init(sched) < 0) {
		sched_destroy(sched);
		return error_set(reterr, -ENOMEM, "no memory for a scheduler");
	}
	sched->shortage.milli = 1000;
	apply_config(sched, config);
	sched_set_gate(sched);
	*ret_sched = sched;
	return 0;
}

int sched_configure(struct sched *sched, const struct sched_config *config,
		    struct error *reterr)
{
	const int result = check_config(config, reterr);

	if (result < 0)
		return result;
	lane_remove_all(sched);
	apply_config(sched, config);
	client_apply_all(sched);
	lane_place_all(sched, sched->now_ns);
	sched_set_gate(sched);
	return 0;
}

void sched_destroy(struct sched *sched)
{
	if (!sched)
		return;
	assert(sched->clients == 0 && sched->groups == 0);
	if (sched->table)
		for (uint32_t i = 0; i < CHUNKS; i++)
			free(sched->table->chunks[i]);
	free(sched->table);
	window_finish(sched);
	group_finish(sched);
	wheel_finish(&sched->limits);
	wheel_finish(&sched->dues);
	wheel_finish(&sched->spare);
	wheel_finish(&sched->due);
	free(sched);
}

/* Charge a request that starts at once, without having waited. */
static void charge_direct(struct sched *sched, struct sched_client *client,
			  unsigned int direction, uint32_t bytes,
			  uint64_t now_ns)
{
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	const uint64_t floor_ns = before_ns(clock_ns, CREDIT_NS);

	if (client_is_plain(client)) {
		charge_plain_limit(client, now_ns, false);
		if (client->reservation.tag_ns <= clock_ns)
			charge_plain_reservation(client, floor_ns);
		return;
	}
	charge_limits(client, direction, bytes, now_ns, false);
	if (client->flags & CLIENT_GROUPED)
		charge_group(client_rest(client)->group, direction, bytes,
			     now_ns, false);
	if (client_due_ns(client, direction) <= clock_ns)
		charge_reservations(client, direction, bytes, clock_ns,
				    floor_ns);
}

ALWAYS_INLINE void enqueue(struct sched *sched, struct sched_client *client,
			   struct sched_request *request)
{
	struct fifo *fifo = &client->fifos[request->direction];

	request->next = NULL;
	client->queued++;
	sched->queued++;
	if (!client_is_plain(client))
		client_rest(client)->queued_bytes += request->bytes;
	if (fifo->head)
		fifo->tail->next = request;
	else
		fifo->head = request;
	fifo->tail = request;
}

ALWAYS_INLINE bool timers_may_run(const struct sched *sched, uint64_t now_ns)
{
	return now_ns >= sched->timers_ns || sched->shortage.by_weight ||
		now_ns > sched->now_ns + CREDIT_NS;
}

/* Which lanes are owed something is seen when the next is picked.  But by
 * weight all of them have to stand in order, and who becomes owed while nobody
 * calls has not more saved than who is idle. */
ALWAYS_INLINE void run_timers(struct sched *sched, uint64_t now_ns)
{
	if (now_ns >= sched->timers_ns)
		lane_timers(sched, now_ns);
	if (sched->shortage.by_weight || now_ns > sched->now_ns + CREDIT_NS)
		lane_all_due(sched, now_ns);
	sched->now_ns = now_ns;
}

/* Nobody is before it in its lane, but something is not as usual: timers have
 * run out, others wait, the client is not plain, or the request itself has to
 * wait. */
static __attribute__((noinline)) enum sched_verdict submit_first(
	struct sched *sched, struct sched_client *client,
	struct sched_request *request, uint64_t now_ns)
{
	const unsigned int direction = request->direction;
	const unsigned int lane = client_lane(client, direction);
	const bool grouped = client->flags & CLIENT_GROUPED;

	run_timers(sched, now_ns);
	if (!sched_has_ready(sched) && sched->in_flight < sched->window &&
	    client_limit_ns(client, lane) <= now_ns &&
	    (!grouped ||
	     group_limit_ns(client_rest(client)->group, direction) <= now_ns)) {
		charge_direct(sched, client, direction, request->bytes, now_ns);
		sched->in_flight++;
		sched_set_gate(sched);
		return SCHED_GO;
	}
	enqueue(sched, client, request);
	lane_place(sched, client, lane, CREDIT_NS, now_ns);
	sched_set_gate(sched);
	return SCHED_QUEUED;
}

/* Behind others of its lane nothing changes. */
static __attribute__((noinline)) enum sched_verdict submit_slowly(
	struct sched *sched, struct sched_client *client,
	struct sched_request *request, uint64_t now_ns)
{
	const unsigned int lane = client_lane(client, request->direction);

	if (!sched->enforcing) {
		sched->in_flight++;
		return SCHED_GO;
	}
	if (client->state[lane] == LANE_IDLE)
		return submit_first(sched, client, request, now_ns);
	enqueue(sched, client, request);
	return SCHED_QUEUED;
}

enum sched_verdict sched_submit(struct sched *sched,
				struct sched_client *client,
				struct sched_request *request, uint64_t now_ns)
{
	request->client = client;
	request->arrival_ns = now_ns;
	request->start_ns = now_ns;
	/* A lane that waits for its limit is still over it: no timer has run
	 * out, so whoever passes here overtakes nobody. */
	if (now_ns >= sched->gate_ns || sched->in_flight >= sched->window ||
	    !client_is_plain(client) ||
	    client->limit.tag_ns > now_ns + client->burst_ns)
		return submit_slowly(sched, client, request, now_ns);

	charge_plain_limit(client, now_ns, false);
	if (client->reservation.tag_ns <= now_ns - sched->behind_ns)
		charge_plain_reservation(
			client,
			before_ns(now_ns - sched->behind_ns, CREDIT_NS));
	sched->in_flight++;
	return SCHED_GO;
}

/* More than one came at this time, so there may be many.  At one time the same
 * is charged for some requests one by one as for all of them at once; and who
 * looks at the tag meanwhile sees what is within the limit. */
static __attribute__((noinline)) bool pass_more(struct sched_client *client,
						struct sched_passes *passes,
						uint64_t now_ns)
{
	struct meter *limit = &client->limit;

	if (limit->slope <= PASS_SLOPE_MAX &&
	    limit->tag_ns + (PASSES * limit->slope >> 32) <=
		    now_ns + client->burst_ns) {
		meter_charge(limit, limit->tag_ns, PASSES);
		passes->slope = limit->slope;
		passes->left = PASSES;
	}
	return true;
}

/* A client that is not plain any more has nothing to get. */
void sched_pass_back(struct sched_client *client, struct sched_passes *passes)
{
	if (passes->left > 0 && client_is_plain(client))
		meter_give_back(&client->limit, passes->slope, passes->left);
	passes->left = 0;
}

static __attribute__((noinline)) bool pass_later(struct sched *sched,
						 struct sched_client *client,
						 struct sched_passes *passes,
						 uint64_t now_ns)
{
	sched_pass_back(client, passes);
	return sched_pass(sched, client, passes, now_ns);
}

bool sched_pass(struct sched *sched, struct sched_client *client,
		struct sched_passes *passes, uint64_t now_ns)
{
	const uint64_t at_ns = passes->at_ns;

	if (passes->left > 0)
		return pass_later(sched, client, passes, now_ns);
	/* As in sched_submit. */
	if (now_ns >= sched->gate_ns || !client_is_plain(client) ||
	    client->limit.tag_ns > now_ns + client->burst_ns)
		return false;
	charge_plain_limit(client, now_ns, false);
	passes->at_ns = now_ns;
	return at_ns != now_ns || pass_more(client, passes, now_ns);
}

/* The window is full, or a timer may have run out. */
static __attribute__((noinline)) struct sched_request *next_slowly(
	struct sched *sched, uint64_t now_ns)
{
	run_timers(sched, now_ns);
	if (sched->in_flight < sched->window)
		return pick_next(sched, now_ns);
	sched_set_gate(sched);
	return NULL;
}

struct sched_request *sched_next(struct sched *sched, uint64_t now_ns)
{
	if (sched->queued == 0)
		return NULL;
	if (timers_may_run(sched, now_ns) || sched->in_flight >= sched->window)
		return next_slowly(sched, now_ns);
	sched->now_ns = now_ns;
	return pick_next(sched, now_ns);
}

uint64_t sched_wake_ns(const struct sched *sched)
{
	if (sched->queued == 0 || sched->in_flight >= sched->window)
		return UINT64_MAX;
	return sched_has_ready(sched) ? 0 : sched->timers_ns;
}

void sched_complete(struct sched *sched, struct sched_request *request,
		    uint64_t now_ns)
{
	assert(sched->in_flight > 0);
	sched->in_flight--;
	if (sched->measuring)
		window_measure(sched, request, now_ns);
}

/* When one more request could start, if this set of limits were all. */
static uint64_t meters_ready_ns(const struct meter *meters, uint32_t mask,
				uint32_t bytes_mask, uint64_t burst_ns,
				uint64_t requests, uint64_t bytes)
{
	uint64_t ready_ns = 0;

	for (; mask; mask &= mask - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(mask);
		const uint64_t units = bytes_mask >> i & 1 ? bytes : requests;
		unsigned __int128 tag_ns = meters[i].tag_ns;

		tag_ns += (unsigned __int128)meters[i].slope * units >> 32;
		if (tag_ns > UINT64_MAX)
			tag_ns = UINT64_MAX;
		if ((uint64_t)tag_ns > ready_ns)
			ready_ns = (uint64_t)tag_ns;
	}
	return ready_ns > burst_ns ? ready_ns - burst_ns : 0;
}

uint64_t sched_client_ready_ns(const struct sched_client *client)
{
	const struct client_rest *rest = client_rest(client);
	const struct sched_group *group =
		client->flags & CLIENT_GROUPED ? rest->group : NULL;
	uint64_t ready_ns = UINT64_MAX;

	if (!client_sched(client)->enforcing)
		return 0;
	if (client_is_plain(client) && client->limit.slope == 0)
		return 0;
	if (client_is_plain(client))
		return before_ns(meters_ready_ns(&client->limit, 1, 0,
						 client->burst_ns,
						 client->queued, 0),
				 SCHED_LEAD_NS);
	for (unsigned int d = 0; d < 2; d++) {
		/* Requests of the other direction may not count here; if there
		 * are any, be cautious. */
		const bool alone = !client->fifos[!d].head;
		const uint64_t requests =
			alone ? client->queued : client->fifos[d].head != NULL;
		const uint64_t bytes = alone ? rest->queued_bytes : 0;
		uint64_t lane_ns = meters_ready_ns(
			rest->meters, rest->limits[d], rest->bytes_mask,
			client->burst_ns, requests, bytes);

		if (group) {
			const uint64_t group_ns = meters_ready_ns(
				group->meters, group->limits[d],
				group->bytes_mask, group->burst_ns, requests,
				bytes);

			lane_ns = group_ns > lane_ns ? group_ns : lane_ns;
		}
		ready_ns = lane_ns < ready_ns ? lane_ns : ready_ns;
	}
	return before_ns(ready_ns, SCHED_LEAD_NS);
}

uint32_t sched_client_queued(const struct sched_client *client)
{
	return client->queued;
}

void sched_report(const struct sched *sched, struct sched_report *ret_report)
{
	*ret_report = (struct sched_report){
		.in_flight = sched->in_flight,
		.window = sched->immediate ? 0 : sched->measured.depth,
		.queued = sched->queued,
		.capacity_milli = sched->measured.capacity_milli,
		.shortage_milli = sched->shortage.milli,
		.shortages = sched->shortage.times,
	};
}
