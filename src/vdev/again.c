/* SPDX-License-Identifier: Apache-2.0 */
/*
 * again.c - see again.h
 *
 *	failed -- stop: line of the failed, by arrival -- vdev_resume --+
 *	       -- retry, or no space: later ------------- timer ---------+
 *	came, while stopped: line of the fresh,                          |
 *	       or of those past their limits --------- vdev_resume --> again
 *
 * The back-off is as long as it has been failing: from AGAIN_MIN_NS on it
 * doubles, up to AGAIN_MAX_NS.  Pure waiting: nothing here looks at a device,
 * or a pool; whether there is space again, the request itself finds out.
 *
 * A flush that failed is never done again: what it should have kept may be lost
 * by then, and a second one that succeeds would hide it.
 */
#include "vdev/again.h"

#include <errno.h>

#include "base/container.h"
#include "vdev/slow.h"

#define AGAIN_MIN_NS UINT64_C(10000000)
#define AGAIN_MAX_NS UINT64_C(1000000000)

/* ---- lines ---- */

static void line_append(struct vdev_line *line, struct vdev_request *request)
{
	request->halt.next = NULL;
	if (line->last)
		line->last->halt.next = request;
	else
		line->first = request;
	line->last = request;
}

/* By arrival; they mostly come so. */
static void line_insert(struct vdev_line *line, struct vdev_request *request)
{
	struct vdev_request **link = &line->first;

	if (!line->last || line->last->arrival_ns <= request->arrival_ns) {
		line_append(line, request);
		return;
	}
	while ((*link)->arrival_ns <= request->arrival_ns)
		link = &(*link)->halt.next;
	request->halt.next = *link;
	*link = request;
}

static struct vdev_request *line_take(struct vdev_line *line)
{
	struct vdev_request *request = line->first;

	if (!request)
		return NULL;
	line->first = request->halt.next;
	if (!line->first)
		line->last = NULL;
	return request;
}

static struct vdev_line line_take_all(struct vdev_line *line)
{
	const struct vdev_line all = *line;

	*line = (struct vdev_line){0};
	return all;
}

/* ---- which of them ---- */

/* An error that may be another time's, and is not the front's own. */
static bool is_trouble(int result)
{
	switch (result) {
	case 0:
	case -EFAULT:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -EROFS:
		return false;
	default:
		return true;
	}
}

static bool may_wait(struct vdev_request *request)
{
	return !request->may_wait || request->may_wait(request);
}

static void set_hungry(struct vdev_request *request, bool is_hungry)
{
	struct vdev_again *again = &request->process->vdev->again;

	again->hungry += (uint32_t)is_hungry - request->is_hungry;
	request->is_hungry = is_hungry;
}

void vdev_again_over(struct vdev_request *request)
{
	set_hungry(request, false);
	request->failed_ns = 0;
}

static uint64_t back_off_ns(const struct vdev_request *request, uint64_t now_ns)
{
	const uint64_t since_ns = now_ns - request->failed_ns;

	if (since_ns < AGAIN_MIN_NS)
		return AGAIN_MIN_NS;
	return since_ns < AGAIN_MAX_NS ? since_ns : AGAIN_MAX_NS;
}

/* ---- stopped ---- */

static void set_stopped(struct vdev *vdev, int error)
{
	vdev->again.error = error;
	vdev_limited(vdev);
}

bool vdev_again_wants(struct vdev_request *request)
{
	return request->process->vdev->again.error && may_wait(request);
}

bool vdev_again_holds(struct vdev_request *request, bool is_past_limits)
{
	struct vdev_again *again = &request->process->vdev->again;

	if (!vdev_again_wants(request))
		return false;
	if (!request->told)
		vdev_device_arrive(request, request->arrival_ns);
	line_append(is_past_limits ? &again->passed : &again->fresh, request);
	return true;
}

/* ---- later ---- */

static struct loop *loop_of(const struct vdev *vdev)
{
	return vdev->gate->loop;
}

static void wake_at(struct vdev *vdev, uint64_t due_ns)
{
	struct vdev_again *again = &vdev->again;

	if (again->error || due_ns >= again->wake_ns)
		return;
	again->wake_ns = due_ns;
	loop_timer_set(loop_of(vdev), &again->timer, due_ns);
}

static void put_later(struct vdev_request *request, uint64_t due_ns)
{
	struct vdev *vdev = request->process->vdev;

	request->halt.due_ns = due_ns;
	line_insert(&vdev->again.later, request);
	wake_at(vdev, due_ns);
}

static void again_one(struct vdev_request *request)
{
	stats_add(&request->process->vdev->unpromised->stats->retries, 1);
	vdev_slow_begin(request);
}

/* Those that are due, if 'all' or not. */
static void again_later(struct vdev *vdev, bool all, uint64_t now_ns)
{
	struct vdev_line later = line_take_all(&vdev->again.later);
	struct vdev_request *request;

	vdev->again.wake_ns = UINT64_MAX;
	while ((request = line_take(&later)) != NULL)
		if (vdev->again.error ||
		    (!all && request->halt.due_ns > now_ns))
			put_later(request, request->halt.due_ns);
		else
			again_one(request);
}

static void expired(struct loop_timer *timer, uint64_t now_ns)
{
	again_later(container_of(timer, struct vdev, again.timer), false,
		    now_ns);
}

/* ---- an error ---- */

static bool waits_for_space(const struct vdev *vdev, int result)
{
	return vdev->again.on_error == ON_ERROR_STOP && result == -ENOSPC;
}

/* False: it has been tried for as long as it is to be. */
static bool decide(struct vdev *vdev, struct vdev_request *request,
		   uint64_t now_ns)
{
	const int result = request->block.result;
	const uint64_t wait_ns = back_off_ns(request, now_ns);
	const bool is_hungry = waits_for_space(vdev, result);

	if (vdev->again.on_error == ON_ERROR_RETRY &&
	    now_ns + wait_ns - request->failed_ns > ON_ERROR_RETRY_NS)
		return false;
	set_hungry(request, is_hungry);
	if (!request->told)
		vdev_device_arrive(request, request->arrival_ns);
	if (is_hungry || vdev->again.on_error == ON_ERROR_RETRY) {
		put_later(request, now_ns + wait_ns);
		return true;
	}
	line_insert(&vdev->again.failed, request);
	if (!vdev->again.error)
		set_stopped(vdev, -result);
	return true;
}

bool vdev_again_takes(struct vdev_request *request)
{
	struct vdev *vdev = request->process->vdev;
	const uint64_t now_ns = loop_clock_ns();

	if (!is_trouble(request->block.result))
		return false;
	if (request->block.result != -ENOSPC)
		stats_add(&vdev->unpromised->stats->device_errors, 1);
	if (vdev->again.on_error == ON_ERROR_REPORT ||
	    request->block.op == BLOCK_FLUSH || !may_wait(request))
		return false;
	if (!request->failed_ns)
		request->failed_ns = now_ns;
	return decide(vdev, request, now_ns);
}

/* ---- it goes on ---- */

void vdev_resume(struct vdev *vdev)
{
	struct vdev_again *again = &vdev->again;
	const uint64_t now_ns = loop_clock_ns();
	struct vdev_request *request;

	if (again->error) {
		set_stopped(vdev, 0);
		while (!again->error && (request = line_take(&again->failed)))
			again_one(request);
		while (!again->error && (request = line_take(&again->passed)))
			if (!vdev_device_refuses(request))
				vdev_gate_passed(request, now_ns);
		while (!again->error && (request = line_take(&again->fresh)))
			if (!vdev_device_refuses(request))
				vdev_gate_submit(request, now_ns);
	}
	if (!again->error && again->later.first)
		again_later(vdev, true, now_ns);
}

void vdev_set_on_error(struct vdev *vdev, enum on_error on_error)
{
	if (vdev->again.on_error == on_error)
		return;
	vdev->again.on_error = on_error;
	vdev_resume(vdev);
}

void vdev_halt(const struct vdev *vdev, struct vdev_halt *ret_halt)
{
	*ret_halt = (struct vdev_halt){
		.error = vdev->again.error,
		.is_stopped = vdev->again.error != 0,
		.waits_for_space = vdev->again.hungry > 0,
	};
}

bool vdev_halts(const struct vdev *vdev)
{
	const struct vdev_again *again = &vdev->again;

	return again->failed.first || again->passed.first ||
		again->fresh.first || again->later.first;
}

/* ---- owners and processes ---- */

/* Those of 'owner' leave 'line'. */
static struct vdev_line leave(struct vdev_line *line, const void *owner)
{
	struct vdev_line all = line_take_all(line), left = {0};
	struct vdev_request *request;

	while ((request = line_take(&all)) != NULL)
		line_append(request->owner == owner ? &left : line, request);
	return left;
}

static struct vdev_line *line_of(struct vdev_again *again, unsigned int index)
{
	struct vdev_line *const lines[VDEV_LINES] = {
		&again->failed,
		&again->later,
		&again->passed,
		&again->fresh,
	};

	return lines[index];
}

void vdev_take_halted(struct vdev *vdev, const void *owner,
		      void (*taken)(struct vdev_request *request),
		      uint64_t now_ns)
{
	struct vdev_request *request;

	for (unsigned int i = 0; i < VDEV_LINES; i++) {
		struct vdev_line left = leave(line_of(&vdev->again, i), owner);

		while ((request = line_take(&left)) != NULL) {
			vdev_again_over(request);
			vdev_uncount(request, now_ns);
			taken(request);
		}
	}
}

void vdev_again_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns)
{
	struct vdev_again *again = &vdev->again;
	struct vdev_line failed = leave(&again->failed, owner);
	struct vdev_line later = leave(&again->later, owner);
	struct vdev_line passed = leave(&again->passed, owner);
	struct vdev_line fresh = leave(&again->fresh, owner);
	struct vdev_request *request;

	while ((request = line_take(&failed)) || (request = line_take(&later)))
		vdev_device_give_up(request);
	while ((request = line_take(&passed)) != NULL)
		if (!vdev_device_refuses(request))
			vdev_gate_passed(request, now_ns);
	while ((request = line_take(&fresh)) != NULL)
		if (!vdev_device_refuses(request))
			vdev_gate_submit(request, now_ns);
}

void vdev_again_hand_over(struct vdev *vdev, const struct vdev_process *process,
			  struct vdev_process *to, uint64_t now_ns)
{
	for (unsigned int i = 0; i < VDEV_LINES; i++)
		for (struct vdev_request *r = line_of(&vdev->again, i)->first;
		     r; r = r->halt.next) {
			if (r->process != process)
				continue;
			vdev_uncount(r, now_ns);
			r->process = to;
			to->outstanding++;
			vdev_device_arrive(r, now_ns);
		}
}

/* ---- life ---- */

int vdev_again_init(struct vdev *vdev)
{
	vdev->again.wake_ns = UINT64_MAX;
	return loop_timer_init(loop_of(vdev), &vdev->again.timer, expired);
}

void vdev_again_finish(struct vdev *vdev)
{
	loop_timer_finish(loop_of(vdev), &vdev->again.timer);
}
