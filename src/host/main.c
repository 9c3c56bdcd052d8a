/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - penstockd: configuration, host, API, until told to end
 *
 * In the foreground, one line for each event on standard error.  SIGTERM and
 * SIGINT end it and its endpoints in order, SIGUSR1 ends only it; SIGHUP has
 * the audit's file opened, and certificates and roles read again.  READY=1 to
 * $NOTIFY_SOCKET when every endpoint serves what it can.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/audit.h"
#include "api/server.h"
#include "base/container.h"
#include "ctl/ctl.h"
#include "host/changes.h"
#include "host/config.h"
#include "host/host.h"
#include "host/listen.h"
#include "host/notify.h"
#include "host/user.h"
#include "os/loop.h"

#define LOOP_ENTRIES	256U

struct program {
	struct loop *loop;
	struct config *config;
	struct host *host;
	struct api_server *api;
	struct audit *audit;
	struct notify notify;
	char endpoint_path[4096];
	struct host_program endpoint;
	struct host_listener listener;
	struct loop_watch signals;
	int signal_fd;
	/* Who may what: the file's as it was last read. */
	struct config *roles;		/* has the names; NULL: 'config' */
	struct api_grant *grants;
	size_t grant_count;
};

static void log_event(struct host_listener *listener, json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "kind"));
	const char *text = json_string_value(json_object_get(event, "text"));

	(void)listener;
	fprintf(stderr, "penstockd: %s: %s\n", kind ? kind : "",
		text ? text : "");
}

static void say(const char *text)
{
	fprintf(stderr, "penstockd: %s\n", text);
}

static void on_ready(void *arg)
{
	struct program *program = arg;

	say("ready");
	notify_ready(&program->notify);
}

static void on_stopped(void *arg)
{
	struct program *program = arg;

	loop_stop(program->loop);
}

static void on_changed(void *arg, const char *by, const char *text)
{
	const struct program *program = arg;

	audit_changed(program->audit, by, text);
}

/* Takes 'config' and 'grants'. */
static void set_roles(struct program *program, struct config *config,
		      struct api_grant *grants, size_t count)
{
	const struct api_server_config roles = {
		.everyone = api_role_everyone(&config->api),
		.grants = grants,
		.grant_count = count,
	};
	struct error why;
	int ret = api_server_set_roles(program->api, &roles);

	if (ret < 0) {
		say("the roles cannot be read again: out of memory");
		free(grants);
		config_free(config);
		return;
	}
	free(program->grants);
	config_free(program->roles);
	program->grants = grants;
	program->grant_count = count;
	program->roles = config;
	if (ret == 0)
		return;
	say("the roles are read again");
	if (changes_tell_roles(config, program->config->state, on_changed,
			       program, &why) < 0)
		say(why.text);
}

/* Roles are taken from the file as it is now, and nothing else. */
static void reload_roles(struct program *program)
{
	struct config *config;
	struct api_grant *grants;
	struct error why;
	size_t count;

	if (!program->api)
		return;
	if (config_load(program->config->file, &config, &why) < 0) {
		say(why.text);
		return;
	}
	if (api_grants_load(config->file, &config->api, &grants, &count, &why) <
	    0) {
		say(why.text);
		config_free(config);
		return;
	}
	set_roles(program, config, grants, count);
}

static void reload(struct program *program)
{
	notify_reloading(&program->notify);
	audit_reopen(program->audit);
	reload_roles(program);
	api_server_reload(program->api);
	notify_reloaded(&program->notify);
}

static void on_signal(struct loop_watch *watch)
{
	struct program *program = container_of(watch, struct program, signals);
	struct signalfd_siginfo info;

	if (read(program->signal_fd, &info, sizeof(info)) !=
	    (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		reload(program);
	} else if (info.ssi_signo == SIGUSR1) {
		say("ending: endpoints go on serving");
		notify_stopping(&program->notify, "endpoints go on serving");
		loop_stop(program->loop);
	} else {
		say("ending: endpoints are drained");
		notify_stopping(&program->notify, "endpoints are drained");
		host_stop(program->host);
	}
}

static int watch_signals(struct program *program)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
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

static int start_audit(struct program *program, struct error *reterr)
{
	const struct config_audit *entry = &program->config->audit;
	struct audit_config config = {
		.loop = program->loop,
		.size_bytes = entry->size_bytes,
		.keep = entry->keep,
		.say = say,
	};
	struct error why;
	char *path;
	int ret;

	if (asprintf(&path, "%s/audit.log", program->config->state) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	config.path = entry->path ? entry->path : path;
	ret = audit_open(&config, &program->audit, reterr);
	free(path);
	if (ret == 0 &&
	    changes_tell(program->config, on_changed, program, &why) < 0)
		say(why.text);
	return ret;
}

static struct api_tls_files tls_files(const struct config_api *api)
{
	return (struct api_tls_files){api->tls_cert, api->tls_key, api->tls_ca,
				      api->tls_crl};
}

static int start_api(struct program *program, struct error *reterr)
{
	const struct config_api *api = &program->config->api;
	struct api_server_config config = {
		.unix_path = api->unix_path,
		.everyone = api_role_everyone(api),
		.grants = program->grants,
		.grant_count = program->grant_count,
		.tcp = api->tcp,
		.tls = tls_files(api),
		.audit = program->audit,
		.say = say,
	};

	if (!api->unix_path && !api->tcp)
		return 0;
	return api_server_create(&config, program->loop, program->host,
				 &program->api, reterr);
}

static int check_owner(const struct config *config,
		       const struct config_socket *whose, struct error *reterr)
{
	struct error why;

	if (listen_check_owner(whose, &why) == 0)
		return 0;
	return error_set(reterr, -EINVAL, "%s:%u: %s", config->file,
			 whose->line, why.text);
}

static int check_owners(const struct config *config, struct error *reterr)
{
	int ret = check_owner(config, &config->socket, reterr);

	for (unsigned int i = 0; ret == 0 && i < config->vdev_count; i++)
		ret = check_owner(config, &config->vdevs[i].socket, reterr);
	for (unsigned int i = 0; ret == 0 && i < config->process_count; i++)
		ret = check_owner(config, &config->processes[i].socket, reterr);
	return ret;
}

static int check_tls(const struct config *config, struct error *reterr)
{
	const struct api_tls_files files = tls_files(&config->api);
	struct api_credentials *credentials;
	struct error why;

	if (!config->api.tcp)
		return 0;
	if (api_credentials_load(&files, &credentials, &why) < 0)
		return error_set(reterr, -EINVAL, "%s:%u: %s", config->file,
				 config->api.line, why.text);
	api_credentials_drop(credentials);
	return 0;
}

/* What the configuration names and this machine has not: "FILE:LINE: ...". */
static int check_machine(struct program *program, struct error *reterr)
{
	const struct config *config = program->config;
	const long cpus = sysconf(_SC_NPROCESSORS_CONF);
	int ret;

	for (unsigned int i = 0; i < config->endpoint_count; i++)
		if (cpus > 0 && config->endpoints[i].cpu >= cpus)
			return error_set(
				reterr, -EINVAL,
				"%s:%u: endpoint '%s': there is no CPU %d: this machine has 0 to %ld",
				config->file, config->endpoints[i].line,
				config->endpoints[i].name,
				config->endpoints[i].cpu, cpus - 1);
	ret = check_owners(config, reterr);
	if (ret == 0)
		ret = check_tls(config, reterr);
	if (ret < 0)
		return ret;
	return api_grants_load(config->file, &config->api, &program->grants,
			       &program->grant_count, reterr);
}

static int run(struct program *program, struct error *reterr)
{
	const struct loop_config loop_config = {.entries = LOOP_ENTRIES};
	const struct host_hooks hooks = {
		.ready = on_ready,
		.stopped = on_stopped,
		.changed = on_changed,
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
	ret = start_audit(program, reterr);
	if (ret == 0)
		ret = notify_start(&program->notify, program->loop,
				   program->host);
	if (ret == 0)
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

	ctl_init();
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
	notify_finish(&program.notify);
	host_destroy(program.host);
	audit_close(program.audit);
	loop_destroy(program.loop);
	config_free(program.config);
	config_free(program.roles);
	free(program.grants);
	if (ret < 0)
		fprintf(stderr, "penstockd: %s\n", why.text);
	return ret < 0 ? 1 : 0;
}
