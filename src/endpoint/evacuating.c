/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuating.c - a device's extents go to the others of its pool
 *
 * No faster than asked for, an extent at a time, and each request in turn with
 * the guests' (vdev/carry.h).  That the device is leaving stands on it: who
 * finds it so asks again, and it goes on.
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "endpoint/fields.h"
#include "pool/evacuate.h"
#include "vdev/carry.h"

#define SECOND_NS	UINT64_C(1000000000)
#define USUAL_BYTES_PER_S	(UINT64_C(100) << 20)	/* if nobody says */
/* An extent in so long, at the least: the shortest that is slept. */
#define BANDWIDTH_MAX	(FORMAT_EXTENT_BYTES * 100000)

struct endpoint_evacuation {
	struct evacuate evacuate;
	struct endpoint_member *member;
	struct vdev_carry carries[EVACUATE_MOVES];
	struct loop_timer pace;
	uint64_t bandwidth_bytes_per_s;
	uint64_t next_ns;		/* when the next extent may begin */
	struct endpoint_work work;	/* it is to stay after all */
};

static struct endpoint_evacuation *of(struct evacuate *evacuate)
{
	return container_of(evacuate, struct endpoint_evacuation, evacuate);
}

/* ---- its pace ---- */

static void pace_expired(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	evacuate_go_on(&container_of(timer, struct endpoint_evacuation, pace)
				->evacuate);
}

static uint64_t takes_ns(const struct endpoint_evacuation *e, uint64_t bytes)
{
	return (uint64_t)((double)bytes * (double)SECOND_NS /
			  (double)e->bandwidth_bytes_per_s);
}

static bool may_move(struct evacuate *evacuate, uint64_t bytes)
{
	struct endpoint_evacuation *e = of(evacuate);
	const uint64_t now_ns = loop_clock_ns();
	const uint64_t each_ns = takes_ns(e, bytes);

	if (now_ns < e->next_ns) {
		loop_timer_set(e->member->pool->endpoint->loop, &e->pace,
			       e->next_ns);
		return false;
	}
	/* Late by one at the most: what was not used is not made up for. */
	if (e->next_ns + each_ns < now_ns)
		e->next_ns = now_ns;
	e->next_ns += each_ns;
	return true;
}

/* From now on, and not when the pause of the old rate is over. */
static void set_pace(struct endpoint_evacuation *e, uint64_t bandwidth)
{
	uint64_t next_ns;

	e->bandwidth_bytes_per_s = bandwidth;
	next_ns = loop_clock_ns() + takes_ns(e, FORMAT_EXTENT_BYTES);
	if (next_ns >= e->next_ns)
		return;
	e->next_ns = next_ns;
	loop_timer_set(e->member->pool->endpoint->loop, &e->pace, next_ns);
}

static void submit(struct evacuate *evacuate, struct member *member,
		   struct block_request *request)
{
	struct endpoint_evacuation *e = of(evacuate);
	unsigned int i = 0;

	while (e->carries[i].whole)
		i++;
	vdev_carry(&e->carries[i], member->config.user, request);
}

/* ---- its end ---- */

static json_t *describe_stayed(const struct evacuate *evacuate)
{
	json_t *stayed = json_array();

	for (uint32_t i = 0; i < evacuate->stayed_count && i < EVACUATE_NAMED;
	     i++) {
		const struct evacuate_stayed *s = &evacuate->stayed[i];

		json_array_append_new(
			stayed,
			json_pack("{s:s, s:o, s:I, s:i}", "name", s->name,
				  "uuid", field_from_uuid(&s->uuid),
				  "offset_bytes",
				  (json_int_t)(s->index * FORMAT_EXTENT_BYTES),
				  "errno", -s->result));
	}
	return stayed;
}

static void ended(struct evacuate *evacuate, int result)
{
	struct endpoint_evacuation *e = of(evacuate);
	struct endpoint_member *m = e->member;
	struct endpoint *endpoint = m->pool->endpoint;
	struct error error;

	endpoint_tell(endpoint,
		      json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:o}",
				"event", "evacuated", "pool", m->pool->name,
				"device", m->device->name, "errno", -result,
				"moved", (json_int_t)evacuate->moved, "left",
				(json_int_t)evacuate->left, "stayed_count",
				(json_int_t)evacuate->stayed_count, "stayed",
				describe_stayed(evacuate)));
	if (e->work.said) {
		const int stays = result == -ECANCELED ? 0 : result;

		error_set(&error, stays, "pool %s: device %s: %s",
			  m->pool->name, m->device->name, strerror(-stays));
		endpoint_work_end(&e->work, stays, &error, NULL);
	}
	m->evacuation = NULL;
	loop_timer_finish(endpoint->loop, &e->pace);
	free(e);
}

json_t *endpoint_evacuation_said(const struct endpoint_member *m)
{
	const struct endpoint_evacuation *e = m->evacuation;

	return e ? json_pack("{s:I, s:I, s:I, s:I}", "moved",
			     (json_int_t)e->evacuate.moved, "left",
			     (json_int_t)e->evacuate.left, "stayed",
			     (json_int_t)e->evacuate.stayed_count,
			     "bandwidth_bytes_per_s",
			     (json_int_t)e->bandwidth_bytes_per_s) :
		   NULL;
}

/* ---- it begins ---- */

static int prepare(struct endpoint_member *m, struct evacuate_config *config,
		   struct endpoint_evacuation **ret_evacuation,
		   struct error *reterr)
{
	struct endpoint_evacuation *e = calloc(1, sizeof(*e));
	struct endpoint *endpoint = m->pool->endpoint;

	if (!e || loop_timer_init(endpoint->loop, &e->pace, pace_expired) < 0) {
		free(e);
		return error_set(reterr, -ENOMEM, "no memory for device %s",
				 m->device->name);
	}
	e->member = m;
	config->from = m->add.member->index;
	config->may_move = may_move;
	config->submit = submit;
	config->done = ended;
	m->evacuation = e;
	*ret_evacuation = e;
	return 0;
}

static int not_begun(struct endpoint_member *m, int result,
		     struct error *reterr)
{
	struct endpoint_evacuation *e = m->evacuation;
	const char *why = strerror(-result);

	if (result == -ENOSPC)
		why = "the others have not so much that is promised to nobody";
	else if (result == -ENOTCONN)
		why = "another device of the pool is missing";
	else if (result == -EBUSY)
		why = "another device of the pool is leaving";
	else if (result == -EINVAL)
		why = "there is no other device";
	loop_timer_finish(m->pool->endpoint->loop, &e->pace);
	m->evacuation = NULL;
	free(e);
	return error_set(reterr, result,
			 "pool %s: device %s cannot be evacuated: %s",
			 m->pool->name, m->device->name, why);
}

static int check(const struct endpoint_member *m, struct error *reterr)
{
	if (!m->is_open || m->is_going || m->pool->is_going ||
	    !m->pool->is_started)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s is changing",
				 m->pool->name, m->device->name);
	if (m->device->is_measured)
		return error_set(reterr, -EBUSY, "device %s is being measured",
				 m->device->name);
	return 0;
}

/* To which others: all, or the one that is named. */
static int read_to(const struct endpoint_member *m, const json_t *request,
		   uint64_t *ret_to, struct error *reterr)
{
	const char *name;
	int result;

	*ret_to = 0;
	if (!json_object_get(request, "to"))
		return 0;
	result = field_name(request, "to", &name, reterr);
	for (const struct endpoint_member *o = m->pool->members;
	     o && result == 0; o = o->next)
		if (o != m && o->is_open && !o->is_going &&
		    !strcmp(o->device->name, name))
			*ret_to = UINT64_C(1) << o->add.member->index;
	if (result == 0 && !*ret_to)
		result = error_set(reterr, -ENOENT, "pool %s has no device %s",
				   m->pool->name, name);
	return result;
}

int endpoint_member_evacuate(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr)
{
	struct evacuate_config config = {0};
	struct endpoint_evacuation *e;
	struct endpoint_member *m;
	uint64_t bandwidth = USUAL_BYTES_PER_S;
	int result = endpoint_named_member(endpoint, request, &m, reterr);

	(void)fd;
	(void)reply;
	if (result == 0 && m->evacuation)
		bandwidth = m->evacuation->bandwidth_bytes_per_s;
	if (result == 0)
		result = field_u64(request, "bandwidth_bytes_per_s",
				   BANDWIDTH_MAX, &bandwidth, reterr);
	if (result == 0 && bandwidth == 0)
		result =
			error_set(reterr, -EINVAL,
				  "'bandwidth_bytes_per_s' must be at least 1");
	if (result == 0)
		result = check(m, reterr);
	if (result == 0)
		result = read_to(m, request, &config.to, reterr);
	if (result < 0)
		return result;
	if (m->evacuation && !m->evacuation->work.said) {
		if (config.to && config.to != m->evacuation->evacuate.config.to)
			return error_set(
				reterr, -EBUSY,
				"pool %s: device %s goes to other devices already: let it stay first",
				m->pool->name, m->device->name);
		set_pace(m->evacuation, bandwidth);
		return 0;
	}
	if (m->evacuation)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s is about to stay",
				 m->pool->name, m->device->name);
	result = prepare(m, &config, &e, reterr);
	if (result < 0)
		return result;
	e->bandwidth_bytes_per_s = bandwidth;
	result = evacuate_start(m->pool->pool, &config, &e->evacuate);
	return result < 0 ? not_begun(m, result, reterr) : 0;
}

int endpoint_member_stay(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct evacuate_config config = {0};
	struct endpoint_evacuation *e;
	struct endpoint_member *m;
	int result = endpoint_named_member(endpoint, request, &m, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		result = check(m, reterr);
	if (result < 0)
		return result;
	if (m->evacuation && m->evacuation->work.said)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s is about to stay",
				 m->pool->name, m->device->name);
	if (!m->evacuation && !member_is_leaving(m->add.member))
		return 0;
	if (m->evacuation) {
		e = m->evacuation;
		endpoint_work_begin(endpoint, &e->work, request);
		evacuate_cancel(&e->evacuate);
		return ENDPOINT_LATER;
	}
	result = prepare(m, &config, &e, reterr);
	if (result < 0)
		return result;
	endpoint_work_begin(endpoint, &e->work, request);
	result = evacuate_undo(m->pool->pool, &config, &e->evacuate);
	if (result == 0)
		return ENDPOINT_LATER;
	endpoint_work_drop(&e->work);
	return not_begun(m, result, reterr);
}

/* ---- it goes ---- */

/* Where else a vdev of the pool can be at home. */
struct endpoint_member *endpoint_pool_home(const struct endpoint_pool *pool)
{
	struct endpoint_member *m = pool->members;

	while (m && (!m->is_open || m->is_going))
		m = m->next;
	return m;
}

static void left(struct pool_leave *leave, int result)
{
	struct endpoint_member *m =
		container_of(leave, struct endpoint_member, leave);
	struct endpoint *endpoint = m->pool->endpoint;
	const struct endpoint_member *home = endpoint_pool_home(m->pool);
	struct error error;

	if (result < 0) {
		m->is_going = false;
		error_set(
			&error, result,
			"pool %s: the others cannot write down that device %s goes: %s",
			m->pool->name, m->device->name, strerror(-result));
		endpoint_work_end(&m->work, result, &error, NULL);
		return;
	}
	for (struct endpoint_vdev *v = endpoint->vdevs; v; v = v->next) {
		if (v->pool != m->pool)
			continue;
		vdev_leave(v->vdev, m->add.member,
			   vdev_home(v->vdev) == m->device->device ?
				   home->device->device :
				   vdev_home(v->vdev));
	}
	endpoint_pools_poll(endpoint);
}

/* How many volumes have something there. */
static unsigned int count_volumes(const struct endpoint_member *m)
{
	unsigned int count = 0;

	for (const struct volume *v = m->pool->pool->volumes; v; v = v->next)
		for (uint32_t i = 0;
		     (i = table_next(&v->table, i, v->table.count)) <
		     v->table.count;
		     i++)
			if (member_has_number(m->add.member,
					      table_get(&v->table, i) &
						      TABLE_NUMBER)) {
				count++;
				break;
			}
	return count;
}

int endpoint_member_leave(struct endpoint_member *m, json_t *request,
			  struct error *reterr)
{
	struct endpoint_pool *pool = m->pool;
	const uint32_t used = member_used(m->add.member);
	int result;

	if (m->evacuation)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s is being evacuated",
				 pool->name, m->device->name);
	if (used > 0)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s holds %" PRIu32
				 " extents (%" PRIu64
				 " bytes) of %u vdev(s): evacuate it first",
				 pool->name, m->device->name, used,
				 used * FORMAT_EXTENT_BYTES, count_volumes(m));
	if (pool->making)
		return error_set(reterr, -EBUSY, "pool %s is changing",
				 pool->name);
	m->leave.done = left;
	m->is_going = true;
	endpoint_work_begin(pool->endpoint, &m->work, request);
	result = pool_leave(pool->pool, &m->add, &m->leave);
	if (result == 0)
		return ENDPOINT_LATER;
	m->is_going = false;
	endpoint_work_drop(&m->work);
	if (result == -ENOSPC)
		return error_set(
			reterr, result,
			"pool %s: device %s has to stay: %" PRIu64
			" bytes of it are reserved: the others have no room for them",
			pool->name, m->device->name,
			(member_free(m->add.member) -
			 pool_unpromised(pool->pool)) *
				FORMAT_EXTENT_BYTES);
	return error_set(reterr, result == -ENODEV ? -EBUSY : result,
			 "pool %s: device %s has to stay: %s", pool->name,
			 m->device->name,
			 result == -ENODEV ? "it is the last" :
					     "the pool is changing");
}
