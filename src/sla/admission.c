/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission.c - see admission.h
 *
 * A second of the device is SECOND units of time.  A request at the measured
 * rate R takes SECOND / R of them, rounded down: at 10 million a second that
 * is 10^-11 of it too little, and it makes the share of n requests exactly n
 * times that of one, so that what is left divides without a rest.
 */
#include "sla/admission.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sla/combine.h"
#include "sla/demand.h"

#define SECOND		CORE_SECOND

typedef unsigned __int128 u128;

struct admitted {
	struct admission *admission;
	struct admitted *next, *prev;
	struct sla sla;
	struct sla latencies;	/* only those, as counted in the set */
	u128 time;		/* of each second */
	u128 core_time;		/* of the core's */
	bool is_reserved, is_core_paid;
};

struct admission {
	struct capacity capacity;
	bool is_measured;
	unsigned int usable_milli, correction_milli;
	struct demand_costs costs, core_costs;
	uint64_t path_ns;	/* of the core by a request; 0: see costs */
	struct core_share core;
	struct combine *latencies;
	u128 promised;		/* time of all that is reserved */
	struct admitted *first;
	uint32_t reserved, best_effort;
};

int admission_create(unsigned int usable_milli,
		     struct admission **ret_admission)
{
	struct admission *admission;
	int r;

	if (usable_milli == 0 || usable_milli > 1000)
		return -EINVAL;
	admission = calloc(1, sizeof(*admission));
	if (!admission)
		return -ENOMEM;
	r = combine_create(&admission->latencies);
	if (r < 0) {
		free(admission);
		return r;
	}
	admission->usable_milli = usable_milli;
	admission->correction_milli = 1000;
	*ret_admission = admission;
	return 0;
}

void admission_destroy(struct admission *admission)
{
	struct admitted *one, *next;

	if (!admission)
		return;
	for (one = admission->first; one; one = next) {
		next = one->next;
		admission_release(one);
	}
	core_leave(&admission->core);
	combine_destroy(admission->latencies);
	free(admission);
}

void admission_set_core(struct admission *admission, struct core *core,
			uint64_t path_ns)
{
	assert(!admission->first);
	admission->path_ns = path_ns;
	core_join(core, &admission->core, admission->usable_milli);
}

static bool concerns(const struct sla_spec *spec, unsigned int d)
{
	return spec->direction == SLA_TOTAL ||
		spec->direction == (d == 0 ? SLA_READ : SLA_WRITE);
}

/* Time that may be promised while one latency is to hold; 0: it can't. */
static u128 allow(const struct admission *admission,
		  const struct sla_spec *spec)
{
	u128 allowed = SECOND;

	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve =
			&admission->capacity.direction[d];
		const uint64_t most = capacity_iops(curve, spec->percentile, 0);
		u128 within;

		if (!concerns(spec, d))
			continue;
		within = (u128)SECOND *
			capacity_iops(curve, spec->percentile, spec->value);
		within = (within + most - 1) / most;
		if (within < allowed)
			allowed = within;
	}
	return allowed;
}

/* ... while all of them are. */
static u128 allow_all(const struct admission *admission,
		      const struct sla_spec *specs, unsigned int count)
{
	u128 allowed = SECOND;

	for (unsigned int i = 0; i < count; i++) {
		if (specs[i].metric == SLA_LATENCY) {
			const u128 within = allow(admission, &specs[i]);

			if (within < allowed)
				allowed = within;
		}
	}
	return allowed;
}

/* Measured time into what may be promised of it, ... */
static u128 usable(const struct admission *admission, u128 time)
{
	return time * admission->usable_milli * admission->correction_milli /
		1000000;
}

/* ... and what must be measured for 'time' to be promised. */
static u128 needed(const struct admission *admission, u128 time)
{
	const unsigned int milli2 =
		admission->usable_milli * admission->correction_milli;

	if (milli2 == 0)
		return time > 0 ? (u128)SECOND * 2 : 0;
	return (time * 1000000 + milli2 - 1) / milli2;
}

static int refuse(enum admission_reason reason, const struct sla_spec *spec,
		  uint64_t available, struct admission_refusal *reterr)
{
	if (!reterr)
		return -ENOSPC;
	*reterr = (struct admission_refusal){
		.reason = reason,
		.metric = spec->metric,
		.direction = spec->direction,
		.percentile = spec->percentile,
		.asked = spec->value,
		.available = available,
		.shortfall = available > spec->value ? available - spec->value :
						       spec->value - available,
	};
	return -ENOSPC;
}

/* What does not depend on anybody else. */
static int check_alone(const struct admission *admission,
		       const struct admission_request *request,
		       struct admission_refusal *reterr)
{
	for (unsigned int i = 0; i < request->sla->count; i++) {
		const struct sla_spec *spec = &request->sla->specs[i];

		switch ((enum sla_metric)spec->metric) {
		case SLA_OPS:
		case SLA_JITTER:
		case SLA_LOSS:
			return refuse(ADMISSION_NOT_SERVED, spec, 0, reterr);
		case SLA_CAPACITY:
			if (spec->value > request->vdev_size_bytes)
				return refuse(ADMISSION_SPACE, spec,
					      request->vdev_size_bytes, reterr);
			break;
		case SLA_IOPS:
		case SLA_BANDWIDTH:
		case SLA_LATENCY:
			if (!admission->is_measured)
				return refuse(ADMISSION_NOT_MEASURED, spec, 0,
					      reterr);
			break;
		case SLA_METRICS:
			break;
		}
	}
	return 0;
}

/* More time is needed than 'left'. */
static int refuse_rate(enum admission_reason reason,
		       const struct demand_costs *costs, const struct sla *sla,
		       u128 left, struct admission_refusal *reterr)
{
	struct demand requests, bytes;
	const struct demand *worse;
	u128 others;

	demand_find(costs, sla, &requests, &bytes);
	worse = bytes.time > requests.time ? &bytes : &requests;
	/* What the other direction takes. */
	others = worse->time - worse->named_time;
	return refuse(reason, worse->named,
		      left > others ?
			      (uint64_t)((left - others) / worse->named_cost) :
			      0,
		      reterr);
}

/* The least bound at which 'time' may be promised; UINT64_MAX: none. */
static uint64_t least_latency(const struct admission *admission,
			      const struct sla_spec *spec, u128 time)
{
	const u128 measured = needed(admission, time);
	uint64_t least_ns = 0;

	if (measured > SECOND)
		return UINT64_MAX;
	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve =
			&admission->capacity.direction[d];
		const uint64_t most = capacity_iops(curve, spec->percentile, 0);
		uint64_t at_ns;

		if (!concerns(spec, d))
			continue;
		at_ns = capacity_latency_ns(
			curve, spec->percentile,
			(uint64_t)((measured * most + SECOND - 1) / SECOND));
		if (at_ns > least_ns)
			least_ns = at_ns;
	}
	return least_ns;
}

/* One of the candidate's latencies leaves too little time for all rates. */
static int refuse_latency(const struct admission *admission,
			  const struct sla *sla, u128 time,
			  struct admission_refusal *reterr)
{
	const struct sla_spec *worst = NULL;
	uint64_t worst_ns = 0, worst_gap_ns = 0;

	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];
		uint64_t least_ns;

		if (spec->metric != SLA_LATENCY)
			continue;
		least_ns = least_latency(admission, spec, time);
		if (!worst ||
		    (least_ns > spec->value &&
		     least_ns - spec->value > worst_gap_ns)) {
			worst = spec;
			worst_ns = least_ns;
			worst_gap_ns = least_ns > spec->value ?
				least_ns - spec->value :
				0;
		}
	}
	assert(worst);	/* only called if there is one */
	return refuse(ADMISSION_LATENCY, worst, worst_ns, reterr);
}

/* Whether the core has the time for 'sla', with 'old_time' given back. */
static int check_core(const struct admission *admission, u128 old_time,
		      const struct admission_request *request,
		      struct admission_refusal *reterr)
{
	const u128 promised = admission->core.promised - old_time;
	const u128 allowed = core_allows(&admission->core);
	const u128 time = demand_time(&admission->core_costs, request->sla);

	if (time == 0 || request->is_core_paid || promised + time <= allowed)
		return 0;
	return refuse_rate(ADMISSION_CORE, &admission->core_costs, request->sla,
			   allowed > promised ? allowed - promised : 0, reterr);
}

/* Whether 'request' fits beside all others, not counting 'old'. */
static int check(const struct admission *admission, const struct admitted *old,
		 const struct admission_request *request,
		 struct admission_refusal *reterr)
{
	const bool replaces = old && old->is_reserved;
	struct sla_combined others;
	u128 promised, time, by_others, by_own;
	int r = check_alone(admission, request, reterr);

	if (r < 0)
		return r;
	if (!admission->is_measured)
		return 0;
	combine_get_without(admission->latencies,
			    replaces ? &old->latencies : NULL, &others);
	promised = admission->promised - (replaces ? old->time : 0);
	time = demand_time(&admission->costs, request->sla);
	by_others = usable(admission,
			   allow_all(admission, others.specs, others.count));
	by_own = allow_all(admission, request->sla->specs, request->sla->count);
	if (by_own == 0)	/* not even for one request at a time */
		return refuse_latency(admission, request->sla, 0, reterr);
	by_own = usable(admission, by_own);
	if (promised + time > by_others && time > 0)
		return refuse_rate(
			ADMISSION_RATE, &admission->costs, request->sla,
			by_others > promised ? by_others - promised : 0,
			reterr);
	if (promised + time > by_own && by_own < usable(admission, SECOND))
		return refuse_latency(admission, request->sla, promised + time,
				      reterr);
	return check_core(admission, replaces ? old->core_time : 0, request,
			  reterr);
}

static void select_latencies(const struct sla *sla, struct sla *ret_latencies)
{
	ret_latencies->count = 0;
	for (unsigned int i = 0; i < sla->count; i++)
		if (sla->specs[i].metric == SLA_LATENCY)
			ret_latencies->specs[ret_latencies->count++] =
				sla->specs[i];
}

/* Take back what 'admitted' reserves. */
static void unreserve(struct admitted *admitted)
{
	struct admission *admission = admitted->admission;

	if (!admitted->is_reserved) {
		admission->best_effort--;
		return;
	}
	admission->promised -= admitted->time;
	admission->core.promised -= admitted->core_time;
	admission->reserved--;
	combine_remove(admission->latencies, &admitted->latencies);
}

static void count_time(struct admitted *admitted)
{
	struct admission *admission = admitted->admission;

	admitted->time = demand_time(&admission->costs, &admitted->sla);
	admitted->core_time = admitted->is_core_paid ?
		0 :
		demand_time(&admission->core_costs, &admitted->sla);
	admission->promised += admitted->time;
	admission->core.promised += admitted->core_time;
}

/* 'admitted' is new (nothing of it is counted) or has 'old' latencies in the
 * set; give it the SLA of 'request'. */
static int reserve(struct admitted *admitted, bool is_new,
		   const struct admission_request *request, bool is_reserved)
{
	struct admission *admission = admitted->admission;
	struct sla latencies;
	int r;

	select_latencies(request->sla, &latencies);
	if (is_reserved) {
		/* Added first: if that fails, nothing has changed. */
		r = combine_add(admission->latencies, &latencies);
		if (r < 0)
			return r;
	}
	if (!is_new)
		unreserve(admitted);
	admitted->sla = *request->sla;
	admitted->latencies = latencies;
	admitted->is_reserved = is_reserved;
	admitted->is_core_paid = request->is_core_paid;
	admitted->time = admitted->core_time = 0;
	if (is_reserved) {
		if (admission->is_measured)
			count_time(admitted);
		admission->reserved++;
	} else {
		admission->best_effort++;
	}
	return 0;
}

int admission_admit(struct admission *admission,
		    const struct admission_request *request,
		    struct admitted **ret_admitted,
		    struct admission_refusal *reterr_refusal)
{
	struct admitted *admitted;
	int r = check(admission, NULL, request, reterr_refusal);

	if (r < 0 && !request->is_best_effort)
		return r;
	admitted = calloc(1, sizeof(*admitted));
	if (!admitted)
		return -ENOMEM;
	admitted->admission = admission;
	r = reserve(admitted, true, request, r == 0);
	if (r < 0) {
		free(admitted);
		return r;
	}
	admitted->next = admission->first;
	if (admission->first)
		admission->first->prev = admitted;
	admission->first = admitted;
	*ret_admitted = admitted;
	return 0;
}

int admission_update(struct admitted *admitted,
		     const struct admission_request *request,
		     struct admission_refusal *reterr_refusal)
{
	int r = check(admitted->admission, admitted, request, reterr_refusal);

	if (r < 0 && !request->is_best_effort)
		return r;
	return reserve(admitted, false, request, r == 0);
}

void admission_release(struct admitted *admitted)
{
	if (!admitted)
		return;
	unreserve(admitted);
	if (admitted->prev)
		admitted->prev->next = admitted->next;
	else
		admitted->admission->first = admitted->next;
	if (admitted->next)
		admitted->next->prev = admitted->prev;
	free(admitted);
}

int admission_what_if(const struct admission *admission,
		      const struct admission_request *request,
		      struct admission_refusal *reterr_refusal)
{
	return check(admission, NULL, request, reterr_refusal);
}

int admission_set_capacity(struct admission *admission,
			   const struct capacity *capacity,
			   struct error *reterr)
{
	int r = capacity_check(capacity, reterr);

	if (r < 0)
		return r;
	admission->capacity = *capacity;
	admission->is_measured = true;
	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve = &capacity->direction[d];

		admission->costs.request[d] =
			SECOND / capacity_iops(curve, 0, 0);
		admission->costs.byte[d] = SECOND / curve->bytes_per_s;
	}
	admission->core_costs = admission->costs;
	if (admission->path_ns > 0)
		demand_bound(&admission->core_costs, admission->path_ns);
	admission->promised = admission->core.promised = 0;
	for (struct admitted *one = admission->first; one; one = one->next)
		if (one->is_reserved)
			count_time(one);
	return 0;
}

void admission_forget_capacity(struct admission *admission)
{
	admission->is_measured = false;
}

void admission_set_correction(struct admission *admission, unsigned int milli)
{
	/* Beyond twice the measured, the measuring is what is wrong. */
	admission->correction_milli = milli < 2000 ? milli : 2000;
}

bool admission_is_reserved(const struct admitted *admitted)
{
	return admitted->is_reserved;
}

const struct sla *admission_sla(const struct admitted *admitted)
{
	return &admitted->sla;
}

/* Time that may be promised now. */
static u128 allowed_now(const struct admission *admission)
{
	struct sla_combined all;

	if (!admission->is_measured)
		return 0;
	combine_get(admission->latencies, &all);
	return usable(admission, allow_all(admission, all.specs, all.count));
}

void admission_report(const struct admission *admission,
		      struct admission_report *ret_report)
{
	const u128 ppm = SECOND / 1000000, allowed = allowed_now(admission);
	const u128 promised = admission->promised / ppm;

	*ret_report = (struct admission_report){
		.reserved = admission->reserved,
		.best_effort = admission->best_effort,
		.promised_ppm =
			promised < UINT32_MAX ? (uint32_t)promised : UINT32_MAX,
		.allowed_ppm = (uint32_t)(allowed / ppm),
		.is_over = admission->promised > allowed,
	};
}
