/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - penstock-endpoint: one reactor, locked down, told what to serve
 *
 * Started by penstockd with the listening control socket and the statistics
 * segment as descriptors; never by hand.  It outlives its penstockd: the
 * data path does not depend on the control side.
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/guard.h"

#define RING_ENTRIES	1024U
#define SPIN_DEFAULT_NS	UINT64_C(50000)
#define SLICE_NS	UINT64_C(100000)

struct attributes {	/* struct sched_attr, which glibc 2.36 does not have */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

struct arguments {
	const char *name;
	int cpu;			/* -1: any */
	int nice;
	bool realtime;
	uint64_t spin_ns;
	struct endpoint_user user;
};

static int parse_number(const char *text, long min, long max, long *ret_value)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < min || value > max)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

static int parse_arguments(int argc, char **argv, struct arguments *ret_args)
{
	static const struct option options[] = {
		{"name", required_argument, NULL, 'n'},
		{"cpu", required_argument, NULL, 'c'},
		{"nice", required_argument, NULL, 'i'},
		{"realtime", no_argument, NULL, 'r'},
		{"spin-ns", required_argument, NULL, 's'},
		{"uid", required_argument, NULL, 'u'},
		{"gid", required_argument, NULL, 'g'},
		{0},
	};
	struct arguments args = {.cpu = -1, .spin_ns = SPIN_DEFAULT_NS};
	long value;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			args.name = optarg;
			continue;
		case 'c':
			if (parse_number(optarg, -1, CPU_SETSIZE - 1, &value) <
			    0)
				return -EINVAL;
			args.cpu = (int)value;
			continue;
		case 'i':
			if (parse_number(optarg, -20, 19, &value) < 0)
				return -EINVAL;
			args.nice = (int)value;
			continue;
		case 'r':
			args.realtime = true;
			continue;
		case 's':
			if (parse_number(optarg, 0, 1000000000, &value) < 0)
				return -EINVAL;
			args.spin_ns = (uint64_t)value;
			continue;
		case 'u':
			if (parse_number(optarg, 1, UINT32_MAX - 1, &value) < 0)
				return -EINVAL;
			args.user.uid = (uint32_t)value;
			continue;
		case 'g':
			if (parse_number(optarg, 0, UINT32_MAX - 1, &value) < 0)
				return -EINVAL;
			args.user.gid = (uint32_t)value;
			continue;
		}
		return -EINVAL;
	}
	if (optind != argc || !args.name || !*args.name ||
	    strlen(args.name) > ENDPOINT_NAME_MAX)
		return -EINVAL;
	*ret_args = args;
	return 0;
}

static int map_stats(struct endpoint *endpoint, struct error *reterr)
{
	struct stats_segment *stats;
	struct stat status;

	if (fstat(CTL_STATS_FD, &status) < 0 ||
	    (size_t)status.st_size != sizeof(*stats))
		return error_set(
			reterr, -EINVAL,
			"descriptor %d is not a statistics segment of this version; penstock-endpoint is started by penstockd only",
			CTL_STATS_FD);
	stats = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE, MAP_SHARED,
		     CTL_STATS_FD, 0);
	if (stats == MAP_FAILED)
		return error_set(reterr, -errno, "statistics segment: %m");
	if (stats->magic != STATS_MAGIC ||
	    stats->size_bytes != sizeof(*stats)) {
		munmap(stats, sizeof(*stats));
		return error_set(reterr, -EINVAL,
				 "statistics segment of another version");
	}
	endpoint->stats = stats;
	endpoint->stats_fd = CTL_STATS_FD;
	return 0;
}

/* Among ordinary threads one that wakes waits for the slice of another, some
 * milliseconds, whatever its nice value.  A short slice of its own helps where
 * the kernel (6.12) knows it; before all of them comes only a real-time one:
 * returns whether this is one. */
static bool prefer(const struct arguments *args)
{
	const struct sched_param first = {.sched_priority = 1};
	const struct attributes ordinary = {
		.size = sizeof(ordinary),
		.policy = SCHED_OTHER,
		.nice = args->nice,
		.runtime = SLICE_NS,
	};

	if (args->realtime && sched_setscheduler(0, SCHED_FIFO, &first) == 0)
		return true;
	if (args->realtime)
		fprintf(stderr,
			"penstock-endpoint %s: not real-time: %m; it needs CAP_SYS_NICE\n",
			args->name);
	/* A negative value needs a privilege that penstockd may lack: then the
	 * endpoint runs as everyone else. */
	if (syscall(SYS_sched_setattr, 0, &ordinary, 0) < 0 && args->nice)
		(void)setpriority(PRIO_PROCESS, 0, args->nice);
	return false;
}

static int place(const struct arguments *args, bool *ret_realtime,
		 struct error *reterr)
{
	if (args->cpu >= 0) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET((size_t)args->cpu, &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
			return error_set(reterr, -errno,
					 "CPU %d: %m; is it online?",
					 args->cpu);
	}
	*ret_realtime = prefer(args);
	return 0;
}

static int check_listener(struct error *reterr)
{
	int listening = 0;
	socklen_t length = sizeof(listening);

	if (getsockopt(CTL_LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening,
		       &length) < 0 ||
	    !listening)
		return error_set(
			reterr, -EINVAL,
			"descriptor %d is not a listening socket; penstock-endpoint is started by penstockd only",
			CTL_LISTEN_FD);
	return 0;
}

static int serve(struct endpoint *endpoint, const struct arguments *args,
		 struct error *reterr)
{
	const struct loop_config config = {
		.entries = RING_ENTRIES,
		.spin_max_ns = args->spin_ns,
		.restricted = true,
	};
	char how[128];
	int result = loop_create(&config, &endpoint->loop, reterr);

	if (result < 0)
		return result;
	turns_init(&endpoint->turns);
	result = vdev_gate_create(endpoint->loop, &endpoint->gate, reterr);
	if (result < 0)
		goto err_after_loop;
	result = guard_install();
	if (result < 0) {
		error_set(reterr, result, "can't install the SIGBUS guard");
		goto err_after_loop;
	}
	result = endpoint_lockdown(&args->user, how, sizeof(how), reterr);
	if (result < 0)
		goto err_after_loop;
	result = endpoint_control_start(endpoint, reterr);
	if (result < 0)
		goto err_after_loop;
	result = endpoint_watch_start(endpoint);
	if (result < 0)
		goto err_after_control;
	result = endpoint_pools_init(endpoint);
	if (result < 0)
		goto err_after_watch;
	fprintf(stderr, "penstock-endpoint %s: serving (%s)\n", endpoint->name,
		how);
	result = loop_run(endpoint->loop);
	if (result < 0)
		error_set(reterr, result, "the reactor stopped: %s",
			  strerror(-result));
	endpoint_pools_finish(endpoint);
err_after_watch:
	endpoint_watch_finish(endpoint);
err_after_control:
	endpoint_control_finish(endpoint);
err_after_loop:
	loop_destroy(endpoint->loop);
	return result;
}

int main(int argc, char **argv)
{
	struct endpoint endpoint = {.listen_fd = CTL_LISTEN_FD,
				    .owner_uid = geteuid(),
				    .enforce = true};
	struct arguments args;
	struct error error = {0};
	int result = parse_arguments(argc, argv, &args);

	if (result < 0) {
		fprintf(stderr,
			"usage: penstock-endpoint --name NAME [--cpu N] [--nice N] [--realtime] [--spin-ns N] [--uid N --gid N] (started by penstockd)\n");
		return 2;
	}
	ctl_init();
	memcpy(endpoint.name, args.name, strlen(args.name) + 1);
	/* The terminal's ^C goes to the whole group: penstockd ends us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	result = check_listener(&error);
	if (result == 0)
		result = map_stats(&endpoint, &error);
	if (result == 0)
		result = place(&args, &endpoint.realtime, &error);
	if (result == 0)
		result = serve(&endpoint, &args, &error);
	if (result < 0)
		fprintf(stderr, "penstock-endpoint %s: %s\n", endpoint.name,
			error.text);
	return result < 0;
}
