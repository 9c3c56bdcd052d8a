/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-device.c - a device on its way into its endpoint
 *
 *   open -> wait for the lock -> device-add -> (never measured: measure.c)
 *   -> ready
 *
 * The lock (flock on a fresh open description) is what tells a dead
 * predecessor's last writes from ours: the kernel keeps it until the last
 * request of a killed process has landed, so nothing is served before it is
 * had.  It is passed on with the descriptor, and our copy is closed: from
 * then on only the endpoint holds it.
 */
#include "host/host-data.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/container.h"
#include "base/units.h"
#include "ctl/ctl.h"
#include "host/endpoint.h"

#define MS			UINT64_C(1000000)
#define LOCK_RETRY_NS		(20U * MS)
#define LOCK_RETRY_SLOW_NS	(500U * MS)
#define LOCK_PATIENCE_NS	(5000U * MS)
#define OPEN_RETRY_NS		(5000U * MS)

static void device_added(struct bind_op *op, struct link_reply *reply);

/* --- Complaints ---------------------------------------------------------- */

/* It can't be used now; tried again after 'retry_ns' (0: not by itself). */
static void device_failed(struct reg_device *device, const char *text,
			  uint64_t retry_ns)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
	device->is_busy = false;
	device->state = REG_DEVICE_FAILED;
	error_set(&device->error, -EIO, "%s", text);
	if (strcmp(device->told.text, text)) {
		events_add(host->events, "device-failed", &subject,
			   "device %s: %s", device->name, text);
		error_set(&device->told, -EIO, "%s", text);
	}
	if (retry_ns)
		loop_timer_set(host->loop, &device->retry,
			       loop_clock_ns() + retry_ns);
	bind_touch(host);
}

/* --- Opening ------------------------------------------------------------- */

/* Open as the configuration says, without the page cache where possible. */
static int open_path(struct reg_device *device, int *ret_fd)
{
	const struct config_device *config = device->config;
	int flags = O_CLOEXEC | (config->read_only ? O_RDONLY : O_RDWR);
	int fd = open(config->path, flags | O_DIRECT);

	if (fd < 0 && errno == EINVAL)
		fd = open(config->path, flags);
	if (fd < 0 && errno == ENOENT && config->size_bytes &&
	    !config->read_only) {
		fd = open(config->path, flags | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)config->size_bytes) < 0) {
			int ret = -errno;

			close(fd);
			unlink(config->path);
			return ret;
		}
		close(fd);
		device->is_blank = true;
		return open_path(device, ret_fd);
	}
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Is there as much behind it as it is to have? */
static int check_size(struct reg_device *device, int fd, struct error *reterr)
{
	const struct config_device *config = device->config;
	char has[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX];
	uint64_t size_bytes = 0;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set(reterr, -errno, "%s: %s", config->path,
				 strerror(errno));
	if (S_ISREG(status.st_mode))
		size_bytes = (uint64_t)status.st_size;
	else if (!S_ISBLK(status.st_mode))
		return error_set(reterr, -EINVAL,
				 "%s is neither a file nor a block device",
				 config->path);
	else if (ioctl(fd, BLKGETSIZE64, &size_bytes) < 0)
		return error_set(reterr, -errno, "%s: %s", config->path,
				 strerror(errno));
	if (size_bytes < config->size_bytes)
		return error_set(
			reterr, -ENOSPC, "%s has %s, not the %s configured",
			config->path,
			units_format_size(has, sizeof(has), size_bytes),
			units_format_size(wanted, sizeof(wanted),
					  config->size_bytes));
	device->size_bytes = config->size_bytes ? config->size_bytes :
						  size_bytes / 512 * 512;
	if (device->size_bytes == 0)
		return error_set(reterr, -ENOSPC,
				 "%s is empty and no size is configured",
				 config->path);
	return 0;
}

/* The memory of a device is ours too, so that it outlives the endpoint. */
static int open_memory(struct reg_device *device, int *ret_fd)
{
	int fd, ret;

	if (device->memory_fd < 0) {
		fd = memfd_create(device->name,
				  MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)device->size_bytes) < 0 ||
		    fcntl(fd, F_ADD_SEALS,
			  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
			ret = -errno;
			close(fd);
			return ret;
		}
		device->memory_fd = fd;
		device->is_blank = true;
	}
	fd = fcntl(device->memory_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* --- Adding -------------------------------------------------------------- */

static json_t *model_json(const struct block_model *model)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "servers", (json_int_t)model->servers,
			 "read_median_ns", (json_int_t)model->read_median_ns,
			 "write_median_ns", (json_int_t)model->write_median_ns,
			 "per_kib_ns", (json_int_t)model->per_kib_ns,
			 "sigma_milli", (json_int_t)model->sigma_milli, "seed",
			 (json_int_t)model->seed, "error_ppm",
			 (json_int_t)model->error_ppm, "stall_every_ns",
			 (json_int_t)model->stall_every_ns, "stall_ns",
			 (json_int_t)model->stall_ns);
}

static int take_slot(struct reg_device *device)
{
	struct reg_endpoint *endpoint = device->endpoint;
	struct stats_segment *stats = endpoint_stats(endpoint->process);
	uint64_t free_bits = ~endpoint->device_slots_taken;

	if (device->slot >= 0)
		return 0;
	if (free_bits == 0)
		return -ENOSPC;
	device->slot = __builtin_ctzll(free_bits);
	endpoint->device_slots_taken |= UINT64_C(1) << device->slot;
	memset(&stats->devices[device->slot], 0,
	       sizeof(stats->devices[device->slot]));
	return 0;
}

/* Everything is at hand: hand it over ('fd' too, -1: none). */
static void device_add(struct reg_device *device, int fd)
{
	struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = device_added,
	};
	json_t *message;

	if (take_slot(device) < 0) {
		if (fd >= 0)
			close(fd);
		device_failed(device, "the endpoint has too many devices", 0);
		return;
	}
	message = json_pack("{s:s, s:s, s:s, s:I, s:b, s:i}", "op",
			    "device-add", "name", device->config->name, "kind",
			    device->config->kind, "size_bytes",
			    (json_int_t)device->size_bytes, "read_only",
			    device->config->read_only, "slot", device->slot);
	if (strcmp(device->config->kind, "file") != 0)
		json_object_set_new(message, "model",
				    model_json(&device->config->model));
	if (device->has_capacity)
		json_object_set_new(message, "capacity",
				    ctl_from_capacity(&device->capacity));
	bind_ask(&op, message, fd);
}

/* Had at once, or asked for again until it is. */
static void device_lock(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	uint64_t now_ns = loop_clock_ns();
	uint64_t retry_ns = LOCK_RETRY_NS;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	int fd = device->fd;

	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		device->fd = -1;
		device_add(device, fd);
		return;
	}
	if (errno != EWOULDBLOCK && errno != EINTR) {
		device_failed(device, strerror(errno), OPEN_RETRY_NS);
		return;
	}
	if (now_ns - device->opened_ns > LOCK_PATIENCE_NS) {
		retry_ns = LOCK_RETRY_SLOW_NS;
		error_set(&device->error, -EBUSY,
			  "%s is locked by another program: end it",
			  device->config->path);
		if (strcmp(device->told.text, device->error.text)) {
			events_add(host->events, "device-failed", &subject,
				   "device %s: %s", device->name,
				   device->error.text);
			device->told = device->error;
			bind_touch(host);
		}
	}
	loop_timer_set(host->loop, &device->retry, now_ns + retry_ns);
}

void bind_device_start(struct reg_device *device)
{
	const char *kind = device->config->kind;
	struct error why;
	int fd = -1, ret = 0;

	if (device->is_added || device->is_busy ||
	    !device->endpoint->is_connected)
		return;
	loop_timer_cancel(device->endpoint->host->loop, &device->retry);
	device->is_busy = true;
	device->state = REG_DEVICE_WAITING;
	if (strcmp(kind, "file") == 0) {
		ret = open_path(device, &fd);
		if (ret < 0)
			error_set(&why, ret, "%s: %s", device->config->path,
				  strerror(-ret));
		else
			ret = check_size(device, fd, &why);
	} else if (strcmp(kind, "memory") == 0) {
		ret = open_memory(device, &fd);
		if (ret < 0)
			error_set(&why, ret, "no memory for it: %s",
				  strerror(-ret));
	} else {
		device->is_blank = true;
	}
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		device_failed(device, why.text, OPEN_RETRY_NS);
		return;
	}
	if (strcmp(kind, "file")) {
		device_add(device, fd);
		return;
	}
	device->fd = fd;
	device->opened_ns = loop_clock_ns();
	device_lock(device);
}

static void retry_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct reg_device *device =
		container_of(timer, struct reg_device, retry);

	(void)now_ns;
	if (device->fd >= 0)
		device_lock(device);
	else if (device->is_added && device->state == REG_DEVICE_FAILED)
		bind_calibrate_first(device);
	else
		bind_device_start(device);
}

static void device_added(struct bind_op *op, struct link_reply *reply)
{
	struct reg_device *device = op->device;

	if (reply->result == -ECONNRESET)
		return;		/* begins anew when the endpoint is back */
	device->is_busy = false;
	if (reply->result < 0) {
		device_failed(device, reply->text, OPEN_RETRY_NS);
		return;
	}
	device->is_added = true;
	device->error.text[0] = '\0';
	device->told.text[0] = '\0';
	if (device->has_capacity)
		device->endpoint->host->bind.device_ready(device);
	else
		bind_calibrate_first(device);
}

void bind_device_measured(struct reg_device *device, int result,
			  const char *text)
{
	if (device->state != REG_DEVICE_CALIBRATING)
		return;
	if (result < 0)
		device_failed(device, text, OPEN_RETRY_NS);
	else
		device->endpoint->host->bind.device_ready(device);
}

/* --- Life ---------------------------------------------------------------- */

int bind_device_init(struct reg_device *device)
{
	return loop_timer_init(device->endpoint->host->loop, &device->retry,
			       retry_expired);
}

void bind_device_reset(struct reg_device *device)
{
	loop_timer_cancel(device->endpoint->host->loop, &device->retry);
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
	device->is_added = false;
	device->is_busy = false;
	if (device->state != REG_DEVICE_FAILED)
		device->state = REG_DEVICE_WAITING;
}

void bind_device_finish(struct reg_device *device)
{
	bind_device_reset(device);
	loop_timer_finish(device->endpoint->host->loop, &device->retry);
	if (device->memory_fd >= 0)
		close(device->memory_fd);
	device->memory_fd = -1;
}
