/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-run.c - the loop: reap, count, submit, for every job in turn
 *
 * The clock is read once a round.  Two reads more than LOAD_AWAY_NS apart
 * mean that this thread did not run: the machine was away; so it was when the
 * server had to wait for its CPU.  Windows that this touches are marked, and
 * requests that were under way then are counted in a histogram of their own.
 *
 * An open-loop request starts when it is due, whether or not it could be
 * sent then: waiting for a free slot is part of its latency.
 */
#include "bench/load.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH			64U
#define CHECK_NS		UINT64_C(10000000)
#define RECONNECT_NS		UINT64_C(60000000000)
#define DRAIN_NS		UINT64_C(30000000000)

struct run {
	struct load_job *jobs;
	unsigned int job_count;
	const struct load_options *options;
	struct load_result *result;
	struct error *reterr;
	uint64_t away_end_ns;		/* end of the last absence */
	uint64_t check_ns;		/* when to look after the servers */
	struct load_server server;
	uint64_t look_ns;		/* when to look at its waiting */
	uint64_t looked_ns, waited_ns;	/* when it was, and what it was */
	bool submitting;
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * LOAD_SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint64_t next_random(struct load_job *job)
{
	uint64_t x = job->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return job->random = x;
}

/* 0 .. bound - 1, evenly enough. */
static uint64_t random_below(struct load_job *job, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)next_random(job) * bound) >> 64);
}

/* Close windows that ended before 'now_ns'. */
static void roll_windows(struct load_job *job, uint64_t now_ns)
{
	while (now_ns >= job->window_end_ns &&
	       job->window < job->window_count) {
		load_promise_close(job);
		job->window++;
		job->window_end_ns += LOAD_WINDOW_NS;
	}
	if (job->window >= job->window_count)
		job->measuring = false;
}

static uint64_t block_of(const struct load_job *job, const struct load_op *op)
{
	return (op->request.offset_bytes - job->config.offset_bytes) /
		job->config.stride_bytes;
}

static void finish_op(const struct run *run, struct load_job *job,
		      struct load_op *op, uint64_t now_ns)
{
	const uint64_t latency_ns =
		now_ns > op->start_ns ? now_ns - op->start_ns : 0;

	job->idle[job->idle_count++] = op;
	op->in_flight = false;
	if (job->config.verify)
		load_data_done(&job->data, block_of(job, op), op);
	if (job->promised)
		load_promise_done(job, op, latency_ns);
	if (!job->measuring)
		return;
	job->requests++;
	job->bytes += op->iov.iov_len;
	if (op->request.result != 0)
		job->errors++;
	latency_add(op->start_ns < run->away_end_ns ? &job->latency_away :
						      &job->latency_now,
		    latency_ns);
	job->windows[job->window].done++;
}

/* Fill in where 'op' goes; false: not now. */
static bool aim(struct load_job *job, struct load_op *op)
{
	struct vhost_client_request *request = &op->request;
	const unsigned int reads = job->config.read_percent;
	uint64_t block;

	if (job->config.sequential) {
		block = job->position;
		if (++job->position == job->blocks)
			job->position = 0;
	} else {
		block = random_below(job, job->blocks);
	}
	if (reads == 100)
		request->op = VHOST_CLIENT_READ;
	else
		request->op = random_below(job, 100) < reads ?
			VHOST_CLIENT_READ :
			VHOST_CLIENT_WRITE;
	request->offset_bytes =
		job->config.offset_bytes + block * job->config.stride_bytes;
	if (!job->config.verify)
		return true;
	if (!load_data_take(&job->data, block))
		return false;
	if (request->op == VHOST_CLIENT_WRITE)
		load_data_write(&job->data, block, op);
	else
		load_data_read(&job->data, block, op);
	return true;
}

/* The trace's next request, wrapped into the working set. */
static void aim_record(struct load_job *job, struct load_op *op)
{
	const struct load_record *record = &job->trace->records[job->record];
	const uint64_t room = job->config.span_bytes - record->size_bytes;

	op->request.op = record->write ? VHOST_CLIENT_WRITE : VHOST_CLIENT_READ;
	op->request.offset_bytes = job->config.offset_bytes +
		record->offset_bytes % (room - room % 512 + 512);
	op->iov.iov_len = record->size_bytes;
}

static uint64_t record_due_ns(const struct load_job *job)
{
	return job->record_base_ns +
		(uint64_t)((double)job->trace->records[job->record].at_ns /
			   job->speed);
}

static void advance(struct load_job *job)
{
	if (job->trace) {
		if (++job->record == job->trace->count) {
			job->record = 0;
			job->record_base_ns +=
				(uint64_t)((double)job->trace->length_ns /
					   job->speed);
		}
		job->due_ns = record_due_ns(job);
		return;
	}
	job->due_ns += job->gap_ns;
	job->rest += job->gap_rest;
	if (job->rest >= job->config.rate_iops) {
		job->rest -= job->config.rate_iops;
		job->due_ns++;
	}
}

/* Send whatever is due and has a slot.  Returns how many, or -errno. */
static int submit(struct load_job *job, uint64_t now_ns)
{
	const bool open = load_open_loop(job);
	int count = 0;

	while (job->idle_count > 0 && (!open || job->due_ns <= now_ns)) {
		struct load_op *op = job->idle[job->idle_count - 1];
		int result;

		if (job->trace)
			aim_record(job, op);
		else if (!aim(job, op))
			break;
		op->start_ns = open ? job->due_ns : now_ns;
		result = vhost_client_add(job->queue, &op->request);
		if (result < 0)
			return result;
		op->in_flight = true;
		if (job->promised)
			load_promise_arrive(job, op);
		job->idle_count--;
		if (open)
			advance(job);
		count++;
	}
	if (count > 0)
		vhost_client_publish(job->queue);
	return count;
}

/* Returns how much was done, or -errno. */
static int reap(const struct run *run, struct load_job *job, uint64_t now_ns)
{
	struct vhost_client_request *done[BATCH];
	int i, count;

	count = vhost_client_reap(job->queue, done, BATCH);
	for (i = 0; i < count; i++)
		finish_op(run, job, (struct load_op *)done[i], now_ns);
	if (count > 0 && load_outstanding(job) == 0)
		load_promise_idle(job, now_ns);
	return count;
}

static int serve(const struct run *run, struct load_job *job, uint64_t now_ns)
{
	int done, sent = 0;

	if (job->measuring && now_ns >= job->window_end_ns)
		roll_windows(job, now_ns);
	done = reap(run, job, now_ns);
	if (done < 0)
		return done;
	if (run->submitting &&
	    (done > 0 || load_open_loop(job) || job->idle_count > 0))
		sent = submit(job, now_ns);
	return sent < 0 ? sent : done + sent;
}

/* Mark the windows that 'from_ns' to 'to_ns' touches, of which the machine was
 * away for 'away_ns', at the end. */
static void mark_away(struct run *run, uint64_t from_ns, uint64_t to_ns,
		      uint64_t away_ns, bool server_waited)
{
	unsigned int i;

	run->away_end_ns = to_ns;
	for (i = 0; i < run->job_count; i++) {
		struct load_job *job = &run->jobs[i];
		uint64_t left_ns = away_ns, at_ns = to_ns;
		unsigned int window;

		load_promise_away(job, away_ns, to_ns);
		if (!job->measuring)
			continue;
		roll_windows(job, to_ns);
		for (window = job->window;; window--) {
			struct load_window *w = &job->windows[window];
			const uint64_t ends_ns = job->window_end_ns -
				(job->window - window) * LOAD_WINDOW_NS;
			const uint64_t begins_ns = ends_ns - LOAD_WINDOW_NS;
			uint64_t part_ns;

			if (ends_ns <= from_ns)
				break;
			part_ns = at_ns > begins_ns ? at_ns - begins_ns : 0;
			if (part_ns > left_ns)
				part_ns = left_ns;
			at_ns -= part_ns;
			left_ns -= part_ns;
			part_ns += w->away_ns;
			w->away_ns = (uint32_t)(part_ns < LOAD_WINDOW_NS ?
							part_ns :
							LOAD_WINDOW_NS);
			w->away = true;
			w->server_waited |= server_waited;
			if (window == 0)
				break;
		}
	}
}

static void note_away(struct run *run, uint64_t from_ns, uint64_t to_ns)
{
	if (run->jobs[0].measuring) {
		run->result->aways++;
		run->result->away_ns += to_ns - from_ns;
		if (to_ns - from_ns > run->result->away_worst_ns)
			run->result->away_worst_ns = to_ns - from_ns;
	}
	mark_away(run, from_ns, to_ns, to_ns - from_ns, false);
}

/* The server was kept waiting since the last look, about a window ago. */
static void note_waited(const struct run *run, struct load_job *job,
			uint64_t waited_ns)
{
	const uint64_t begin_ns =
		job->window_end_ns - (job->window + 1) * LOAD_WINDOW_NS;
	const uint64_t window =
		(run->looked_ns + LOAD_WINDOW_NS / 2 - begin_ns) /
		LOAD_WINDOW_NS;

	if (window < job->window_count)
		job->windows[window].waited_ns = (uint32_t)waited_ns;
}

/* Every 10 ms: if the server was kept waiting for its CPU meanwhile, what was
 * seen is the machine's doing. */
static void look(struct run *run, uint64_t now_ns)
{
	uint64_t ran_ns, waited_ns, more_ns;
	bool waited;
	unsigned int i;

	load_server_read(&run->server, &ran_ns, &waited_ns);
	more_ns = waited_ns - run->waited_ns;
	waited = more_ns > LOAD_WAITED_NS;
	if (waited) {
		run->result->waits += run->jobs[0].measuring;
		/* It is told when it is over: it may have begun long ago. */
		mark_away(run, run->looked_ns - more_ns, now_ns, more_ns, true);
	}
	for (i = 0; i < run->job_count; i++) {
		struct load_job *job = &run->jobs[i];

		note_waited(run, job, more_ns);
		latency_merge(waited ? &job->latency_away : &job->latency,
			      &job->latency_now);
		memset(&job->latency_now, 0, sizeof(job->latency_now));
	}
	run->waited_ns = waited_ns;
	run->looked_ns = now_ns;
	run->look_ns += LOAD_WINDOW_NS;
	if (run->look_ns <= now_ns)
		run->look_ns = now_ns + LOAD_WINDOW_NS;
}

/* The server of 'client' has gone: find the next one. */
static int reconnect(struct run *run, struct vhost_client *client)
{
	const uint64_t since_ns = clock_ns();
	unsigned int i;
	int result;

	for (i = 0; i < run->job_count; i++)
		while (run->jobs[i].client == client &&
		       reap(run, &run->jobs[i], since_ns) > 0)
			;
	if (!run->options->reconnect)
		return error_set(
			run->reterr, -ECONNRESET,
			"the server closed the connection: see why it ended, or use --reconnect");
	for (;;) {
		uint64_t took_ns;

		result = vhost_client_reconnect(client, run->reterr);
		took_ns = clock_ns() - since_ns;
		if (result == 0) {
			run->result->reconnects++;
			if (took_ns > run->result->outage_worst_ns)
				run->result->outage_worst_ns = took_ns;
			return 0;
		}
		if (took_ns > RECONNECT_NS)
			return result;
		usleep(2000);
	}
}

static int check_servers(struct run *run)
{
	unsigned int i;
	int result;

	for (i = 0; i < run->job_count; i++) {
		struct vhost_client *client = run->jobs[i].client;

		if (vhost_client_check(client, NULL) == 0)
			continue;
		result = reconnect(run, client);
		if (result < 0)
			return result;
	}
	return 0;
}

/* Nothing to do: sleep until something finishes, is due, or 'until_ns'. */
static void wait_for_work(struct run *run, uint64_t until_ns)
{
	struct pollfd fds[LOAD_JOBS_MAX];
	bool quiet = true;
	unsigned int i;
	uint64_t now_ns;

	for (i = 0; i < run->job_count; i++) {
		struct load_job *job = &run->jobs[i];

		fds[i].fd = vhost_client_queue_fd(job->queue);
		fds[i].events = POLLIN;
		quiet &= vhost_client_arm(job->queue);
		if (run->submitting && load_open_loop(job) &&
		    job->idle_count > 0 && job->due_ns < until_ns)
			until_ns = job->due_ns;
	}
	now_ns = clock_ns();
	if (quiet && until_ns > now_ns) {
		const struct timespec timeout = {
			.tv_sec =
				(time_t)((until_ns - now_ns) / LOAD_SECOND_NS),
			.tv_nsec = (long)((until_ns - now_ns) % LOAD_SECOND_NS),
		};

		(void)ppoll(fds, run->job_count, &timeout, NULL);
	}
	for (i = 0; i < run->job_count; i++)
		vhost_client_disarm(run->jobs[i].queue);
}

static volatile sig_atomic_t told_to_stop;

static void on_signal(int signal)
{
	(void)signal;
	told_to_stop = 1;
}

/* Drive all jobs until 'end_ns', or until nothing is in flight. */
static int drive(struct run *run, uint64_t end_ns)
{
	uint64_t previous_ns = clock_ns();

	for (;;) {
		uint64_t now_ns = clock_ns();
		unsigned int i, left = 0;
		int did = 0;

		if (now_ns - previous_ns > LOAD_AWAY_NS)
			note_away(run, previous_ns, now_ns);
		previous_ns = now_ns;
		if (now_ns >= end_ns || (told_to_stop && run->submitting))
			return 0;
		for (i = 0; i < run->job_count; i++) {
			int result = serve(run, &run->jobs[i], now_ns);

			if (result < 0)
				return error_set(
					run->reterr, result,
					"%s: %s: the server broke the ring's rules or can't take such requests",
					run->jobs[i].config.socket,
					strerror(-result));
			left += load_outstanding(&run->jobs[i]);
			did += result;
			if (result > 0)
				now_ns = clock_ns();
		}
		/* Both are short; if not, the machine was away meanwhile. */
		if (now_ns >= run->look_ns)
			look(run, now_ns);
		if (!run->submitting && left == 0)
			return 0;
		if (now_ns >= run->check_ns) {
			const unsigned int before = run->result->reconnects;
			int result = check_servers(run);

			if (result < 0)
				return result;
			now_ns = clock_ns();
			if (run->result->reconnects != before)
				previous_ns = now_ns;
			run->check_ns = now_ns + CHECK_NS;
		} else if (run->options->sleep && did == 0) {
			wait_for_work(run,
				      run->check_ns < end_ns ? run->check_ns :
							       end_ns);
			previous_ns = clock_ns();
		}
	}
}

static void begin_schedule(struct load_job *job, uint64_t now_ns)
{
	const uint64_t rate = job->config.rate_iops;

	job->due_ns = now_ns;
	if (rate > 0) {
		job->gap_ns = LOAD_SECOND_NS / rate;
		job->gap_rest = LOAD_SECOND_NS % rate;
	}
	if (job->trace) {
		const uint64_t shift_ns =
			job->config.replay_shift_ns % job->trace->length_ns;

		while (job->record + 1 < job->trace->count &&
		       job->trace->records[job->record].at_ns < shift_ns)
			job->record++;
		job->record_base_ns =
			now_ns - (uint64_t)((double)shift_ns / job->speed);
		job->due_ns = record_due_ns(job);
	}
}

static int begin_measuring(struct load_job *job, uint64_t duration_ns,
			   uint64_t now_ns)
{
	job->window_count = (unsigned int)(duration_ns / LOAD_WINDOW_NS);
	job->windows = calloc(job->window_count + 1, sizeof(*job->windows));
	if (!job->windows)
		return -ENOMEM;
	job->window = 0;
	job->window_end_ns = now_ns + LOAD_WINDOW_NS;
	job->measuring = true;
	return 0;
}

static int measure(struct run *run)
{
	const struct load_options *options = run->options;
	const int pid = options->server_pid;
	uint64_t begin_ns = clock_ns(), cpu_ns, began_waited_ns;
	uint64_t end_ns;
	unsigned int i;
	int result;

	run->submitting = true;
	for (i = 0; i < run->job_count; i++)
		begin_schedule(&run->jobs[i], begin_ns);
	result = drive(run, begin_ns + options->warmup_ns);
	if (result < 0)
		return result;
	load_server_open(&run->server, pid);
	load_server_read(&run->server, &cpu_ns, &run->waited_ns);
	began_waited_ns = run->waited_ns;
	begin_ns = run->looked_ns = clock_ns();
	run->look_ns = begin_ns + LOAD_WINDOW_NS;
	for (i = 0; i < run->job_count; i++) {
		result = begin_measuring(&run->jobs[i], options->duration_ns,
					 begin_ns);
		if (result < 0)
			return error_set(
				run->reterr, result,
				"no memory for windows: choose a shorter --duration");
	}
	end_ns = begin_ns + options->duration_ns;
	result = drive(run, end_ns);
	if (result < 0)
		return result;
	if (told_to_stop && clock_ns() < end_ns)
		end_ns = clock_ns();
	for (i = 0; i < run->job_count; i++) {
		roll_windows(&run->jobs[i], end_ns);
		if (told_to_stop)
			run->jobs[i].window_count = run->jobs[i].window;
	}
	run->result->measured_ns = end_ns - begin_ns;
	if (pid > 0) {
		uint64_t after_ns, waited_ns;

		load_server_read(&run->server, &after_ns, &waited_ns);
		run->result->waited_ns = waited_ns - began_waited_ns;
		run->result->server_cpu_known = after_ns > cpu_ns;
		run->result->server_cpu_ns = after_ns - cpu_ns;
	}
	look(run, clock_ns());
	load_server_close(&run->server);
	run->submitting = false;
	result = drive(run, clock_ns() + DRAIN_NS);
	for (i = 0; result == 0 && i < run->job_count; i++)
		if (load_outstanding(&run->jobs[i]) > 0)
			result = error_set(
				run->reterr, -ETIMEDOUT,
				"%s: %u requests did not end within 30 s",
				run->jobs[i].config.socket,
				load_outstanding(&run->jobs[i]));
	return result;
}

int load_run(struct load_job *jobs, unsigned int job_count,
	     const struct load_options *options, struct load_result *ret_result,
	     struct error *reterr)
{
	struct run run = {
		.jobs = jobs,
		.job_count = job_count,
		.options = options,
		.result = ret_result,
		.look_ns = UINT64_MAX,
		.reterr = reterr,
	};
	struct load_arena arena;
	int result;

	signal(SIGTERM, on_signal);
	result = load_setup(&arena, jobs, job_count, options->seed, reterr);
	if (result == 0)
		result = measure(&run);
	load_setup_undo(&arena, jobs, job_count);
	return result;
}
