/* SPDX-License-Identifier: Apache-2.0 */
/*
 * derive.c - see derive.h
 *
 * The top of a window needs no more than a running maximum, but any other
 * percentile does: so figures are collected with the seconds that they stand
 * for, sorted, and counted up to the share that was asked for.  Seconds
 * without a request are not among them: a night of rest says nothing of the
 * day's needs.
 */
#include "sla/derive.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS	UINT64_C(1000000000)
#define PERCENT_MILLI	100000U
#define ONE_MILLI	1000U
/* A second is not measured to the microsecond: this much more than a round
 * figure is that figure. */
#define FORGIVEN_MILLI	10U
#define RISE_MILLI	50U
#define FALL_MILLI	200U

const uint16_t derive_points[DERIVE_POINTS] = {
	500, 900, 950, SLA_PERCENTILE_DEFAULT, 999, SLA_PERCENTILE_MAX,
};
const struct derive_options derive_default = {
	.window_s = DERIVE_WINDOW_DEFAULT_S,
	.percentile_milli = PERCENT_MILLI,
};

/* --- Cells --------------------------------------------------------------- */

static void raise_to(uint64_t *top, uint64_t value)
{
	if (*top < value)
		*top = value;
}

void derive_merge(struct derive_cell *into, const struct derive_cell *from)
{
	unsigned int i, j;

	into->seconds += from->seconds;
	into->kept_s += from->kept_s;
	into->broken_s += from->broken_s;
	for (i = 0; i < SLA_DIRECTIONS; i++) {
		for (j = 0; j < DERIVE_AXES; j++)
			raise_to(&into->top_per_s[i][j], from->top_per_s[i][j]);
		for (j = 0; j < DERIVE_POINTS; j++)
			raise_to(&into->latency_ns[i][j],
				 from->latency_ns[i][j]);
	}
	for (i = 0; i < 2; i++)
		for (j = 0; j < DERIVE_AXES; j++)
			into->sum[i][j] += from->sum[i][j];
}

static uint64_t per_second(uint64_t count, uint64_t elapsed_ns)
{
	unsigned __int128 rate =
		((unsigned __int128)count * SECOND_NS + elapsed_ns / 2) /
		elapsed_ns;

	return rate > SLA_RATE_MAX ? SLA_RATE_MAX : (uint64_t)rate;
}

void derive_count(struct derive_cell *cell,
		  const uint64_t count[2][DERIVE_AXES], uint64_t elapsed_ns)
{
	unsigned int i;

	assert(elapsed_ns > 0);
	if (count[0][DERIVE_REQUESTS] + count[1][DERIVE_REQUESTS] == 0)
		return;
	cell->seconds++;
	for (i = 0; i < DERIVE_AXES; i++) {
		raise_to(&cell->top_per_s[SLA_TOTAL][i],
			 per_second(count[0][i] + count[1][i], elapsed_ns));
		raise_to(&cell->top_per_s[SLA_READ][i],
			 per_second(count[0][i], elapsed_ns));
		raise_to(&cell->top_per_s[SLA_WRITE][i],
			 per_second(count[1][i], elapsed_ns));
		cell->sum[0][i] += count[0][i];
		cell->sum[1][i] += count[1][i];
	}
}

/* All points in one pass. */
static void find_points(const struct histogram *span,
			uint64_t latency_ns[DERIVE_POINTS])
{
	const uint64_t count = histogram_count(span);
	unsigned int point = 0;
	uint64_t seen = 0;

	if (count < DERIVE_LATENCY_MIN)
		return;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += span->buckets[i];
		for (; point < DERIVE_POINTS &&
		     seen * SLA_PERCENTILE_MAX >= count * derive_points[point];
		     point++)
			raise_to(&latency_ns[point], histogram_upper(i));
	}
}

void derive_latency(struct derive_cell *cell, const struct histogram before[2],
		    const struct histogram now[2])
{
	struct histogram span, both;

	histogram_subtract(&now[0], &before[0], &both);
	find_points(&both, cell->latency_ns[SLA_READ]);
	histogram_subtract(&now[1], &before[1], &span);
	find_points(&span, cell->latency_ns[SLA_WRITE]);
	histogram_merge(&both, &span);
	find_points(&both, cell->latency_ns[SLA_TOTAL]);
}

/* --- Figures ------------------------------------------------------------- */

/* One metric of one direction: what was seen, for how long. */
struct figure {
	uint64_t value, seconds;
};

static int by_value(const void *a, const void *b)
{
	const struct figure *one = a, *other = b;

	return (one->value > other->value) - (one->value < other->value);
}

/* The value that 'milli' of 100,000 of all seconds are at or below. */
static uint64_t find_percentile(struct figure *figures, size_t count,
				uint32_t milli)
{
	unsigned __int128 wanted = 0;
	uint64_t seen = 0;
	size_t i;

	if (count == 0)
		return 0;
	qsort(figures, count, sizeof(*figures), by_value);
	for (i = 0; i < count; i++)
		wanted += (unsigned __int128)figures[i].seconds * milli;
	for (i = 0; i < count - 1; i++) {
		seen += figures[i].seconds;
		if ((unsigned __int128)seen * PERCENT_MILLI >= wanted)
			break;
	}
	return figures[i].value;
}

/* Up to the next figure that a person would write: at most 5 % more, and no
 * more digits than that needs.  1234 is 1250. */
static uint64_t round_up(uint64_t value)
{
	uint64_t ten = 1, step, lead;

	while (value / ten >= 1000)
		ten *= 10;
	lead = value / ten;
	step = (lead < 200 ? 5 : lead < 500 ? 10 : 25) * ten;
	return (value + step - 1) / step * step;
}

/* A rate that is a trifle over such a figure was meant to be it: 20.0 MB/s
 * stays.  Not so a bound of latency, which would be broken by what was seen. */
static uint64_t round_rate(uint64_t value)
{
	if (value < 100)
		return value;
	return round_up(value - value * FORGIVEN_MILLI / ONE_MILLI);
}

static uint64_t with_headroom(uint64_t value, uint32_t headroom_milli)
{
	unsigned __int128 more =
		(unsigned __int128)value * (ONE_MILLI + headroom_milli) +
		ONE_MILLI - 1;

	more /= ONE_MILLI;
	return more > SLA_RATE_MAX ? SLA_RATE_MAX : (uint64_t)more;
}

/* --- Limits -------------------------------------------------------------- */

/* Of one set of limits; UINT64_MAX: none.  A total is bounded by the sum of
 * both directions, too. */
static uint64_t limit_of(const struct sched_limits *limits,
			 enum sla_direction direction, enum derive_axis axis)
{
	static const unsigned int axes[SLA_DIRECTIONS][DERIVE_AXES] = {
		[SLA_TOTAL] = {SCHED_TOTAL_IOPS, SCHED_TOTAL_BYTES},
		[SLA_READ] = {SCHED_READ_IOPS, SCHED_READ_BYTES},
		[SLA_WRITE] = {SCHED_WRITE_IOPS, SCHED_WRITE_BYTES},
	};
	const uint64_t *per_s = limits->limit_per_s;
	const uint64_t total = per_s[axes[SLA_TOTAL][axis]];
	const uint64_t reads = per_s[axes[SLA_READ][axis]];
	const uint64_t writes = per_s[axes[SLA_WRITE][axis]];
	const uint64_t own = per_s[axes[direction][axis]];
	uint64_t least = UINT64_MAX;

	if (total)
		least = total;
	if (own && own < least)
		least = own;
	if (direction == SLA_TOTAL && reads && writes && reads + writes < least)
		least = reads + writes;
	return least;
}

/* --- The proposal -------------------------------------------------------- */

static bool is_stated(const struct sla *stated, enum sla_metric metric,
		      enum sla_direction direction)
{
	for (unsigned int i = 0; i < stated->count; i++)
		if (stated->specs[i].metric == metric &&
		    stated->specs[i].direction == direction)
			return true;
	return false;
}

struct deriving {
	const struct derive_cell *cells;
	size_t count;
	const struct derive_options *options;
	const struct sched_limits *const *limits;
	size_t limit_count;
	struct figure *figures;
	struct derive_proposal *proposal;
};

static void add_spec(struct deriving *deriving, enum sla_metric metric,
		     enum sla_direction direction, uint64_t value,
		     bool is_bounded)
{
	struct derive_proposal *proposal = deriving->proposal;
	const unsigned int at = proposal->sla.count;

	if (value == 0 || at == SLA_SPECS_MAX ||
	    is_stated(&proposal->sla, metric, direction))
		return;
	proposal->sla.specs[at] = (struct sla_spec){
		.metric = (uint8_t)metric,
		.direction = (uint8_t)direction,
		.relation = metric == SLA_LATENCY ? SLA_AT_MOST : SLA_AT_LEAST,
		.percentile =
			metric == SLA_LATENCY ? SLA_PERCENTILE_DEFAULT : 0,
		.value = value,
	};
	proposal->sla.count++;
	proposal->derived |= UINT32_C(1) << at;
	if (is_bounded)
		proposal->bounded |= UINT32_C(1) << at;
}

static bool has_rates(const struct derive_cell *cell)
{
	return cell->seconds && cell->top_per_s[SLA_TOTAL][DERIVE_REQUESTS];
}

static void derive_rate(struct deriving *deriving, enum sla_direction direction,
			enum derive_axis axis)
{
	const struct derive_options *options = deriving->options;
	uint64_t value, bound = UINT64_MAX;
	size_t i, count = 0;

	for (i = 0; i < deriving->count; i++)
		if (has_rates(&deriving->cells[i]))
			deriving->figures[count++] = (struct figure){
				deriving->cells[i].top_per_s[direction][axis],
				deriving->cells[i].seconds};
	value = find_percentile(deriving->figures, count,
				options->percentile_milli);
	value = round_rate(with_headroom(value, options->headroom_milli));
	for (i = 0; i < deriving->limit_count; i++) {
		uint64_t limit = limit_of(deriving->limits[i], direction, axis);

		if (limit < bound)
			bound = limit;
	}
	add_spec(deriving, axis == DERIVE_REQUESTS ? SLA_IOPS : SLA_BANDWIDTH,
		 direction, value < bound ? value : bound, value > bound);
}

static void derive_time(struct deriving *deriving, enum sla_direction direction)
{
	const struct derive_options *options = deriving->options;
	size_t i, count = 0;
	uint64_t value;

	for (i = 0; i < deriving->count; i++) {
		const struct derive_cell *cell = &deriving->cells[i];

		value = cell->latency_ns[direction][DERIVE_POINT_P99];
		if (value)
			deriving->figures[count++] = (struct figure){
				value, cell->seconds ? cell->seconds : 1};
	}
	value = find_percentile(deriving->figures, count,
				options->percentile_milli);
	value = round_up(with_headroom(value, options->headroom_milli));
	if (value > SLA_TIME_MAX_NS)
		value = SLA_TIME_MAX_NS;
	add_spec(deriving, SLA_LATENCY, direction, value, false);
}

static void derive_direction(struct deriving *deriving,
			     enum sla_direction direction)
{
	derive_rate(deriving, direction, DERIVE_REQUESTS);
	derive_rate(deriving, direction, DERIVE_BYTES);
	derive_time(deriving, direction);
}

/* Seconds that are in a span as well are not counted twice. */
static void observe(const struct derive_cell *cells, size_t count,
		    struct derive_cell *observed)
{
	uint64_t alone = 0;

	for (size_t i = 0; i < count; i++) {
		const bool is_span = cells[i].sum[0][DERIVE_REQUESTS] +
			cells[i].sum[1][DERIVE_REQUESTS];

		derive_merge(observed, &cells[i]);
		if (!is_span) {
			observed->seconds -= cells[i].seconds;
			alone += cells[i].seconds;
		}
	}
	if (observed->seconds == 0)
		observed->seconds = alone;
}

int derive_propose(const struct derive_cell *cells, size_t count,
		   const struct derive_options *options,
		   const struct sla *stated,
		   const struct sched_limits *const *limits, size_t limit_count,
		   struct derive_proposal *ret_proposal)
{
	struct derive_proposal proposal = {.sla = *stated};
	struct deriving deriving = {
		.cells = cells,
		.count = count,
		.options = options,
		.limits = limits,
		.limit_count = limit_count,
		.proposal = &proposal,
	};

	observe(cells, count, &proposal.observed);
	if (proposal.observed.seconds == 0)
		return -ENODATA;
	deriving.figures = calloc(count, sizeof(*deriving.figures));
	if (!deriving.figures)
		return -ENOMEM;
	if (options->is_split) {
		derive_direction(&deriving, SLA_READ);
		derive_direction(&deriving, SLA_WRITE);
	} else {
		derive_direction(&deriving, SLA_TOTAL);
	}
	free(deriving.figures);
	*ret_proposal = proposal;
	return 0;
}

/* --- What holds now ------------------------------------------------------ */

void derive_stated(const struct sla *sla, uint32_t derived,
		   struct sla *ret_stated)
{
	struct sla stated = {.count = 0};

	for (unsigned int i = 0; i < sla->count; i++)
		if (!(derived & (UINT32_C(1) << i)))
			stated.specs[stated.count++] = sla->specs[i];
	*ret_stated = stated;
}

static struct sla_spec *find_spec(struct sla *sla, const struct sla_spec *spec)
{
	for (unsigned int i = 0; i < sla->count; i++)
		if (sla->specs[i].metric == spec->metric &&
		    sla->specs[i].direction == spec->direction &&
		    sla->specs[i].percentile == spec->percentile)
			return &sla->specs[i];
	return NULL;
}

static bool is_worth(uint64_t now, uint64_t proposed)
{
	if (proposed > now)
		return (unsigned __int128)(proposed - now) * ONE_MILLI >
			(unsigned __int128)now * RISE_MILLI;
	return (unsigned __int128)(now - proposed) * ONE_MILLI >
		(unsigned __int128)now * FALL_MILLI;
}

bool derive_settle(const struct sla *sla, uint32_t derived,
		   struct derive_proposal *proposal)
{
	struct sla held = *sla;
	bool is_changed = false;
	unsigned int i;

	for (i = 0; i < proposal->sla.count; i++) {
		const struct sla_spec *now =
			find_spec(&held, &proposal->sla.specs[i]);

		/* What has become more than a limit allows goes at once. */
		is_changed |= !now ||
			is_worth(now->value, proposal->sla.specs[i].value) ||
			(now->value > proposal->sla.specs[i].value &&
			 (proposal->bounded & (UINT32_C(1) << i)));
	}
	for (i = 0; i < held.count; i++) {
		const unsigned int at = proposal->sla.count;

		if (!(derived & (UINT32_C(1) << i)) || at == SLA_SPECS_MAX ||
		    find_spec(&proposal->sla, &held.specs[i]))
			continue;
		proposal->sla.specs[at] = held.specs[i];
		proposal->sla.count++;
		proposal->derived |= UINT32_C(1) << at;
	}
	return is_changed;
}
