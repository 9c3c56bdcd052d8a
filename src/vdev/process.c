/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - processes of a vdev: which one a request is of, and its ways to
 * schedulers */
#include "vdev/device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ctl/stats.h"
#include "sla/keep-count.h"
#include "vdev/again.h"
#include "vdev/slow.h"

/* Linux: class in the upper three bits, level in the lowest three. */
static unsigned int ioprio_class(uint32_t ioprio)
{
	return (ioprio >> 13) & 3U;
}

static unsigned int ioprio_level(uint32_t ioprio)
{
	return ioprio & 7U;
}

/* Requests with no mark of their own go to the first process without one. */
struct vdev_process *vdev_unmarked_process(const struct vdev *vdev)
{
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->config.match.kind == MATCH_NONE && !p->config.own_socket)
			return p;
	return vdev->unpromised;
}

void vdev_rebind(struct vdev *vdev)
{
	struct vdev_process *unmarked = vdev_unmarked_process(vdev);

	for (unsigned int c = 0; c < 4; c++)
		for (unsigned int l = 0; l < 8; l++)
			vdev->by_ioprio[c][l] = unmarked;
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->config.match.kind == MATCH_IOPRIO &&
		    !p->config.own_socket)
			vdev->by_ioprio[ioprio_class(p->config.match.number)]
				       [ioprio_level(p->config.match.number)] =
				p;
}

struct vdev_process *vdev_find_process(const struct vdev *vdev, uint32_t ioprio)
{
	return vdev->by_ioprio[ioprio_class(ioprio)][ioprio_level(ioprio)];
}

struct vdev_process *vdev_process_by_peer(const struct vdev *vdev,
					  const struct match_peer *peer)
{
	struct vdev_process *found = NULL;

	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (match_is_peer(&p->config.match, peer) &&
		    (!found || p->config.match.kind < found->config.match.kind))
			found = p;
	return found;
}

bool vdev_process_is_open_to(const struct vdev_process *process,
			     const struct match_peer *peer)
{
	const struct match *match = &process->config.match;

	return !match_is_of_peer(match) || match_is_peer(match, peer);
}

struct vdev_process *vdev_unpromised(const struct vdev *vdev)
{
	return vdev->unpromised;
}

struct vdev_process *vdev_process_by_pasid(const struct vdev *vdev,
					   uint32_t pasid)
{
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->config.pasid == pasid)
			return p;
	return NULL;
}

/* ---- ways to schedulers ---- */

/* They are kept by the gate's scheduler. */
static struct sched_params limits_of(const struct sched_params *params)
{
	struct sched_params limits = {.burst_ns = params->burst_ns};

	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		limits.limit_per_s[axis] = params->limit_per_s[axis];
	return limits;
}

/* They are kept by those of devices. */
static struct sched_params promises_of(const struct sched_params *params)
{
	struct sched_params promises = *params;

	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		promises.limit_per_s[axis] = 0;
	promises.burst_ns = 0;
	return promises;
}

static bool has_limits(const struct sched_params *params)
{
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		if (params->limit_per_s[axis])
			return true;
	return false;
}

void vdev_process_limited(struct vdev_process *process)
{
	process->is_limited = process->vdev->is_limited ||
		process->vdev->again.error ||
		has_limits(&process->config.sched);
	/* A vdev that is stopped holds what has been paid for, too. */
	sched_pass_back(process->client, &process->passes);
}

void vdev_limited(struct vdev *vdev)
{
	vdev_process_limited(vdev->unpromised);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		vdev_process_limited(p);
}

static int join(struct vdev_process *process, const struct member *member,
		uint64_t now_ns, struct error *reterr)
{
	const struct sched_params promises =
		promises_of(&process->config.sched);
	struct vdev_way *way = &process->ways[member->index];
	struct vdev_device *device = member->config.user;

	way->device = device;
	if (device->is_immediate)
		return 0;	/* it orders nothing */
	return sched_client_create(device->sched, NULL, &promises, now_ns,
				   &way->client, reterr);
}

/* All that is promised is promised by each of them. */
static int join_all(struct vdev_process *process, uint64_t now_ns,
		    struct error *reterr)
{
	const struct volume *volume = process->vdev->volume;
	int result = 0;

	for (uint64_t left = volume->joined; left && result == 0;
	     left &= left - 1)
		result = join(process,
			      volume->pool->members[__builtin_ctzll(left)],
			      now_ns, reterr);
	return result;
}

struct vdev_way *vdev_process_way(struct vdev_process *process,
				  const struct member *member)
{
	struct vdev_way *way = &process->ways[member->index];

	/* Without memory nothing is promised there, but all is served. */
	if (!way->device && join(process, member, loop_clock_ns(), NULL) < 0)
		way->client = way->device->unlimited;
	return way;
}

static void leave_all(struct vdev_process *process)
{
	for (uint32_t m = 0; m < POOL_MEMBERS_MAX; m++)
		if (vdev_way_is_own(&process->ways[m]))
			sched_client_destroy(process->ways[m].client);
}

/* Freed when its last request is done and timed. */
void vdev_process_free(struct vdev_process *process)
{
	assert(process->outstanding == 0 && !process->tallied);
	turns_client_finish(&process->turns);
	turns_way_finish(&process->way);
	leave_all(process);
	sched_client_destroy(process->client);
	free(process);
}

/* ---- they come, change and go ---- */

int vdev_process_create(struct vdev *vdev,
			const struct vdev_process_config *config,
			struct vdev_process **ret_process, struct error *reterr)
{
	struct vdev_process *process = calloc(1, sizeof(*process));
	const uint64_t now_ns = loop_clock_ns();
	const struct sched_params limits = limits_of(&config->sched);
	int result;

	if (!process)
		return error_set(reterr, -ENOMEM, "no memory for a process");
	process->vdev = vdev;
	process->config = *config;
	process->stats = config->stats;
	result = sched_client_create(vdev->gate->sched, vdev->group, &limits,
				     now_ns, &process->client, reterr);
	if (result == 0)
		result = join_all(process, now_ns, reterr);
	if (result < 0) {
		leave_all(process);
		sched_client_destroy(process->client);
		free(process);
		return result;
	}
	vdev_process_limited(process);
	keep_reset(&process->stats->keep, &config->sla, now_ns);
	turns_way_init(&process->way, vdev->device->turns);
	turns_client_init(&process->turns,
			  config->own_socket ? &process->way : &vdev->way,
			  &config->sched, now_ns);
	*ret_process = process;
	return 0;
}

int vdev_process_add(struct vdev *vdev,
		     const struct vdev_process_config *config,
		     struct vdev_process **ret_process, struct error *reterr)
{
	struct vdev_process **end = &vdev->processes;
	struct vdev_process *process = NULL;
	int result;

	for (; *end; end = &(*end)->next) {
		const struct vdev_process_config *other = &(*end)->config;

		if (other->pasid == config->pasid)
			return error_set(
				reterr, -EEXIST,
				"process %u is bound to vdev %s already",
				config->pasid, vdev->name);
		if (!config->own_socket && !other->own_socket &&
		    match_is_same(&config->match, &other->match))
			return error_set(
				reterr, -EEXIST,
				"process %u of vdev %s has that %s already",
				other->pasid, vdev->name,
				match_kind_text(config->match.kind));
	}
	result = vdev_process_create(vdev, config, &process, reterr);
	if (result < 0)
		return result;
	*end = process;
	vdev_rebind(vdev);
	*ret_process = process;
	return 0;
}

int vdev_process_update(struct vdev_process *process,
			const struct vdev_process_config *config,
			struct error *reterr)
{
	const uint64_t now_ns = loop_clock_ns();
	const struct sched_params promises = promises_of(&config->sched);
	const struct sched_params limits = limits_of(&config->sched);
	int result =
		sched_client_update(process->client, &limits, now_ns, reterr);

	/* Figures that are wrong are wrong at the first, and nothing else can
	 * go wrong. */
	for (uint32_t m = 0; m < POOL_MEMBERS_MAX; m++)
		if (result == 0 && vdev_way_is_own(&process->ways[m]))
			result = sched_client_update(process->ways[m].client,
						     &promises, now_ns, reterr);
	if (result < 0)
		return result;
	vdev_device_settle(process->vdev->device);
	keep_update(&process->stats->keep, &config->sla, now_ns);
	turns_client_update(&process->turns, &config->sched, now_ns);
	process->config.sched = config->sched;
	vdev_process_limited(process);
	process->config.sla = config->sla;
	process->config.members = config->members;
	process->config.match = config->match;
	vdev_rebind(process->vdev);
	return 0;
}

void vdev_uncount(struct vdev_request *request, uint64_t now_ns)
{
	keep_failed(&request->process->stats->keep,
		    request->sched.direction == SCHED_WRITE,
		    request->sched.bytes, request->conforming, now_ns);
	request->process->outstanding--;
}

/* Where removed processes count on: nobody reads it. */
static struct stats_process forgotten;

/* What waited for a removed process goes on for another one: at a device, or
 * before its limits. */
static void hand_over(struct vdev *vdev, struct sched_request *queued,
		      bool at_device, uint64_t now_ns)
{
	struct sched_request *next;

	for (; queued; queued = next) {
		struct vdev_request *request = vdev_request_of_sched(queued);

		next = queued->next;
		if (request->is_piece) {
			vdev_slow_resubmit(request,
					   vdev_unmarked_process(vdev));
			continue;
		}
		vdev_uncount(request, now_ns);
		if (at_device)
			vdev_device_forget(request);
		request->process = vdev_unmarked_process(vdev);
		request->process->outstanding++;
		request->arrival_ns = now_ns;
		vdev_device_arrive(request, now_ns);
		if (!vdev_device_refuses(request))
			vdev_gate_submit(request, now_ns);
	}
}

void vdev_process_remove(struct vdev_process *process)
{
	struct vdev *vdev = process->vdev;
	struct vdev_process **link = &vdev->processes;
	const uint64_t now_ns = loop_clock_ns();

	while (*link != process)
		link = &(*link)->next;
	*link = process->next;
	vdev_rebind(vdev);

	for (uint32_t m = 0; m < POOL_MEMBERS_MAX; m++)
		if (vdev_way_is_own(&process->ways[m]))
			hand_over(vdev,
				  sched_client_drain(process->ways[m].client),
				  true, now_ns);
	hand_over(vdev, sched_client_drain(process->client), false, now_ns);
	vdev_again_hand_over(vdev, process, vdev_unmarked_process(vdev),
			     now_ns);
	/* Its slot may be another's before its last request is done. */
	vdev_device_settle(vdev->device);
	process->stats = &forgotten;
	turns_client_finish(&process->turns);
	turns_way_finish(&process->way);
	vdev_device_bury(vdev->device, process);
}

/* ---- what waits for its turn ---- */

static bool is_owned(struct sched_request *request, const void *owner)
{
	const struct vdev_request *vdev = vdev_request_of_sched(request);

	return vdev->owner == owner && !vdev->is_piece;
}

static void take(struct sched_client *client, const void *owner, bool at_device,
		 void (*taken)(struct vdev_request *request), uint64_t now_ns)
{
	struct sched_request *queued =
		sched_client_take(client, is_owned, owner, now_ns);

	while (queued) {
		struct vdev_request *request = vdev_request_of_sched(queued);

		queued = queued->next;
		vdev_uncount(request, now_ns);
		if (at_device)
			vdev_device_forget(request);
		taken(request);
	}
}

static void take_back(struct vdev_process *process, const void *owner,
		      void (*taken)(struct vdev_request *request),
		      uint64_t now_ns)
{
	for (uint32_t m = 0; m < POOL_MEMBERS_MAX; m++)
		if (vdev_way_is_own(&process->ways[m]))
			take(process->ways[m].client, owner, true, taken,
			     now_ns);
	take(process->client, owner, false, taken, now_ns);
}

void vdev_take_back(struct vdev *vdev, const void *owner,
		    void (*taken)(struct vdev_request *request),
		    uint64_t now_ns)
{
	vdev_take_halted(vdev, owner, taken, now_ns);
	take_back(vdev->unpromised, owner, taken, now_ns);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		take_back(p, owner, taken, now_ns);
}

void vdev_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns)
{
	struct sched_client *unlimited = vdev->gate->unlimited;

	vdev_again_let_go(vdev, owner, now_ns);
	sched_client_let_go(vdev->unpromised->client, unlimited, is_owned,
			    owner, now_ns);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		sched_client_let_go(p->client, unlimited, is_owned, owner,
				    now_ns);
}

uint64_t vdev_process_quiet_until_ns(const struct vdev_process *process)
{
	return sched_client_ready_ns(process->client);
}

uint64_t vdev_quiet_until_ns(const struct vdev *vdev)
{
	uint64_t quiet_ns =
		sched_client_ready_ns(vdev_unmarked_process(vdev)->client);

	for (const struct vdev_process *p = vdev->processes; p && quiet_ns;
	     p = p->next) {
		uint64_t ready_ns;

		if (p->config.match.kind != MATCH_IOPRIO ||
		    p->config.own_socket)
			continue;
		ready_ns = sched_client_ready_ns(p->client);
		if (ready_ns < quiet_ns)
			quiet_ns = ready_ns;
	}
	return quiet_ns;
}

static void process_report(struct vdev_process *process)
{
	uint32_t queued = sched_client_queued(process->client);

	for (uint32_t m = 0; m < POOL_MEMBERS_MAX; m++)
		if (vdev_way_is_own(&process->ways[m]))
			queued += sched_client_queued(process->ways[m].client);
	/* Pieces wait by themselves. */
	if (queued > process->outstanding)
		queued = process->outstanding;
	stats_set(&process->stats->queued, queued);
	stats_set(&process->stats->in_flight, process->outstanding - queued);
}

void vdev_report(struct vdev *vdev)
{
	struct stats_process *stats = vdev->unpromised->stats;

	stats_set(&stats->stopped_errno, (uint64_t)vdev->again.error);
	stats_set(&stats->hungry, vdev->again.hungry);
	process_report(vdev->unpromised);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		process_report(p);
}
