/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what the scheduler is made of; internal to src/sched
 *
 * Requests wait in a FIFO for each client and direction.  What is scheduled is
 * a lane: both FIFOs of a client together where all that was promised to it
 * counts for both alike, else one for each direction.  Lanes of clients whose
 * group has a limit hang below that group's lane of the same direction, all
 * others at the root.  A lane with requests is in exactly one state:
 *
 *   LANE_WAITING  over a limit         in 'limits', until it allows
 *   LANE_DUE      reservation is owed  in a 'due' queue, by deadline
 *   LANE_SPARE    may have spare time  in a 'spare' queue, by virtual time,
 *                                      and in 'dues' until it is seen that
 *                                      it is due
 *
 * The root's queues are wheels, which hold at most one valid entry of a lane
 * each, as told by its 'queues' (and for 'due' by its state), and nothing is
 * taken out of them but the least.  Times and virtual times of a lane only
 * advance, so an entry's key is never after the true one, and one that was
 * left behind does no harm: when it comes it is dropped or put where it
 * belongs now.  Where something else happens to a client (it changes, goes or
 * is drained) all its entries become invalid: see lane_remove.
 *
 * Ids: a lane's is (generation, index of its client, number of its lane); with
 * another generation an entry is invalid.  Groups' lanes have ids and queues
 * of their own.
 */
#ifndef SCHED_STATE_H
#define SCHED_STATE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/wheel.h"
#include "sched/meter.h"
#include "sched/sched.h"

/* What every request needs of clients is in one table, of which only what is
 * used takes memory; the rest is allocated by the chunk.  The table is aligned
 * so that it is found from any client. */
#define CHUNK_BITS	11U
#define CHUNK_CLIENTS	(1U << CHUNK_BITS)
#define CHUNKS		(SCHED_CLIENTS_MAX / CHUNK_CLIENTS)
#define TABLE_ALIGN	(UINT64_C(1) << 25)
#define LANES_MAX	(2U * SCHED_CLIENTS_MAX)
#define GENERATION	LANES_MAX	/* an id's bits from here on */
#define GROUP_LANES_MAX (2U * SCHED_GROUPS_MAX)

/* Reservations: how much may be made up for after having been late, and how
 * much may be saved up by having been idle. */
#define DEBT_NS		UINT64_C(20000000)
#define CREDIT_NS	UINT64_C(10000000)
/* Reservations are served 1/32 faster than promised: what starts at an exact
 * pace does not end at one, and it is the end that is judged. */
#define RESERVE_MARGIN	32U
/* A reservation without a latency is served within its own period, but no
 * later than this after it is due. */
#define BOUND_MAX_NS	UINT64_C(5000000)
/* Reserved service may put a client's virtual time this much device time
 * ahead of the others, not more. */
#define AHEAD_MAX_NS	UINT64_C(100000000)
#define COST_MAX_NS	(UINT64_C(1) << 31)	/* of one request */
#define BURST_MAX_NS	(UINT64_C(1) << 60)
#define LATENCY_MAX_NS	UINT64_C(4000000000)	/* later is as good as never */
/* Virtual time is 2^20 device-ns divided by weight; counted anew beyond: */
#define VTIME_MAX	(UINT64_C(1) << 62)

/* What each decision runs through: in line, without what a call saves. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum lane_state { LANE_IDLE, LANE_WAITING, LANE_DUE, LANE_SPARE };

/* In 'queues'. */
#define IN_LIMITS	0x1U
#define IN_DUES		0x2U
#define IN_SPARE	0x4U

struct fifo {
	struct sched_request *head, *tail;
};

#define METERS_MAX	(2U * SCHED_AXES)
/* In 'flags'.  A plain client has no meters but a limit and a reservation on
 * requests of both directions together; those are in the client itself.  All
 * others have all their meters in struct client_rest. */
#define CLIENT_PLAIN	0x1U
#define CLIENT_GROUPED	0x2U	/* the group has a limit; never plain */
#define CLIENT_SPLIT	0x4U	/* a lane for each direction */
#define CLIENT_IN_ORDER 0x8U	/* of what is due, the first that came */

/* Two cache lines: all that a request of a plain client touches. */
struct sched_client {
	uint64_t vtime;		/* start of the next request by weight */
	uint32_t id;		/* of its first lane */
	uint32_t inverse_weight;	/* 2^32 / weight */
	struct meter limit;	/* plain; without one: slope 0 */
	struct meter reservation;	/* plain; without one: tag UINT64_MAX */

	struct fifo fifos[2];
	uint64_t burst_ns;
	uint32_t bound_ns[2];	/* deadline after arrival or due time */
	uint32_t queued;
	uint16_t flags;
	uint16_t turn;		/* of one lane: the direction that is next */
	uint16_t state[2];	/* of lanes: enum lane_state */
	uint16_t queues[2];	/* of lanes */
} __attribute__((aligned(128)));

struct client_rest {
	struct meter meters[METERS_MAX];
	uint16_t limits[2];	/* masks into 'meters', by direction */
	uint16_t reservations[2];
	uint16_t bytes_mask;
	bool in_use;
	uint32_t meter_count;
	uint32_t next_free;	/* index + 1 */
	uint64_t queued_bytes;
	struct sched_group *group;
	struct sched_client *next_of_group, **link_of_group;
	struct sched_params params;
};

struct client_table {
	struct sched *sched;
	struct client_rest *chunks[CHUNKS];	/* CHUNK_CLIENTS each */
	struct sched_client clients[SCHED_CLIENTS_MAX];
};

struct group_lane {
	struct heap due, spare;
};

struct sched_group {
	struct meter meters[SCHED_AXES];
	uint16_t limits[2];
	uint16_t bytes_mask;
	bool limited;
	uint32_t index;
	uint64_t burst_ns;
	struct group_lane lanes[2];
	uint64_t vtime;		/* members' own: their 'vtime' is of this */
	uint64_t offset;	/* to be added for the scheduler's */
	uint32_t members, meter_count;
	struct sched_client *clients;
	struct sched *sched;
};

/* Measuring the device: see window.c. */
struct window {
	uint64_t target_ns[2];	/* of the time inside the device; 0: none */
	uint64_t began_ns;	/* of this round */
	uint64_t busy_ns;	/* since when the device has been saturated */
	uint64_t busy_cost_ns;	/* calibrated cost of what it did since */
	uint32_t busy_count;
	uint32_t samples, late, broken;	/* beyond the target, the promise */
	uint32_t hungry;	/* samples of it with nothing waiting */
	bool limiting;		/* the window was full in this round */
	uint64_t round_cost_ns, round_inside_ns;
	uint64_t inside_before_ns;	/* mean, before the last step down */
	bool testing;		/* a smaller window, for the first round */
	uint64_t full_milli;	/* throughput before shrinking, at: */
	uint32_t full_depth;
	bool full_broken;	/* the promise was, at that depth */
	uint64_t less_milli; /* throughput of the one that was too small;
				 * 0: not to be compared */
	uint32_t depth;		/* the window */
	uint32_t skip;		/* completions not to be measured */
	uint64_t back_ns;	/* nor those that began before: was away */
	uint32_t floor;
	uint32_t floors;	/* in a row, since it was last in time */
	uint64_t floor_until_ns;
	uint32_t capacity_milli;
	struct heap bounds[2];	/* clients by latency promised */
	uint32_t *bound_places[2];
};

struct shortage {
	bool watching;		/* somebody was late not long ago */
	bool active;		/* the promise itself is not kept */
	bool by_weight;		/* due lanes are in weight order now */
	uint64_t began_ns;	/* of this round */
	uint64_t short_ns;	/* when it was last seen to be short */
	uint64_t held_ns;	/* lost in this round: clock, or see below */
	uint64_t served, lost;	/* by weight: requests * 1024 of this round */
	uint32_t milli;
	uint64_t times;
};

struct sched {
	/* read by every request */
	uint64_t gate_ns; /* before this, and with the window open, a
				 * request may pass without looking further */
	uint32_t in_flight, window;
	uint64_t behind_ns;	/* the reservation clock is now - this */
	bool enforcing, immediate;
	bool measuring;		/* look at every completion */
	bool watching;		/* some latency is promised */
	uint32_t queued;

	uint64_t timers_ns;	/* nobody waits for a time before this */
	uint64_t now_ns;	/* of the last call that had something to do */
	uint64_t vtime;
	uint64_t request_ns[2];
	uint64_t byte_slope[2];	/* device-ns per byte in 2^-32 */

	uint64_t least_bound_ns;	/* no client's is less */

	uint32_t ready;		/* lanes at the root that are due or spare */
	uint32_t invalid;	/* entries in the four that follow */
	struct wheel limits, dues, due, spare;
	uint32_t room;		/* clients for which there is some in these */
	/* Groups' lanes. */
	struct heap group_due, group_spare, group_limits;
	uint32_t *group_places[3];
	/* Lanes in their group's 'due' and 'spare'. */
	uint32_t *member_places[2];

	struct window measured;
	struct shortage shortage;
	struct sched_config config;

	struct client_table *table;
	struct sched_client *first;	/* of the table */
	uint32_t clients, clients_made, client_free;	/* free: index + 1 */
	uint32_t groups;
	struct sched_group *group_table[SCHED_GROUPS_MAX];
};

static_assert(sizeof(struct sched_client) == 128, "two cache lines");
static_assert(sizeof(struct client_table) <= TABLE_ALIGN, "fits");

static inline struct sched_client *client_at(const struct sched *sched,
					     uint32_t index)
{
	return &sched->first[index];
}

static inline struct client_table *table_of(const struct sched_client *client)
{
	return (struct client_table *)((uintptr_t)client & ~(TABLE_ALIGN - 1));
}

static inline struct sched *client_sched(const struct sched_client *client)
{
	return table_of(client)->sched;
}

static inline uint32_t client_index(const struct sched_client *client)
{
	return (client->id & (LANES_MAX - 1)) >> 1;
}

static inline struct client_rest *client_rest(const struct sched_client *client)
{
	const uint32_t index = client_index(client);

	return &table_of(client)->chunks[index >> CHUNK_BITS]
					[index & (CHUNK_CLIENTS - 1)];
}

/* Whose lane's id is it?  It may be an old one: see id_is_valid. */
static inline struct sched_client *client_of(const struct sched *sched,
					     uint32_t id)
{
	/* Bit 0 is the lane's number. */
	const uint64_t offset = (uint64_t)(id & (LANES_MAX - 2)) *
		(sizeof(struct sched_client) / 2);
	struct sched_client *client =
		(struct sched_client *)((uintptr_t)sched->first + offset);

	/* Else the compiler keeps the offset instead, and computes the address
	 * again for each member. */
	__asm__("" : "+r"(client));
	return client;
}

static inline bool id_is_valid(const struct sched_client *client, uint32_t id)
{
	return (client->id ^ id) <= 1;
}

/* The lane of requests of this direction. */
static inline unsigned int client_lane(const struct sched_client *client,
				       unsigned int direction)
{
	return client->flags & CLIENT_SPLIT ? direction : 0;
}

static inline bool lane_has_requests(const struct sched_client *client,
				     unsigned int lane)
{
	return client->flags & CLIENT_SPLIT ?
		client->fifos[lane].head != NULL :
		client->fifos[0].head || client->fifos[1].head;
}

static inline bool client_is_plain(const struct sched_client *client)
{
	return client->flags & CLIENT_PLAIN;
}

/* Of a plain client: when its limit lets the next request start. */
static inline uint64_t plain_limit_ns(const struct sched_client *client)
{
	return client->limit.tag_ns > client->burst_ns ?
		client->limit.tag_ns - client->burst_ns :
		0;
}

/* Is it later than now? */
static inline bool plain_is_over(const struct sched_client *client,
				 uint64_t now_ns)
{
	return client->limit.tag_ns > now_ns + client->burst_ns;
}

/* When the limits let the next request of this lane start. */
static inline uint64_t client_limit_ns(const struct sched_client *client,
				       unsigned int lane)
{
	uint64_t latest_ns = client->limit.tag_ns;

	if (!client_is_plain(client)) {
		const struct client_rest *rest = client_rest(client);

		latest_ns = meter_latest(rest->meters, rest->limits[lane]);
	}
	return latest_ns > client->burst_ns ? latest_ns - client->burst_ns : 0;
}

/* When a reservation is owed to this lane, by the reservation clock;
 * UINT64_MAX: there is none. */
static inline uint64_t client_due_ns(const struct sched_client *client,
				     unsigned int lane)
{
	if (!client_is_plain(client)) {
		const struct client_rest *rest = client_rest(client);

		return meter_earliest(rest->meters, rest->reservations[lane]);
	}
	return client->reservation.tag_ns;
}

static inline uint64_t group_limit_ns(const struct sched_group *group,
				      unsigned int direction)
{
	const uint64_t latest_ns =
		meter_latest(group->meters, group->limits[direction]);

	return latest_ns > group->burst_ns ? latest_ns - group->burst_ns : 0;
}

static inline uint64_t late_allowed_ns(uint64_t burst_ns)
{
	return burst_ns < SCHED_LATE_NS ? SCHED_LATE_NS - burst_ns : 0;
}

/* Reservation clock: real time, less what a shortage has held it up. */
static inline uint64_t sched_clock_ns(const struct sched *sched,
				      uint64_t now_ns)
{
	return now_ns > sched->behind_ns ? now_ns - sched->behind_ns : 0;
}

static inline bool sched_has_ready(const struct sched *sched)
{
	return sched->ready != 0 ||
		(sched->group_due.count | sched->group_spare.count) != 0;
}

/* To be called when lanes, timers or 'enforcing' have changed. */
static inline void sched_set_gate(struct sched *sched)
{
	const bool open = sched->enforcing && !sched_has_ready(sched);
	const bool measuring = sched->enforcing &&
		(sched->watching || sched->shortage.watching || !open);

	sched->gate_ns = open ? sched->timers_ns : 0;
	/* What was summed up before was long ago. */
	if (measuring && !sched->measuring)
		sched->measured.busy_count = 0;
	sched->measuring = measuring;
}

/* How long the device is busy with a request, as calibrated. */
static inline uint64_t sched_cost_ns(const struct sched *sched,
				     unsigned int direction, uint32_t bytes)
{
	const uint64_t cost_ns = sched->request_ns[direction] +
		(uint64_t)((unsigned __int128)sched->byte_slope[direction] *
				   bytes >>
			   32);

	return cost_ns < COST_MAX_NS ? cost_ns : COST_MAX_NS;
}

/* Every client's figures anew, the device's having changed; client.c. */
void client_apply_all(struct sched *sched);

#endif
