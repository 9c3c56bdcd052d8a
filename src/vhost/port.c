/* SPDX-License-Identifier: Apache-2.0 */
/* port.c - connections of a port that come and go; see port.h */
#include "vhost/port.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/container.h"
#include "block/kinds.h"
#include "vhost/port-data.h"

/* Three descriptors for each command. */
#define QUEUE_SIZE		512U
#define BLOCK_SIZE_MAX		4096U
#define ARENA_BYTES		((size_t)PORT_COMMANDS * PORT_PIECE_BYTES)
/* A connection is asked for after so long, then twice that, up to the next. */
#define ASK_FIRST_NS		UINT64_C(50000000)
#define ASK_NS			UINT64_C(1000000000)
/* An endpoint that is being started takes who waits at its socket. */
#define HANDSHAKE_NS		UINT64_C(10000000000)

/* ---- losing and asking ---- */

static void unwatch(struct port *port)
{
	if (port->watching)
		loop_watch_remove(port->config.loop, &port->socket);
	port->watching = false;
}

static void ask_later(struct port *port)
{
	loop_timer_set(port->config.loop, &port->timer,
		       loop_now_ns(port->config.loop) + port->ask_ns);
	if (port->ask_ns < ASK_NS)
		port->ask_ns *= 2;
}

/* Nothing is connected any more. */
static void lost(struct port *port, const struct error *why)
{
	const bool served = port->serving;

	unwatch(port);
	vhost_client_disconnect(port->client);
	port->serving = port->shaking = port->agreed = false;
	loop_timer_cancel(port->config.loop, &port->timer);
	if (!port->ready) {
		port->config.ops->ready(port->config.arg, -ECONNREFUSED, why);
		return;
	}
	port->status.lost += served;
	if (served)
		port->ask_ns = ASK_FIRST_NS;
	ask_later(port);
	port->config.ops->report(port->config.arg, why);
	if (served)
		port->config.ops->want(port->config.arg);
}

/* ---- the poller ---- */

static unsigned int port_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct port *port = container_of(poller, struct port, poller);
	struct error why;
	int count;

	(void)now_ns;
	if (!port->queue)
		return 0;
	if (port->armed) {
		vhost_client_disarm(port->queue);
		port->armed = false;
	}
	count = port_reap(port);
	if (port->unpublished) {
		vhost_client_publish(port->queue);
		port->unpublished = false;
	}
	if (count < 0 && port->serving) {
		error_set(&why, count,
			  "vdev %s: its endpoint breaks the rules of the ring",
			  port->vdev);
		lost(port, &why);
	}
	return count > 0 ? (unsigned int)count : 0;
}

static uint64_t port_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct port *port = container_of(poller, struct port, poller);

	(void)now_ns;
	if (!port->queue || !port->serving)
		return UINT64_MAX;
	if (port->unpublished)
		return 0;
	if (vhost_client_in_flight(port->queue) == 0)
		return UINT64_MAX;
	port->armed = true;
	return vhost_client_arm(port->queue) ? UINT64_MAX : 0;
}

static uint64_t port_quiet_until(struct loop_poller *poller, uint64_t now_ns)
{
	const struct port *port = container_of(poller, struct port, poller);

	(void)now_ns;
	if (!port->queue || !port->serving)
		return UINT64_MAX;
	return port->unpublished || vhost_client_in_flight(port->queue) > 0 ?
		0 :
		UINT64_MAX;
}

/* It is the poller that looks. */
static void called(struct loop_watch *watch)
{
	struct port *port = container_of(watch, struct port, call);

	vhost_client_disarm(port->queue);
	port->armed = false;
}

/* ---- a connection serves ---- */

static int check_size(const struct port *port, uint64_t wanted_bytes,
		      struct error *reterr)
{
	const struct vhost_client_info *info = &port->info;

	if (info->size_bytes < wanted_bytes)
		return error_set(reterr, -ENOSPC,
				 "vdev %s has %" PRIu64 " bytes, %" PRIu64
				 " are wanted: make it larger",
				 port->vdev, info->size_bytes, wanted_bytes);
	if (info->block_size > BLOCK_SIZE_MAX ||
	    info->block_size & (info->block_size - 1) ||
	    info->slots < PORT_COMMANDS)
		return error_set(
			reterr, -EPROTO,
			"vdev %s: blocks of %u bytes, %u requests: no vdev of Penstock",
			port->vdev, info->block_size, info->slots);
	return 0;
}

/* What the vdev is: what the device is from now on. */
static int become_ready(struct port *port, struct error *reterr)
{
	struct block_device *device = &port->device;
	int result = check_size(port, port->config.size_bytes, reterr);

	if (result == 0 && port->info.read_only && !device->read_only)
		result =
			error_set(reterr, -EROFS,
				  "vdev %s is read-only: say 'read-only: true'",
				  port->vdev);
	if (result < 0)
		return result;
	port->queue = vhost_client_queue(port->client, 0);
	result = loop_watch_add(port->config.loop, &port->call,
				vhost_client_queue_fd(port->queue));
	if (result < 0) {
		port->queue = NULL;
		return error_set(reterr, result, "port: no memory");
	}
	device->block_size = port->info.block_size;
	device->size_bytes = port->config.size_bytes ? port->config.size_bytes :
						       port->info.size_bytes;
	device->size_bytes -= device->size_bytes % device->block_size;
	loop_poller_add(port->config.loop, &port->poller);
	return 0;
}

static void serve(struct port *port)
{
	const bool first = !port->ready;
	struct error why = {0};
	int result;

	vhost_client_info(port->client, &port->info);
	result = first ? become_ready(port, &why) :
			 check_size(port, port->device.size_bytes, &why);
	if (result < 0) {
		lost(port, &why);
		return;
	}
	port->ready = port->serving = true;
	port->shaking = port->agreed = false;
	port->ask_ns = ASK_FIRST_NS;
	port->status.connects++;
	loop_timer_cancel(port->config.loop, &port->timer);
	port_house(port);
	if (first)
		port->config.ops->ready(port->config.arg, 0, NULL);
}

static void timer_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct port *port = container_of(timer, struct port, timer);
	struct error why;

	(void)now_ns;
	if (port->agreed) {
		serve(port);
		return;
	}
	if (port->shaking) {
		error_set(&why, -ETIMEDOUT,
			  "vdev %s: its endpoint does not answer", port->vdev);
		lost(port, &why);
		return;
	}
	ask_later(port);
	port->config.ops->want(port->config.arg);
}

/* While hands are shaken, a reply; later, the end. */
static void socket_ready(struct loop_watch *watch)
{
	struct port *port = container_of(watch, struct port, socket);
	struct error why = {0};
	int fds[2], result;

	unwatch(port);
	if (port->serving || port->agreed) {
		error_set(&why, -ECONNRESET, "vdev %s: its endpoint has gone",
			  port->vdev);
		lost(port, &why);
		return;
	}
	result = vhost_client_advance(port->client, &why);
	if (result < 0 && result != -EAGAIN) {
		lost(port, &why);
		return;
	}
	vhost_client_descriptors(port->client, fds);
	port->watching =
		loop_watch_add(port->config.loop, &port->socket, fds[0]) == 0;
	if (!port->watching) {
		error_set(&why, -ENOMEM, "vdev %s: no memory", port->vdev);
		lost(port, &why);
	} else if (result == 0) {
		serve(port);
	}
}

/* ---- life ---- */

/* It was told to talk: the first word. */
static int shake(struct port *port, struct error *reterr)
{
	int fds[2], result, rc;

	vhost_client_descriptors(port->client, fds);
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	result = vhost_client_advance(port->client, reterr);
	if (result < 0 && result != -EAGAIN)
		return result;
	rc = loop_watch_add(port->config.loop, &port->socket, fds[0]);
	if (rc < 0)
		return error_set(reterr, rc, "port: no memory");
	port->watching = port->shaking = true;
	/* One that answers faster than we ask is through already: whoever
	 * opens the port learns of it after that. */
	port->agreed = result == 0;
	loop_timer_set(port->config.loop, &port->timer,
		       loop_now_ns(port->config.loop) +
			       (port->agreed ? 0 : HANDSHAKE_NS));
	return 0;
}

int port_connect(struct port *port, int fd)
{
	struct error why;

	if (port->serving || port->shaking)
		return -EALREADY;
	while (port_reap(port) > 0)
		;	/* what the dead one had finished */
	if (vhost_client_reconnect_on(port->client, fd, &why) < 0)
		return -EALREADY;	/* more finished: it is asked again */
	if (shake(port, &why) < 0)
		lost(port, &why);
	return 0;
}

static void port_free(struct port *port)
{
	unwatch(port);
	if (port->queue) {
		loop_watch_remove(port->config.loop, &port->call);
		loop_poller_remove(port->config.loop, &port->poller);
	}
	if (port->client) {
		vhost_client_disconnect(port->client);
		vhost_client_destroy(port->client);
	}
	loop_timer_finish(port->config.loop, &port->timer);
	if (port->arena)
		munmap(port->arena, ARENA_BYTES);
	if (port->arena_fd >= 0)
		close(port->arena_fd);
	free(port->vdev);
	free(port);
}

static void port_destroy(struct block_device *device)
{
	port_free((struct port *)device);
}

static const struct block_device_ops port_device_ops = {
	.kind = "port",
	.submit = port_submit,
	.destroy = port_destroy,
};

/* Nobody whom it is passed to can take it away under us. */
static int make_arena(struct port *port)
{
	void *address;

	port->arena_fd =
		memfd_create("port-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (port->arena_fd < 0 ||
	    ftruncate(port->arena_fd, (off_t)ARENA_BYTES) < 0 ||
	    fcntl(port->arena_fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	address = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		       port->arena_fd, 0);
	if (address == MAP_FAILED)
		return -errno;
	port->arena = address;
	return 0;
}

static int make_client(struct port *port, int fd, struct error *reterr)
{
	const struct vhost_client_region region = {
		.fd = port->arena_fd,
		.address = port->arena,
		.size_bytes = ARENA_BYTES,
	};
	const struct vhost_client_config config = {
		.path = port->vdev,
		.queues = 1,
		.queue_size = QUEUE_SIZE,
		.event_index = true,
		.no_events = true,
		.timeout_ns = HANDSHAKE_NS,
		.regions = &region,
		.region_count = 1,
	};

	return vhost_client_create_on(&config, fd, &port->client, reterr);
}

int port_create(const struct port_config *config, int fd,
		struct port **ret_port, struct error *reterr)
{
	struct port *port = calloc(1, sizeof(*port));
	int result;

	if (!port) {
		close(fd);
		return error_set(reterr, -ENOMEM, "port: no memory");
	}
	port->config = *config;
	port->arena_fd = -1;
	port->device.ops = &port_device_ops;
	port->device.read_only = config->read_only;
	port->ask_ns = ASK_FIRST_NS;
	port->poller.poll = port_poll;
	port->poller.arm = port_arm;
	port->poller.quiet_until = port_quiet_until;
	port->socket.ready = socket_ready;
	port->call.ready = called;
	port->vdev = strdup(config->vdev);
	result = loop_timer_init(config->loop, &port->timer, timer_expired);
	if (result == 0)
		result = port->vdev ? make_arena(port) : -ENOMEM;
	if (result < 0) {
		close(fd);
		port_free(port);
		return error_set(reterr, result, "port: no memory: %s",
				 strerror(-result));
	}
	port_commands_init(port);
	result = make_client(port, fd, reterr);
	if (result < 0) {
		close(fd);
		port_free(port);
		return result;
	}
	result = shake(port, reterr);
	if (result < 0) {
		port_free(port);
		return result;
	}
	*ret_port = port;
	return 0;
}

struct block_device *port_device(struct port *port)
{
	return &port->device;
}

void port_status(const struct port *port, struct port_status *ret_status)
{
	*ret_status = port->status;
	ret_status->is_serving = port->serving;
}
