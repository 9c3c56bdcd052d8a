/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - once a second: a sample of every slot, judgement of every
 * promise
 */
#include "host/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/container.h"
#include "host/endpoint.h"
#include "host/history.h"
#include "host/host-data.h"
#include "host/over.h"

#define TICK_NS		UINT64_C(1000000000)

/* --- Judgement ----------------------------------------------------------- */

/* What of its SLA is broken, in the words of the SLA. */
static const char *broken_text(const struct reg_process *process, char *text,
			       size_t size)
{
	struct sla broken = {.count = 0};
	unsigned int i;

	for (i = 0; i < process->sla.count; i++)
		if (process->watch->judgement.specs[i].verdict == KEEP_BROKEN)
			broken.specs[broken.count++] = process->sla.specs[i];
	return sla_format(broken.count ? &broken : &process->sla, text, size);
}

static void judge(struct host *host, struct reg_process *process,
		  const struct stats_process *stats, uint64_t now_ns)
{
	struct watch_slot *watch = process->watch;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};
	enum keep_verdict verdict;
	char text[SLA_TEXT_MAX];

	keep_judge(&stats->keep, now_ns, &watch->judgement);
	verdict = watch->judgement.verdict;
	if (verdict == KEEP_UNKNOWN || verdict == watch->told)
		return;
	if (verdict == KEEP_BROKEN)
		events_add(host->events, "sla-broken", &subject,
			   "process %u (%s): '%s' is not kept", process->pasid,
			   process->name,
			   broken_text(process, text, sizeof(text)));
	else if (watch->told == KEEP_BROKEN)
		events_add(host->events, "sla-restored", &subject,
			   "process %u (%s): its SLA is kept again",
			   process->pasid, process->name);
	watch->told = verdict;
}

/* Can its front come?  A way in that is handed over counts as open; who was
 * not admitted is not waited for any longer than anybody else. */
static bool can_come(const struct reg_process *process)
{
	const struct reg_vdev *vdev = process->vdev;

	if (!reg_vdev_endpoint(vdev)->is_connected)
		return false;
	if (process->state != REG_PROCESS_BOUND)
		return true;
	if (vdev->nbd.is_listening)
		return true;
	if (process->vhost_user)
		return process->is_listening;
	return vdev->is_listening || !(vdev->vhost_user || vdev->nbd.at);
}

static void watch_hold(struct host *host, struct reg_process *process,
		       uint64_t now_ns)
{
	if (process->is_awaited && can_come(process)) {
		process->is_awaited = false;
		process->hold_until_ns = now_ns + host->config->session_hold_ns;
	}
	/* One that fails is tried again at the next tick. */
	if (process->hold_until_ns && now_ns >= process->hold_until_ns &&
	    process->state != REG_PROCESS_REMOVING && !process->is_writing)
		verbs_release(host, process, NULL);
}

static void watch_processes(struct host *host, uint64_t now_ns)
{
	struct reg_process *process, *next;

	for (process = host->registry->processes; process; process = next) {
		const struct stats_segment *segment = endpoint_stats(
			reg_vdev_endpoint(process->vdev)->process);

		next = process->next;
		if (process->slot >= 0) {
			watch_sample(&process->watch,
				     &segment->processes[process->slot],
				     now_ns);
			if (process->watch && process->sla.count)
				judge(host, process,
				      &segment->processes[process->slot],
				      now_ns);
		}
		if (process->is_session)
			watch_hold(host, process, now_ns);
	}
}

static void watch_vdevs(struct host *host, uint64_t now_ns)
{
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		const struct stats_segment *segment =
			endpoint_stats(reg_vdev_endpoint(vdev)->process);

		if (vdev->slot >= 0)
			watch_sample(&vdev->watch,
				     &segment->processes[vdev->slot], now_ns);
	}
}

/* What it does now, of what was measured.  A derived direction does more than
 * its figures, which says nothing of the other. */
static void correct(struct reg_device *device, uint64_t milli)
{
	const struct capacity *capacity = &device->capacity;
	const uint64_t most =
		capacity->read_measured && capacity->write_measured ? 10000 :
								      1000;

	promise_set_correction(&device->promise,
			       (uint32_t)(milli < most ? milli : most));
}

static void watch_endpoint(struct reg_endpoint *endpoint, uint64_t now_ns)
{
	const struct stats_segment *segment = endpoint_stats(endpoint->process);
	uint64_t asleep_ns = stats_get(&segment->asleep_ns);
	uint64_t at_ns = stats_get(&segment->heartbeat_ns);
	unsigned int i;

	endpoint_look(endpoint->process, now_ns);
	/* As the endpoint counts: both numbers were written together. */
	if (at_ns > endpoint->seen_at_ns && endpoint->seen_at_ns &&
	    asleep_ns >= endpoint->seen_asleep_ns) {
		uint64_t slept = asleep_ns - endpoint->seen_asleep_ns;
		uint64_t passed = at_ns - endpoint->seen_at_ns;

		endpoint->busy_milli = slept < passed ?
			(uint32_t)((passed - slept) * 1000 / passed) :
			0;
	}
	if (now_ns - endpoint->seen_at_ns >= 10U * TICK_NS ||
	    asleep_ns < endpoint->seen_asleep_ns) {
		endpoint->seen_at_ns = at_ns;
		endpoint->seen_asleep_ns = asleep_ns;
	}
	for (i = 0; i < endpoint->device_count; i++) {
		struct reg_device *device = &endpoint->devices[i];
		uint64_t milli;

		if (device->slot < 0 || device->state != REG_DEVICE_READY)
			continue;
		milli = stats_get(
			&segment->devices[device->slot].capacity_milli);
		if (milli)
			correct(device, milli);
		over_look(device);
	}
	over_look_core(endpoint);
}

void watch_level(struct reg_pool *pool, unsigned int level)
{
	struct events *events = pool->endpoint->host->events;
	const struct event_subject subject = {.endpoint = pool->endpoint->name};

	if (level == pool->level)
		return;
	if (level >= 100)
		events_add(
			events, "space", &subject,
			"pool %s is full: what thin vdevs write where they have no space yet fails, or waits if their on-error says so (give it a device, or discard or delete what is not needed)",
			pool->name);
	else if (level > pool->level)
		events_add(
			events, "space", &subject,
			"pool %s: %u %% of its space is used or reserved: give it a device before it is full",
			pool->name, level);
	else if (level)
		events_add(events, "space", &subject,
			   "pool %s: %u %% of its space is used or reserved",
			   pool->name, level);
	else
		events_add(events, "space", &subject,
			   "pool %s has enough space again", pool->name);
	pool->level = level;
}

/* What was said by nobody: before we came, or while we were away. */
static void watch_pools(struct host *host)
{
	for (unsigned int i = 0; i < host->registry->pool_count; i++) {
		struct reg_pool *pool = &host->registry->pools[i];
		const struct stats_segment *segment =
			endpoint_stats(pool->endpoint->process);

		if (pool->is_loaded)
			watch_level(pool,
				    (unsigned int)stats_get(
					    &segment->pools[pool->slot].level));
	}
}

static void tick(struct loop_timer *timer, uint64_t now_ns)
{
	struct host *host = container_of(timer, struct host, tick);
	unsigned int i;

	if (host->is_stopping)
		return;
	for (i = 0; i < host->registry->endpoint_count; i++)
		watch_endpoint(&host->registry->endpoints[i], now_ns);
	watch_processes(host, now_ns);
	watch_vdevs(host, now_ns);
	watch_pools(host);
	if (history_second(host->history, now_ns, time(NULL)))
		propose_again(host, time(NULL));
	transfer_tick(host, now_ns);
	bind_retry_refused(host);
	choose_configured(host);
	bind_retry_listeners(host);
	bind_retry_vdevs(host);
	ports_look(host);
	verbs_turn_over(host, now_ns);
	unbind_retry(host);
	volumes_retry(host);
	evacuate_tick(host, now_ns);
	loop_timer_set(host->loop, timer, now_ns + TICK_NS);
}

int watch_start(struct host *host)
{
	struct reg_process *process;
	uint64_t now_ns = loop_clock_ns();
	int ret = loop_timer_init(host->loop, &host->tick, tick);

	if (ret < 0)
		return ret;
	/* Those of before: unless a front is still there, their time runs. */
	for (process = host->registry->processes; process;
	     process = process->next)
		process->is_awaited = process->is_session;
	loop_timer_set(host->loop, &host->tick, now_ns + TICK_NS);
	return 0;
}

void watch_finish(struct host *host)
{
	loop_timer_finish(host->loop, &host->tick);
}

/* --- Sessions ------------------------------------------------------------ */

/* A front came or went: a process that ends with it begins or stops to wait. */
static void session_changed(struct host *host, struct reg_process *process)
{
	if (!process->is_session)
		return;
	process->is_awaited = false;
	process->hold_until_ns = reg_process_sessions(process) ?
		0 :
		loop_clock_ns() + host->config->session_hold_ns;
}

/* Sessions by vhost-user.  Returns how many there were before. */
static unsigned int vhost_session(struct host *host, struct reg_vdev *vdev,
				  uint32_t pasid, unsigned int sessions,
				  bool is_attached)
{
	struct reg_process *process;
	unsigned int before = 0;

	if (!pasid) {
		before = vdev->sessions;
		vdev->epoch += is_attached && !vdev->is_attached;
		vdev->sessions = sessions;
		vdev->is_attached = is_attached;
	}
	for (process = host->registry->processes; process;
	     process = process->next) {
		bool is_own = process->vhost_user != NULL;

		if (process->vdev != vdev ||
		    match_is_of_peer(&process->match) ||
		    (is_own ? process->pasid != pasid : pasid != 0))
			continue;
		if (is_own) {
			before = process->sessions;
			process->sessions = sessions;
			process->is_attached = is_attached;
		}
		session_changed(host, process);
	}
	return before;
}

/* The same by NBD: those that name this process, or (0) none. */
static unsigned int nbd_session(struct host *host, struct reg_vdev *vdev,
				uint32_t pasid, unsigned int sessions,
				bool is_attached)
{
	struct reg_process *process;
	unsigned int before = 0;

	if (!pasid) {
		before = vdev->nbd.sessions;
		vdev->nbd.sessions = sessions;
		vdev->nbd.is_attached = is_attached;
	}
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev ||
		    (pasid ? process->pasid != pasid :
			     process->is_named || process->vhost_user ||
				     match_is_of_peer(&process->match)))
			continue;
		if (pasid) {
			before = process->nbd_sessions;
			process->nbd_sessions = sessions;
			process->is_named |= sessions > 0;
		}
		session_changed(host, process);
	}
	return before;
}

void watch_session(struct host *host, const json_t *event,
		   struct reg_endpoint *endpoint)
{
	const char *name = json_string_value(json_object_get(event, "vdev"));
	const char *kind = json_string_value(json_object_get(event, "kind"));
	struct reg_vdev *vdev =
		name ? registry_vdev(host->registry, name) : NULL;
	uint32_t pasid =
		(uint32_t)json_integer_value(json_object_get(event, "pasid"));
	unsigned int sessions = (unsigned int)json_integer_value(
		json_object_get(event, "sessions"));
	bool is_attached = json_is_true(json_object_get(event, "attached"));
	bool is_nbd = kind && strcmp(kind, "nbd") == 0;
	struct event_subject subject = {
		.pasid = pasid,
		.vdev = name,
		.endpoint = endpoint->name,
	};
	unsigned int before;

	if (!vdev || reg_vdev_endpoint(vdev) != endpoint)
		return;
	if (kind && strcmp(kind, "transfer") == 0) {
		transfer_session(host, event);
		return;
	}
	before = (is_nbd ? nbd_session : vhost_session)(host, vdev, pasid,
							sessions, is_attached);
	if (sessions == 0 && before == 0)
		return;
	events_add(host->events, "session", &subject, "vdev %s: %u session%s%s",
		   name, sessions, sessions == 1 ? "" : "s",
		   is_attached ? ", attached" : "");
}
