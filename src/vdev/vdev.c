/* SPDX-License-Identifier: Apache-2.0 */
/* vdev.c - see vdev.h */
#include "vdev/vdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/stats.h"
#include "sla/keep-count.h"
#include "vdev/device.h"
#include "vdev/slow.h"

#define SECTOR_BYTES	512U
/* A flush is counted, and paid for, as one write of nothing. */
#define CHARGE_MAX	UINT32_MAX

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
static struct vdev_process *unmarked_process(const struct vdev *vdev)
{
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (!p->config.has_match && !p->config.own_socket)
			return p;
	return vdev->unpromised;
}

static void rebind(struct vdev *vdev)
{
	struct vdev_process *unmarked = unmarked_process(vdev);

	for (unsigned int c = 0; c < 4; c++)
		for (unsigned int l = 0; l < 8; l++)
			vdev->by_ioprio[c][l] = unmarked;
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->config.has_match && !p->config.own_socket)
			vdev->by_ioprio[ioprio_class(p->config.match_ioprio)]
				       [ioprio_level(p->config.match_ioprio)] =
				p;
}

struct vdev_process *vdev_find_process(const struct vdev *vdev, uint32_t ioprio)
{
	return vdev->by_ioprio[ioprio_class(ioprio)][ioprio_level(ioprio)];
}

struct vdev_process *vdev_process_by_pasid(const struct vdev *vdev,
					   uint32_t pasid)
{
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->config.pasid == pasid)
			return p;
	return NULL;
}

static int process_create(struct vdev *vdev,
			  const struct vdev_process_config *config,
			  struct vdev_process **ret_process,
			  struct error *reterr)
{
	struct vdev_process *process = calloc(1, sizeof(*process));
	const uint64_t now_ns = loop_clock_ns();
	int result;

	if (!process)
		return error_set(reterr, -ENOMEM, "no memory for a process");
	process->vdev = vdev;
	process->config = *config;
	process->stats = config->stats;
	result = sched_client_create(vdev->device->sched, vdev->group,
				     &config->sched, now_ns, &process->client,
				     reterr);
	if (result < 0) {
		free(process);
		return result;
	}
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
		if (config->has_match && !config->own_socket &&
		    other->has_match && !other->own_socket &&
		    other->match_ioprio == config->match_ioprio)
			return error_set(
				reterr, -EEXIST,
				"process %u of vdev %s has that I/O priority already",
				other->pasid, vdev->name);
	}
	result = process_create(vdev, config, &process, reterr);
	if (result < 0)
		return result;
	*end = process;
	rebind(vdev);
	*ret_process = process;
	return 0;
}

int vdev_process_update(struct vdev_process *process,
			const struct vdev_process_config *config,
			struct error *reterr)
{
	const uint64_t now_ns = loop_clock_ns();
	int result = sched_client_update(process->client, &config->sched,
					 now_ns, reterr);

	if (result < 0)
		return result;
	vdev_device_settle(process->vdev->device);
	keep_update(&process->stats->keep, &config->sla, now_ns);
	turns_client_update(&process->turns, &config->sched, now_ns);
	process->config.sched = config->sched;
	process->config.sla = config->sla;
	process->config.has_match = config->has_match;
	process->config.match_ioprio = config->match_ioprio;
	rebind(process->vdev);
	return 0;
}

static inline void issue_or_wait(struct vdev *vdev,
				 struct vdev_request *request, uint64_t now_ns,
				 void (*issue)(struct vdev_device *device,
					       struct vdev_request *request))
{
	if (sched_submit(vdev->device->sched, request->process->client,
			 &request->sched, now_ns) == SCHED_GO) {
		issue(vdev->device, request);
		return;
	}
	if (!request->told)
		vdev_device_arrive(request, now_ns);
	stats_add(&request->process->stats->throttled, 1);
}

/* It came, and is neither waiting any more nor was it delivered. */
static void uncount(struct vdev_request *request, uint64_t now_ns)
{
	keep_failed(&request->process->stats->keep,
		    request->sched.direction == SCHED_WRITE,
		    request->sched.bytes, request->conforming, now_ns);
	request->process->outstanding--;
}

/* Where removed processes count on: nobody reads it. */
static struct stats_process forgotten;

void vdev_process_remove(struct vdev_process *process)
{
	struct vdev *vdev = process->vdev;
	struct vdev_process **link = &vdev->processes;
	struct sched_request *queued, *next;
	const uint64_t now_ns = loop_clock_ns();

	while (*link != process)
		link = &(*link)->next;
	*link = process->next;
	rebind(vdev);

	queued = sched_client_drain(process->client);
	for (; queued; queued = next) {
		struct vdev_request *request = vdev_request_of_sched(queued);

		next = queued->next;
		uncount(request, now_ns);
		request->process = unmarked_process(vdev);
		request->process->outstanding++;
		vdev_device_arrive(request, now_ns);
		issue_or_wait(vdev, request, now_ns, vdev_device_issue_late);
	}
	/* Its slot may be another's before its last request is done. */
	vdev_device_settle(vdev->device);
	process->stats = &forgotten;
	turns_client_finish(&process->turns);
	turns_way_finish(&process->way);
	vdev_device_bury(vdev->device, process);
}

/* What is wrong with a request of a front: 0 or -errno. */
static inline int check(const struct vdev *vdev,
			const struct block_request *block)
{
	const uint64_t end_bytes = block->offset_bytes + block->length_bytes;

	if (block->op == BLOCK_FLUSH)
		return 0;
	if (block->op != BLOCK_READ && vdev->read_only)
		return -EROFS;
	if ((block->offset_bytes | block->length_bytes) & vdev->block_mask)
		return -EINVAL;
	if (end_bytes < block->offset_bytes || end_bytes > vdev->size_bytes)
		return block->op == BLOCK_WRITE ? -ENOSPC : -EINVAL;
	return 0;
}

static uint32_t charge_bytes(const struct block_request *block)
{
	if (block->op == BLOCK_FLUSH || block->op == BLOCK_DISCARD)
		return 0;
	return block->length_bytes > CHARGE_MAX ? CHARGE_MAX :
						  (uint32_t)block->length_bytes;
}

void vdev_submit(struct vdev *vdev, struct vdev_request *request,
		 uint64_t now_ns)
{
	struct block_request *block = &request->block;
	const int result = check(vdev, block);

	if (result < 0 ||
	    (block->length_bytes == 0 && block->op != BLOCK_FLUSH)) {
		if (result < 0)
			stats_add(&vdev_counters_of(request,
						    block->op != BLOCK_READ)
					   ->errors,
				  1);
		turns_served(&request->process->turns, block->op != BLOCK_READ,
			     1, 0);
		block->result = result;
		request->done(request);
		return;
	}
	block->offset_bytes += vdev->offset_bytes;
	request->sched.bytes = charge_bytes(block);
	request->sched.direction = block->op != BLOCK_READ;
	request->told = false;
	request->process->outstanding++;
	issue_or_wait(vdev, request, now_ns, vdev_device_issue);
}

void vdev_answered(struct vdev_request *request)
{
	for (unsigned int d = 0; d < 2; d++)
		turns_served(&request->process->turns, d, 1, 0);
}

/* ---- what waits for its turn ---- */

static bool is_owned(struct sched_request *request, const void *owner)
{
	return vdev_request_of_sched(request)->owner == owner;
}

static void take_back(struct vdev_process *process, const void *owner,
		      void (*taken)(struct vdev_request *request),
		      uint64_t now_ns)
{
	struct sched_request *queued =
		sched_client_take(process->client, is_owned, owner, now_ns);

	while (queued) {
		struct vdev_request *request = vdev_request_of_sched(queued);

		queued = queued->next;
		uncount(request, now_ns);
		taken(request);
	}
}

void vdev_take_back(struct vdev *vdev, const void *owner,
		    void (*taken)(struct vdev_request *request),
		    uint64_t now_ns)
{
	take_back(vdev->unpromised, owner, taken, now_ns);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		take_back(p, owner, taken, now_ns);
}

void vdev_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns)
{
	struct sched_client *unlimited = vdev->device->unlimited;

	sched_client_let_go(vdev->unpromised->client, unlimited, is_owned,
			    owner, now_ns);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		sched_client_let_go(p->client, unlimited, is_owned, owner,
				    now_ns);
}

/* By which 'process' (NULL: whoever) comes. */
static struct turns_way *way_of(struct vdev *vdev, struct vdev_process *process)
{
	return process && process->config.own_socket ? &process->way :
						       &vdev->way;
}

unsigned int vdev_turn(struct vdev *vdev, struct vdev_process *process,
		       struct turns_seat *seat, unsigned int found,
		       uint64_t now_ns)
{
	return turns_take(way_of(vdev, process), seat, found, now_ns);
}

void vdev_turn_back(struct vdev *vdev, struct vdev_process *process,
		    struct turns_seat *seat, unsigned int count)
{
	turns_give_back(way_of(vdev, process), seat, count);
}

bool vdev_prefetches(const struct vdev *vdev)
{
	return vdev->device->block->ops->prefetch != NULL;
}

void vdev_prefetch(const struct vdev *vdev, const struct vdev_request *request)
{
	const struct block_request *block = &request->block;
	struct block_device *device = vdev->device->block;

	struct volume_place place = {
		.offset_bytes = vdev->offset_bytes + block->offset_bytes,
	};

	if (block->op <= BLOCK_WRITE && block->length_bytes > 0 &&
	    check(vdev, block) == 0 &&
	    (!vdev->volume ||
	     volume_map(vdev->volume, block->offset_bytes, block->length_bytes,
			block->op == BLOCK_WRITE, &place)))
		device->ops->prefetch(device, block, place.offset_bytes);
}

uint64_t vdev_process_quiet_until_ns(const struct vdev_process *process)
{
	return sched_client_ready_ns(process->client);
}

uint64_t vdev_quiet_until_ns(const struct vdev *vdev)
{
	uint64_t quiet_ns =
		sched_client_ready_ns(unmarked_process(vdev)->client);

	for (const struct vdev_process *p = vdev->processes; p && quiet_ns;
	     p = p->next) {
		uint64_t ready_ns;

		if (!p->config.has_match || p->config.own_socket)
			continue;
		ready_ns = sched_client_ready_ns(p->client);
		if (ready_ns < quiet_ns)
			quiet_ns = ready_ns;
	}
	return quiet_ns;
}

/* How long a vdev there may be. */
static uint64_t room_bytes(const struct vdev_device *device,
			   const struct volume *volume, uint64_t offset_bytes)
{
	const uint64_t device_bytes = device->block->size_bytes;

	if (volume)
		return volume->is.size_bytes;
	return offset_bytes < device_bytes ? device_bytes - offset_bytes : 0;
}

int vdev_create(const struct vdev_config *config, struct vdev **ret_vdev,
		struct error *reterr)
{
	const struct vdev_process_config unpromised = {
		.stats = config->default_stats,
	};
	const struct block_device *block = config->device->block;
	struct vdev *vdev;
	int result = -ENOMEM;

	if (config->size_bytes >
	    room_bytes(config->device, config->volume, config->offset_bytes))
		return error_set(reterr, -ENOSPC,
				 "vdev %s does not fit on its %s", config->name,
				 config->volume ? "volume" : "device");
	vdev = calloc(1, sizeof(*vdev));
	if (!vdev)
		return error_set(reterr, -ENOMEM, "no memory for vdev %s",
				 config->name);
	vdev->device = config->device;
	vdev->losses = block->losses;
	vdev->volume = config->volume;
	vdev->offset_bytes = config->volume ? 0 : config->offset_bytes;
	vdev->size_bytes = config->size_bytes;
	vdev->read_only = config->read_only || block->read_only ||
		(vdev->volume &&
		 vdev->volume->is.flags & FORMAT_VOLUME_SNAPSHOT);
	vdev->block_mask =
		(block->block_size > SECTOR_BYTES ? block->block_size :
						    SECTOR_BYTES) -
		1;
	vdev->name = strdup(config->name);
	if (!vdev->name) {
		error_set(reterr, -ENOMEM, "no memory for a vdev");
		goto err_after_alloc;
	}
	if (vdev->volume) {
		result = vdev_slow_create(&vdev->slow, reterr);
		if (result < 0)
			goto err_after_alloc;
	}
	result = sched_group_create(config->device->sched, &config->limits,
				    &vdev->group, reterr);
	if (result < 0)
		goto err_after_alloc;
	turns_way_init(&vdev->way, vdev->device->turns);
	result = process_create(vdev, &unpromised, &vdev->unpromised, reterr);
	if (result < 0)
		goto err_after_group;
	rebind(vdev);
	*ret_vdev = vdev;
	return 0;

err_after_group:
	sched_group_destroy(vdev->group);
err_after_alloc:
	vdev_slow_destroy(vdev->slow);
	free(vdev->name);
	free(vdev);
	return result;
}

static bool vdev_busy(const struct vdev *vdev)
{
	if (vdev->unpromised->outstanding || vdev->buried)
		return true;
	for (const struct vdev_process *p = vdev->processes; p; p = p->next)
		if (p->outstanding)
			return true;
	return false;
}

int vdev_destroy(struct vdev *vdev)
{
	vdev_device_settle(vdev->device);
	if (vdev_busy(vdev))
		return -EBUSY;
	while (vdev->processes) {
		struct vdev_process *process = vdev->processes;

		vdev->processes = process->next;
		vdev_process_free(process);
	}
	vdev_process_free(vdev->unpromised);
	turns_way_finish(&vdev->way);
	sched_group_destroy(vdev->group);
	vdev_slow_destroy(vdev->slow);
	free(vdev->name);
	free(vdev);
	return 0;
}

static void process_report(struct vdev_process *process)
{
	const uint32_t queued = sched_client_queued(process->client);

	stats_set(&process->stats->queued, queued);
	stats_set(&process->stats->in_flight, process->outstanding - queued);
}

void vdev_report(struct vdev *vdev)
{
	process_report(vdev->unpromised);
	for (struct vdev_process *p = vdev->processes; p; p = p->next)
		process_report(p);
}

int vdev_limits(struct vdev *vdev, const struct sched_limits *limits,
		struct error *reterr)
{
	return sched_group_update(vdev->group, limits, reterr);
}

uint64_t vdev_size_bytes(const struct vdev *vdev)
{
	return vdev->size_bytes;
}

uint32_t vdev_block_size(const struct vdev *vdev)
{
	return vdev->block_mask + 1;
}

bool vdev_read_only(const struct vdev *vdev)
{
	return vdev->read_only;
}

struct volume *vdev_volume(const struct vdev *vdev)
{
	return vdev->volume;
}

int vdev_resize(struct vdev *vdev, uint64_t size_bytes)
{
	if (size_bytes & vdev->block_mask)
		return -EINVAL;
	if (size_bytes >
	    room_bytes(vdev->device, vdev->volume, vdev->offset_bytes))
		return -ENOSPC;
	vdev->size_bytes = size_bytes;
	for (struct vdev_listener *l = vdev->listeners; l; l = l->next)
		l->resized(l);
	return 0;
}

void vdev_listen(struct vdev *vdev, struct vdev_listener *listener)
{
	listener->next = vdev->listeners;
	vdev->listeners = listener;
}

void vdev_unlisten(struct vdev *vdev, struct vdev_listener *listener)
{
	struct vdev_listener **link = &vdev->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}
