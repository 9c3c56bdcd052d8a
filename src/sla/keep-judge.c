/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-judge.c - the verdict; see keep.h
 *
 * Called by penstockd on memory that an endpoint writes at the same time.
 */
#include "sla/keep.h"

#include <string.h>

#define SECOND_NS	UINT64_C(1000000000)
#define COPY_TRIES	100

/* A copy that is whole, as far as its writer lets us. */
static void copy_shared(const struct keep *shared, struct keep *ret_copy)
{
	for (unsigned int i = 0; i < COPY_TRIES; i++) {
		const uint32_t version =
			__atomic_load_n(&shared->version, __ATOMIC_ACQUIRE);

		memcpy(ret_copy, shared, sizeof(*ret_copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if ((version & 1) == 0 &&
		    __atomic_load_n(&shared->version, __ATOMIC_RELAXED) ==
			    version)
			break;
	}
}

/* An endpoint that a guest broke into may have written anything. */
static void make_safe(struct keep *copy)
{
	if (copy->meters_count > KEEP_METERS)
		copy->meters_count = KEEP_METERS;
	if (copy->bounds_count > SLA_SPECS_MAX)
		copy->bounds_count = SLA_SPECS_MAX;
	if (copy->sla.count > SLA_SPECS_MAX)
		copy->sla.count = SLA_SPECS_MAX;
	copy->second_index %= KEEP_SECONDS;
	for (unsigned int i = 0; i < copy->meters_count; i++)
		copy->meters[i].spec %= SLA_SPECS_MAX;
	for (unsigned int i = 0; i < copy->bounds_count; i++)
		copy->bounds[i].spec %= SLA_SPECS_MAX;
}

/* The second that ran 'age' seconds ago. */
static const struct keep_second *second_before(const struct keep *keep,
					       unsigned int age)
{
	return &keep->seconds[(keep->second_index + KEEP_SECONDS - age) %
			      KEEP_SECONDS];
}

/* Conforming requests of one bound in the last 'window_s' seconds, and the
 * late ones among them; with those that have waited too long already. */
static void count_late(const struct keep *keep, const struct keep_bound *bound,
		       uint32_t window_s, uint64_t now_ns,
		       uint64_t *ret_conforming, uint64_t *ret_late)
{
	uint64_t conforming = 0, late = 0;

	for (unsigned int age = 0; age < window_s; age++) {
		const struct keep_second *second = second_before(keep, age);

		for (unsigned int d = 0; d < 2; d++)
			if (bound->directions >> d & 1)
				conforming += second->conforming[d];
		late += second->bad[bound->spec];
	}
	late += bound->late;
	for (unsigned int d = 0; d < 2; d++) {
		const struct keep_flow *flow = &keep->flows[d];

		if (!(bound->directions >> d & 1))
			continue;
		conforming += flow->conforming_done;
		if (flow->waiting > 0 && flow->done + flow->failed == 0 &&
		    now_ns > flow->stuck_since_ns &&
		    now_ns - flow->stuck_since_ns > bound->latency_ns) {
			conforming += flow->stuck;
			late += flow->stuck;
		}
	}
	*ret_conforming = conforming;
	*ret_late = late;
}

/* How far back it takes to have enough conforming requests of every bound that
 * has any. */
static uint32_t find_window(const struct keep *keep, uint64_t now_ns)
{
	uint64_t known_s = KEEP_SECONDS;
	uint32_t window_s = KEEP_SECONDS_MIN;

	if (now_ns > keep->since_ns &&
	    (now_ns / SECOND_NS - keep->since_ns / SECOND_NS) < KEEP_SECONDS)
		known_s = now_ns / SECOND_NS - keep->since_ns / SECOND_NS + 1;
	for (unsigned int i = 0; i < keep->bounds_count; i++) {
		uint64_t conforming, late;

		count_late(keep, &keep->bounds[i], KEEP_SECONDS, now_ns,
			   &conforming, &late);
		if (conforming == 0)
			continue;
		for (; window_s < KEEP_SECONDS; window_s++) {
			count_late(keep, &keep->bounds[i], window_s, now_ns,
				   &conforming, &late);
			if (conforming >= KEEP_CONFORMING_MIN)
				break;
		}
	}
	return window_s < known_s ? window_s : (uint32_t)known_s;
}

static enum keep_verdict judge_latency(const struct sla_spec *spec,
				       uint64_t conforming, uint64_t late)
{
	const uint64_t all = conforming > KEEP_CONFORMING_MIN ?
		conforming :
		KEEP_CONFORMING_MIN;

	/* Broken even if all that are still to come are in time? */
	if (late * SLA_PERCENTILE_MAX >
	    all * (uint64_t)(SLA_PERCENTILE_MAX - spec->percentile))
		return KEEP_BROKEN;
	return conforming >= KEEP_CONFORMING_MIN ? KEEP_KEPT : KEEP_UNKNOWN;
}

static void judge_copy(const struct keep *keep, uint64_t now_ns,
		       struct keep_judgement *judgement)
{
	bool is_kept = false, is_broken = false, is_open = false;

	judgement->window_s = find_window(keep, now_ns);
	for (unsigned int age = 0; age < judgement->window_s; age++) {
		const struct keep_second *second = second_before(keep, age);

		judgement->windows += second->windows;
		judgement->windows_broken += second->windows_broken;
		for (unsigned int i = 0; i < keep->meters_count; i++) {
			const unsigned int spec = keep->meters[i].spec;

			judgement->specs[spec].windows += second->judged[spec];
			judgement->specs[spec].windows_broken +=
				second->bad[spec];
		}
	}
	for (unsigned int i = 0; i < keep->meters_count; i++) {
		const unsigned int spec = keep->meters[i].spec;

		if (judgement->specs[spec].windows_broken > 0)
			judgement->specs[spec].verdict = KEEP_BROKEN;
		else if (judgement->specs[spec].windows > 0)
			judgement->specs[spec].verdict = KEEP_KEPT;
	}
	for (unsigned int i = 0; i < keep->bounds_count; i++) {
		const unsigned int spec = keep->bounds[i].spec;
		uint64_t conforming, late;

		count_late(keep, &keep->bounds[i], judgement->window_s, now_ns,
			   &conforming, &late);
		judgement->specs[spec].conforming = conforming;
		judgement->specs[spec].late = late;
		judgement->specs[spec].verdict =
			judge_latency(&keep->sla.specs[spec], conforming, late);
		if (conforming > 0 &&
		    judgement->specs[spec].verdict == KEEP_UNKNOWN)
			is_open = true;
	}
	for (unsigned int i = 0; i < keep->sla.count; i++) {
		is_kept |= judgement->specs[i].verdict == KEEP_KEPT;
		is_broken |= judgement->specs[i].verdict == KEEP_BROKEN;
	}
	if (is_broken)
		judgement->verdict = KEEP_BROKEN;
	else if (is_kept && !is_open)
		judgement->verdict = KEEP_KEPT;
}

void keep_judge(const struct keep *keep, uint64_t now_ns,
		struct keep_judgement *ret_judgement)
{
	struct keep copy;

	memset(ret_judgement, 0, sizeof(*ret_judgement));
	copy_shared(keep, &copy);
	make_safe(&copy);
	if (!copy.is_promised)
		return;
	/* A window later than its writer would: what that is about to report
	 * belongs to the window. */
	if (now_ns > copy.window_end_ns &&
	    now_ns - copy.window_end_ns > KEEP_WINDOW_NS)
		keep_close_windows(&copy, now_ns - KEEP_WINDOW_NS);
	judge_copy(&copy, now_ns, ret_judgement);
}
