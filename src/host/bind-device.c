/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-device.c - a device on its way into its endpoint
 *
 *   open, lock (opening.c) -> device-add -> its pool (bind-pool.c)
 *   -> (never measured: measure.c) -> ready
 *   nbd: connect (dial.c) -> device-add -> ...
 *
 * Whatever fails is tried again, after a wait that doubles, or when its
 * endpoint is back.
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
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/dial.h"
#include "host/endpoint.h"
#include "host/opening.h"
#include "pool/format.h"

#define MS			UINT64_C(1000000)
#define OPENING_PATIENCE_NS	(5000U * MS)
#define RETRY_MIN_NS		(1000U * MS)
#define RETRY_MAX_NS		(60000U * MS)

static void device_added(struct bind_op *op, struct link_reply *reply);

/* --- Complaints ---------------------------------------------------------- */

void bind_device_complain(struct reg_device *device, const char *text)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	error_set(&device->error, -EIO, "%s", text);
	if (strcmp(device->told.text, text)) {
		events_add(host->events, "device-failed", &subject,
			   "device %s: %s", device->name, text);
		device->told = device->error;
	}
	if (device->pool && !device->is_member)
		bind_pool_settle(device->pool);
	bind_touch(host);
}

void bind_device_failed(struct reg_device *device, const char *fault,
			const char *text)
{
	device->is_busy = false;
	device->fault = fault;
	device->state = REG_DEVICE_FAILED;
	device->retry_ns =
		device->retry_ns ? device->retry_ns * 2 : RETRY_MIN_NS;
	if (device->retry_ns > RETRY_MAX_NS)
		device->retry_ns = RETRY_MAX_NS;
	loop_timer_set(device->endpoint->host->loop, &device->retry,
		       loop_clock_ns() + device->retry_ns);
	bind_device_complain(device, text);
	bind_find_settle(device->pool);
}

/* --- Opening ------------------------------------------------------------- */

/* The memory of a device is ours too, so that it outlives the endpoint. */
static int open_memory(struct reg_device *device, int *ret_fd)
{
	int fd, ret;

	if (device->memory_fd < 0) {
		fd = memfd_create(device->name,
				  MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)device->whole_bytes) < 0 ||
		    fcntl(fd, F_ADD_SEALS,
			  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
			ret = -errno;
			close(fd);
			return ret;
		}
		device->memory_fd = fd;
	}
	fd = fcntl(device->memory_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* --- Adding -------------------------------------------------------------- */

json_t *bind_device_model(const struct config_device *config)
{
	const struct block_model *model = &config->model;

	if (strcmp(config->kind, "file") == 0 || config->export || config->port)
		return NULL;
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

json_t *bind_device_export(const struct config_device *config)
{
	static const char *const unflushed[] = {
		[CONFIG_UNFLUSHED_LOST] = "lost",
		[CONFIG_UNFLUSHED_KEPT] = "kept",
		[CONFIG_UNFLUSHED_NONE] = "none",
	};
	const struct config_export *export = config->export;

	if (!export)
		return NULL;
	return json_pack("{s:s, s:I, s:s, s:i, s:b}", "name",
			 export->uri.export, "reconnect_ns",
			 (json_int_t) export->reconnect_ns, "unflushed",
			 unflushed[export->unflushed], "connections",
			 (int)export->connections, "tls", export->uri.tls);
}

/* The files of TLS as they are now, for one connection.  Returns false, and
 * why: they are no good. */
static bool read_tls(const struct reg_device *device, json_t **ret_tls,
		     struct error *reterr)
{
	const struct config_export *export = device->config->export;

	*ret_tls = NULL;
	if (!export || !export->uri.tls)
		return true;
	if (keys_texts(&export->tls, KEYS_CLIENT, ret_tls, reterr) < 0)
		return false;
	if (export->uri.host[0])
		json_object_set_new(*ret_tls, "host",
				    json_string(export->uri.host));
	return true;
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
	json_t *message, *tls;
	struct error why;

	if (!read_tls(device, &tls, &why)) {
		if (fd >= 0)
			close(fd);
		bind_device_failed(device, NULL, why.text);
		return;
	}
	if (take_slot(device) < 0) {
		json_decref(tls);
		if (fd >= 0)
			close(fd);
		bind_device_failed(device, NULL,
				   "the endpoint has too many devices");
		return;
	}
	message = json_pack(
		"{s:s, s:s, s:s, s:I, s:b, s:i, s:s*, s:o*, s:o*, s:o*, s:o*}",
		"op", "device-add", "name", device->config->name, "kind",
		device->config->kind, "size_bytes",
		(json_int_t)device->whole_bytes, "read_only",
		device->config->read_only, "slot", device->slot, "vdev",
		device->config->port ? device->config->port->vdev : NULL,
		"model", bind_device_model(device->config), "export",
		bind_device_export(device->config), "tls", tls, "file",
		identity_json(&device->file));
	if (device->has_capacity)
		json_object_set_new(message, "capacity",
				    ctl_from_capacity(&device->capacity));
	bind_ask(&op, message, fd);
}

static void open_failed(struct reg_device *device,
			const struct opening_result *result)
{
	struct error why = result->why;

	device->found_uuid[0] = '\0';
	device->is_right = false;
	if (result->result == -ENOENT && device->is_held)
		error_set(&why, -ENOENT,
			  "%s is not there, and it held data: put it back",
			  device->path);
	bind_device_failed(device, result->result == -ENOENT ? "missing" : NULL,
			   why.text);
}

static void file_opened(void *arg, const struct opening_result *result)
{
	struct reg_device *device = arg;

	device->opening = NULL;
	if (!device->is_busy) {
		/* Its endpoint died meanwhile: the next one asks again. */
		if (result->result == 0)
			close(result->fd);
		return;
	}
	loop_timer_cancel(device->endpoint->host->loop, &device->retry);
	if (result->result < 0) {
		open_failed(device, result);
		return;
	}
	if (!bind_find(device, result->uuid)) {
		close(result->fd);
		bind_find_settle(device->pool);
		return;
	}
	device->whole_bytes = result->size_bytes;
	device->is_zeroed = result->is_zeroed;
	device->file = result->file;
	bind_capacity_check(device);
	device_add(device, result->fd);
	bind_find_settle(device->pool);
}

/* On a thread of its own; one that is under way goes on. */
static int open_file(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	struct opening_config config = {
		.loop = host->loop,
		.path = device->path,
		.size_bytes = device->config->size_bytes,
		.read_only = device->config->read_only,
		.must_exist = device->is_held,
		.done = file_opened,
		.arg = device,
	};
	int ret = 0;

	if (device->is_recorded)
		strcpy(config.uuid, device->uuid);
	if (!device->opening)
		ret = opening_start(&config, &device->opening);
	if (ret == 0)
		loop_timer_set(host->loop, &device->retry,
			       loop_clock_ns() + OPENING_PATIENCE_NS);
	return ret;
}

/* It is still under way: say so, and wait on. */
static void open_expired(struct reg_device *device)
{
	const char *path = device->path;
	struct error why;

	switch (opening_phase(device->opening)) {
	case OPENING_OPENS:
		error_set(&why, -EBUSY,
			  "%s does not open: its storage does not answer",
			  path);
		break;
	case OPENING_LOCKS:
		error_set(&why, -EBUSY,
			  "%s is locked by another program: end it", path);
		break;
	}
	bind_device_complain(device, why.text);
	loop_timer_set(device->endpoint->host->loop, &device->retry,
		       loop_clock_ns() + OPENING_PATIENCE_NS);
}

/* --- Exports of other servers -------------------------------------------- */

/* For a device that its endpoint has; what it says to it is its own affair. */
static void pass_connection(struct reg_device *device, int fd)
{
	const struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = bind_ignore,
	};
	struct error why;
	json_t *tls;

	if (!read_tls(device, &tls, &why)) {
		close(fd);
		bind_device_complain(device, why.text);
		return;
	}
	device->error.text[0] = device->told.text[0] = '\0';
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:o*}", "op", "device-connect", "name",
			   device->config->name, "tls", tls),
		 fd);
}

static void dialled(void *arg, int fd, const struct error *why)
{
	struct reg_device *device = arg;
	struct error text;

	device->dial = NULL;
	if (!device->is_busy && !(device->is_added && fd >= 0)) {
		/* Its endpoint died meanwhile; or it asks again in a second. */
		if (fd >= 0)
			close(fd);
		else if (device->is_added)
			bind_device_complain(device, why->text);
		return;
	}
	if (!device->is_busy) {
		pass_connection(device, fd);
		return;
	}
	if (fd < 0) {
		error_set(&text, fd, "%s", why->text);
		bind_device_failed(device, "missing", text.text);
		return;
	}
	/* As large as the server says, unless it is configured. */
	device->whole_bytes = 0;	/* all that is exported */
	device->is_zeroed = false;
	device_add(device, fd);
}

static bool is_dialled(const struct reg_device *device)
{
	return device->config->export || device->config->port;
}

/* On a thread of its own; one that is under way goes on. */
static int dial(struct reg_device *device)
{
	const struct reg_vdev *vdev = ports_vdev(device);
	struct dial_config config = {
		.loop = device->endpoint->host->loop,
		.done = dialled,
		.arg = device,
	};

	if (device->config->export)
		config.uri = device->config->export->uri;
	else if (vdev && vdev->vhost_user)
		snprintf(config.uri.socket, sizeof(config.uri.socket), "%s",
			 vdev->vhost_user);
	else
		return -ENOENT;

	return device->dial ? 0 : dial_start(&config, &device->dial);
}

void bind_device_connect(struct reg_device *device)
{
	if (device && is_dialled(device) && device->is_added)
		(void)dial(device);	/* it asks again */
}

/* --- Ports --------------------------------------------------------------- */

/* It begins when its vdev says so (ports_tell); who waits long is told why. */
static bool is_port_reachable(struct reg_device *device)
{
	struct host *host = device->endpoint->host;
	struct error why;

	if (ports_is_reachable(device, &why)) {
		device->waits_since_ns = 0;
		(void)ports_promise(device);
		return true;
	}
	if (!device->waits_since_ns)
		device->waits_since_ns = loop_clock_ns();
	else if (loop_clock_ns() - device->waits_since_ns >=
		 OPENING_PATIENCE_NS)
		bind_device_complain(device, why.text);
	device->state = REG_DEVICE_WAITING;
	loop_timer_set(host->loop, &device->retry,
		       loop_clock_ns() + OPENING_PATIENCE_NS);
	return false;
}

/* --- Beginning ----------------------------------------------------------- */

void bind_device_start(struct reg_device *device)
{
	const char *kind = device->config->kind;
	int fd = -1, ret;

	if (device->is_busy || device->is_parting || device->is_gone ||
	    !device->endpoint->is_connected)
		return;
	if (device->is_added) {
		bind_pool_join(device);
		return;
	}
	if (device->config->port && !is_port_reachable(device))
		return;
	loop_timer_cancel(device->endpoint->host->loop, &device->retry);
	device->is_busy = true;
	device->state = REG_DEVICE_WAITING;
	if (strcmp(kind, "file") == 0) {
		ret = open_file(device);
		if (ret < 0)
			bind_device_failed(device, NULL, strerror(-ret));
		return;
	}
	if (is_dialled(device)) {
		ret = dial(device);
		if (ret < 0)
			bind_device_failed(device, NULL, strerror(-ret));
		return;
	}
	device->is_zeroed = true;
	device->whole_bytes = strcmp(kind, "memory") == 0 ?
		format_device_bytes(device->config->size_bytes) :
		reg_round(device->config->size_bytes);
	if (strcmp(kind, "memory") == 0) {
		ret = open_memory(device, &fd);
		if (ret < 0) {
			struct error why;

			error_set(&why, ret, "no memory for it: %s",
				  strerror(-ret));
			bind_device_failed(device, NULL, why.text);
			return;
		}
	}
	device_add(device, fd);
}

static void retry_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct reg_device *device =
		container_of(timer, struct reg_device, retry);

	(void)now_ns;
	if (device->is_busy && device->opening)
		open_expired(device);
	else if (device->is_busy && device->found_uuid[0])
		bind_find_expired(device);
	else if (device->is_member && device->pool->is_started &&
		 device->state == REG_DEVICE_FAILED)
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
		bind_device_failed(device, NULL, reply->text);
		return;
	}
	device->is_added = true;
	device->error.text[0] = '\0';
	if (is_dialled(device))
		device->whole_bytes = (uint64_t)json_integer_value(
			json_object_get(reply->reply, "size_bytes"));
	device->fault = NULL;
	bind_pool_join(device);
}

void bind_device_measured(struct reg_device *device, int result,
			  const char *text)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	if (device->state != REG_DEVICE_CALIBRATING)
		return;
	if (result < 0 && result != -ENODATA) {
		bind_device_failed(device, NULL, text);
		return;
	}
	/* Nothing is promised of it, but it is served. */
	if (result < 0)
		events_add(
			host->events, "error", &subject,
			"device %s is not measured (%s): nothing can be promised of it before 'penstock device calibrate %s'",
			device->name, text, device->name);
	host->bind.device_ready(device);
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
	device->is_added = false;
	device->is_busy = false;
	device->found_uuid[0] = '\0';
	device->is_right = false;
	device->is_joining = false;
	device->is_member = false;
	device->is_moving = false;
	device->waits_since_ns = 0;
	device->state = REG_DEVICE_WAITING;
}

void bind_device_finish(struct reg_device *device)
{
	bind_device_reset(device);
	opening_abandon(device->opening);
	device->opening = NULL;
	dial_abandon(device->dial);
	device->dial = NULL;
	loop_timer_finish(device->endpoint->host->loop, &device->retry);
	if (device->memory_fd >= 0)
		close(device->memory_fd);
	device->memory_fd = -1;
}
