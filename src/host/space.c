/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.c - space that vdevs gave back: emptied, and only then free
 *
 * The next to have it is somebody else.  So, in this order, each step only
 * after the one before it has succeeded:
 *
 *   on disk as given back (by the verb, together with what it changes there)
 *   -> the endpoint says that no vdev of its has it any more
 *   -> emptied, and the emptiness is on disk
 *   -> forgotten on disk -> free
 *
 * Whatever fails, and wherever we die, the space stays taken; it is begun
 * anew, at the first step, by the tick, when its device is there.  Doing any
 * step twice does no harm: nobody has the space meanwhile.
 */
#include "host/host-data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "host/errand.h"
#include "host/records.h"

#define RETRY_NS UINT64_C(30000000000)
#define CHUNK_BYTES (UINT64_C(1) << 20)
#define PIECE_BYTES (UINT64_C(1) << 30)

/* One attempt. */
struct emptying {
	struct store_write write;
	struct host *host;
	struct reg_space *space;
	struct errand *errand; /* emptying the file; else NULL */
};

/* What its thread does, which may outlive the attempt. */
struct wiping {
	struct emptying *emptying; /* the loop's only */
	struct extent range;
	int fd; /* -1: to be opened */
	struct identity recorded, served;
	int result; /* 0, or -errno with a reason */
	struct error why;
};

/* --- How it ends --------------------------------------------------------- */

static void answer(struct reg_space *space, enum host_result result,
		   const char *text)
{
	struct host_call *call = space->call;

	space->call = NULL;
	host_answer(call, result, NULL, "%s", text);
}

/* Not yet: it stays taken. */
static void put_off(struct host *host, struct reg_space *space, const char *why)
{
	struct event_subject subject = {
		.vdev = space->vdev,
		.device = space->device->name,
	};
	struct error text;

	space->is_busy = false;
	space->retry_ns = loop_clock_ns() + RETRY_NS;
	error_set(
		&text, -EAGAIN,
		"the space that vdev '%s' gave back on %s is not emptied: %s; it stays taken and is tried again",
		space->vdev, space->device->name, why);
	if (strcmp(space->told.text, text.text))
		events_add(host->events, "error", &subject, "%s", text.text);
	space->told = text;
	answer(space, HOST_FAILED, text.text);
}

static void failed(struct emptying *emptying, const char *why)
{
	put_off(emptying->host, emptying->space, why);
	free(emptying);
}

/* The endpoint, or we, went away meanwhile: begun anew when it is back. */
static void interrupted(struct emptying *emptying)
{
	emptying->space->is_busy = false;
	emptying->space->retry_ns = 0;
	free(emptying);
}

/* --- Forgotten ----------------------------------------------------------- */

static void space_forgotten(struct store_write *write)
{
	struct emptying *emptying = container_of(write, struct emptying, write);
	struct reg_space *space = emptying->space;
	struct reg_device *device = space->device;
	struct host *host = emptying->host;
	struct host_call *call = space->call;

	if (write->result < 0) {
		failed(emptying, write->error.text);
		return;
	}
	registry_space_free(host->registry, space);
	free(emptying);
	if (!host->is_stopping)
		host->bind.space_freed(device);
	host_answer(call, HOST_DONE, NULL, "%s", "");
}

static void forget(struct emptying *emptying)
{
	const struct reg_space *space = emptying->space;

	/* While we end, the store may have gone before us. */
	if (emptying->host->is_stopping) {
		interrupted(emptying);
		return;
	}
	store_write_init(&emptying->write, space_forgotten);
	if (records_forget_space(&emptying->write, space->device->name,
				 &space->range) < 0)
		failed(emptying, "out of memory");
	else
		store_write_start(emptying->host->store, &emptying->write);
}

/* --- Emptied ------------------------------------------------------------- */

/* Where neither holes nor ranges of zeros can be made. */
static int write_zeros(int fd, uint64_t offset_bytes, uint64_t size_bytes,
		       struct errand *errand)
{
	void *zeros = calloc(1, CHUNK_BYTES);
	int ret = zeros ? 0 : -ENOMEM;

	while (ret == 0 && size_bytes > 0) {
		size_t chunk_bytes =
			size_bytes < CHUNK_BYTES ? size_bytes : CHUNK_BYTES;
		ssize_t done;

		if (errand_is_abandoned(errand)) {
			ret = -ECANCELED;
			break;
		}
		done = pwrite(fd, zeros, chunk_bytes, (off_t)offset_bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			ret = done < 0 ? -errno : -EIO;
			break;
		}
		offset_bytes += (uint64_t)done;
		size_bytes -= (uint64_t)done;
	}
	free(zeros);
	return ret;
}

/* It must be the file in which the vdev's data lie, and that no endpoint has
 * exchanged for another: whatever else lies at the path is somebody else's. */
static int open_own(struct wiping *wiping)
{
	const char *path = wiping->served.path;
	struct identity now;
	int ret;

	if (wiping->fd >= 0)
		return 0;
	wiping->fd = open(path, O_RDWR | O_CLOEXEC);
	if (wiping->fd < 0)
		return error_set(&wiping->why, -errno, "%s: %s", path,
				 strerror(errno));
	ret = identity_read(&now, path, wiping->fd);
	if (ret < 0)
		return error_set(&wiping->why, ret, "%s: %s", path,
				 strerror(-ret));
	if (!identity_is_same(&wiping->served, &now))
		return error_set(
			&wiping->why, -ESTALE,
			"%s is another file now than the one that is served: put that back, or, if this is a copy of it, end penstockd (and its endpoints), start it again and accept this one ('penstock device accept')",
			path);
	if (!identity_is_recorded(&wiping->recorded, &now))
		return error_set(
			&wiping->why, -ESTALE,
			"it lies in another file than %s is now (it was %s): put that back, or accept this one ('penstock device accept')",
			path,
			*wiping->recorded.path ? wiping->recorded.path :
						 "no file");
	return 0;
}

/* A piece at a time: somebody may want to end meanwhile. */
static int empty_file(const struct wiping *wiping, struct errand *errand)
{
	uint64_t offset_bytes = wiping->range.offset_bytes;
	uint64_t left_bytes = wiping->range.size_bytes;
	int ret = 0;

	while (ret == 0 && left_bytes > 0) {
		uint64_t piece_bytes =
			left_bytes < PIECE_BYTES ? left_bytes : PIECE_BYTES;
		off_t offset = (off_t)offset_bytes, size = (off_t)piece_bytes;

		if (errand_is_abandoned(errand))
			return -ECANCELED;
		if (fallocate(wiping->fd,
			      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      offset, size) < 0 &&
		    fallocate(wiping->fd,
			      FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			      offset, size) < 0)
			ret = write_zeros(wiping->fd, offset_bytes, piece_bytes,
					  errand);
		offset_bytes += piece_bytes;
		left_bytes -= piece_bytes;
	}
	if (ret == 0 && fdatasync(wiping->fd) < 0)
		ret = -errno;
	return ret;
}

static void wiping_run(void *arg, struct errand *errand)
{
	struct wiping *wiping = arg;

	wiping->result = open_own(wiping);
	if (wiping->result == 0) {
		wiping->result = empty_file(wiping, errand);
		if (wiping->result < 0)
			error_set(&wiping->why, wiping->result, "%s",
				  strerror(-wiping->result));
	}
}

static void wiping_free(void *arg)
{
	struct wiping *wiping = arg;

	if (wiping->fd >= 0)
		close(wiping->fd);
	free(wiping);
}

static void wiping_done(void *arg)
{
	struct wiping *wiping = arg;
	struct emptying *emptying = wiping->emptying;
	struct host *host = emptying->host;

	emptying->space->device->emptying = NULL;
	if (wiping->result < 0)
		failed(emptying, wiping->why.text);
	else
		forget(emptying);
	space_retry(host); /* others of the device may wait for it */
}

/* 'fd' (-1: none) is taken over.  Returns 0 or -errno. */
static int wipe(struct emptying *emptying, int fd)
{
	struct reg_device *device = emptying->space->device;
	struct wiping *wiping = calloc(1, sizeof(*wiping));
	const struct errand_config config = {
		.loop = emptying->host->loop,
		.run = wiping_run,
		.done = wiping_done,
		.free = wiping_free,
		.arg = wiping,
	};
	int ret;

	if (!wiping) {
		if (fd >= 0)
			close(fd);
		return -ENOMEM;
	}
	wiping->emptying = emptying;
	wiping->fd = fd;
	wiping->recorded = emptying->space->file;
	wiping->served = device->file;
	wiping->range = emptying->space->range;
	if (wiping->range.offset_bytes >= device->size_bytes)
		wiping->range.size_bytes = 0;
	else if (wiping->range.size_bytes >
		 device->size_bytes - wiping->range.offset_bytes)
		wiping->range.size_bytes =
			device->size_bytes - wiping->range.offset_bytes;
	ret = errand_start(&config, &emptying->errand);
	if (ret < 0)
		wiping_free(wiping);
	else
		device->emptying = emptying;
	return ret;
}

/* Nobody has it: empty it, on a thread; one at a time of each device. */
static void empty(struct emptying *emptying)
{
	struct reg_device *device = emptying->space->device;
	const struct extent *range = &emptying->space->range;
	const struct identity *file = &emptying->space->file;
	const char *path = device->config->path;
	bool is_elsewhere = strcmp(file->path, path ? path : "") != 0;
	struct error why;
	int fd = -1, ret = 0;

	/* Data that we may not write are whoever's who made the file; and
	 * some devices have none. */
	if (!is_elsewhere &&
	    (device->config->read_only ||
	     range->offset_bytes >= device->size_bytes ||
	     (!path && device->memory_fd < 0))) {
		forget(emptying);
		return;
	}
	if (is_elsewhere && (!path || device->config->read_only)) {
		error_set(
			&why, -ESTALE,
			"it lies in %s, which the device is not any more: put that back, or accept what it is now ('penstock device accept')",
			file->path[0] ? file->path : "no file");
		failed(emptying, why.text);
		return;
	}
	if (device->emptying) {
		interrupted(emptying);
		return;
	}
	if (!path) {
		fd = fcntl(device->memory_fd, F_DUPFD_CLOEXEC, 0);
		ret = fd < 0 ? -errno : 0;
	}
	if (ret == 0)
		ret = wipe(emptying, fd);
	if (ret < 0)
		failed(emptying, strerror(-ret));
}

/* --- Does the endpoint still have it? ------------------------------------ */

static uint64_t number_of(const json_t *item, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(item, key));

	return value > 0 ? (uint64_t)value : 0;
}

static const char *text_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text ? text : "";
}

/* The name of a vdev of 'list' that has some of it, or NULL. */
static const char *holder(const struct reg_space *space, const json_t *list)
{
	uint64_t start_bytes = space->range.offset_bytes;
	uint64_t end_bytes = start_bytes + space->range.size_bytes;
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(list, "vdevs"), i, item)
	{
		uint64_t offset_bytes = number_of(item, "offset_bytes");

		if (strcmp(text_of(item, "device"),
			   space->device->config->name) == 0 &&
		    offset_bytes < end_bytes &&
		    start_bytes < offset_bytes + number_of(item, "size_bytes"))
			return text_of(item, "name");
	}
	return NULL;
}

static void list_answered(struct bind_op *op, struct link_reply *reply);

static void ask_list(struct emptying *emptying, json_int_t from)
{
	struct bind_op op = {
		.endpoint = emptying->space->device->endpoint,
		.arg = emptying,
		.then = list_answered,
	};

	bind_ask(&op, json_pack("{s:s, s:I}", "op", "list", "from", from), -1);
}

static void list_answered(struct bind_op *op, struct link_reply *reply)
{
	struct emptying *emptying = op->arg;
	const char *vdev;
	json_t *next;
	struct error why;

	if (reply->result == -ECONNRESET) {
		interrupted(emptying);
		return;
	}
	if (reply->result < 0) {
		failed(emptying, reply->text);
		return;
	}
	vdev = holder(emptying->space, reply->reply);
	next = json_object_get(reply->reply, "next");
	if (vdev) {
		error_set(&why, -EBUSY, "endpoint %s still has vdev '%s' there",
			  op->endpoint->name, vdev);
		failed(emptying, why.text);
	} else if (next) {
		ask_list(emptying, json_integer_value(next));
	} else {
		empty(emptying);
	}
}

static void resized_again(struct bind_op *op, struct link_reply *reply)
{
	(void)reply; /* what it has now is asked for */
	ask_list(op->arg, 0);
}

/* If it was cut off, is the endpoint told?  It was, unless somebody was in
 * the way then. */
static void ask(struct emptying *emptying)
{
	struct reg_space *space = emptying->space;
	struct reg_vdev *vdev =
		registry_vdev(emptying->host->registry, space->vdev);
	struct bind_op op = {
		.endpoint = space->device->endpoint,
		.arg = emptying,
		.then = resized_again,
	};

	if (!vdev || !vdev->is_added || vdev->pool->device != space->device) {
		ask_list(emptying, 0);
		return;
	}
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:I}", "op", "vdev-resize", "name",
			   vdev->name, "size_bytes",
			   (json_int_t)vdev->size_bytes),
		 -1);
}

/* --- When ---------------------------------------------------------------- */

static bool can_be_emptied(const struct reg_device *device)
{
	return device->endpoint->is_connected &&
		device->state == REG_DEVICE_READY &&
		(strcmp(device->config->kind, "memory") != 0 ||
		 device->memory_fd >= 0);
}

static void try(struct host *host, struct reg_space *space)
{
	struct reg_device *device = space->device;
	struct emptying *emptying;
	struct error why;

	if (space->is_busy || host->is_stopping)
		return;
	if (!can_be_emptied(device)) {
		/* Its endpoint may be on its way back; a device that failed
		 * is not waited for. */
		space->retry_ns = 0;
		if (device->state != REG_DEVICE_FAILED || !space->call)
			return;
		error_set(
			&why, -EAGAIN,
			"vdev '%s' is gone; its space is emptied when device %s is back (%s)",
			space->vdev, device->name, device->error.text);
		answer(space, HOST_FAILED, why.text);
		return;
	}
	space->is_busy = true;
	emptying = calloc(1, sizeof(*emptying));
	if (!emptying) {
		put_off(host, space, "out of memory");
		return;
	}
	emptying->host = host;
	emptying->space = space;
	ask(emptying);
}

void space_give_back(struct host *host, struct reg_space *space,
		     struct host_call *call)
{
	registry_space_add(host->registry, space);
	space->call = call;
	try(host, space);
}

void space_again(struct host *host, struct reg_space *space,
		 struct host_call *call)
{
	if (space->call) {
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s' is being deleted", space->vdev);
		return;
	}
	space->call = call;
	try(host, space);
}

void space_retry(struct host *host)
{
	uint64_t now_ns = loop_clock_ns();
	struct reg_space *space, *next;

	for (space = host->registry->spaces; space; space = next) {
		next = space->next;
		if (now_ns >= space->retry_ns)
			try(host, space);
	}
}

void space_finish(struct host *host)
{
	struct emptying *emptying;
	struct reg_space *space;

	for (space = host->registry->spaces; space; space = space->next) {
		emptying = space->device->emptying;
		if (emptying) {
			space->device->emptying = NULL;
			errand_abandon(emptying->errand);
			interrupted(emptying);
		}
		answer(space, HOST_FAILED,
		       "penstockd ends; it goes on with it when it starts");
	}
}
