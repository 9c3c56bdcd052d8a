/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-promise.c - was what a job was promised kept, by what the client saw
 *
 * In the spirit of sla/keep.h, but by its own account: it knows when each
 * request was due and how long each took.
 *
 * Rates, in every 100 ms.  A closed loop must get the promised rate, less one
 * request.  An open loop must get what a server of exactly that rate would
 * have done, given what was under way at the window's start and what came, less
 * one request.  What came within half of the promised latency (none: 10 ms)
 * before the window's end counts there and not in the next.
 *
 *   owed      = rate * (window - idle time of that server - machine away)
 *   delivered = done + young at the end - young at the start
 *
 * Latency is judged by those that conform: no further ahead of the promised
 * rate than half of the promised latency, those before it counted that did not
 * conform.  The rest is the process's own queueing.
 *
 * The machine's absence is nobody's fault.  Time that it was away is not owed,
 * and a window with more than a fifth of it is left out.  A request under way
 * during an absence that matters beside its promise is left out, and so are
 * those behind it until some in a row take less than half of what was promised,
 * for at most ten times the absence.  Each is also counted without that excuse,
 * and how much was left out is told.
 */
#include "bench/load.h"

#include <math.h>

#define KEEP_NS		(LOAD_KEEP_WINDOWS * LOAD_WINDOW_NS)
#define AWAY_MAX_NS	(KEEP_NS / 5)
#define CONFORMING_MIN	1000U
#define SHADOW_MAX	10U	/* times the absence */
#define SHADOW_QUICK	32U

static bool has_bound(const struct load_job *job)
{
	return job->config.promise_latency_ns > 0;
}

static uint64_t step_ns(const struct load_job *job)
{
	return LOAD_SECOND_NS / job->config.promise_iops;
}

/* A server of exactly the promised rate had nothing to do up to 'now_ns'.  A
 * closed loop always wants more: it is owed the whole rate. */
static void owe_nothing_until(struct load_job *job, uint64_t now_ns)
{
	const uint64_t begin_ns = job->window_end_ns - LOAD_WINDOW_NS;

	if (!load_open_loop(job) || job->owed_until_ns >= now_ns)
		return;
	if (job->owed_until_ns < begin_ns)
		job->owed_until_ns = begin_ns;
	if (job->owed_until_ns >= now_ns)
		return;
	job->windows[job->window].owed_idle_ns +=
		(uint32_t)(now_ns - job->owed_until_ns);
	job->owed_until_ns = now_ns;
}

/* What is under way and came not long before the window's end. */
static uint32_t count_young(const struct load_job *job)
{
	const uint64_t bound_ns = job->config.promise_latency_ns / 2;
	uint32_t young = 0;
	unsigned int i;

	for (i = 0; i < job->config.depth; i++)
		if (job->ops[i].in_flight &&
		    job->ops[i].start_ns + bound_ns > job->window_end_ns)
			young++;
	return young;
}

void load_promise_close(struct load_job *job)
{
	struct load_window *next = &job->windows[job->window + 1];
	uint32_t owed;

	if (job->config.promise_iops == 0)
		return;
	/* What is due and could not be sent is owed too. */
	owe_nothing_until(job,
			  job->due_ns < job->window_end_ns ?
				  job->due_ns :
				  job->window_end_ns);
	if ((job->window + 1) % LOAD_KEEP_WINDOWS != 0 || !load_open_loop(job))
		return;
	next->young = count_young(job);
	owed = load_outstanding(job) - next->young;
	job->owed_until_ns = job->window_end_ns + owed * step_ns(job);
}

void load_promise_arrive(struct load_job *job, struct load_op *op)
{
	const uint64_t rate = job->config.promise_iops;
	const uint64_t latest_ns =
		op->start_ns + job->config.promise_latency_ns / 2;
	uint64_t until_ns = job->conform_until_ns;

	op->conforming = has_bound(job);
	if (rate == 0)
		return;
	if (until_ns < op->start_ns)
		until_ns = op->start_ns;
	if (has_bound(job))
		op->conforming =
			until_ns + job->excess * step_ns(job) <= latest_ns;
	if (op->conforming)
		job->conform_until_ns = until_ns + step_ns(job);
	else
		job->excess++;
	if (job->measuring)
		owe_nothing_until(job, op->start_ns);
	job->owed_until_ns += step_ns(job);
}

/* Was it held up by an absence, itself or by those before it? */
static bool is_excused(struct load_job *job, const struct load_op *op,
		       uint64_t latency_ns)
{
	if (op->start_ns < job->away_end_ns)
		return true;
	if (latency_ns < job->config.promise_latency_ns / 2)
		job->quick++;
	else
		job->quick = 0;
	if (op->start_ns + latency_ns > job->shadow_end_ns ||
	    job->quick >= SHADOW_QUICK)
		job->shadow_end_ns = 0;
	return job->shadow_end_ns > 0;
}

void load_promise_done(struct load_job *job, const struct load_op *op,
		       uint64_t latency_ns)
{
	struct load_window *window = &job->windows[job->window];
	const bool late = latency_ns > job->config.promise_latency_ns;

	if (!op->conforming) {
		job->excess -= job->excess > 0;
		job->beyond += job->measuring;
		return;
	}
	if (!job->measuring)
		return;
	if (is_excused(job, op, latency_ns)) {
		window->excused++;
		window->excused_late += late;
	} else {
		window->conforming++;
		window->late += late;
	}
}

void load_promise_idle(struct load_job *job, uint64_t now_ns)
{
	/* Nothing waits any more: what was done early is not owed. */
	if (job->owed_until_ns > now_ns && job->due_ns > now_ns)
		job->owed_until_ns = now_ns;
}

void load_promise_away(struct load_job *job, uint64_t away_ns, uint64_t to_ns)
{
	/* Shorter ones don't matter beside what was promised. */
	if (away_ns < job->config.promise_latency_ns / 20)
		return;
	job->away_end_ns = to_ns;
	job->quick = 0;
	if (job->shadow_end_ns < to_ns + SHADOW_MAX * away_ns)
		job->shadow_end_ns = to_ns + SHADOW_MAX * away_ns;
}

struct load_rate_kept load_rate_kept(const struct load_job *job)
{
	const double rate = (double)job->config.promise_iops;
	struct load_rate_kept kept = {.windows = 0};
	unsigned int i, k;

	for (i = 0; i + LOAD_KEEP_WINDOWS <= job->window_count;
	     i += LOAD_KEEP_WINDOWS) {
		const double before = job->windows[i].young;
		const double after = job->windows[i + LOAD_KEEP_WINDOWS].young;
		double done = 0, busy_ns = (double)KEEP_NS, owed, away_ns = 0;

		for (k = i; k < i + LOAD_KEEP_WINDOWS; k++) {
			done += job->windows[k].done;
			busy_ns -= (double)job->windows[k].owed_idle_ns;
			away_ns += (double)job->windows[k].away_ns;
		}
		done += after - before;
		owed = floor(busy_ns * rate / (double)LOAD_SECOND_NS);
		if (owed < 1)
			continue;
		kept.windows++;
		kept.kept += done >= owed - 1;
		if (away_ns > (double)AWAY_MAX_NS) {
			kept.left_out++;
			continue;
		}
		owed = floor((busy_ns - away_ns) * rate /
			     (double)LOAD_SECOND_NS);
		kept.judged++;
		kept.judged_kept += done >= owed - 1;
	}
	return kept;
}

/* One more stretch of at least CONFORMING_MIN, back from window 'last'. */
static void judge_latency(const struct load_job *job, unsigned int last,
			  bool excuse, unsigned int *count, unsigned int *good)
{
	const double share = 1 - job->config.promise_percent / 100;
	double done = 0, late = 0, recent = 0;
	unsigned int k;

	for (k = last + 1; k-- > 0 &&
	     (done < CONFORMING_MIN || last - k < LOAD_KEEP_WINDOWS);) {
		const struct load_window *window = &job->windows[k];
		const bool waited = excuse && window->server_waited;

		done += waited ? 0 : window->conforming;
		late += waited ? 0 : window->late;
		done += excuse ? 0 : window->excused;
		late += excuse ? 0 : window->excused_late;
		if (last - k < LOAD_KEEP_WINDOWS)
			recent = done;
	}
	if (done < CONFORMING_MIN || recent == 0)
		return;
	(*count)++;
	*good += late <= done * share;
}

struct load_latency_kept load_latency_kept(const struct load_job *job)
{
	struct load_latency_kept kept = {.beyond = job->beyond};
	unsigned int i;

	for (i = 0; i < job->window_count; i++) {
		const struct load_window *window = &job->windows[i];

		kept.left_out += window->excused;
		if (window->server_waited) {
			kept.left_out += window->conforming;
		} else {
			kept.conforming += window->conforming;
			kept.late += window->late;
		}
		if ((i + 1) % LOAD_KEEP_WINDOWS != 0)
			continue;
		judge_latency(job, i, false, &kept.windows, &kept.kept);
		judge_latency(job, i, true, &kept.judged, &kept.judged_kept);
	}
	return kept;
}
