/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.c - one endpoint process, alive or brought back to life
 *
 *          start                      hello, list
 *   IDLE ---------> ADOPTING ------------------------------+
 *    |  (nobody      |  no answer, another version         v
 *    |   answers)    v                                  RUNNING
 *    +-----------> STARTING ------------------------------^ |
 *                   ^    |  dies            hello, list     | connection ends
 *       after       |    v                                  v
 *     a back-off  WAITING <-------- dies ----------------- LOST
 *
 * A process that an earlier penstockd started is known by the record it left
 * (endpoint-record.c) and watched from the beginning: whatever it answers, no
 * second one is started before it is dead.
 *
 * LOST: the connection ends before the process does, nearly always because
 * it is about to die; if it does not, it is asked again, like one that is to
 * be adopted, and after a few times without an answer ended.
 *
 * RUNNING: its heart is looked at; one that hangs is ended.
 *
 * Death is what the pidfd says, never what a connection looks like: only then
 * has the kernel let go of the devices' locks and of what was in flight.
 */
#include "host/endpoint.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "ctl/stats.h"
#include "host/endpoint-data.h"
#include "host/spawn.h"
#include "os/loop.h"

#define MS		UINT64_C(1000000)
#define ADOPT_NS	(10000U * MS)	/* to answer hello, when found */
#define START_NS	(20000U * MS)	/* the same, when started */
#define LOST_NS		(300U * MS)	/* to die after its connection has */
#define LOST_TRIES	10U
#define SHORT_LIFE_NS	(10000U * MS)
#define BACKOFF_MIN_NS	(100U * MS)
#define BACKOFF_MAX_NS	(5000U * MS)

/* --- Death --------------------------------------------------------------- */

/* After a short life wait, longer each time. */
static uint64_t next_backoff(struct endpoint *endpoint)
{
	uint64_t wait_ns = endpoint->backoff_ns;

	if (loop_clock_ns() - endpoint->started_ns > SHORT_LIFE_NS) {
		endpoint->backoff_ns = 0;
		return 0;
	}
	endpoint->backoff_ns = wait_ns ? wait_ns * 2 : BACKOFF_MIN_NS;
	if (endpoint->backoff_ns > BACKOFF_MAX_NS)
		endpoint->backoff_ns = BACKOFF_MAX_NS;
	return wait_ns;
}

static void endpoint_dead(struct endpoint *endpoint)
{
	enum endpoint_state before = endpoint->state;
	char how[256];

	endpoint_describe_end(endpoint, how, sizeof(how));
	endpoint_forget_process(endpoint);
	link_close(&endpoint->link);
	endpoint_record_forget(endpoint);
	json_decref(endpoint->list);
	endpoint->list = NULL;
	if (before == ENDPOINT_STOPPING) {
		loop_timer_cancel(endpoint->config.loop, &endpoint->timer);
		endpoint->state = ENDPOINT_IDLE;
		endpoint->config.hooks.stopped(endpoint->config.hooks.arg);
		return;
	}
	endpoint->state = ENDPOINT_WAITING;
	if (endpoint->is_found) {
		/* It was never one of ours: now ours can start. */
		endpoint_set_timer(endpoint, 0);
		return;
	}
	endpoint_set_timer(endpoint, next_backoff(endpoint));
	endpoint_tell(endpoint, "endpoint-died", "endpoint %s %s",
		      endpoint->config.name, how);
	endpoint->config.hooks.lost(endpoint->config.hooks.arg);
}

static void death_ready(struct loop_watch *watch)
{
	endpoint_dead(container_of(watch, struct endpoint, death));
}

/* --- Starting ------------------------------------------------------------ */

/* Start a process; 'reterr' says why not. */
static int start_process(struct endpoint *endpoint, struct error *reterr)
{
	const struct endpoint_config *config = &endpoint->config;
	struct spawn spawn = {
		.program = config->program,
		.name = config->name,
		.uid = config->uid,
		.gid = config->gid,
		.cpu = config->cpu,
		.nice = config->nice,
		.realtime = config->realtime,
		.has_spin = config->has_spin,
		.spin_ns = config->spin_ns,
		.stats_fd = endpoint->stats_fd,
	};
	int pidfd, ret;
	pid_t pid;

	ret = spawn_control_socket(endpoint->control_path, &spawn.control_fd,
				   reterr);
	if (ret < 0)
		return ret;
	ret = spawn_endpoint(&spawn, &pid, &pidfd, reterr);
	close(spawn.control_fd);
	if (ret < 0)
		return ret;
	ret = endpoint_watch_process(endpoint, pid, pidfd);
	if (ret < 0) {
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		close(pidfd);
		return error_set(reterr, ret, "watching it: %s",
				 strerror(-ret));
	}
	ret = endpoint_record(endpoint);
	if (ret < 0)
		endpoint_tell(
			endpoint, "error",
			"endpoint %s: its process cannot be recorded in %s, so the next penstockd cannot adopt it: %s",
			config->name, config->directory, strerror(-ret));
	return 0;
}

static void spawn_process(struct endpoint *endpoint)
{
	struct error why;
	int ret;

	endpoint->adopted = false;
	endpoint->is_draining = false;
	endpoint->is_found = false;
	endpoint->started_ns = loop_clock_ns();
	ret = start_process(endpoint, &why);
	if (ret == 0) {
		endpoint->state = ENDPOINT_STARTING;
		endpoint_set_timer(endpoint, START_NS);
		ret = endpoint_connect(endpoint);
		if (ret == 0)
			return;
		/* It closed its socket already: its death is on its way. */
		error_set(&why, ret, "connecting: %s", strerror(-ret));
	} else {
		endpoint->state = ENDPOINT_WAITING;
		endpoint_set_timer(endpoint,
				   next_backoff(endpoint) + BACKOFF_MIN_NS);
	}
	endpoint_tell(endpoint, "error", "endpoint %s: %s",
		      endpoint->config.name, why.text);
}

/* --- Meeting ------------------------------------------------------------- */

/* Whoever answers is of no use: ask it to end, and start afresh. */
static void meet_failed(struct endpoint *endpoint, const char *why)
{
	endpoint_tell(endpoint, "error", "endpoint %s cannot be adopted: %s",
		      endpoint->config.name, why);
	if (endpoint->pidfd >= 0) {
		endpoint_kill(endpoint);	/* death_ready goes on */
		return;
	}
	link_close(&endpoint->link);
	spawn_process(endpoint);
}

static void now_running(struct endpoint *endpoint)
{
	json_t *list = endpoint->list;

	endpoint->list = NULL;
	endpoint->state = ENDPOINT_RUNNING;
	endpoint->lost_tries = 0;
	endpoint->is_found = false;
	endpoint->pulse = (struct pulse){0};
	loop_timer_cancel(endpoint->config.loop, &endpoint->timer);
	if (endpoint->adopted)
		endpoint_tell(
			endpoint, "endpoint-adopted",
			"endpoint %s (pid %d) was found running and goes on",
			endpoint->config.name, (int)endpoint->pid);
	else if (endpoint->restarts)
		endpoint_tell(endpoint, "endpoint-restarted",
			      "endpoint %s runs again (pid %d)",
			      endpoint->config.name, (int)endpoint->pid);
	else
		endpoint_tell(endpoint, "endpoint-started",
			      "endpoint %s runs (pid %d)",
			      endpoint->config.name, (int)endpoint->pid);
	endpoint->config.hooks.connected(endpoint->config.hooks.arg,
					 endpoint->adopted, list);
	json_decref(list);
}

/* --- Losing, stopping ---------------------------------------------------- */

static void link_event(struct link *link, const json_t *event)
{
	struct endpoint *endpoint = container_of(link, struct endpoint, link);

	endpoint->config.hooks.event(endpoint->config.hooks.arg, event);
}

static void link_closed(struct link *link, int why)
{
	struct endpoint *endpoint = container_of(link, struct endpoint, link);

	(void)why;
	if (endpoint->pidfd < 0) {
		/* Whoever answered at first is gone before we knew it. */
		if (endpoint->state == ENDPOINT_ADOPTING)
			spawn_process(endpoint);
		else if (endpoint->state == ENDPOINT_STOPPING)
			endpoint_set_timer(endpoint, 0);
		return;
	}
	if (endpoint->state == ENDPOINT_STOPPING || endpoint->is_draining)
		return;	/* its death is on its way, or the timer ends it */
	endpoint->state = ENDPOINT_LOST;
	endpoint_set_timer(endpoint, LOST_NS);
}

/* It lives, but its connection ended: ask again, and again, then end it. */
static void lost_expired(struct endpoint *endpoint)
{
	if (++endpoint->lost_tries > LOST_TRIES) {
		endpoint_tell(endpoint, "error",
			      "endpoint %s does not answer: it is ended",
			      endpoint->config.name);
		endpoint_kill(endpoint);
		return;
	}
	endpoint->adopted = true;
	endpoint_set_timer(endpoint, LOST_NS);
	if (endpoint_connect(endpoint) == 0) {
		endpoint->state = ENDPOINT_ADOPTING;
		endpoint_set_timer(endpoint, ADOPT_NS);
	}
}

static void timer_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct endpoint *endpoint = container_of(timer, struct endpoint, timer);

	if (now_ns > timer->due_ns + PULSE_LOOK_MAX_NS &&
	    (endpoint->state == ENDPOINT_ADOPTING ||
	     endpoint->state == ENDPOINT_STARTING)) {
		/* We were away ourselves: it had no time to answer. */
		endpoint_set_timer(endpoint, ADOPT_NS);
		return;
	}
	switch (endpoint->state) {
	case ENDPOINT_WAITING:
		if (!endpoint->is_found)
			endpoint->restarts++;
		spawn_process(endpoint);
		return;
	case ENDPOINT_LOST:
		lost_expired(endpoint);
		return;
	case ENDPOINT_ADOPTING:
		meet_failed(endpoint,
			    endpoint->is_draining ? "it did not drain in time" :
						    "it does not answer");
		return;
	case ENDPOINT_STARTING:
		endpoint_tell(
			endpoint, "error",
			"endpoint %s did not answer after its start: it is ended",
			endpoint->config.name);
		endpoint_kill(endpoint);
		return;
	case ENDPOINT_STOPPING:
		if (endpoint->pidfd < 0) {
			link_close(&endpoint->link);
			endpoint->state = ENDPOINT_IDLE;
			endpoint->config.hooks.stopped(
				endpoint->config.hooks.arg);
			return;
		}
		endpoint_tell(endpoint, "error",
			      "endpoint %s did not drain in time: it is ended",
			      endpoint->config.name);
		endpoint_kill(endpoint);
		return;
	case ENDPOINT_IDLE:
	case ENDPOINT_RUNNING:
		return;
	}
}

/* The process that an earlier penstockd started, if it lives. */
static void find_process(struct endpoint *endpoint)
{
	pid_t pid;
	int pidfd = endpoint_record_open(endpoint, &pid);

	if (pidfd < 0)
		return;
	if (endpoint_watch_process(endpoint, pid, pidfd) < 0)
		close(pidfd);
	else
		endpoint->is_found = true;
}

void endpoint_start(struct endpoint *endpoint)
{
	assert(endpoint->state == ENDPOINT_IDLE);
	endpoint->adopted = true;
	find_process(endpoint);
	if (endpoint_connect(endpoint) == 0) {
		endpoint->state = ENDPOINT_ADOPTING;
		endpoint_set_timer(endpoint, ADOPT_NS);
	} else if (endpoint->pidfd >= 0) {
		endpoint->state = ENDPOINT_LOST;
		endpoint_set_timer(endpoint, LOST_NS);
	} else {
		spawn_process(endpoint);
	}
}

void endpoint_stop(struct endpoint *endpoint)
{
	endpoint->state = ENDPOINT_STOPPING;
	endpoint_set_timer(endpoint, ENDPOINT_STOP_NS);
	if (endpoint->link.fd >= 0)
		endpoint_ask_drain(endpoint);
	else if (endpoint->pidfd >= 0)
		endpoint_kill(endpoint); /* nobody can tell it to drain */
	else
		endpoint_set_timer(endpoint, 0);
}

void endpoint_look(struct endpoint *endpoint, uint64_t now_ns)
{
	uint64_t beat = stats_get(&endpoint->stats->heartbeat_ns);

	if (endpoint->state != ENDPOINT_RUNNING ||
	    !pulse_is_lost(&endpoint->pulse, beat, now_ns))
		return;
	endpoint_tell(endpoint, "endpoint-hung",
		      "endpoint %s (pid %d) hangs since %d s: it is ended",
		      endpoint->config.name, (int)endpoint->pid,
		      (int)(PULSE_PATIENCE_NS / 1000000000U));
	endpoint_kill(endpoint);
}

void endpoint_request(struct endpoint *endpoint, json_t *message, int fd,
		      void (*done)(void *arg, struct link_reply *reply),
		      void *arg)
{
	link_request(&endpoint->link, message, fd, done, arg);
}

/* --- Made, asked, freed -------------------------------------------------- */

int endpoint_create(const struct endpoint_config *config,
		    struct endpoint **ret_endpoint, struct error *reterr)
{
	struct endpoint *endpoint;
	int ret;

	endpoint = calloc(1, sizeof(*endpoint));
	if (!endpoint)
		return error_set(reterr, -ENOMEM, "out of memory");
	endpoint->config = *config;
	endpoint->pidfd = -1;
	endpoint->death.ready = death_ready;
	endpoint->met = now_running;
	endpoint->unmet = meet_failed;
	ret = link_init(&endpoint->link, config->loop);
	if (ret < 0)
		goto err_free;
	endpoint->link.event = link_event;
	endpoint->link.closed = link_closed;
	ret = loop_timer_init(config->loop, &endpoint->timer, timer_expired);
	if (ret < 0)
		goto err_link;
	ret = -ENOMEM;
	if (asprintf(&endpoint->control_path, "%s/%s.control",
		     config->directory, config->name) < 0)
		goto err_timer;
	ret = spawn_stats_create(config->name, &endpoint->stats_fd,
				 &endpoint->stats, reterr);
	if (ret < 0)
		goto err_path;
	*ret_endpoint = endpoint;
	return 0;

err_path:
	free(endpoint->control_path);
err_timer:
	loop_timer_finish(config->loop, &endpoint->timer);
err_link:
	link_finish(&endpoint->link);
err_free:
	free(endpoint);
	return ret;
}

void endpoint_destroy(struct endpoint *endpoint)
{
	if (!endpoint)
		return;
	endpoint_forget_process(endpoint);
	link_finish(&endpoint->link);
	loop_timer_finish(endpoint->config.loop, &endpoint->timer);
	spawn_stats_unmap(endpoint->stats);
	close(endpoint->stats_fd);
	json_decref(endpoint->list);
	free(endpoint->control_path);
	free(endpoint);
}

enum endpoint_state endpoint_state(const struct endpoint *endpoint)
{
	return endpoint->state;
}

const char *endpoint_state_name(const struct endpoint *endpoint)
{
	switch (endpoint->state) {
	case ENDPOINT_IDLE:
		return "stopped";
	case ENDPOINT_ADOPTING:
	case ENDPOINT_STARTING:
		return endpoint->restarts ? "restarting" : "starting";
	case ENDPOINT_RUNNING:
		return "running";
	case ENDPOINT_LOST:
	case ENDPOINT_WAITING:
		return "restarting";
	case ENDPOINT_STOPPING:
		return "stopping";
	}
	return "stopped";
}

pid_t endpoint_pid(const struct endpoint *endpoint)
{
	return endpoint->pid;
}

unsigned int endpoint_restarts(const struct endpoint *endpoint)
{
	return endpoint->restarts;
}

bool endpoint_adopted(const struct endpoint *endpoint)
{
	return endpoint->adopted;
}

struct stats_segment *endpoint_stats(const struct endpoint *endpoint)
{
	return endpoint->stats;
}
