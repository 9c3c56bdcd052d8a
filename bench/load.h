/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - what the files of bench-load share
 *
 * One thread drives all jobs; a job is one queue of one server with its own
 * depth, pattern, rate, priority and promise.  load.c reads the command line,
 * load-setup.c connects, load-run.c drives, load-data.c makes and checks
 * contents, load-replay.c reads a trace, load-promise.c judges promises,
 * load-report.c counts up and prints.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bench/latency.h"
#include "vhost/client.h"

#define LOAD_JOBS_MAX		16U
#define LOAD_DEPTH_MAX		512U
#define LOAD_WINDOW_NS		UINT64_C(10000000)	/* 10 ms */
#define LOAD_KEEP_WINDOWS	10U			/* of them: 100 ms */
/* In a window, beyond what waking up takes now and then. */
#define LOAD_WAITED_NS		UINT64_C(1500000)
#define LOAD_AWAY_NS		UINT64_C(50000)
#define LOAD_SECOND_NS		UINT64_C(1000000000)

/* One request of a trace. */
struct load_record {
	uint64_t at_ns;
	uint64_t offset_bytes;
	uint32_t size_bytes;
	bool write;
};

struct load_trace {
	struct load_record *records;
	size_t count;
	uint64_t length_ns;
	uint32_t size_max_bytes;
};

/* A job as the command line says it; 0 or NULL: not given. */
struct load_job_config {
	char name[32];
	const char *socket;
	unsigned int depth, ring;
	uint32_t block_bytes;
	unsigned int read_percent;
	bool sequential, event_index, indirect, verify;
	uint64_t offset_bytes, span_bytes;	/* the working set */
	uint64_t stride_bytes;		/* from one block of it to the next */
	uint64_t rate_iops;		/* open loop; 0: closed */
	uint32_t ioprio;
	uint64_t target_iops;		/* windows are compared with it */
	uint64_t promise_iops;
	uint64_t promise_latency_ns;
	double promise_percent;		/* the latency's percentile */
	bool replay;
	uint64_t replay_shift_ns;	/* where in the trace it begins */
};

/* What happened in 10 ms. */
struct load_window {
	uint32_t done;
	uint32_t conforming, late;	/* of what ended; late: of these */
	uint32_t excused, excused_late;	/* conforming, but see away_end_ns */
	uint32_t owed_idle_ns;		/* see owed_until_ns */
	uint32_t young;			/* as it began: see load-promise.c */
	uint32_t away_ns;
	uint32_t waited_ns;		/* the server, however little */
	bool away, server_waited;
};

struct load_op {
	struct vhost_client_request request;
	struct iovec iov;
	uint64_t start_ns;		/* when it should have started */
	uint32_t generation;		/* verifying: of the block's content */
	bool conforming, in_flight;
};

/* Contents of the working set, as written. */
struct load_data {
	uint32_t *generations;		/* by block; 0: not written yet */
	uint8_t *busy;			/* a request is under way there */
	uint64_t blocks, mismatches, checked;
	char first_mismatch[160];
};

struct load_job {
	struct load_job_config config;
	struct vhost_client *client;	/* shared by jobs on one socket */
	struct vhost_client_queue *queue;
	struct load_op *ops;
	struct load_op **idle;
	unsigned int idle_count;
	uint64_t random, blocks, position;
	uint64_t due_ns, gap_ns, gap_rest, rest;	/* open loop */
	const struct load_trace *trace;
	size_t record;
	uint64_t record_base_ns;	/* when the trace's time 0 is */
	double speed;
	struct load_data data;

	/* Counted while measuring. */
	struct latency latency, latency_away;
	struct latency latency_now;	/* since the last look */
	uint64_t requests, bytes, errors;
	struct load_window *windows;
	unsigned int window_count, window;
	uint64_t window_end_ns;
	/* When a server of exactly the promised rate would be through with
	 * all that came, and until when arrivals have used up the promise. */
	uint64_t owed_until_ns, conform_until_ns;
	uint64_t excess;		/* not conforming, under way now */
	uint64_t beyond;		/* ended, and did not conform */
	/* Of the last absence that matters here, and of what it held up. */
	uint64_t away_end_ns, shadow_end_ns;
	unsigned int quick;		/* in a row, since */
	bool measuring, promised;
};

struct load_options {
	uint64_t duration_ns, warmup_ns;
	bool sleep, json, reconnect, per_window;
	uint64_t seed;
	int server_pid;
	const char *trace_path;
	double speed;
};

struct load_result {
	uint64_t measured_ns;
	uint64_t aways, away_ns, away_worst_ns;
	unsigned int waits;	/* looks that found the server waiting */
	uint64_t waited_ns;	/* what its threads waited together */
	uint64_t server_cpu_ns;
	bool server_cpu_known;
	unsigned int reconnects;
	uint64_t outage_worst_ns;
};

/* Buffers of all jobs, shared with all servers. */
struct load_arena {
	char *memory;
	size_t bytes;
	int fd;
};

/* load-setup.c: buffers and connections; undo also after a failure. */
int load_setup(struct load_arena *arena, struct load_job *jobs,
	       unsigned int job_count, uint64_t seed, struct error *reterr);
void load_setup_undo(struct load_arena *arena, struct load_job *jobs,
		     unsigned int job_count);
/* load-server.c: the threads that a process has now; of those, until they
 * end, how long they ran and how long they were kept waiting for a CPU. */
#define LOAD_TASKS_MAX 64U
struct load_server {
	int fds[LOAD_TASKS_MAX];
	unsigned int count;
};
void load_server_open(struct load_server *server, int pid);
void load_server_close(struct load_server *server);
void load_server_read(const struct load_server *server, uint64_t *ret_ran_ns,
		      uint64_t *ret_waited_ns);

/* load-run.c: 0 or -errno with the reason. */
int load_run(struct load_job *jobs, unsigned int job_count,
	     const struct load_options *options, struct load_result *ret_result,
	     struct error *reterr);

static inline unsigned int load_outstanding(const struct load_job *job)
{
	return job->config.depth - job->idle_count;
}

static inline bool load_open_loop(const struct load_job *job)
{
	return job->trace || job->config.rate_iops > 0;
}

/* load-promise.c: what load-run.c tells it of a job that was promised
 * something: a request is sent, ended, all have ended, the window ends, the
 * machine was away. */
void load_promise_arrive(struct load_job *job, struct load_op *op);
void load_promise_done(struct load_job *job, const struct load_op *op,
		       uint64_t latency_ns);
void load_promise_idle(struct load_job *job, uint64_t now_ns);
void load_promise_close(struct load_job *job);
void load_promise_away(struct load_job *job, uint64_t away_ns, uint64_t to_ns);

/* Windows of 100 ms, and in how many the promise was kept: the machine's
 * absence counted against it, and as judged. */
struct load_rate_kept {
	unsigned int windows, kept;	/* in which something was owed */
	unsigned int judged, judged_kept, left_out;
};

struct load_latency_kept {
	unsigned int windows, kept, judged, judged_kept;
	/* Requests. */
	uint64_t conforming, late, left_out, beyond;
};

struct load_rate_kept load_rate_kept(const struct load_job *job);
struct load_latency_kept load_latency_kept(const struct load_job *job);

/* load-data.c */
int load_data_init(struct load_data *data, uint64_t blocks);
void load_data_finish(struct load_data *data);
/* May a request go to 'block' now?  If so it is taken until released. */
bool load_data_take(struct load_data *data, uint64_t block);
void load_data_write(struct load_data *data, uint64_t block,
		     struct load_op *op);
void load_data_read(struct load_data *data, uint64_t block, struct load_op *op);
/* 'op' ended: check what was read. */
void load_data_done(struct load_data *data, uint64_t block, struct load_op *op);

/* load-replay.c */
int load_trace_read(const char *path, struct load_trace *ret_trace,
		    struct error *reterr);
void load_trace_finish(struct load_trace *trace);

/* load-report.c */
int load_report(const struct load_job *jobs, unsigned int job_count,
		const struct load_options *options,
		const struct load_result *result);

#endif
