/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - see history.h
 *
 * The archive's thread does one job after the other, so a read that follows a
 * write sees it.  What it writes is copied: processes may go meanwhile.
 */
#include "host/history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/endpoint.h"
#include "host/history-slot.h"
#include "host/host-data.h"
#include "host/watch.h"
#include "store/worker.h"

#define HOUR_S	3600

struct history {
	struct host *host;
	struct worker *worker;
	struct archive *archive;	/* NULL: only what is in memory */
	int64_t now_s;			/* the last second; 0: none yet */
	int64_t minute_s;		/* that is under way */
	int64_t pruned_s;
	bool is_failing;		/* the last write; said once */
};

/* --- Writing ------------------------------------------------------------- */

/* Rows, and who is there; or who was released. */
struct history_write {
	struct worker_job job;
	struct history *history;
	struct archive_row *rows;
	size_t row_count;
	struct archive_process *processes;
	size_t process_count;
	bool is_release, prunes;
	int64_t now_s;
	int result;
	struct error error;
};

static void write_run(struct worker_job *job)
{
	struct history_write *write =
		container_of(job, struct history_write, job);
	struct archive *archive = write->history->archive;
	int ret = archive_put(archive, write->rows, write->row_count,
			      &write->error);

	if (ret == 0 && write->is_release)
		ret = archive_release(archive, write->processes, write->now_s,
				      &write->error);
	else if (ret == 0)
		ret = archive_live(archive, write->processes,
				   write->process_count, write->now_s,
				   &write->error);
	if (ret == 0 && write->prunes)
		ret = archive_prune(archive, write->now_s, &write->error);
	write->result = ret;
}

static void write_free(struct history_write *write)
{
	free(write->rows);
	free(write->processes);
	free(write);
}

static void write_done(struct worker_job *job)
{
	struct history_write *write =
		container_of(job, struct history_write, job);
	struct history *history = write->history;

	if (write->result < 0 && !history->is_failing)
		events_add(
			history->host->events, "error", NULL,
			"history is not written: %s: what processes use is forgotten when penstockd ends",
			write->error.text);
	history->is_failing = write->result < 0;
	write_free(write);
}

static struct history_write *write_new(struct history *history, size_t count)
{
	struct history_write *write = calloc(1, sizeof(*write));

	if (!write)
		return NULL;
	write->job.run = write_run;
	write->job.done = write_done;
	write->history = history;
	write->now_s = history->now_s;
	write->rows = calloc(count ? count : 1, sizeof(*write->rows));
	write->processes = calloc(count ? count : 1, sizeof(*write->processes));
	if (write->rows && write->processes)
		return write;
	write_free(write);
	return NULL;
}

static void name_process(const struct reg_process *process,
			 struct archive_process *ret_named)
{
	memset(ret_named, 0, sizeof(*ret_named));
	ret_named->pasid = process->pasid;
	snprintf(ret_named->vdev, sizeof(ret_named->vdev), "%s",
		 process->vdev->name);
	snprintf(ret_named->name, sizeof(ret_named->name), "%s", process->name);
}

static const struct stats_process *stats_of(const struct reg_process *process)
{
	const struct stats_segment *segment =
		endpoint_stats(reg_vdev_endpoint(process->vdev)->process);

	return process->slot >= 0 ? &segment->processes[process->slot] : NULL;
}

static void add_row(struct history_write *write,
		    const struct reg_process *process)
{
	struct archive_row *row = &write->rows[write->row_count];
	const struct stats_process *stats = stats_of(process);

	if (!stats || !history_slot_close(process->history, stats, &row->cell))
		return;
	name_process(process, &row->process);
	row->at_s = write->history->minute_s;
	write->row_count++;
}

/* The minute under way is over, for all. */
static void write_minute(struct history *history, bool prunes)
{
	const struct registry *registry = history->host->registry;
	const struct reg_process *process;
	struct history_write *write;
	size_t count = 0;

	for (process = registry->processes; process; process = process->next)
		count++;
	write = write_new(history, count);
	if (!write)
		return;
	write->prunes = prunes;
	for (process = registry->processes; process; process = process->next) {
		name_process(process,
			     &write->processes[write->process_count++]);
		add_row(write, process);
	}
	if (history->archive)
		worker_submit(history->worker, &write->job);
	else
		write_free(write);
}

void history_release(struct history *history, const struct reg_process *process)
{
	struct history_write *write;

	if (!history->archive)
		return;
	write = write_new(history, 1);
	if (!write)
		return;
	write->is_release = true;
	write->process_count = 1;
	name_process(process, write->processes);
	add_row(write, process);
	worker_submit(history->worker, &write->job);
}

/* --- Seconds ------------------------------------------------------------- */

bool history_second(struct history *history, uint64_t now_ns, int64_t now_s)
{
	const int64_t minute_s = now_s - now_s % 60;
	const bool is_over = history->minute_s && minute_s != history->minute_s;
	struct reg_process *process;

	history->now_s = now_s;
	for (process = history->host->registry->processes; process;
	     process = process->next) {
		const struct stats_process *stats = stats_of(process);
		enum keep_verdict verdict = KEEP_UNKNOWN;

		if (!stats)
			continue;
		if (process->watch && process->sla.count)
			verdict = process->watch->judgement.verdict;
		history_slot_count(&process->history, stats, verdict, now_ns,
				   now_s);
	}
	if (is_over) {
		bool prunes = now_s - history->pruned_s >= HOUR_S;

		write_minute(history, prunes);
		if (prunes)
			history->pruned_s = now_s;
	}
	history->minute_s = minute_s;
	return is_over;
}

/* --- One process's window ------------------------------------------------ */

struct read_job {
	struct worker_job job;
	struct history *history;
	struct history_read *read;
	struct archive_process process;
	int64_t since_s, now_s;
	struct archive_row *rows;
	size_t count, room;
	int result;
	struct error error;
};

static void read_found(int64_t at_s, const struct derive_cell *cell, void *arg)
{
	struct read_job *job = arg;

	if (job->count == job->room) {
		const size_t room = job->room ? 2 * job->room : 64;
		struct archive_row *rows =
			reallocarray(job->rows, room, sizeof(*rows));

		if (!rows) {
			job->result = -ENOMEM;
			return;
		}
		job->rows = rows;
		job->room = room;
	}
	job->rows[job->count].at_s = at_s;
	job->rows[job->count++].cell = *cell;
}

static void read_run(struct worker_job *worker_job)
{
	struct read_job *job = container_of(worker_job, struct read_job, job);
	int ret =
		archive_read(job->history->archive, &job->process, job->since_s,
			     job->now_s, read_found, job, &job->error);

	if (ret < 0)
		job->result = ret;
	else if (job->result < 0)
		error_set(&job->error, job->result, "out of memory");
}

/* The archive's minutes, the seconds in memory in the place of their rates, and
 * the minute under way. */
static int gather(struct read_job *job, const struct reg_process *process)
{
	struct history_read *read = job->read;
	const struct stats_process *stats = process ? stats_of(process) : NULL;
	const struct history_slot *slot = process ? process->history : NULL;
	const int64_t hour_s = job->now_s - HISTORY_SECONDS;
	int64_t known_s = history_slot_since(slot);
	struct derive_cell *cells =
		calloc(job->count + HISTORY_SECONDS + 1, sizeof(*cells));

	if (!cells)
		return error_set(&read->error, -ENOMEM, "out of memory");
	if (known_s < hour_s)
		known_s = hour_s;
	for (size_t i = 0; i < job->count; i++) {
		struct derive_cell *cell = &cells[read->count++];

		*cell = job->rows[i].cell;
		if (job->rows[i].at_s >= known_s)
			memset(cell->top_per_s, 0, sizeof(cell->top_per_s));
	}
	read->count += history_slot_seconds(
		slot, job->since_s > known_s ? job->since_s : known_s,
		&cells[read->count]);
	if (stats && history_slot_look(slot, stats, &cells[read->count])) {
		struct derive_cell *cell = &cells[read->count++];

		memset(cell->top_per_s, 0, sizeof(cell->top_per_s));
	}
	read->cells = cells;
	return 0;
}

static void read_done(struct worker_job *worker_job)
{
	struct read_job *job = container_of(worker_job, struct read_job, job);
	struct history_read *read = job->read;
	struct host *host = job->history->host;
	struct derive_cell *cells;

	read->result = job->result;
	read->error = job->error;
	if (host->is_stopping)
		read->result = error_set(&read->error, -ECANCELED,
					 "penstockd is ending");
	if (read->result == 0)
		read->result = gather(
			job, registry_process(host->registry, read->pasid));
	free(job->rows);
	free(job);
	cells = read->cells;
	read->done(read);
	free(cells);
}

void history_read(struct history *history, const struct reg_process *process,
		  struct history_read *read)
{
	struct read_job *job = calloc(1, sizeof(*job));

	read->cells = NULL;
	read->count = 0;
	read->pasid = process->pasid;
	if (!job) {
		read->result =
			error_set(&read->error, -ENOMEM, "out of memory");
		read->done(read);
		return;
	}
	job->job.run = read_run;
	job->job.done = read_done;
	job->history = history;
	job->read = read;
	job->now_s = history->now_s;
	job->since_s = history->now_s - read->window_s;
	name_process(process, &job->process);
	if (history->archive)
		worker_submit(history->worker, &job->job);
	else
		read_done(&job->job);
}

/* --- Everybody's --------------------------------------------------------- */

struct report_job {
	struct worker_job job;
	struct history *history;
	struct history_report *report;
	int64_t now_s;
	size_t room;
};

static void report_found(const struct archive_process *process,
			 int64_t released_s, const struct derive_cell *cell,
			 void *arg)
{
	struct report_job *job = arg;
	struct history_report *report = job->report;

	if (report->count == job->room) {
		const size_t room = job->room ? 2 * job->room : 64;
		struct history_sum *sums =
			reallocarray(report->sums, room, sizeof(*sums));

		if (!sums) {
			report->result = error_set(&report->error, -ENOMEM,
						   "out of memory");
			return;
		}
		report->sums = sums;
		job->room = room;
	}
	report->sums[report->count++] = (struct history_sum){
		.process = *process,
		.released_s = released_s,
		.cell = *cell,
	};
}

static void report_run(struct worker_job *worker_job)
{
	struct report_job *job =
		container_of(worker_job, struct report_job, job);
	struct history_report *report = job->report;
	int ret = archive_sum(job->history->archive,
			      job->now_s - report->window_s, job->now_s,
			      report_found, job, &report->error);

	if (ret < 0)
		report->result = ret;
}

/* What is not in the archive yet: of the minute under way. */
static void add_current(struct report_job *job)
{
	const struct registry *registry = job->history->host->registry;
	const struct reg_process *process;

	for (process = registry->processes; process; process = process->next) {
		const struct stats_process *stats = stats_of(process);
		struct history_report *report = job->report;
		struct archive_process named;
		struct derive_cell cell;
		size_t i;

		if (!stats ||
		    !history_slot_look(process->history, stats, &cell))
			continue;
		name_process(process, &named);
		for (i = 0; i < report->count; i++)
			if (report->sums[i].process.pasid == named.pasid &&
			    report->sums[i].released_s == 0 &&
			    strcmp(report->sums[i].process.vdev, named.vdev) ==
				    0)
				break;
		if (i < report->count)
			derive_merge(&report->sums[i].cell, &cell);
		else
			report_found(&named, 0, &cell, job);
	}
}

static void report_done(struct worker_job *worker_job)
{
	struct report_job *job =
		container_of(worker_job, struct report_job, job);
	struct history_report *report = job->report;
	struct history_sum *sums;

	if (report->result == 0)
		add_current(job);
	free(job);
	sums = report->sums;
	report->done(report);
	free(sums);
}

void history_report(struct history *history, struct history_report *report)
{
	struct report_job *job = calloc(1, sizeof(*job));

	report->sums = NULL;
	report->count = 0;
	report->result = 0;
	if (!job) {
		report->result =
			error_set(&report->error, -ENOMEM, "out of memory");
		report->done(report);
		return;
	}
	job->job.run = report_run;
	job->job.done = report_done;
	job->history = history;
	job->report = report;
	job->now_s = history->now_s;
	if (history->archive)
		worker_submit(history->worker, &job->job);
	else
		report_done(&job->job);
}

/* --- Life ---------------------------------------------------------------- */

int history_create(struct host *host, struct history **ret_history)
{
	struct history *history = calloc(1, sizeof(*history));
	bool is_fresh = false;
	struct error why;
	int ret;

	if (!history)
		return -ENOMEM;
	history->host = host;
	ret = worker_create(host->loop, "history", &history->worker);
	if (ret < 0) {
		free(history);
		return ret;
	}
	if (archive_open(host->config->state, &history->archive, &is_fresh,
			 &why) < 0)
		events_add(host->events, "error", NULL,
			   "history is only kept until penstockd ends: %s",
			   why.text);
	if (is_fresh)
		events_add(
			host->events, "error", NULL,
			"what processes used could not be read: %s/history.db was put aside as history.db.damaged",
			host->config->state);
	*ret_history = history;
	return 0;
}

void history_destroy(struct history *history)
{
	if (!history)
		return;
	if (history->minute_s && history->host->registry)
		write_minute(history, false);
	worker_destroy(history->worker);
	archive_close(history->archive);
	free(history);
}
