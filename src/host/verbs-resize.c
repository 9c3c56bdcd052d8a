/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-resize.c - what is asked for at run time: a vdev's size
 *
 * It is written down, then told to the endpoint, which makes the volume so
 * long.  An endpoint that says no has the old size written down again.
 */
#include "host/verbs-vdev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "base/units.h"
#include "host/endpoint.h"
#include "host/records.h"

#define SHARE_RETRY_NS UINT64_C(30000000000)

/* The records of the size that it has now. */
static int put_resize(struct vdev_write *op)
{
	const struct reg_vdev *vdev = op->vdev;
	int ret = records_put_volume(&op->write, vdev,
				     vdev->is_made ? "there" : "making");

	/* Nobody has chosen the size of an equal share. */
	return ret < 0 || op->is_share ?
		ret :
		records_put_vdev(&op->write, vdev,
				 vdev->is_runtime ? "created" : "resized");
}

static void resize_failed(struct vdev_write *op, const char *why)
{
	op->vdev->is_writing = false;
	host_answer(op->call, HOST_FAILED, NULL, "vdev '%s': %s",
		    op->vdev->name, why);
	free(op);
}

static void resize_taken_back(struct store_write *write)
{
	struct vdev_write *op = container_of(write, struct vdev_write, write);
	struct event_subject subject = {.vdev = op->vdev->name};

	if (write->result < 0)
		events_add(
			op->host->events, "error", &subject,
			"vdev '%s': its size is as it was, but that could not be written down: %s",
			op->vdev->name, write->error.text);
	resize_failed(op, op->why.text);
}

/* The endpoint says no: as if nobody had asked. */
static void resize_take_back(struct vdev_write *op, const char *why)
{
	struct event_subject subject = {.vdev = op->vdev->name};

	error_set(&op->why, -EIO, "%s", why);
	op->vdev->size_bytes = op->size_before_bytes;
	op->vdev->is_equal = op->was_equal;
	events_add(op->host->events, "error", &subject,
		   "vdev '%s' keeps its size: %s", op->vdev->name, why);
	store_write_init(&op->write, resize_taken_back);
	if (put_resize(op) < 0)
		resize_failed(op, why);
	else
		store_write_start(op->host->store, &op->write);
}

static void vdev_resized(struct bind_op *bind, struct link_reply *reply)
{
	struct vdev_write *op = bind->arg;
	struct event_subject subject = {.vdev = op->vdev->name};

	/* An endpoint that went away gets the new size when it is back. */
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		resize_take_back(op, reply->text);
		return;
	}
	op->vdev->is_writing = false;
	if (reply->result == 0 && op->vdev->volume_bytes)
		op->vdev->volume_bytes = op->vdev->size_bytes;
	events_add(op->host->events, "vdev-resized", &subject,
		   "vdev %s has a new size", op->vdev->name);
	host_answer(op->call, HOST_DONE, host_vdev(op->host, op->vdev->name),
		    "%s", "");
	free(op);
}

static void resize_written(struct store_write *write)
{
	struct vdev_write *op = container_of(write, struct vdev_write, write);
	struct reg_vdev *vdev = op->vdev;
	struct bind_op bind = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.arg = op,
		.then = vdev_resized,
	};
	struct link_reply nothing = {.fd = -1};

	if (write->result < 0) {
		vdev->size_bytes = op->size_before_bytes;
		vdev->is_equal = op->was_equal;
		resize_failed(op, write->error.text);
	} else if (!vdev->is_added) {
		vdev_resized(&bind, &nothing);
	} else {
		bind_ask(&bind,
			 json_pack("{s:s, s:s, s:I, s:b}", "op", "vdev-resize",
				   "name", vdev->name, "size_bytes",
				   (json_int_t)vdev->size_bytes, "only_empty",
				   op->only_empty),
			 -1);
	}
}

/* Is anybody there, by its own way in or by that of a process? */
static bool is_in_use(const struct host *host, const struct reg_vdev *vdev)
{
	return reg_vdev_sessions(host->registry, vdev) > 0 ||
		transfer_is_on(host, vdev);
}

/* May it be shorter without anybody losing anything?  As far as is known here:
 * the endpoint has the last word. */
static bool is_empty(const struct host *host, const struct reg_vdev *vdev)
{
	const struct stats_segment *stats =
		endpoint_stats(reg_vdev_endpoint(vdev)->process);

	return !is_in_use(host, vdev) && vdev->slot >= 0 &&
		stats_get(&stats->processes[vdev->slot].mapped) == 0;
}

/* Returns whether it was refused: a thick pool has not that much. */
static bool refuse_growth(struct host *host, const struct reg_vdev *vdev,
			  uint64_t wanted_bytes, struct host_call *call)
{
	const uint64_t has_bytes = reg_round(vdev->size_bytes);
	const uint64_t most_bytes = has_bytes +
		registry_unpromised(host->registry, vdev->pool, vdev->part);
	char wanted[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
	struct error text;

	if (!vdev->is_thick || wanted_bytes <= most_bytes)
		return false;
	error_set(
		&text, -ENOSPC,
		"vdev '%s' cannot grow to %s: with what is free in pool '%s' it could have %s",
		vdev->name,
		units_format_size(wanted, sizeof(wanted), wanted_bytes),
		reg_place_name(vdev),
		units_format_size(most, sizeof(most), most_bytes));
	verbs_refuse_space(host, vdev->pool, wanted_bytes, most_bytes,
			   text.text, call);
	return true;
}

/* 'is_share': it stays an equal one, and nobody loses anything by it. */
static void resize_start(struct host *host, struct reg_vdev *vdev,
			 uint64_t size_bytes, bool is_share, bool force,
			 struct host_call *call)
{
	struct vdev_write *op =
		verbs_write_new(host, vdev, call, resize_written);

	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->size_before_bytes = vdev->size_bytes;
	op->was_equal = vdev->is_equal;
	op->is_share = is_share;
	op->only_empty = !force;
	vdev->size_bytes = size_bytes;
	vdev->is_equal = is_share;	/* else somebody chose */
	vdev->is_writing = true;
	if (put_resize(op) < 0) {
		vdev->size_bytes = op->size_before_bytes;
		vdev->is_equal = op->was_equal;
		resize_failed(op, "out of memory");
		return;
	}
	store_write_start(host->store, &op->write);
}

void host_vdev_resize(struct host *host, const char *name, const char *size,
		      bool force, struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	uint64_t size_bytes = 0;
	struct error why;

	if (config_parse_size(size, &size_bytes, &why) < 0)
		host_answer(call, HOST_USAGE, NULL, "vdev '%s': %s", name,
			    why.text);
	else if (!vdev)
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
	else if (!vdev->is_journaled || vdev->is_writing ||
		 (vdev->is_added && !vdev->is_there) ||
		 vdev->state == REG_VDEV_REMOVING)
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' cannot be resized now", name);
	else if (vdev->of_uuid[0])
		host_answer(
			call, HOST_CONFLICT, NULL,
			"vdev '%s' is a snapshot: it has the size that '%s' had",
			name, vdev->of);
	else if (registry_snapshot_due(host->registry, vdev))
		host_answer(call, HOST_CONFLICT, NULL,
			    "a snapshot of vdev '%s' is being made", name);
	else if (size_bytes < vdev->size_bytes && is_in_use(host, vdev))
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' is in use: it can only grow", name);
	else if (size_bytes < vdev->size_bytes && !force &&
		 !is_empty(host, vdev))
		host_answer(
			call, HOST_CONFLICT, NULL,
			"vdev '%s' holds data, and would lose what lies beyond its new end: that takes --force",
			name);
	else if (!refuse_growth(host, vdev, size_bytes, call))
		resize_start(host, vdev, size_bytes, false, force, call);
}

/* --- Equal shares (E3) --------------------------------------------------- */

/* The share that it can have now; 0: it keeps what it has. */
static uint64_t share_bytes(const struct host *host,
			    const struct reg_vdev *vdev)
{
	const uint64_t has_bytes = reg_round(vdev->size_bytes);
	const uint64_t room_bytes =
		registry_unpromised(host->registry, vdev->pool, vdev->part);
	uint64_t share = registry_equal_size(host->registry, vdev);

	if (vdev->is_thick && share > has_bytes &&
	    share - has_bytes > room_bytes)
		share = has_bytes + room_bytes;
	if (share < vdev->size_bytes && !is_empty(host, vdev))
		return 0;
	return share == vdev->size_bytes ? 0 : share;
}

/* One at a time: what one gives up another has after that. */
static bool is_changing(const struct host *host, const struct reg_pool *pool)
{
	const struct reg_vdev *vdev = host->registry->vdevs;

	while (vdev && (vdev->pool != pool || !vdev->is_writing))
		vdev = vdev->next;
	return vdev != NULL;
}

void verbs_turn_over(struct host *host, uint64_t now_ns)
{
	for (struct reg_vdev *vdev = host->registry->vdevs; vdev;
	     vdev = vdev->next) {
		uint64_t share;

		if (!vdev->is_equal || !vdev->is_journaled || !vdev->is_there ||
		    vdev->is_resizing || vdev->state != REG_VDEV_SERVING ||
		    !reg_pool_is_ready(vdev->pool) ||
		    is_changing(host, vdev->pool))
			continue;
		share = share_bytes(host, vdev);
		if (share == 0 ||
		    (share == vdev->share_bytes &&
		     now_ns < vdev->share_retry_ns))
			continue;
		vdev->share_bytes = share;
		vdev->share_retry_ns = now_ns + SHARE_RETRY_NS;
		resize_start(host, vdev, share, true, false, NULL);
	}
}
