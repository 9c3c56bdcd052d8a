/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capacity.c - see capacity.h
 *
 * A measured curve need not rise: walking from depth 1, the first point beyond
 * the bound ends it, so that one lucky point far out promises nothing.
 */
#include "sla/capacity.h"

#include <errno.h>
#include <string.h>

/* What is promised without a latency may take as many at a time as: */
#define PROMISED_DEPTH 32U
#define PROMISED_DEPTH_MAX 1024U
#define PROMISED_BYTES 4096U /* of a request, at least */

static uint64_t percentile_ns(const struct capacity_point *point,
			      unsigned int tenths)
{
	return tenths <= 950 ? point->p95_ns : point->p99_ns;
}

static unsigned int count_of(const struct capacity_curve *curve)
{
	return curve->count < CAPACITY_POINTS ? curve->count : CAPACITY_POINTS;
}

/* What 'part' of 'whole' is of 'of'. */
static uint64_t share(uint64_t of, uint64_t part, uint64_t whole)
{
	return (uint64_t)((unsigned __int128)of * part / whole);
}

uint64_t capacity_iops(const struct capacity_curve *curve, unsigned int tenths,
		       uint64_t latency_ns)
{
	uint64_t best = 0;

	for (unsigned int i = 0; i < count_of(curve); i++) {
		const struct capacity_point *point = &curve->points[i];
		const uint64_t late_ns = percentile_ns(point, tenths);
		uint64_t iops = point->iops;

		if (latency_ns > 0 && late_ns > latency_ns) {
			const struct capacity_point *before = point - 1;
			uint64_t in_time_ns;

			if (i == 0 || iops <= before->iops)
				break;
			in_time_ns = percentile_ns(before, tenths);
			iops = before->iops +
				share(iops - before->iops,
				      latency_ns - in_time_ns,
				      late_ns - in_time_ns);
			return iops > best ? iops : best;
		}
		if (iops > best)
			best = iops;
	}
	return best;
}

uint64_t capacity_latency_ns(const struct capacity_curve *curve,
			     unsigned int tenths, uint64_t iops)
{
	uint64_t least_ns = 0;	/* what the points so far take */

	for (unsigned int i = 0; i < count_of(curve); i++) {
		const struct capacity_point *point = &curve->points[i];
		const uint64_t late_ns = percentile_ns(point, tenths);

		if (point->iops >= iops) {
			const struct capacity_point *before = point - 1;
			uint64_t wide, part_ns = 0;

			if (i == 0 || late_ns <= least_ns)
				return late_ns > least_ns ? late_ns : least_ns;
			/* Rounded up, so that the rate is reached. */
			wide = late_ns - percentile_ns(before, tenths);
			if (point->iops > before->iops)
				part_ns = (uint64_t)(((unsigned __int128)wide *
							      (iops -
							       before->iops) +
						      (point->iops -
						       before->iops - 1)) /
						     (point->iops -
						      before->iops));
			part_ns += percentile_ns(before, tenths);
			return part_ns > least_ns ? part_ns : least_ns;
		}
		if (late_ns > least_ns)
			least_ns = late_ns;
	}
	return UINT64_MAX;
}

void capacity_straighten(struct capacity_curve *curve)
{
	for (unsigned int i = count_of(curve); i-- > 1;) {
		const struct capacity_point *deeper = &curve->points[i];
		struct capacity_point *point = &curve->points[i - 1];

		if (point->p95_ns > deeper->p95_ns)
			point->p95_ns = deeper->p95_ns;
		if (point->p99_ns > deeper->p99_ns)
			point->p99_ns = deeper->p99_ns;
	}
	for (unsigned int i = 1; i < count_of(curve); i++)
		if (curve->points[i].iops < curve->points[i - 1].iops)
			curve->points[i].iops = curve->points[i - 1].iops;
}

/* 'per_s' requests take so long now; and with the way there. */
static uint64_t behind(uint64_t per_s, uint64_t path_ns, bool in_turn)
{
	const uint64_t second_ns = UINT64_C(1000000000);
	uint64_t picoseconds;

	if (per_s == 0 || path_ns == 0)
		return per_s;
	picoseconds = second_ns * 1000 / per_s;
	if (in_turn)
		picoseconds += path_ns * 1000;
	else if (picoseconds < path_ns * 1000)
		picoseconds = path_ns * 1000;
	else
		return per_s;
	return second_ns * 1000 / picoseconds;
}

void capacity_behind(struct capacity_curve *curve, uint64_t path_ns,
		     bool in_turn)
{
	for (unsigned int i = 0; i < count_of(curve); i++) {
		struct capacity_point *point = &curve->points[i];

		point->iops = behind(point->iops, path_ns, in_turn);
		point->p95_ns += path_ns;
		point->p99_ns += path_ns;
	}
}

uint32_t capacity_depth(const struct capacity_curve *curve, uint32_t milli)
{
	const uint64_t wanted = share(capacity_iops(curve, 0, 0), milli, 1000);

	for (unsigned int i = 0; i < count_of(curve); i++) {
		const struct capacity_point *point = &curve->points[i];
		const struct capacity_point *before = point - 1;
		uint64_t more;

		if (point->iops < wanted)
			continue;
		if (i == 0)
			return point->depth;
		more = share(point->depth - before->depth,
			     wanted - before->iops, point->iops - before->iops);
		return before->depth + (uint32_t)more;
	}
	return 0;
}

/* The least that is promised of 'metric' to 'direction', or to both. */
static uint64_t promised(const struct sla *sla, enum sla_metric metric,
			 enum sla_direction direction)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];

		if (spec->metric != metric ||
		    (spec->direction != SLA_TOTAL &&
		     spec->direction != direction))
			continue;
		if (metric == SLA_LATENCY &&
		    (spec->percentile < 990 || (value && value < spec->value)))
			continue;
		if (metric == SLA_LATENCY || spec->value > value)
			value = spec->value;
	}
	return value;
}

bool capacity_from_sla(const struct sla *sla, struct capacity *ret_capacity)
{
	static const enum sla_direction directions[] = {SLA_READ, SLA_WRITE};

	/* All of it, for who compares two byte by byte. */
	memset(ret_capacity, 0, sizeof(*ret_capacity));
	for (unsigned int d = 0; d < 2; d++) {
		struct capacity_curve *curve = &ret_capacity->direction[d];
		const uint64_t iops = promised(sla, SLA_IOPS, directions[d]);
		const uint64_t bandwidth =
			promised(sla, SLA_BANDWIDTH, directions[d]);
		const uint64_t latency_ns =
			promised(sla, SLA_LATENCY, directions[d]);
		uint64_t depth = PROMISED_DEPTH;

		if (iops == 0)
			return false;
		/* As many as come in while one is under way (Little). */
		if (latency_ns)
			depth = (uint64_t)((unsigned __int128)iops *
					   latency_ns / 1000000000) +
				1;
		if (depth > PROMISED_DEPTH_MAX)
			depth = PROMISED_DEPTH_MAX;
		curve->count = 1;
		curve->points[0] = (struct capacity_point){
			.depth = (uint32_t)depth,
			.iops = iops,
			.p95_ns =
				latency_ns ? latency_ns : CAPACITY_TIME_MAX_NS,
			.p99_ns =
				latency_ns ? latency_ns : CAPACITY_TIME_MAX_NS,
		};
		curve->bytes_per_s = bandwidth > iops * PROMISED_BYTES ?
			bandwidth :
			iops * PROMISED_BYTES;
	}
	ret_capacity->read_measured = ret_capacity->write_measured = true;
	return true;
}

int capacity_check(const struct capacity *capacity, struct error *reterr)
{
	static const char *const names[2] = {"read", "write"};

	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve = &capacity->direction[d];

		if (curve->count == 0 || curve->count > CAPACITY_POINTS)
			return error_set(reterr, -EINVAL,
					 "%s: %u points "
					 "measured, 1 to %u make a table",
					 names[d], curve->count,
					 CAPACITY_POINTS);
		if (curve->bytes_per_s == 0 ||
		    curve->bytes_per_s > CAPACITY_RATE_MAX)
			return error_set(reterr, -EINVAL,
					 "%s: no bandwidth measured", names[d]);
		for (unsigned int i = 0; i < curve->count; i++) {
			const struct capacity_point *point = &curve->points[i];

			if (point->iops == 0 ||
			    point->iops > CAPACITY_RATE_MAX ||
			    point->p95_ns > point->p99_ns ||
			    point->p99_ns > CAPACITY_TIME_MAX_NS ||
			    (i > 0 && point->depth <= point[-1].depth))
				return error_set(reterr, -EINVAL,
						 "%s: point "
						 "%u of the table cannot have "
						 "been measured",
						 names[d], i + 1);
		}
	}
	return 0;
}
