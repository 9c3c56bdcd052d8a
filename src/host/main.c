/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - penstockd: configuration, host, API, until told to end
 *
 * In the foreground, one line for each event on standard error.  SIGTERM and
 * SIGINT end it and its endpoints in order; READY=1 to $NOTIFY_SOCKET when
 * every endpoint serves what it can.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/server.h"
#include "base/container.h"
#include "host/config.h"
#include "host/host.h"
#include "host/user.h"
#include "os/loop.h"

#define LOOP_ENTRIES	256U

struct program {
	struct loop *loop;
	struct config *config;
	struct host *host;
	struct api_server *api;
	char endpoint_path[4096];
	struct host_program endpoint;
	struct host_listener listener;
	struct loop_watch signals;
	int signal_fd;
	struct api_grant *grants;
	size_t grant_count;
};

/* systemd's protocol: one datagram to the address in $NOTIFY_SOCKET. */
static void notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;
	int fd;

	if (length < 2 || length >= sizeof(address.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		   (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			       length)) < 0)
		fprintf(stderr, "penstockd: $NOTIFY_SOCKET %s: %s\n", path,
			strerror(errno));
	close(fd);
}

static void log_event(struct host_listener *listener, json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "kind"));
	const char *text = json_string_value(json_object_get(event, "text"));

	(void)listener;
	fprintf(stderr, "penstockd: %s: %s\n", kind ? kind : "",
		text ? text : "");
}

static void on_ready(void *arg)
{
	(void)arg;
	fprintf(stderr, "penstockd: ready\n");
	notify("READY=1");
}

static void on_stopped(void *arg)
{
	struct program *program = arg;

	loop_stop(program->loop);
}

static void on_signal(struct loop_watch *watch)
{
	struct program *program = container_of(watch, struct program, signals);
	struct signalfd_siginfo info;

	if (read(program->signal_fd, &info, sizeof(info)) !=
	    (ssize_t)sizeof(info))
		return;
	fprintf(stderr, "penstockd: ending: endpoints are drained\n");
	notify("STOPPING=1");
	host_stop(program->host);
}

static int watch_signals(struct program *program)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	program->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (program->signal_fd < 0)
		return -errno;
	program->signals.ready = on_signal;
	return loop_watch_add(program->loop, &program->signals,
			      program->signal_fd);
}

/* Beside our own binary. */
static int endpoint_program(char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size - 1);
	static const char name[] = "penstock-endpoint";
	char *slash;

	if (length < 0)
		return -errno;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + sizeof(name) > size)
		return -ENAMETOOLONG;
	strcpy(slash + 1, name);
	return access(path, X_OK) < 0 ? -errno : 0;
}

static int start_api(struct program *program, struct error *reterr)
{
	const struct config_api *api = &program->config->api;
	struct api_server_config config = {
		.unix_path = api->unix_path,
		.everyone = api_role_everyone(api),
		.grants = program->grants,
		.grant_count = program->grant_count,
	};

	if (!api->unix_path)
		return 0;
	return api_server_create(&config, program->loop, program->host,
				 &program->api, reterr);
}

/* What the configuration names and this machine has not: "FILE:LINE: ...". */
static int check_machine(struct program *program, struct error *reterr)
{
	const struct config *config = program->config;
	const long cpus = sysconf(_SC_NPROCESSORS_CONF);

	for (unsigned int i = 0; i < config->endpoint_count; i++)
		if (cpus > 0 && config->endpoints[i].cpu >= cpus)
			return error_set(
				reterr, -EINVAL,
				"%s:%u: endpoint '%s': there is no CPU %d: this machine has 0 to %ld",
				config->file, config->endpoints[i].line,
				config->endpoints[i].name,
				config->endpoints[i].cpu, cpus - 1);
	return api_grants_load(config->file, &config->api, &program->grants,
			       &program->grant_count, reterr);
}

static int run(struct program *program, struct error *reterr)
{
	const struct loop_config loop_config = {.entries = LOOP_ENTRIES};
	const struct host_hooks hooks = {
		.ready = on_ready,
		.stopped = on_stopped,
		.arg = program,
	};
	int ret;

	ret = endpoint_program(program->endpoint_path,
			       sizeof(program->endpoint_path));
	if (ret < 0)
		return error_set(
			reterr, ret,
			"penstock-endpoint is not beside penstockd: %s",
			strerror(-ret));
	program->endpoint.path = program->endpoint_path;
	ret = loop_create(&loop_config, &program->loop, reterr);
	if (ret < 0)
		return ret;
	error_set(reterr, -EIO, "signals cannot be watched");
	ret = watch_signals(program);
	if (ret == 0)
		ret = host_create(program->loop, program->config,
				  &program->endpoint, &hooks, &program->host,
				  reterr);
	if (ret < 0)
		return ret;
	host_listen(program->host, &program->listener);
	ret = start_api(program, reterr);
	if (ret == 0)
		ret = host_start(program->host, reterr);
	if (ret < 0)
		return ret;
	ret = loop_run(program->loop);
	if (ret < 0)
		error_set(reterr, ret, "the control loop stopped: %s",
			  strerror(-ret));
	return ret;
}

/* What cannot be served is said by --check as well; it is no error. */
static void print_notes(const struct config *config)
{
	unsigned int i;

	for (i = 0; i < config->note_count; i++)
		fprintf(stderr, "%s:%u: not served by this version: %s\n",
			config->file, config->notes[i].line,
			config->notes[i].text);
}

/* A descriptor for each way in, and the endpoints inherit the limit. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int usage(FILE *stream, int status)
{
	fprintf(stream,
		"usage: penstockd --config FILE [--check] [--endpoint-user NAME]\n"
		"       penstockd --version\n");
	return status;
}

static int wrong_usage(const char *word, const char *what)
{
	fprintf(stderr, "penstockd: %s %s: see 'penstockd --help'\n", word,
		what);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"endpoint-user", required_argument, NULL, 'u'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	struct program program = {
		.listener = {.event = log_event},
		.signal_fd = -1,
	};
	struct error why = {""};
	const char *file = NULL, *user = NULL;
	bool check = false;
	int c, ret;

	opterr = 0;	/* wrong_usage() says it */
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'h')
			return usage(stdout, 0);
		if (c == 'v') {
			printf("penstockd %s\n", PENSTOCK_VERSION);
			return 0;
		}
		if (c == 'c')
			file = optarg;
		else if (c == 'k')
			check = true;
		else if (c == 'u')
			user = optarg;
		else
			return wrong_usage(argv[optind - 1],
					   "is not known, or lacks its value");
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "is one word too many");
	if (!file)
		return wrong_usage("--config FILE", "is missing");
	ret = config_load(file, &program.config, &why);
	if (ret == 0)
		ret = check_machine(&program, &why);
	if (ret == 0)
		ret = user_find(user, &program.endpoint, &why);
	if (ret < 0) {
		fprintf(stderr, "%s\n", why.text);
		config_free(program.config);
		free(program.grants);
		return ret == -EINVAL ? 2 : 1;
	}
	if (check) {
		print_notes(program.config);
		printf("%s: in order\n", file);
	} else {
		raise_limits();
		ret = run(&program, &why);
	}
	api_server_destroy(program.api);
	host_destroy(program.host);
	loop_destroy(program.loop);
	config_free(program.config);
	free(program.grants);
	if (ret < 0)
		fprintf(stderr, "penstockd: %s\n", why.text);
	return ret < 0 ? 1 : 0;
}
