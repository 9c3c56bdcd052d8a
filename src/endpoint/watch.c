/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - ten times a second: statistics into shared memory, and an event
 * for whatever changed
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stddef.h>

#include "base/container.h"

#define TICK_NS UINT64_C(100000000)
#define NO_SPACE_NS UINT64_C(1000000000) /* between two events */
#define DAMAGE_NS UINT64_C(60000000000) /* the same */
#define LENGTH_NS UINT64_C(1000000000) /* between two looks at it */
#define STALL_NS UINT64_C(1000000000) /* no completion for so long */
#define STUCK_NS UINT64_C(5000000000) /* one of many, for so long */
/* At its edge a shortage comes and goes many times a second: it is told of
 * once, when it has lasted, and over when there was none for a while. */
#define SHORTAGE_BEGIN_NS UINT64_C(500000000)
#define SHORTAGE_END_NS UINT64_C(2000000000)

static void tell_session(struct endpoint *endpoint, const char *kind,
			 const char *vdev, uint32_t pasid,
			 unsigned int sessions, bool attached)
{
	endpoint_tell(endpoint,
		      json_pack("{s:s, s:s, s:s, s:I, s:i, s:b}", "event",
				"session", "kind", kind, "vdev", vdev, "pasid",
				(json_int_t)pasid, "sessions", (int)sessions,
				"attached", attached));
}

static void watch_front(struct endpoint_front *f)
{
	const struct front_status status = endpoint_front_status(f);

	/* Whoever came to a transfer and went between two looks ends it. */
	if (status.sessions == f->told.sessions &&
	    status.attached == f->told.attached &&
	    (f->kind != ENDPOINT_TRANSFER || status.epoch == f->told.epoch))
		return;
	f->told = status;
	tell_session(f->endpoint, endpoint_front_kind(f), f->vdev->name,
		     f->process ? f->process->pasid : 0, status.sessions,
		     status.attached);
}

/* Connections that named it in their export. */
static void watch_process(struct endpoint *endpoint,
			  struct endpoint_process *process)
{
	const unsigned int sessions = endpoint_nbd_sessions(process);

	if (sessions == process->told_nbd)
		return;
	process->told_nbd = sessions;
	tell_session(endpoint, "nbd", process->vdev->name, process->pasid,
		     sessions, sessions > 0);
}

/* In flight, and nothing has come back for a second; or most has, but one has
 * not for long. */
static void watch_stall(struct endpoint_device *d, uint64_t now_ns)
{
	const uint64_t completions = vdev_device_completions(d->device);
	const uint64_t oldest_ns = vdev_device_oldest_ns(d->device, now_ns);
	uint64_t stalled_ns;

	if (completions != d->completions_seen ||
	    vdev_device_in_flight(d->device) == 0) {
		d->completions_seen = completions;
		d->stalled_since_ns = now_ns;
	}
	stalled_ns = now_ns - d->stalled_since_ns;
	if (oldest_ns >= STUCK_NS && oldest_ns > stalled_ns)
		stalled_ns = oldest_ns;
	if (stalled_ns < STALL_NS)
		stalled_ns = 0;
	stats_set(&d->stats->stalled_ns, stalled_ns);
	if (d->told_stall == (stalled_ns > 0))
		return;
	d->told_stall = !d->told_stall;
	endpoint_tell(d->endpoint,
		      json_pack("{s:s, s:s, s:I}", "event", "stall", "device",
				d->name, "ns",
				(json_int_t)(d->told_stall ? stalled_ns : 0)));
}

static void tell_shortage(struct endpoint_device *d, uint64_t milli)
{
	endpoint_tell(d->endpoint,
		      json_pack("{s:s, s:s, s:I}", "event", "shortage",
				"device", d->name, "factor_milli",
				(json_int_t)milli));
}

/* When it begins, with the least that was delivered so far, and when it is
 * over; how deep it is in between, the shared statistics tell. */
static void watch_shortage(struct endpoint_device *d, uint64_t now_ns)
{
	const uint64_t milli = stats_get(&d->stats->shortage_milli);
	struct shortage_news *news = &d->shortage;

	if (milli < 1000) {
		if (news->since_ns == 0)
			*news = (struct shortage_news){
				.since_ns = now_ns,
				.least_milli = milli,
			};
		news->last_ns = now_ns;
		if (milli < news->least_milli)
			news->least_milli = milli;
		if (!news->told &&
		    now_ns - news->since_ns >= SHORTAGE_BEGIN_NS) {
			news->told = true;
			tell_shortage(d, news->least_milli);
		}
	} else if (news->since_ns != 0 &&
		   now_ns - news->last_ns >= SHORTAGE_END_NS) {
		if (news->told)
			tell_shortage(d, 1000);
		*news = (struct shortage_news){0};
	}
}

static void watch_device(struct endpoint_device *d, uint64_t now_ns)
{
	uint64_t errors;

	vdev_device_report(d->device);
	errors = stats_get(&d->stats->errors);
	if (errors != d->told_errors) {
		endpoint_tell(
			d->endpoint,
			json_pack("{s:s, s:s, s:I, s:I}", "event",
				  "device-error", "device", d->name, "errno",
				  (json_int_t)vdev_device_last_error(d->device),
				  "count",
				  (json_int_t)(errors - d->told_errors)));
		d->told_errors = errors;
	}
	watch_shortage(d, now_ns);
	watch_stall(d, now_ns);
}

/* ---- pools ---- */

const char *endpoint_level_name(unsigned int percent)
{
	switch (percent) {
	case 80:
		return "80";
	case 90:
		return "90";
	case 95:
		return "95";
	case 100:
		return "full";
	default:
		return "ok";
	}
}

/* Full is when nobody gets anything more, until two percent are free. */
static unsigned int level_of(const struct endpoint_pool *p,
			     const struct usage *usage)
{
	static const unsigned int percents[USAGE_LEVELS] = {
		[USAGE_80] = 80,
		[USAGE_90] = 90,
		[USAGE_95] = 95,
	};
	const uint64_t left = pool_unpromised(p->pool);

	if (usage->capacity > 0 &&
	    (left == 0 || (p->level == 100 && left * 50 < usage->capacity)))
		return 100;
	return percents[p->pool->level];
}

/* Told at once, and then at most so often. */
static void watch_damage(struct endpoint_member *m, uint64_t now_ns)
{
	const struct member *member = m->add.member;
	const uint64_t log_errors =
		member->log.copy_errors[0] + member->log.copy_errors[1];
	const uint64_t bad = member->counts.turned_bad;
	const bool has_failed = member->log.has_failed;

	if ((log_errors == m->told_log_errors && bad == m->told_bad &&
	     has_failed == m->told_failed) ||
	    (m->told_damage_ns && has_failed == m->told_failed &&
	     now_ns - m->told_damage_ns < DAMAGE_NS))
		return;
	endpoint_tell(m->pool->endpoint,
		      json_pack("{s:s, s:s, s:I, s:I, s:b}", "event", "damage",
				"device", m->device->name, "log_errors",
				(json_int_t)(log_errors - m->told_log_errors),
				"bad", (json_int_t)(bad - m->told_bad),
				"failed", has_failed));
	m->told_log_errors = log_errors;
	m->told_bad = bad;
	m->told_failed = has_failed;
	m->told_damage_ns = now_ns;
}

static void grown(struct member_grow *grow, int result)
{
	struct endpoint_member *m =
		container_of(grow, struct endpoint_member, grow);

	if (result < 0)
		return; /* tried again */
	pool_look(m->pool->pool);
	endpoint_tell(
		m->pool->endpoint,
		json_pack("{s:s, s:s, s:I}", "event", "grown", "device",
			  m->device->name, "size_bytes",
			  (json_int_t)m->add.member->super.capacity_bytes));
}

/* Has somebody made its device larger?  What it was configured with holds. */
static void watch_length(struct endpoint_member *m, uint64_t now_ns)
{
	struct block_device *block = m->device->block;
	uint64_t length;

	if (!block->ops->length || m->is_going ||
	    now_ns - m->looked_ns < LENGTH_NS)
		return;
	m->looked_ns = now_ns;
	length = block->ops->length(block);
	if (length > block->size_bytes)
		block->size_bytes = length;
	m->grow.done = grown;
	(void)member_grow(m->add.member, &m->grow);
}

static void watch_member(struct endpoint_member *m, uint64_t now_ns)
{
	const struct member *member = m->add.member;
	struct stats_device *stats = m->device->stats;

	if (!m->is_open)
		return;
	watch_length(m, now_ns);
	stats_set(&stats->extents_free, member_free(member));
	stats_set(&stats->extents_used, member_used(member));
	stats_set(&stats->extents_dirty, member->space.total[SPACE_DIRTY]);
	stats_set(&stats->extents_bad, member->space.bad_total);
	stats_set(&stats->scrubbed, member->counts.scrubbed);
	stats_set(&stats->scrub_errors, member->counts.scrub_errors);
	stats_set(&stats->log_errors,
		  member->log.copy_errors[0] + member->log.copy_errors[1]);
	watch_damage(m, now_ns);
}

static void watch_pool(struct endpoint_pool *p, uint64_t now_ns)
{
	struct usage usage;

	for (struct endpoint_member *m = p->members; m; m = m->next)
		watch_member(m, now_ns);
	if (!p->is_started || p->is_going)
		return;
	pool_usage(p->pool, &usage);
	p->level = level_of(p, &usage);
	stats_set(&p->stats->capacity, usage.capacity);
	stats_set(&p->stats->used, usage.used);
	stats_set(&p->stats->reserved, usage.reserved);
	stats_set(&p->stats->promised, usage.promised);
	stats_set(&p->stats->free, pool_unpromised(p->pool));
	stats_set(&p->stats->level, p->level);
	if (p->level == p->told_level)
		return;
	p->told_level = p->level;
	endpoint_tell(p->endpoint,
		      json_pack("{s:s, s:s, s:s}", "event", "space", "pool",
				p->name, "level",
				endpoint_level_name(p->level)));
}

static void tell_halt(struct endpoint *endpoint, const struct endpoint_vdev *v,
		      const char *state, int error)
{
	endpoint_tell(endpoint,
		      json_pack("{s:s, s:s, s:s, s:i}", "event", "halt", "vdev",
				v->name, "state", state, "errno", error));
}

/* It is stopped, waits for space, or goes on. */
static void watch_halt(struct endpoint *endpoint, struct endpoint_vdev *v)
{
	struct vdev_halt halt;

	vdev_halt(v->vdev, &halt);
	if (halt.is_stopped && !v->told_stopped)
		tell_halt(endpoint, v, "stopped", halt.error);
	if (halt.waits_for_space && !v->told_hungry)
		tell_halt(endpoint, v, "no-space", ENOSPC);
	if ((v->told_stopped && !halt.is_stopped) ||
	    (v->told_hungry && !halt.waits_for_space))
		tell_halt(endpoint, v, "running", 0);
	v->told_stopped = halt.is_stopped;
	v->told_hungry = halt.waits_for_space;
}

static void watch_refused(struct endpoint *endpoint, struct endpoint_vdev *v,
			  uint64_t now_ns)
{
	const uint64_t unfit = vdev_refused(v->vdev).unfit;
	uint64_t no_space;

	no_space = stats_get(&v->stats->no_space);
	if (no_space == v->told_no_space ||
	    now_ns - v->told_no_space_ns < NO_SPACE_NS)
		return;
	endpoint_tell(endpoint,
		      json_pack("{s:s, s:s, s:I}", "event", "no-space", "vdev",
				v->name, "count",
				(json_int_t)(no_space - v->told_no_space)));
	if (unfit != v->told_unfit)
		endpoint_tell(endpoint,
			      json_pack("{s:s, s:s, s:I}", "event", "unfit",
					"vdev", v->name, "count",
					(json_int_t)(unfit - v->told_unfit)));
	v->told_unfit = unfit;
	v->told_no_space = no_space;
	v->told_no_space_ns = now_ns;
}

static void watch_vdev(struct endpoint *endpoint, struct endpoint_vdev *v,
		       uint64_t now_ns)
{
	vdev_report(v->vdev);
	stats_set(&v->stats->mapped, vdev_volume(v->vdev)->table.mapped);
	stats_set(&v->stats->mapped_on,
		  endpoint_mapped_on(v->pool, vdev_volume(v->vdev)));
	watch_halt(endpoint, v);
	watch_refused(endpoint, v, now_ns);
}

static void tick(struct loop_timer *timer, uint64_t now_ns)
{
	struct endpoint *endpoint = container_of(timer, struct endpoint, tick);
	struct stats_segment *stats = endpoint->stats;
	struct loop_times times;

	loop_times(endpoint->loop, &times);
	stats_set(&stats->heartbeat_ns, now_ns);
	stats_set(&stats->asleep_ns, times.asleep_ns);
	stats_set(&stats->rounds, times.rounds);
	stats_set(&stats->sleeps, times.sleeps);
	for (unsigned int i = 0; i < STATS_LATE_CLASSES; i++)
		stats_set(&stats->late[i], times.late[i]);
	stats_set(&stats->late_ns, times.late_ns);
	stats_set(&stats->away_ns, times.away_ns);
	for (struct endpoint_vdev *v = endpoint->vdevs; v; v = v->next)
		watch_vdev(endpoint, v, now_ns);
	for (struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		watch_pool(p, now_ns);
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next)
		watch_device(d, now_ns);
	for (struct endpoint_front *f = endpoint->fronts;
	     f && !endpoint->listing; f = f->next)
		watch_front(f);
	for (struct endpoint_process *p = endpoint->processes;
	     p && !endpoint->listing; p = p->next)
		watch_process(endpoint, p);
	loop_timer_set(endpoint->loop, timer, now_ns + TICK_NS);
}

int endpoint_watch_start(struct endpoint *endpoint)
{
	int result = loop_timer_init(endpoint->loop, &endpoint->tick, tick);

	if (result < 0)
		return result;
	loop_timer_set(endpoint->loop, &endpoint->tick,
		       loop_clock_ns() + TICK_NS);
	return 0;
}

void endpoint_watch_finish(struct endpoint *endpoint)
{
	loop_timer_finish(endpoint->loop, &endpoint->tick);
}

void endpoint_watch_forget(struct endpoint *endpoint)
{
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next) {
		d->shortage = (struct shortage_news){0};
		d->told_stall = false;
	}
	for (struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		p->told_level = 0;
	for (struct endpoint_front *f = endpoint->fronts; f; f = f->next)
		f->told = (struct front_status){0};
	for (struct endpoint_process *p = endpoint->processes; p; p = p->next)
		p->told_nbd = 0;
	for (struct endpoint_vdev *v = endpoint->vdevs; v; v = v->next) {
		v->told_stopped = false;
		v->told_hungry = false;
	}
}
