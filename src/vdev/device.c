/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - a device with its scheduler, and the way of a request through it
 *
 * A request that the scheduler lets pass goes to the device at once, inside
 * vdev_submit; one that has to wait is given out later by this poller.  A
 * device that completes inside submit (memory, nullio) does so thousands of
 * times between two looks at the clock: such completions are counted in a
 * tally per process and direction and timed together at the start of the
 * next round, which is also when the guest has seen them.  The keeping
 * (sla/keep.h) hears of their arrival then, too: all came at the same time, and
 * nobody needs to know of each whether it conforms.
 */
#include "vdev/device.h"

#include "base/container.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ctl/stats.h"
#include "sla/keep-count.h"
#include "vdev/again.h"
#include "vdev/scrub.h"
#include "vdev/slow.h"

/* What each request runs through: in line, without what a call saves. */
#define ALWAYS __attribute__((always_inline))

/* Given out in one round at most, so that rings get their turn. */
#define DISPATCH_MAX	64U

static void tally_tell(struct vdev_process *process, unsigned int direction)
{
	struct vdev_tally *tally = &process->tally[direction];

	if (tally->untold == 0)
		return;
	tally->conforming += keep_arrive_many(
		&process->stats->keep, direction == SCHED_WRITE, tally->untold,
		tally->untold_bytes, tally->arrival_ns);
	tally->untold = 0;
}

static void tally_settle(struct vdev_process *process, unsigned int direction,
			 uint64_t now_ns)
{
	struct vdev_tally *tally = &process->tally[direction];
	struct stats_process *stats = process->stats;
	struct stats_counters *counters = &stats->direction[direction];
	const uint64_t latency_ns = now_ns - tally->arrival_ns;

	tally_tell(process, direction);

	stats_add(&counters->requests, tally->count);
	stats_add(&counters->bytes, tally->bytes);
	histogram_add(&stats->latency[direction], latency_ns, tally->count);
	turns_served(&process->turns, direction, tally->count, tally->bytes);
	keep_done_many(&stats->keep, direction == SCHED_WRITE, tally->count,
		       tally->bytes, tally->conforming, latency_ns, now_ns);
	tally->arrival_ns = 0;
	tally->count = 0;
	tally->conforming = 0;
	tally->bytes = 0;
}

static inline ALWAYS void tally_begin(struct vdev_process *process,
				      struct vdev_tally *tally,
				      uint64_t arrival_ns)
{
	struct vdev_device *device;

	tally->arrival_ns = arrival_ns;
	if (process->tallied)
		return;
	device = process->vdev->device;
	process->tallied = true;
	process->next_tallied = device->tallied;
	device->tallied = process;
}

/* As those before it, or the first: tally_add is all there is to do. */
static inline ALWAYS bool tally_takes(struct vdev_process *process,
				      struct vdev_tally *tally,
				      const struct vdev_request *request)
{
	if (request->told)
		return false;
	if (tally->arrival_ns == request->arrival_ns)
		return tally->untold_bytes == request->sched.bytes;
	if (tally->count)
		return false;
	tally_begin(process, tally, request->arrival_ns);
	tally->untold_bytes = request->sched.bytes;
	return true;
}

static inline ALWAYS void tally_add(struct vdev_tally *tally, uint32_t bytes)
{
	tally->untold++;
	tally->count++;
	tally->bytes += bytes;
}

/* Completed without error, inside submit. */
static void tally_any(struct vdev_request *request)
{
	struct vdev_process *process = request->process;
	const unsigned int direction = request->sched.direction;
	struct vdev_tally *tally = &process->tally[direction];

	if (tally->arrival_ns != request->arrival_ns) {
		if (tally->count)
			tally_settle(process, direction, loop_clock_ns());
		tally_begin(process, tally, request->arrival_ns);
	}
	if (request->told) {
		tally->conforming += request->conforming;
		tally->count++;
		tally->bytes += request->sched.bytes;
		return;
	}
	if (tally->untold_bytes != request->sched.bytes)
		tally_tell(process, direction);
	tally->untold_bytes = request->sched.bytes;
	tally_add(tally, request->sched.bytes);
}

void vdev_device_arrive(struct vdev_request *request, uint64_t now_ns)
{
	struct vdev_process *process = request->process;

	/* They came before. */
	for (unsigned int d = 0; d < 2; d++)
		tally_tell(process, d);
	request->conforming = keep_arrive(
		&process->stats->keep, request->sched.direction == SCHED_WRITE,
		request->sched.bytes, now_ns);
	request->told = true;
}

void vdev_device_waits(struct vdev_request *request, uint64_t now_ns)
{
	if (request->told)
		return;
	vdev_device_arrive(request, now_ns);
	stats_add(&request->process->stats->throttled, 1);
}

static void settle_all(struct vdev_device *device, uint64_t now_ns)
{
	struct vdev_process *process = device->tallied;

	device->tallied = NULL;
	while (process) {
		struct vdev_process *next = process->next_tallied;

		process->tallied = false;
		for (unsigned int d = 0; d < 2; d++)
			if (process->tally[d].count)
				tally_settle(process, d, now_ns);
		process = next;
	}
}

void vdev_device_bury(struct vdev_device *device, struct vdev_process *process)
{
	process->vdev->buried++;
	process->next = device->buried;
	device->buried = process;
}

static void free_buried(struct vdev_device *device)
{
	struct vdev_process **link = &device->buried;

	while (*link) {
		struct vdev_process *process = *link;

		if (process->outstanding || process->tallied) {
			link = &process->next;
			continue;
		}
		*link = process->next;
		process->vdev->buried--;
		vdev_process_free(process);
	}
}

void vdev_device_settle(struct vdev_device *device)
{
	settle_all(device, loop_clock_ns());
	free_buried(device);
}

void vdev_device_blame(struct vdev_device *device, int result)
{
	/* Memory that its front took away is not the device's. */
	if (result >= 0 || result == -EFAULT)
		return;
	stats_add(&device->stats->errors, 1);
	device->last_error = -result;
}

uint64_t vdev_losses(const struct vdev *vdev)
{
	uint64_t losses = 0;

	for (uint64_t left = vdev->volume->joined; left; left &= left - 1)
		losses += vdev->volume->pool->members[__builtin_ctzll(left)]
				  ->config.device->losses;
	return losses;
}

/* Some writes that were acknowledged may be lost (block.h): each vdev has to be
 * told, and one flush that fails is how. */
static void doubt_flush(struct vdev_request *request)
{
	struct vdev *vdev = request->process->vdev;
	const uint64_t losses = vdev_losses(vdev);

	if (vdev->losses == losses)
		return;
	vdev->losses = losses;
	request->block.result = -EIO;
	vdev_device_blame(vdev->device, -EIO);
}

static void record(struct vdev_request *request)
{
	const uint64_t now_ns = loop_clock_ns();
	struct stats_process *stats = request->process->stats;
	const unsigned int direction = request->sched.direction;
	const uint64_t latency_ns = now_ns - request->arrival_ns;
	const bool transfer = request->block.op <= BLOCK_WRITE;
	struct stats_counters *counters = vdev_counters_of(request, direction);

	if (request->failed_ns)
		vdev_again_over(request);
	if (!request->told)
		vdev_device_arrive(request, request->arrival_ns);
	turns_served(&request->process->turns, direction, 1,
		     request->sched.bytes);
	if (request->block.op == BLOCK_FLUSH)
		doubt_flush(request);
	if (request->block.result < 0) {
		stats_add(&counters->errors, 1);
		/* It was answered: no longer offered, but not delivered. */
		keep_failed(&stats->keep, direction == SCHED_WRITE,
			    request->sched.bytes, request->conforming, now_ns);
		return;
	}
	stats_add(&counters->requests, 1);
	stats_add(&counters->bytes, request->sched.bytes);
	if (transfer)
		histogram_add(&stats->latency[direction], latency_ns, 1);
	keep_done(&stats->keep, direction == SCHED_WRITE, request->sched.bytes,
		  request->conforming, latency_ns, now_ns);
}

void vdev_device_give_up(struct vdev_request *request)
{
	record(request);
	request->process->outstanding--;
	request->done(request);
}

void vdev_device_end(struct vdev_request *request)
{
	if (request->block.result == 0 || !vdev_again_takes(request))
		vdev_device_give_up(request);
}

/* Completed later, or with an error.  By itself, so that block_done has no
 * more to save than the other way takes.  False: it is not done yet. */
static __attribute__((noinline)) bool end_late(struct vdev_device *device,
					       struct vdev_request *request)
{
	if (request->block.result < 0) {
		vdev_device_blame(device, request->block.result);
		request->block.offset_bytes = request->at.offset_bytes;
		if (vdev_again_takes(request))
			return false;
	}
	record(request);
	return true;
}

/* In each that calls it, as the rest of that. */
static inline ALWAYS void end(struct vdev_request *request, bool had_turn)
{
	struct vdev_device *device = request->at.way->device;
	const bool inside = device->submitting == request;

	member_leave(request->at.member, request->at.parity);
	if (inside)
		device->submitting = NULL;
	else
		device->inside[request->epoch]--;
	if (had_turn)
		sched_complete(device->sched, &request->sched,
			       inside ? request->sched.start_ns :
					loop_clock_ns());
	device->in_flight--;
	device->completions++;
	if (inside && request->block.result == 0 &&
	    request->block.op <= BLOCK_WRITE) {
		tally_any(request);
	} else if (!end_late(device, request)) {
		return;
	}
	request->process->outstanding--;
	request->done(request);
}

void vdev_device_done_mapped(struct block_request *block)
{
	end(vdev_request_of(block), true);
}

static __attribute__((noinline)) void end_without_turn(
	struct vdev_request *request)
{
	end(request, false);
}

/* What goes as nearly all do calls nothing but its front: there is nothing to
 * be saved on the stack. */
void vdev_device_done_at_once(struct block_request *block)
{
	struct vdev_request *request = vdev_request_of(block);
	struct vdev_device *device = request->at.way->device;
	struct vdev_process *process = request->process;
	struct vdev_tally *tally = &process->tally[request->sched.direction];

	if (device->submitting != request || block->result < 0 ||
	    !tally_takes(process, tally, request) ||
	    !member_leave_quietly(request->at.member, request->at.parity)) {
		end_without_turn(request);
		return;
	}
	device->submitting = NULL;
	device->in_flight--;
	device->completions++;
	tally_add(tally, request->sched.bytes);
	process->outstanding--;
	request->done(request);
}

void vdev_device_stays(struct vdev_device *device, struct vdev_request *request)
{
	request->epoch = device->epoch & 31U;
	device->inside[request->epoch]++;
	if (!request->told)
		vdev_device_arrive(request, request->arrival_ns);
}

void vdev_device_begin(struct vdev_device *device, struct vdev_request *piece)
{
	device->in_flight++;
	piece->epoch = device->epoch & 31U;
	device->inside[piece->epoch]++;
}

void vdev_device_done(struct vdev_device *device, struct vdev_request *piece,
		      int result)
{
	if (!device->is_immediate && !piece->follows)
		sched_complete(device->sched, &piece->sched, loop_clock_ns());
	vdev_device_blame(device, result);
	device->inside[piece->epoch]--;
	device->in_flight--;
	device->completions++;
}

/* It was given out by the scheduler. */
static void issue_late(struct vdev_device *device, struct vdev_request *request,
		       uint64_t now_ns)
{
	if (!request->process) {
		vdev_carry_issue(request);
	} else if (request->is_piece) {
		vdev_slow_issue(request);
	} else if (vdev_device_is_beyond(request, request->at.offset_bytes)) {
		sched_complete(device->sched, &request->sched, now_ns);
		vdev_device_forget(request);
		request->block.result = -EIO;
		vdev_device_give_up(request);
	} else if (vdev_again_wants(request)) {
		sched_complete(device->sched, &request->sched, now_ns);
		vdev_device_forget(request);
		(void)vdev_again_holds(request, true);
	} else {
		vdev_device_issue(device, request);
	}
}

static unsigned int device_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct vdev_device *device =
		container_of(poller, struct vdev_device, poller);
	struct sched_request *next;
	unsigned int work = 0;

	device->round_ns = now_ns;
	if (device->in_flight &&
	    device->back_ns != loop_back_ns(device->loop)) {
		device->back_ns = loop_back_ns(device->loop);
		sched_away(device->sched, device->back_ns);
	}
	if (device->tallied)
		settle_all(device, now_ns);
	if (device->buried)
		free_buried(device);
	while (work < DISPATCH_MAX &&
	       (next = sched_next(device->sched, now_ns)) != NULL) {
		issue_late(device, vdev_request_of_sched(next), now_ns);
		work++;
	}
	return work;
}

void vdev_device_report(struct vdev_device *device)
{
	struct stats_device *stats = device->stats;
	struct sched_report report;

	sched_report(device->sched, &report);
	stats_set(&stats->in_flight, device->in_flight);
	stats_set(&stats->window, report.window);
	stats_set(&stats->queued, report.queued);
	stats_set(&stats->capacity_milli, report.capacity_milli);
	stats_set(&stats->shortage_milli, report.shortage_milli);
	stats_set(&stats->shortages, report.shortages);
}

static uint64_t device_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct vdev_device *device =
		container_of(poller, struct vdev_device, poller);
	uint64_t wake_ns;

	if (device->tallied)
		settle_all(device, now_ns);
	wake_ns = sched_wake_ns(device->sched);
	return wake_ns <= now_ns ? 0 : wake_ns;
}

static uint64_t device_quiet_until(struct loop_poller *poller, uint64_t now_ns)
{
	const struct vdev_device *device =
		container_of(poller, struct vdev_device, poller);

	/* A completion is worth polling for. */
	if (device->tallied || device->in_flight)
		return now_ns;
	return sched_wake_ns(device->sched);
}

int vdev_device_create(struct block_device *block,
		       const struct sched_config *config,
		       struct stats_device *stats, struct loop *loop,
		       struct vdev_device **ret_device, struct error *reterr)
{
	static const struct sched_params no_limits;
	struct vdev_device *device = calloc(1, sizeof(*device));
	int result;

	if (!device)
		return error_set(reterr, -ENOMEM, "no memory for a device");
	result = sched_create(config, &device->sched, reterr);
	if (result < 0)
		goto err_after_alloc;
	result = sched_client_create(device->sched, NULL, &no_limits,
				     loop_now_ns(loop), &device->unlimited,
				     reterr);
	if (result < 0)
		goto err_after_sched;
	result = vdev_scrub_create(device, loop, &device->scrub);
	if (result < 0) {
		result = error_set(reterr, result, "no memory for a device");
		goto err_after_client;
	}
	device->block = block;
	device->stats = stats;
	device->is_immediate = config->immediate;
	device->loop = loop;
	device->epoch = 1;
	device->poller.poll = device_poll;
	device->poller.arm = device_arm;
	device->poller.quiet_until = device_quiet_until;
	loop_poller_add(loop, &device->poller);
	vdev_device_report(device);
	*ret_device = device;
	return 0;

err_after_client:
	sched_client_destroy(device->unlimited);
err_after_sched:
	sched_destroy(device->sched);
err_after_alloc:
	free(device);
	return result;
}

void vdev_device_share(struct vdev_device *device, struct turns *turns)
{
	device->turns = turns;
}

void vdev_device_destroy(struct vdev_device *device)
{
	if (!device)
		return;
	loop_poller_remove(device->loop, &device->poller);
	vdev_device_settle(device);
	vdev_scrub_destroy(device->scrub);
	sched_client_destroy(device->unlimited);
	sched_destroy(device->sched);
	free(device);
}

struct sched *vdev_device_sched(struct vdev_device *device)
{
	return device->sched;
}

uint64_t vdev_device_in_flight(const struct vdev_device *device)
{
	return device->in_flight;
}

uint64_t vdev_device_completions(const struct vdev_device *device)
{
	return device->completions;
}

uint64_t vdev_device_oldest_ns(struct vdev_device *device, uint64_t now_ns)
{
	const unsigned char other = 3 - device->epoch;

	if (device->inside[other] > 0)
		return now_ns - device->epoch_ns;
	device->epoch = other;
	device->epoch_ns = now_ns;
	return 0;
}

int vdev_device_last_error(const struct vdev_device *device)
{
	return device->last_error;
}
