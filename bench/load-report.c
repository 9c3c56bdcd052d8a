/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-report.c - figures of the jobs, as text or as JSON
 *
 * Figures of windows come twice: as they were, and with the machine's absence
 * excused.  How promises are judged: load-promise.c.
 */
#include "bench/load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

/* Rates of windows of one length. */
struct rates {
	unsigned int count, left_out;
	double min, max, within_2_percent, worst_percent;
};

/* By how much 'span' windows from 'first' were off, in requests.  'excuse':
 * what the time that the machine was away would have brought is not owed, and
 * what an absence held up may end in the window behind it. */
static double off_by(const struct load_job *job, unsigned int first,
		     unsigned int span, double per_ns, bool excuse)
{
	double done = 0, away_ns = 0, before_ns = 0, most;
	unsigned int before = first, k;

	for (k = first; k < first + span; k++) {
		done += job->windows[k].done;
		away_ns += job->windows[k].away_ns;
	}
	/* All of an absence that began long before. */
	do {
		if (before > 0)
			before_ns += job->windows[--before].away_ns;
	} while (before > 0 && job->windows[before].away_ns == LOAD_WINDOW_NS);
	most = per_ns * (double)(LOAD_WINDOW_NS * span);
	if (!excuse)
		return done - most;
	if (done < most)
		return fmin(done - (most - per_ns * away_ns), 0);
	return fmax(done - (most + per_ns * before_ns), 0);
}

/* 'excuse': as load-promise.c does, a window with more than a fifth of absence
 * is left out, and a shorter absence is not owed. */
static struct rates rates_of(const struct load_job *job, unsigned int span,
			     bool excuse)
{
	const double length_ns = (double)(LOAD_WINDOW_NS * span);
	struct rates rates = {.min = INFINITY};
	double target = (double)job->config.target_iops;
	unsigned int i, k, within = 0;

	if (target <= 0)
		target = (double)job->requests * (double)LOAD_SECOND_NS /
			((double)job->window_count * (double)LOAD_WINDOW_NS);
	target /= (double)LOAD_SECOND_NS;
	for (i = 0; i + span <= job->window_count; i += span) {
		double done = 0, away_ns = 0, off = 0;

		for (k = i; k < i + span; k++) {
			done += job->windows[k].done;
			away_ns += job->windows[k].away_ns;
		}
		if (excuse && away_ns > length_ns / 5) {
			rates.left_out++;
			continue;
		}
		rates.count++;
		done *= (double)LOAD_SECOND_NS / length_ns;
		rates.min = fmin(rates.min, done);
		rates.max = fmax(rates.max, done);
		if (target > 0)
			off = off_by(job, i, span, target, excuse) * 100 /
				(target * length_ns);
		within += fabs(off) <= 2;
		if (fabs(off) > fabs(rates.worst_percent))
			rates.worst_percent = off;
	}
	rates.min = rates.count > 0 ? rates.min : 0;
	rates.within_2_percent =
		rates.count > 0 ? 100.0 * within / rates.count : 0;
	return rates;
}

static json_t *rates_json(const struct load_job *job, unsigned int span)
{
	const struct rates all = rates_of(job, span, false);
	const struct rates judged = rates_of(job, span, true);

	return json_pack("{s:i, s:f, s:f, s:f, s:f, s:i, s:i, s:f, s:f}",
			 "windows", (int)all.count, "min_iops", all.min,
			 "max_iops", all.max, "within_2_percent",
			 all.within_2_percent, "worst_percent",
			 all.worst_percent, "judged", (int)judged.count,
			 "left_out", (int)judged.left_out,
			 "judged_within_2_percent", judged.within_2_percent,
			 "judged_worst_percent", judged.worst_percent);
}

static json_t *latency_json(const struct latency *latency)
{
	static const struct {
		const char *name;
		double percent;
	} table[] = {
		{"p50", 50},
		{"p95", 95},
		{"p99", 99},
		{"p99.9", 99.9},
	};
	json_t *object = json_object();
	size_t i;

	json_object_set_new(object, "count",
			    json_integer((json_int_t)latency->count));
	json_object_set_new(object, "mean",
			    json_real(latency->count > 0 ?
					      (double)latency->sum_ns /
						      (double)latency->count :
					      0));
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		json_object_set_new(object, table[i].name,
				    json_integer((json_int_t)latency_percentile(
					    latency, table[i].percent)));
	json_object_set_new(object, "max",
			    json_integer((json_int_t)latency->max_ns));
	return object;
}

static json_t *rate_kept_json(const struct load_job *job)
{
	const struct load_rate_kept kept = load_rate_kept(job);

	return json_pack("{s:i, s:i, s:i, s:i, s:i}", "windows",
			 (int)kept.windows, "kept", (int)kept.kept, "judged",
			 (int)kept.judged, "judged_kept", (int)kept.judged_kept,
			 "left_out", (int)kept.left_out);
}

static json_t *latency_kept_json(const struct load_job *job)
{
	const struct load_latency_kept kept = load_latency_kept(job);

	return json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I}", "windows",
			 (int)kept.windows, "kept", (int)kept.kept, "judged",
			 (int)kept.judged, "judged_kept", (int)kept.judged_kept,
			 "conforming", (json_int_t)kept.conforming, "late",
			 (json_int_t)kept.late, "left_out",
			 (json_int_t)kept.left_out, "beyond",
			 (json_int_t)kept.beyond);
}

/* What was done, was somebody away, and for how many us the client or the
 * server, whoever longer, did not run. */
static json_t *windows_json(const struct load_job *job)
{
	json_t *array = json_array();
	unsigned int i;

	for (i = 0; i < job->window_count; i++) {
		const struct load_window *w = &job->windows[i];
		const uint32_t gone_ns =
			w->away_ns > w->waited_ns ? w->away_ns : w->waited_ns;

		json_array_append_new(array,
				      json_pack("[i, b, i]", (int)w->done,
						w->away, (int)gone_ns / 1000));
	}
	return array;
}

static json_t *job_json(const struct load_job *job,
			const struct load_options *options,
			const struct load_result *result)
{
	const double seconds =
		(double)result->measured_ns / (double)LOAD_SECOND_NS;
	struct latency *all = calloc(1, sizeof(*all));
	json_t *object = json_object();

	if (!all)
		return object;
	latency_merge(all, &job->latency);
	latency_merge(all, &job->latency_away);
	json_object_update_new(
		object,
		json_pack("{s:s, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o}",
			  "name", job->config.name, "requests",
			  (json_int_t)job->requests, "errors",
			  (json_int_t)job->errors, "iops",
			  (double)job->requests / seconds, "bytes_per_s",
			  (double)job->bytes / seconds, "latency_ns",
			  latency_json(all), "clean_latency_ns",
			  latency_json(&job->latency), "windows_10ms",
			  rates_json(job, 1), "windows_100ms",
			  rates_json(job, LOAD_KEEP_WINDOWS)));
	free(all);
	if (job->config.promise_iops > 0)
		json_object_set_new(object, "iops_kept", rate_kept_json(job));
	if (job->config.promise_latency_ns > 0)
		json_object_set_new(object, "latency_kept",
				    latency_kept_json(job));
	if (job->config.verify)
		json_object_set_new(
			object, "verified",
			json_pack("{s:I, s:I}", "reads",
				  (json_int_t)job->data.checked, "mismatches",
				  (json_int_t)job->data.mismatches));
	if (options->per_window)
		json_object_set_new(object, "every_10ms", windows_json(job));
	return object;
}

static int report_json(const struct load_job *jobs, unsigned int job_count,
		       const struct load_options *options,
		       const struct load_result *result)
{
	json_t *array = json_array(), *root;
	unsigned int i;
	int status;

	for (i = 0; i < job_count; i++)
		json_array_append_new(array,
				      job_json(&jobs[i], options, result));
	root = json_pack("{s:o, s:f, s:{s:I, s:I, s:I, s:i, s:I}, s:i, s:I}",
			 "jobs", array, "seconds",
			 (double)result->measured_ns / (double)LOAD_SECOND_NS,
			 "away", "times", (json_int_t)result->aways, "ns",
			 (json_int_t)result->away_ns, "worst_ns",
			 (json_int_t)result->away_worst_ns, "server_waits",
			 (int)result->waits, "server_waited_ns",
			 (json_int_t)result->waited_ns, "reconnects",
			 (int)result->reconnects, "outage_worst_ns",
			 (json_int_t)result->outage_worst_ns);
	if (result->server_cpu_known)
		json_object_set_new(
			root, "server_cpu_ns",
			json_integer((json_int_t)result->server_cpu_ns));
	status =
		json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(root);
	return status == 0 ? 0 : 1;
}

static void print_rates(const struct load_job *job, const char *name,
			unsigned int span)
{
	const struct rates all = rates_of(job, span, false);
	const struct rates judged = rates_of(job, span, true);

	printf("  %s windows: %u, %.0f to %.0f IOPS, %.1f %% within 2 %%, worst %+.2f %%; time away not owed: %.1f %%, worst %+.2f %%, %u left out\n",
	       name, all.count, all.min, all.max, all.within_2_percent,
	       all.worst_percent, judged.within_2_percent, judged.worst_percent,
	       judged.left_out);
}

static void print_rate_kept(const struct load_job *job)
{
	const struct load_rate_kept kept = load_rate_kept(job);

	printf("  IOPS promise kept in %u of %u windows of 100 ms; while the machine was there, in %u of %u, %u left out\n",
	       kept.kept, kept.windows, kept.judged_kept, kept.judged,
	       kept.left_out);
}

static void print_latency_kept(const struct load_job *job)
{
	const struct load_latency_kept kept = load_latency_kept(job);

	printf("  latency promise kept in %u of %u windows of 100 ms; while the machine was there, in %u of %u: %llu of %llu conforming requests late, %llu left out; %llu were beyond the promise\n",
	       kept.kept, kept.windows, kept.judged_kept, kept.judged,
	       (unsigned long long)kept.late,
	       (unsigned long long)kept.conforming,
	       (unsigned long long)kept.left_out,
	       (unsigned long long)kept.beyond);
}

static void print_job(const struct load_job *job,
		      const struct load_result *result)
{
	const double seconds =
		(double)result->measured_ns / (double)LOAD_SECOND_NS;
	const struct latency *latency = &job->latency;

	printf("%s: %.0f IOPS, %.1f MB/s, %llu requests, %llu errors\n",
	       job->config.name, (double)job->requests / seconds,
	       (double)job->bytes / seconds / 1e6,
	       (unsigned long long)job->requests,
	       (unsigned long long)job->errors);
	printf("  latency us: mean %.2f p50 %.2f p95 %.2f p99 %.2f p99.9 %.2f max %.1f (and %llu requests while the machine was away, max %.1f)\n",
	       latency->count > 0 ?
		       (double)latency->sum_ns / 1e3 / (double)latency->count :
		       0,
	       (double)latency_percentile(latency, 50) / 1e3,
	       (double)latency_percentile(latency, 95) / 1e3,
	       (double)latency_percentile(latency, 99) / 1e3,
	       (double)latency_percentile(latency, 99.9) / 1e3,
	       (double)latency->max_ns / 1e3,
	       (unsigned long long)job->latency_away.count,
	       (double)job->latency_away.max_ns / 1e3);
	print_rates(job, "10 ms", 1);
	print_rates(job, "100 ms", LOAD_KEEP_WINDOWS);
	if (job->config.promise_iops > 0)
		print_rate_kept(job);
	if (job->config.promise_latency_ns > 0)
		print_latency_kept(job);
	if (job->config.verify)
		printf("  verified %llu reads, %llu wrong\n",
		       (unsigned long long)job->data.checked,
		       (unsigned long long)job->data.mismatches);
}

int load_report(const struct load_job *jobs, unsigned int job_count,
		const struct load_options *options,
		const struct load_result *result)
{
	uint64_t requests = 0;
	unsigned int i;
	int status = 0;

	for (i = 0; i < job_count; i++) {
		requests += jobs[i].requests;
		if (jobs[i].data.mismatches > 0) {
			fprintf(stderr, "bench-load: %s: wrong data: %s\n",
				jobs[i].config.name,
				jobs[i].data.first_mismatch);
			status = 1;
		}
	}
	if (options->json)
		return report_json(jobs, job_count, options, result) || status;
	for (i = 0; i < job_count; i++)
		print_job(&jobs[i], result);
	if (result->server_cpu_known && requests > 0)
		printf("server: %.2f CPU seconds per million requests\n",
		       (double)result->server_cpu_ns / 1e3 / (double)requests);
	printf("machine away %llu times, %.1f ms in all, worst %.2f ms; server kept waiting in %u of the 10 ms windows\n",
	       (unsigned long long)result->aways, (double)result->away_ns / 1e6,
	       (double)result->away_worst_ns / 1e6, result->waits);
	if (result->reconnects > 0)
		printf("reconnected %u times, longest outage %.1f ms\n",
		       result->reconnects,
		       (double)result->outage_worst_ns / 1e6);
	return status;
}
