/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shortage.c - more is reserved than the device can do
 *
 * Not computed from figures but seen: a reservation is served more than
 * DEBT_NS after it was due.  Lanes below a group with a limit don't count,
 * because the group may be what held them up.
 *
 * Proportional: the reservation clock is held, so that nobody is further
 * behind than DEBT_NS.  All reservations are measured by that clock, so all
 * are slowed by the same factor, which is the clock's rate; and when the
 * shortage ends it runs on at full rate, so nothing is repaid beyond DEBT_NS.
 *
 * By weight: the clock runs on, each late lane forgets what is older than
 * DEBT_NS, and due lanes are served in the order of virtual time.  A lane
 * that gets its whole reservation that way is simply not due more often.
 */
#include "sched/shortage.h"

#define ROUND_NS	UINT64_C(100000000)
#define QUIET_NS	UINT64_C(200000000)	/* without: it is over */
#define BEGIN_NS	UINT64_C(2000000)	/* lost beyond the margin */
#define BEGIN_REQUESTS	(8U * 1024U)
#define SCALE_MAX_NS	(UINT64_C(1) << 50)

static void begin_round(struct shortage *shortage, uint64_t now_ns)
{
	shortage->began_ns = now_ns;
	shortage->held_ns = 0;
	shortage->served = 0;
	shortage->lost = 0;
}

/* Is this round's loss more than the margin that reservations have? */
static bool is_short(const struct sched *sched, uint64_t elapsed_ns,
		     bool beginning)
{
	const struct shortage *shortage = &sched->shortage;

	switch (sched->config.shortage) {
	case SCHED_SHORTAGE_PROPORTIONAL:
		return shortage->held_ns > elapsed_ns / (RESERVE_MARGIN + 1) +
			(beginning ? BEGIN_NS : 0);
	case SCHED_SHORTAGE_WEIGHT:
		return shortage->lost > (shortage->served + shortage->lost) /
				(RESERVE_MARGIN + 1) +
			(beginning ? BEGIN_REQUESTS : 0);
	}
	return false;
}

static void begin(struct sched *sched, uint64_t now_ns)
{
	struct shortage *shortage = &sched->shortage;

	shortage->active = true;
	shortage->times++;
	shortage->short_ns = now_ns;
	shortage->milli = 999;	/* some; how much shows after a round */
}

/* How many requests, in 1/1024, the meter that is furthest behind allows in
 * 'ns'. */
static uint64_t requests_in(const struct sched_client *client,
			    unsigned int direction, uint32_t bytes, uint64_t ns)
{
	const struct meter *latest = &client->reservation;
	uint32_t units = 1;
	uint64_t each_ns;

	if (!client_is_plain(client)) {
		const struct client_rest *rest = client_rest(client);
		uint32_t mask = rest->reservations[direction];

		latest = NULL;
		for (; mask; mask &= mask - 1) {
			const uint32_t i = (uint32_t)__builtin_ctz(mask);

			if (latest && latest->tag_ns <= rest->meters[i].tag_ns)
				continue;
			latest = &rest->meters[i];
			units = meter_units(rest->bytes_mask, i, bytes);
		}
	}
	each_ns = latest ?
		(uint64_t)((unsigned __int128)latest->slope * units >> 32) :
		0;
	if (ns > SCALE_MAX_NS)
		ns = SCALE_MAX_NS;
	return ns * 1024 / (each_ns > 0 ? each_ns : 1);
}

void shortage_grows(struct sched *sched, const struct sched_client *client,
		    unsigned int direction, uint32_t bytes, uint64_t now_ns)
{
	struct shortage *shortage = &sched->shortage;
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	const uint64_t due_ns = client_due_ns(client, direction);
	const uint64_t excess_ns = clock_ns - due_ns - DEBT_NS;

	if (client->flags & CLIENT_GROUPED)
		return;
	if (!shortage->watching) {
		shortage->watching = true;
		shortage->short_ns = now_ns;
		begin_round(shortage, now_ns);
	}
	switch (sched->config.shortage) {
	case SCHED_SHORTAGE_PROPORTIONAL:
		sched->behind_ns += excess_ns;
		shortage->held_ns += excess_ns;
		break;
	case SCHED_SHORTAGE_WEIGHT:
		shortage->lost +=
			requests_in(client, direction, bytes, excess_ns);
		break;
	}
	if (!shortage->active &&
	    is_short(sched, now_ns - shortage->began_ns, true))
		begin(sched, now_ns);
}

/* The factor on what was promised, in this round. */
static uint32_t factor_milli(const struct sched *sched, uint64_t elapsed_ns)
{
	const struct shortage *shortage = &sched->shortage;
	unsigned __int128 part = shortage->served;
	uint64_t whole = shortage->served + shortage->lost;
	uint64_t milli;

	if (sched->config.shortage == SCHED_SHORTAGE_PROPORTIONAL) {
		part = shortage->held_ns < elapsed_ns ?
			elapsed_ns - shortage->held_ns :
			0;
		whole = elapsed_ns;
	}
	if (whole == 0)
		return shortage->milli;
	milli = (uint64_t)(part * 1000 * (RESERVE_MARGIN + 1) / RESERVE_MARGIN /
			   whole);
	return milli < 999 ? (uint32_t)milli : 999;
}

static void end_round(struct sched *sched, uint64_t elapsed_ns, uint64_t now_ns)
{
	struct shortage *shortage = &sched->shortage;

	if (is_short(sched, elapsed_ns, false)) {
		shortage->short_ns = now_ns;
		if (shortage->active)
			shortage->milli = factor_milli(sched, elapsed_ns);
	}
	if (now_ns - shortage->short_ns >= QUIET_NS) {
		shortage->watching = false;
		shortage->active = false;
		shortage->milli = 1000;
	}
	begin_round(shortage, now_ns);
}

bool shortage_round(struct sched *sched, uint64_t now_ns)
{
	struct shortage *shortage = &sched->shortage;
	const bool ordered = shortage->by_weight;

	if (now_ns - shortage->began_ns >= ROUND_NS)
		end_round(sched, now_ns - shortage->began_ns, now_ns);
	shortage->by_weight = shortage->active &&
		sched->config.shortage == SCHED_SHORTAGE_WEIGHT;
	return shortage->by_weight != ordered;
}
