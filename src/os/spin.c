/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin.c - see spin.h
 *
 * A gap that was slept through looks longer than it was, by the time that
 * waking takes: a loop that judged by the gap as measured would never find
 * out that a client had become quick.  So the lateness learned from timed
 * wake-ups is taken off.
 */
#include "os/spin.h"

/* Averages move by one part in eight (gaps) or sixteen (lateness). */
#define GAP_SHIFT	3
#define LATE_SHIFT	4
/* Never ask for a sleep that is shorter. */
#define SLEEP_LEAST_NS	UINT64_C(1000)

void spin_init(struct spin *spin, uint64_t max_ns, uint64_t now_ns)
{
	*spin = (struct spin){
		.max_ns = max_ns < SPIN_WORTH_NS ? max_ns : SPIN_WORTH_NS,
		.short_share = SPIN_ONE,
		.late_ns = 25000,
		.late_least_ns = 4000,
		.credit_ns = SPIN_CREDIT_MAX_NS,
		.credit_at_ns = now_ns,
		.random = 1,
	};
}

/* 'ns' times 0.75 to 1.25. */
static uint64_t vary(struct spin *spin, uint64_t ns)
{
	/* Numerical Recipes' linear congruence: its upper bits will do. */
	spin->random = spin->random * 1664525U + 1013904223U;
	return ns * (768 + (spin->random >> 23)) / 1024;
}

void spin_end_gap(struct spin *spin, uint64_t now_ns)
{
	const uint64_t measured_ns = now_ns - spin->idle_since_ns;
	const uint64_t gap_ns = measured_ns > spin->slept_late_ns ?
		measured_ns - spin->slept_late_ns :
		0;

	spin->short_share -= spin->short_share >> GAP_SHIFT;
	if (gap_ns <= spin->max_ns)
		spin->short_share += SPIN_ONE >> GAP_SHIFT;
	spin->idle_since_ns = 0;
	spin->slept_late_ns = 0;
}

bool spin_poll_on(struct spin *spin, uint64_t now_ns)
{
	if (spin->idle_since_ns == 0)
		spin->idle_since_ns = now_ns;
	return spin->max_ns != 0 && spin->short_share >= SPIN_ONE / 2 &&
		now_ns - spin->idle_since_ns < spin->max_ns;
}

static void refill(struct spin *spin, uint64_t now_ns)
{
	const uint64_t most_ns = (uint64_t)SPIN_CREDIT_MAX_NS * 2 * SPIN_SHARE;
	uint64_t passed_ns = now_ns - spin->credit_at_ns;

	if (passed_ns > most_ns)
		passed_ns = most_ns;
	/* What the division leaves stays on the clock. */
	spin->credit_ns += (int64_t)(passed_ns / SPIN_SHARE);
	spin->credit_at_ns = now_ns - passed_ns % SPIN_SHARE;
	if (spin->credit_ns > SPIN_CREDIT_MAX_NS)
		spin->credit_ns = SPIN_CREDIT_MAX_NS;
}

static uint64_t before(uint64_t time_ns, uint64_t by_ns)
{
	return time_ns > by_ns ? time_ns - by_ns : 0;
}

uint64_t spin_sleep_until(struct spin *spin, uint64_t now_ns, uint64_t due_ns)
{
	const uint64_t early_ns = spin->late_ns + spin->late_ns / 4;
	const bool near = due_ns <= now_ns + SPIN_NEAR_NS;
	const uint64_t stretch_most_ns =
		near ? SPIN_STRETCH_NEAR_NS : SPIN_STRETCH_NS / 5 * 4;
	uint64_t until_ns;

	if (due_ns == UINT64_MAX)
		return UINT64_MAX;
	if (due_ns <= now_ns)
		return now_ns;
	refill(spin, now_ns);
	if (near && spin->credit_ns >= 0) {
		spin->credit_ns -= (int64_t)(due_ns - now_ns);
		return now_ns;
	}
	if (spin->credit_ns > SPIN_CREDIT_MAX_NS / 2) {
		until_ns = before(due_ns, early_ns);
		if (until_ns <= now_ns + SLEEP_LEAST_NS) {
			spin->credit_ns -= (int64_t)(due_ns - now_ns);
			return now_ns;
		}
		return until_ns;
	}
	until_ns = due_ns;
	if (spin->credit_ns < 0) {
		const uint64_t repaid_ns =
			now_ns + (uint64_t)-spin->credit_ns * SPIN_SHARE;
		uint64_t stretch_ns = before(repaid_ns, due_ns);

		if (stretch_ns > stretch_most_ns)
			stretch_ns = stretch_most_ns;
		until_ns += vary(spin, stretch_ns);
	}
	until_ns = before(until_ns, spin->late_least_ns);
	if (until_ns < now_ns + SLEEP_LEAST_NS)
		until_ns = now_ns + SLEEP_LEAST_NS;
	return until_ns;
}

void spin_woke(struct spin *spin, uint64_t until_ns, uint64_t now_ns,
	       bool timed_out)
{
	uint64_t late_ns;

	spin->slept_late_ns = spin->late_ns;
	if (!timed_out || until_ns == UINT64_MAX)
		return;
	/* The credit may fall to where it takes one stretch to repay. */
	refill(spin, now_ns);
	spin->credit_ns -= (int64_t)SPIN_WAKE_NS;
	if (spin->credit_ns < -(int64_t)(2 * SPIN_WAKE_NS))
		spin->credit_ns = -(int64_t)(2 * SPIN_WAKE_NS);

	/* Out of bounds: the machine itself was away. */
	late_ns = before(now_ns, until_ns);
	if (late_ns > SPIN_LATE_MAX_NS)
		late_ns = SPIN_LATE_MAX_NS;
	spin->late_ns += late_ns >> LATE_SHIFT;
	spin->late_ns -= spin->late_ns >> LATE_SHIFT;
	if (late_ns < spin->late_least_ns)
		spin->late_least_ns = late_ns;
	else
		spin->late_least_ns += (late_ns - spin->late_least_ns) >> 8;
}
