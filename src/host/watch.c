/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - once a second: samples of every slot, judgement of every promise
 */
#include "host/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/endpoint.h"
#include "host/host-data.h"

#define TICK_NS		UINT64_C(1000000000)
#define LATENCY_NS	(5U * TICK_NS)

/* --- Samples ------------------------------------------------------------- */

static void copy_latency(struct watch_latency *copy,
			 const struct stats_process *stats, uint64_t now_ns)
{
	copy->at_ns = now_ns;
	memcpy(copy->direction, stats->latency, sizeof(copy->direction));
}

void watch_sample(struct watch_slot **slot, const struct stats_process *stats,
		  uint64_t now_ns)
{
	struct watch_slot *watch = *slot;
	struct watch_sample *sample;
	unsigned int i;

	if (!watch) {
		watch = calloc(1, sizeof(*watch));
		if (!watch)
			return;
		*slot = watch;
		copy_latency(&watch->before, stats, now_ns);
		copy_latency(&watch->between, stats, now_ns);
	}
	watch->newest = (watch->newest + 1) % (WATCH_SECONDS + 1);
	if (watch->count < WATCH_SECONDS + 1)
		watch->count++;
	sample = &watch->samples[watch->newest];
	sample->at_ns = now_ns;
	for (i = 0; i < 2; i++) {
		sample->requests[i] = stats_get(&stats->direction[i].requests);
		sample->bytes[i] = stats_get(&stats->direction[i].bytes);
	}
	if (now_ns - watch->between.at_ns >= LATENCY_NS) {
		watch->before = watch->between;
		copy_latency(&watch->between, stats, now_ns);
	}
}

void watch_delivered(const struct watch_slot *slot,
		     const struct stats_process *stats,
		     struct watch_delivered *ret_delivered)
{
	const struct watch_sample *newest, *oldest;
	struct watch_delivered delivered;
	unsigned int i;

	memset(&delivered, 0, sizeof(delivered));
	if (slot && slot->count >= 2) {
		newest = &slot->samples[slot->newest];
		oldest = &slot->samples[(slot->newest + WATCH_SECONDS + 2 -
					 slot->count) %
					(WATCH_SECONDS + 1)];
		delivered.window_s =
			(double)(newest->at_ns - oldest->at_ns) / 1e9;
		for (i = 0; i < 2; i++) {
			delivered.requests_per_s[i] =
				(double)(newest->requests[i] -
					 oldest->requests[i]) /
				delivered.window_s;
			delivered.bytes_per_s[i] =
				(double)(newest->bytes[i] - oldest->bytes[i]) /
				delivered.window_s;
		}
	}
	for (i = 0; slot && stats && i < 2; i++)
		histogram_subtract(&stats->latency[i],
				   &slot->before.direction[i],
				   &delivered.latency[i]);
	*ret_delivered = delivered;
}

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
		/* One that fails is tried again at the next tick. */
		if (process->is_session && process->hold_until_ns &&
		    now_ns >= process->hold_until_ns &&
		    process->state != REG_PROCESS_REMOVING &&
		    !process->is_writing)
			verbs_release(host, process, NULL);
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

static void watch_endpoint(struct reg_endpoint *endpoint, uint64_t now_ns)
{
	const struct stats_segment *segment = endpoint_stats(endpoint->process);
	uint64_t asleep_ns = stats_get(&segment->asleep_ns);
	uint64_t at_ns = stats_get(&segment->heartbeat_ns);
	unsigned int i;

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
			promise_set_correction(&device->promise,
					       milli < 10000 ? (uint32_t)milli :
							       10000);
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
	bind_retry_listeners(host);
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
		if (process->is_session)
			process->hold_until_ns =
				now_ns + host->config->session_hold_ns;
	loop_timer_set(host->loop, &host->tick, now_ns + TICK_NS);
	return 0;
}

void watch_finish(struct host *host)
{
	loop_timer_finish(host->loop, &host->tick);
}

/* --- Sessions ------------------------------------------------------------ */

/* A front came or went: a process that ends with it begins or stops to wait. */
static void session_changed(struct host *host, struct reg_process *process,
			    unsigned int sessions)
{
	if (!process->is_session)
		return;
	process->hold_until_ns =
		sessions ? 0 : loop_clock_ns() + host->config->session_hold_ns;
}

void watch_session(struct host *host, const json_t *event,
		   struct reg_endpoint *endpoint)
{
	const char *name = json_string_value(json_object_get(event, "vdev"));
	struct reg_vdev *vdev =
		name ? registry_vdev(host->registry, name) : NULL;
	uint32_t pasid =
		(uint32_t)json_integer_value(json_object_get(event, "pasid"));
	unsigned int sessions = (unsigned int)json_integer_value(
		json_object_get(event, "sessions"));
	bool is_attached = json_is_true(json_object_get(event, "attached"));
	struct event_subject subject = {
		.pasid = pasid,
		.vdev = name,
		.endpoint = endpoint->name,
	};
	struct reg_process *process;

	if (!vdev || reg_vdev_endpoint(vdev) != endpoint)
		return;
	for (process = host->registry->processes; process;
	     process = process->next) {
		bool is_own = process->vhost_user != NULL;

		if (process->vdev != vdev ||
		    (is_own ? process->pasid != pasid : pasid != 0))
			continue;
		if (is_own) {
			process->sessions = sessions;
			process->is_attached = is_attached;
		}
		session_changed(host, process, sessions);
	}
	if (!pasid) {
		vdev->epoch += is_attached && !vdev->is_attached;
		vdev->sessions = sessions;
		vdev->is_attached = is_attached;
	}
	events_add(host->events, "session", &subject, "vdev %s: %u session%s%s",
		   name, sessions, sessions == 1 ? "" : "s",
		   is_attached ? ", attached" : "");
}
