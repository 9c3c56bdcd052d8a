/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.h - whose turn it is at the reactor (E8)
 *
 * Devices that complete inside submit have no queue: what is short there is
 * the reactor itself, and whoever shows it more requests gets more of it.  So
 * a way in (one or several rings) asks how many of its requests may be taken
 * now.  One struct turns for all such devices of a reactor.
 *
 * Called by src/vdev: turns_take at each visit of a ring that has requests,
 * turns_served for what was done, by client, once a round.
 * Pure: time is passed in.  Threads: the reactor's.  Nothing allocates after
 * turns_create.
 */
#ifndef SCHED_TURNS_H
#define SCHED_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/meter.h"
#include "sched/sched.h"

#define TURNS_MAX	32U	/* requests in one visit */

/* Somebody who was promised something, or not; embedded in its owner's. */
struct turns_client {
	struct turns_way *way;		/* NULL: not taking part */
	struct turns_client *next, **link;
	struct meter meters[SCHED_AXES];	/* what is owed, by promise */
	uint16_t masks[2];		/* into 'meters', by direction */
	uint16_t bytes_mask;
	uint32_t meter_count;
	uint32_t weight;
	uint64_t latency_ns;		/* the strictest; UINT64_MAX: none */
	uint64_t served_at[2];	/* its way's 'taken', when last charged */
};

/* A way in, and its clients. */
struct turns_way {
	struct turns *turns;		/* NULL: it takes all */
	struct turns_client *clients;
	uint32_t weight;		/* the greatest of its clients */
	uint64_t latency_ns;		/* the strictest */
	bool promised;			/* a rate, to some client */
	uint64_t window;		/* the last that it had requests in */
	struct turns_way *next;		/* of that window */
	uint64_t round;			/* the last that it had requests in */
	uint32_t rounds;		/* such rounds of this window */
	uint32_t seats, seats_before; /* rings with requests in it and before */
	uint64_t excess;		/* served beyond one unit a request */
	uint64_t taken;			/* requests, while contended */
};

/* A ring of a way; zero at first. */
struct turns_seat {
	uint64_t at;		/* served up to this round, in 2^-8 */
	uint64_t from, sits_out;	/* the last visit's part of it ... */
	uint64_t each;		/* ... and a request's of that */
};

struct turns {
	uint64_t tick_ns;		/* when this window ends */
	uint64_t window;
	bool contended;			/* two ways had requests of late */
	bool enforcing;
	uint64_t began_ns;
	struct turns_way *ways;		/* that had requests in this window */
	uint32_t count;
	uint32_t weight;		/* the greatest of late */
	uint64_t latency_ns;		/* the strictest of late */
	uint64_t now_ns;		/* of this round */
	uint64_t round;
	uint32_t rounds, late;		/* of this window; too long ones */
	uint32_t turn;			/* of who is owed nothing, in 2^-8 */
};

void turns_init(struct turns *turns);
/* Off: everybody takes all it has. */
void turns_enforce(struct turns *turns, bool on);

/* 'turns' may be NULL. */
void turns_way_init(struct turns_way *way, struct turns *turns);
/* Its clients are gone. */
void turns_way_finish(struct turns_way *way);

/* 'params' have been checked. */
void turns_client_init(struct turns_client *client, struct turns_way *way,
		       const struct sched_params *params, uint64_t now_ns);
/* Takes effect at once (E13). */
void turns_client_update(struct turns_client *client,
			 const struct sched_params *params, uint64_t now_ns);
/* From then on it may be served, and that counts for nothing. */
void turns_client_finish(struct turns_client *client);

/* 'requests' of 'bytes' together were served. */
void turns_charge(struct turns_client *client, unsigned int direction,
		  uint32_t requests, uint64_t bytes);
static inline void turns_served(struct turns_client *client,
				unsigned int direction, uint32_t requests,
				uint64_t bytes)
{
	if (client->way)
		turns_charge(client, direction, requests, bytes);
}

/* turns_take, where there may be others. */
unsigned int turns_share(struct turns_way *way, struct turns_seat *seat,
			 unsigned int found, uint64_t now_ns);

/* The ring could not take so many of what turns_take said in this visit. */
void turns_give_back(struct turns_way *way, struct turns_seat *seat,
		     unsigned int count);

/* A ring has 'found' (> 0) requests: how many to take.  'now_ns' is the same
 * for all of one round.  0: not in this round. */
static inline unsigned int turns_take(struct turns_way *way,
				      struct turns_seat *seat,
				      unsigned int found, uint64_t now_ns)
{
	const struct turns *turns = way->turns;

	if (!turns ||
	    (now_ns < turns->tick_ns && way->window == turns->window &&
	     !turns->contended))
		return found;
	return turns_share(way, seat, found, now_ns);
}

#endif
