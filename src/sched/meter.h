/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter.h - one rate, kept as one time
 *
 * A meter's tag is when all that was charged to it would be finished at
 * exactly its rate.  The same thing serves as a limit (GCRA: start no earlier
 * than tag - burst) and as a reservation (owed as soon as the tag is reached).
 * Charging is a multiplication in fixed point: 'slope' is ns per unit in
 * 2^-32, rounded up, so that a limit is never exceeded, and what is below a
 * nanosecond is carried in 'fraction'.
 *
 * A set of meters is an array and a mask of those that apply; bit i of
 * 'bytes_mask' says that meter i counts bytes instead of requests.
 * Internal to src/sched.  Pure.
 */
#ifndef SCHED_METER_H
#define SCHED_METER_H

#include <stdint.h>

struct meter {
	uint64_t tag_ns;
	uint64_t slope;
	uint32_t fraction;
	uint32_t axis;		/* enum sched_axis */
};

static inline uint64_t meter_slope(uint64_t rate_per_s)
{
	const unsigned __int128 second = (unsigned __int128)UINT64_C(1000000000)
		<< 32;

	return (uint64_t)((second + rate_per_s - 1) / rate_per_s);
}

/* The tag becomes 'base_ns' and the cost of 'units'. */
static inline void meter_charge(struct meter *meter, uint64_t base_ns,
				uint32_t units)
{
	const unsigned __int128 cost =
		(unsigned __int128)meter->slope * units + meter->fraction;

	meter->tag_ns = base_ns + (uint64_t)(cost >> 32);
	meter->fraction = (uint32_t)cost;
}

/* The same for one unit, without the multiplication. */
static inline void meter_charge_one(struct meter *meter, uint64_t base_ns)
{
	const uint64_t cost = meter->slope + meter->fraction;

	meter->tag_ns = base_ns + (cost >> 32);
	meter->fraction = (uint32_t)cost;
}

/* What was charged for 'units' of this slope. */
static inline void meter_give_back(struct meter *meter, uint64_t slope,
				   uint32_t units)
{
	const unsigned __int128 paid = (unsigned __int128)slope * units;
	unsigned __int128 tag =
		(unsigned __int128)meter->tag_ns << 32 | meter->fraction;

	tag = tag > paid ? tag - paid : 0;
	meter->tag_ns = (uint64_t)(tag >> 32);
	meter->fraction = (uint32_t)tag;
}

static inline uint32_t meter_units(uint32_t bytes_mask, uint32_t i,
				   uint32_t bytes)
{
	return bytes_mask >> i & 1 ? bytes : 1;
}

/* The latest tag of a set; 0: the set is empty. */
static inline uint64_t meter_latest(const struct meter *meters, uint32_t mask)
{
	uint64_t latest_ns = 0;

	for (; mask; mask &= mask - 1) {
		const uint64_t tag_ns = meters[__builtin_ctz(mask)].tag_ns;

		latest_ns = tag_ns > latest_ns ? tag_ns : latest_ns;
	}
	return latest_ns;
}

/* The earliest tag of a set; UINT64_MAX: the set is empty. */
static inline uint64_t meter_earliest(const struct meter *meters, uint32_t mask)
{
	uint64_t earliest_ns = UINT64_MAX;

	for (; mask; mask &= mask - 1) {
		const uint64_t tag_ns = meters[__builtin_ctz(mask)].tag_ns;

		earliest_ns = tag_ns < earliest_ns ? tag_ns : earliest_ns;
	}
	return earliest_ns;
}

/* Move tags up to 'floor_ns'. */
static inline void meter_raise(struct meter *meters, uint32_t mask,
			       uint64_t floor_ns)
{
	for (; mask; mask &= mask - 1) {
		struct meter *meter = &meters[__builtin_ctz(mask)];

		if (meter->tag_ns < floor_ns)
			meter->tag_ns = floor_ns;
	}
}

/* Charge to a limit.  A tag that lies more than 'late_ns' back is moved up to
 * 'floor_ns': what was not asked for is not saved up. */
static inline void meter_charge_limit(struct meter *meter, uint32_t units,
				      uint64_t now_ns, uint64_t late_ns,
				      uint64_t floor_ns)
{
	const uint64_t base_ns =
		meter->tag_ns + late_ns < now_ns ? floor_ns : meter->tag_ns;

	meter_charge(meter, base_ns, units);
}

/* Charge to a reservation.  If it was not due it gets no credit beyond this
 * very request. */
static inline void meter_charge_reservation(struct meter *meter, uint32_t units,
					    uint64_t clock_ns,
					    uint64_t floor_ns)
{
	const uint64_t old_ns = meter->tag_ns;
	uint64_t base_ns = old_ns > floor_ns ? old_ns : floor_ns;

	base_ns = base_ns > clock_ns ? clock_ns : base_ns;
	meter_charge(meter, base_ns, units);
	if (meter->tag_ns < old_ns)
		meter->tag_ns = old_ns;
}

#endif
