/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - bench-load: load on any vhost-user-blk server, and what came of it
 *
 * Threads: one.
 */
#include "bench/load.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/ioprio.h>

static const char usage[] =
	"usage: bench-load [OPTION...] JOB...\n"
	"JOB is KEY=VALUE,...:\n"
	"  socket=PATH       the server's vhost-user-blk socket (required)\n"
	"  name=TEXT         how it is called in the results\n"
	"  depth=N           requests in flight (1)\n"
	"  bs=BYTES          request size (4096)\n"
	"  read=PERCENT      share of reads, the rest are writes (100)\n"
	"  sequential        instead of random\n"
	"  offset=, span=    the working set, bytes (the whole device)\n"
	"  stride=BYTES      a request at each so many of it (bs)\n"
	"  rate=IOPS         open loop: so many a second, whatever the server does\n"
	"  ioprio=CLASS/LEVEL  I/O priority word: rt/N, be/N, idle/0 or a number\n"
	"  ring=N            descriptors of the ring (256, or what the depth needs)\n"
	"  event-index       use it if the server can\n"
	"  indirect          same\n"
	"  verify            write patterns, check what is read\n"
	"  target=IOPS       compare windows with it\n"
	"  promise=IOPS      judge 100 ms windows by it\n"
	"  promise-latency=NS[/PERCENT]  same for a latency (99)\n"
	"  replay[=SECOND]   requests of the trace, beginning there\n"
	"OPTION:\n"
	"  --duration SECONDS  measured time (5); SIGTERM ends it\n"
	"  --warmup SECONDS    before it (0.5)\n"
	"  --sleep             wait for the server's interrupt instead of polling\n"
	"  --reconnect         go on when the server ends and another starts\n"
	"  --server PID        CPU time of that process\n"
	"  --replay FILE       the trace: second,r|w,bytes,512-byte block\n"
	"  --speed FACTOR      how much faster than it was recorded (1)\n"
	"  --seed N            of offsets and directions (1)\n"
	"  --windows           with --json: every 10 ms window\n"
	"  --json              one line of JSON\n";

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "bench-load: %s: '%s' is not valid: see --help\n", what,
		value);
	return -EINVAL;
}

static int parse_u64(const char *key, const char *value, uint64_t most,
		     uint64_t *ret_number)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(value, &end, 10);
	if (errno || !isdigit((unsigned char)value[0]) || *end || number > most)
		return bad(key, value);
	*ret_number = number;
	return 0;
}

static int parse_unsigned(const char *key, const char *value, unsigned int most,
			  unsigned int *ret_number)
{
	uint64_t number;

	if (parse_u64(key, value, most, &number) < 0)
		return -EINVAL;
	*ret_number = (unsigned int)number;
	return 0;
}

static int parse_seconds(const char *key, const char *value, uint64_t *ret_ns)
{
	double seconds;
	char *end;

	seconds = strtod(value, &end);
	if (end == value || *end || !(seconds >= 0) || seconds > 100000)
		return bad(key, value);
	*ret_ns = (uint64_t)(seconds * (double)LOAD_SECOND_NS);
	return 0;
}

static int parse_ioprio(const char *value, uint32_t *ret_ioprio)
{
	static const struct {
		const char *name;
		unsigned int class;
	} table[] = {
		{"rt", IOPRIO_CLASS_RT},
		{"be", IOPRIO_CLASS_BE},
		{"idle", IOPRIO_CLASS_IDLE},
	};
	const char *slash = strchr(value, '/');
	unsigned int level;
	size_t i;

	if (!slash)
		return parse_unsigned("ioprio", value, UINT32_MAX, ret_ioprio);
	if (parse_unsigned("ioprio", slash + 1, 7, &level) < 0)
		return -EINVAL;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strlen(table[i].name) == (size_t)(slash - value) &&
		    strncmp(table[i].name, value, strlen(table[i].name)) == 0) {
			*ret_ioprio =
				table[i].class << IOPRIO_CLASS_SHIFT | level;
			return 0;
		}
	return bad("ioprio", value);
}

static int parse_latency(char *value, struct load_job_config *job)
{
	char *slash = strchr(value, '/'), *end;

	if (slash) {
		*slash = '\0';
		job->promise_percent = strtod(slash + 1, &end);
		if (*end || !(job->promise_percent > 0) ||
		    job->promise_percent > 100)
			return bad("promise-latency", slash + 1);
	}
	return parse_u64("promise-latency", value, UINT64_MAX,
			 &job->promise_latency_ns);
}

/* Keys that stand alone. */
static bool *find_switch(struct load_job_config *job, const char *key)
{
	const struct {
		const char *key;
		bool *value;
	} table[] = {
		{"sequential", &job->sequential},
		{"verify", &job->verify},
		{"event-index", &job->event_index},
		{"indirect", &job->indirect},
		{"replay", &job->replay},
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(key, table[i].key) == 0)
			return table[i].value;
	return NULL;
}

static int parse_pair(struct load_job_config *job, const char *key, char *value)
{
	const struct {
		const char *key;
		uint64_t *number;
	} table[] = {
		{"offset", &job->offset_bytes},	 {"span", &job->span_bytes},
		{"rate", &job->rate_iops},	 {"target", &job->target_iops},
		{"promise", &job->promise_iops}, {"stride", &job->stride_bytes},
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(key, table[i].key) == 0)
			return parse_u64(key, value, UINT64_C(1) << 60,
					 table[i].number);
	if (strcmp(key, "socket") == 0)
		job->socket = value;
	else if (strcmp(key, "name") == 0)
		snprintf(job->name, sizeof(job->name), "%s", value);
	else if (strcmp(key, "depth") == 0)
		return parse_unsigned(key, value, LOAD_DEPTH_MAX, &job->depth);
	else if (strcmp(key, "ring") == 0)
		return parse_unsigned(key, value, VHOST_CLIENT_QUEUE_SIZE_MAX,
				      &job->ring);
	else if (strcmp(key, "bs") == 0)
		return parse_unsigned(key, value, 1U << 22, &job->block_bytes);
	else if (strcmp(key, "read") == 0)
		return parse_unsigned(key, value, 100, &job->read_percent);
	else if (strcmp(key, "ioprio") == 0)
		return parse_ioprio(value, &job->ioprio);
	else if (strcmp(key, "promise-latency") == 0)
		return parse_latency(value, job);
	else if (strcmp(key, "replay") == 0) {
		job->replay = true;
		return parse_seconds(key, value, &job->replay_shift_ns);
	} else
		return bad("job", key);
	return 0;
}

/* Takes 'text' apart in place; strings stay in it. */
static int parse_job(char *text, unsigned int index,
		     struct load_job_config *job)
{
	char *item, *rest = text;

	*job = (struct load_job_config){
		.depth = 1,
		.block_bytes = 4096,
		.read_percent = 100,
		.promise_percent = 99,
	};
	snprintf(job->name, sizeof(job->name), "job%u", index);
	while ((item = strsep(&rest, ","))) {
		char *value = strchr(item, '=');
		bool *on;

		if (value) {
			*value++ = '\0';
			if (parse_pair(job, item, value) < 0)
				return -EINVAL;
			continue;
		}
		on = find_switch(job, item);
		if (!on)
			return bad("job", item);
		*on = true;
	}
	if (!job->socket)
		return bad("job", "no socket=");
	if (job->stride_bytes == 0)
		job->stride_bytes = job->block_bytes;
	if (job->depth == 0 || job->block_bytes == 0 ||
	    job->block_bytes % 512 || job->offset_bytes % 512 ||
	    job->stride_bytes % 512 || job->stride_bytes < job->block_bytes)
		return bad("job", "depth, bs, stride or offset");
	if (job->verify && job->replay)
		return bad("job", "verify with replay");
	if (job->ring == 0) {
		const unsigned int need = job->depth * (job->indirect ? 1 : 3);

		for (job->ring = 256; job->ring < need &&
		     job->ring < VHOST_CLIENT_QUEUE_SIZE_MAX;
		     job->ring *= 2)
			;
	}
	return 0;
}

enum {
	OPTION_DURATION = 256,
	OPTION_WARMUP,
	OPTION_SLEEP,
	OPTION_RECONNECT,
	OPTION_SERVER,
	OPTION_REPLAY,
	OPTION_SPEED,
	OPTION_SEED,
	OPTION_WINDOWS,
	OPTION_JSON,
	OPTION_HELP
};

static const struct option options_table[] = {
	{"duration", required_argument, NULL, OPTION_DURATION},
	{"warmup", required_argument, NULL, OPTION_WARMUP},
	{"sleep", no_argument, NULL, OPTION_SLEEP},
	{"reconnect", no_argument, NULL, OPTION_RECONNECT},
	{"server", required_argument, NULL, OPTION_SERVER},
	{"replay", required_argument, NULL, OPTION_REPLAY},
	{"speed", required_argument, NULL, OPTION_SPEED},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"windows", no_argument, NULL, OPTION_WINDOWS},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

static int take_option(int option, struct load_options *options)
{
	char *end;

	switch (option) {
	case OPTION_DURATION:
		return parse_seconds("duration", optarg, &options->duration_ns);
	case OPTION_WARMUP:
		return parse_seconds("warmup", optarg, &options->warmup_ns);
	case OPTION_SLEEP:
		options->sleep = true;
		return 0;
	case OPTION_RECONNECT:
		options->reconnect = true;
		return 0;
	case OPTION_SERVER:
		options->server_pid = (int)strtol(optarg, &end, 10);
		return *end || options->server_pid <= 0 ?
			bad("server", optarg) :
			0;
	case OPTION_REPLAY:
		options->trace_path = optarg;
		return 0;
	case OPTION_SPEED:
		options->speed = strtod(optarg, &end);
		return *end || !(options->speed >= 0.001) ||
				options->speed > 1e6 ?
			bad("speed", optarg) :
			0;
	case OPTION_SEED:
		return parse_u64("seed", optarg,
				 UINT64_MAX - LOAD_JOBS_MAX * 7919 - 1,
				 &options->seed);
	case OPTION_WINDOWS:
		options->per_window = true;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	}
	fputs(usage, option == OPTION_HELP ? stdout : stderr);
	return option == OPTION_HELP ? 1 : -EINVAL;
}

/* Jobs that replay get the trace, and buffers for its largest request. */
static int give_trace(struct load_job *jobs, unsigned int job_count,
		      const struct load_options *options,
		      struct load_trace *trace)
{
	struct error error;
	unsigned int i;

	if (options->trace_path &&
	    load_trace_read(options->trace_path, trace, &error) < 0) {
		fprintf(stderr, "bench-load: %s\n", error.text);
		return 1;
	}
	for (i = 0; i < job_count; i++) {
		if (!jobs[i].config.replay)
			continue;
		if (!options->trace_path) {
			bad("job", "replay without --replay FILE");
			return 2;
		}
		jobs[i].trace = trace;
		jobs[i].speed = options->speed;
		jobs[i].config.block_bytes = trace->size_max_bytes;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct load_options options = {
		.duration_ns = 5 * LOAD_SECOND_NS,
		.warmup_ns = LOAD_SECOND_NS / 2,
		.seed = 1,
		.speed = 1,
	};
	struct load_result result = {.measured_ns = 0};
	struct load_trace trace = {.records = NULL};
	struct error error = {.text = ""};
	struct load_job *jobs;
	unsigned int job_count = 0;
	int option, status;

	while ((option = getopt_long(argc, argv, "", options_table, NULL)) !=
	       -1) {
		status = take_option(option, &options);
		if (status != 0)
			return status > 0 ? 0 : 2;
	}
	if (optind == argc || argc - optind > (int)LOAD_JOBS_MAX ||
	    options.duration_ns < 10 * LOAD_WINDOW_NS) {
		fputs("bench-load: give 1 to 16 jobs and 0.1 s or more: see --help\n",
		      stderr);
		return 2;
	}
	jobs = calloc((size_t)(argc - optind), sizeof(*jobs));
	if (!jobs)
		return 1;
	for (; optind < argc; optind++, job_count++)
		if (parse_job(argv[optind], job_count,
			      &jobs[job_count].config) < 0)
			return 2;
	status = give_trace(jobs, job_count, &options, &trace);
	if (status == 0 &&
	    load_run(jobs, job_count, &options, &result, &error) < 0) {
		fprintf(stderr, "bench-load: %s\n", error.text);
		status = 1;
	}
	if (status == 0)
		status = load_report(jobs, job_count, &options, &result);
	load_trace_finish(&trace);
	while (job_count > 0)
		free(jobs[--job_count].windows);
	free(jobs);
	return status;
}
