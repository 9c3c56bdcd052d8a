/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-control.c - an endpoint that gets any control messages
 *
 * The input is lines; the first character says what descriptor goes with the
 * rest, which is one message: 'm' a memfd, 's' a connected socket, 'l' a
 * listening one, ' ' none.  The endpoint's loop turns after each.  Whatever it
 * says must be JSON, an answer or an event, and an error one line.
 *
 * Then all that came to be is taken away again by the same way, as penstockd
 * would: it must go.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "endpoint/endpoint.h"
#include "os/guard.h"

#define MEMFD_BYTES	(8 << 20)
#define SOCKETS_MAX	32U
#define MESSAGES_MAX	64U
#define GOING_TURNS	100000U
#define TURN_NS		UINT64_C(100000)
/* What is measured goes on for as long as is asked for, and takes as long as a
 * model says. */
#define MEASURE_NS	INT64_C(1000000)
#define MODEL_NS	INT64_C(10000)
#define MODEL_SIGMA	500
/* What is beyond any pool is as large as it is said to be, but not what takes
 * its second to be put down (with sanitizers). */
#define SIZE_SLOW	(INT64_C(16) << 40)
#define SIZE_REFUSED	(INT64_C(1) << 51)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct endpoint endpoint;
	int fd;				/* penstockd's end */
	int peers[SOCKETS_MAX];		/* other ends of what was passed */
	unsigned int peer_count;
	bool dialled;			/* anew: it had hung up */
};

/* ---- life ---- */

static void turn(struct world *world)
{
	(void)loop_run_once(world->endpoint.loop, loop_clock_ns() + TURN_NS);
}

static int listening_socket(int type)
{
	const struct sockaddr_un any = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* It gets a name of the kernel's. */
	if (fd < 0 ||
	    bind(fd, (const struct sockaddr *)&any, sizeof(sa_family_t)) < 0 ||
	    listen(fd, 4) < 0)
		abort();
	return fd;
}

static void dial(struct world *world)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	if (getsockname(world->endpoint.listen_fd, (struct sockaddr *)&address,
			&length) < 0)
		abort();
	world->fd = socket(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (world->fd < 0 ||
	    connect(world->fd, (struct sockaddr *)&address, length) < 0)
		abort();
	while (world->endpoint.connection_fd < 0)
		turn(world);
}

static void create(struct world *world)
{
	const struct loop_config config = {.entries = 256};
	struct endpoint *endpoint = &world->endpoint;
	struct error error;

	memset(world, 0, sizeof(*world));
	strcpy(endpoint->name, "ep0");
	endpoint->owner_uid = geteuid();
	endpoint->enforce = true;
	endpoint->listen_fd = listening_socket(SOCK_SEQPACKET);
	endpoint->stats_fd = memfd_create("stats", MFD_CLOEXEC);
	if (endpoint->stats_fd < 0 ||
	    ftruncate(endpoint->stats_fd, sizeof(*endpoint->stats)) < 0)
		abort();
	endpoint->stats =
		mmap(NULL, sizeof(*endpoint->stats), PROT_READ | PROT_WRITE,
		     MAP_SHARED, endpoint->stats_fd, 0);
	if (endpoint->stats == MAP_FAILED ||
	    loop_create(&config, &endpoint->loop, &error) < 0)
		abort();
	turns_init(&endpoint->turns);
	if (vdev_gate_create(endpoint->loop, &endpoint->gate, &error) < 0 ||
	    endpoint_control_start(endpoint, &error) < 0 ||
	    endpoint_watch_start(endpoint) < 0 ||
	    endpoint_pools_init(endpoint) < 0)
		abort();
	dial(world);
}

static void destroy(struct world *world)
{
	struct endpoint *endpoint = &world->endpoint;

	endpoint_pools_finish(endpoint);
	endpoint_watch_finish(endpoint);
	endpoint_control_finish(endpoint);
	vdev_gate_destroy(endpoint->gate);
	loop_destroy(endpoint->loop);
	munmap(endpoint->stats, sizeof(*endpoint->stats));
	close(endpoint->stats_fd);
	close(endpoint->listen_fd);
	close(world->fd);
}

/* ---- what it says ---- */

static void check(const char *text, size_t bytes)
{
	json_t *message = json_loadb(text, bytes, 0, NULL);
	const char *error =
		json_string_value(json_object_get(message, "error"));

	assert(json_is_object(message));
	assert(json_object_get(message, "event") ||
	       json_is_integer(json_object_get(message, "id")));
	if (error) {
		assert(error[0] && !strchr(error, '\n'));
		assert(json_integer_value(json_object_get(message, "errno")) >
		       0);
	}
	json_decref(message);
}

static void hear(struct world *world)
{
	static char text[CTL_MESSAGE_MAX];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {text, sizeof(text)};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t got;

	do {
		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		got = recvmsg(world->fd, &header,
			      MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got > 0)
			check(text, (size_t)got);
		if (got > 0 && header.msg_controllen > 0) {
			int fd;

			memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)),
			       sizeof(fd));
			close(fd);
		}
	} while (got > 0);
}

/* ---- what it is told ---- */

static int keep_peer(struct world *world, int fds[2])
{
	if (world->peer_count == SOCKETS_MAX) {
		close(fds[0]);
		close(fds[1]);
		return -1;
	}
	world->peers[world->peer_count++] = fds[0];
	return fds[1];
}

static int make_descriptor(struct world *world, char kind)
{
	int fds[2], fd;

	switch (kind) {
	case 'm':
		fd = memfd_create("device", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, MEMFD_BYTES) < 0)
			abort();
		return fd;
	case 's':
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
			abort();
		return keep_peer(world, fds);
	case 'l':
		return listening_socket(SOCK_STREAM);
	default:
		return -1;
	}
}

static void send_text(struct world *world, const char *text, size_t bytes,
		      int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)text, bytes};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		CMSG_FIRSTHDR(&header)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&header)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&header)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &fd, sizeof(fd));
	}
	/* It may have hung up: what is no JSON ends a connection. */
	(void)sendmsg(world->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (fd >= 0)
		close(fd);
	turn(world);
	turn(world);
	hear(world);
	world->dialled = world->endpoint.connection_fd < 0;
	if (world->dialled) {
		close(world->fd);
		dial(world);
	}
}

/* No more than 'most', if it is below 'end'. */
static void bound(json_t *message, const char *key, json_int_t most,
		  json_int_t end)
{
	const json_int_t value =
		json_integer_value(json_object_get(message, key));

	if (value > most && value < end)
		json_object_set_new(message, key, json_integer(most));
}

/* As it came, but for how long things last, and how large they are. */
static void bound_all(json_t *message)
{
	static const char *const times[] = {"read_median_ns", "write_median_ns",
					    "per_kib_ns", "stall_every_ns",
					    "stall_ns"};
	json_t *model = json_object_get(message, "model");
	const char *op = json_string_value(json_object_get(message, "op"));
	const json_t *duration;

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
		bound(model, times[i], MODEL_NS, INT64_MAX);
	bound(model, "sigma_milli", MODEL_SIGMA, INT64_MAX);
	bound(message, "size_bytes", SIZE_SLOW, SIZE_REFUSED);
	bound(message, "duration_ns", MEASURE_NS, INT64_MAX);
	duration = json_object_get(message, "duration_ns");
	/* None means ten seconds, and more. */
	if (op && !strcmp(op, "device-calibrate") &&
	    (!duration ||
	     (json_is_integer(duration) && json_integer_value(duration) == 0)))
		json_object_set_new(message, "duration_ns",
				    json_integer(MEASURE_NS));
}

static void send_line(struct world *world, const char *line, size_t bytes,
		      int fd)
{
	/* As ctl_receive takes it. */
	json_t *message = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
	json_t *sent = json_deep_copy(message);
	char *text = NULL;

	bound_all(sent);
	if (!json_equal(sent, message))
		text = json_dumps(sent, JSON_COMPACT);
	json_decref(sent);
	send_text(world, text ? text : line, text ? strlen(text) : bytes, fd);
	/* What is an object is answered, not hung up on. */
	assert(!message || !json_is_object(message) || !world->dialled);
	free(text);
	json_decref(message);
}

static void send_lines(struct world *world, const char *data, size_t size)
{
	for (unsigned int i = 0; i < MESSAGES_MAX && size > 0; i++) {
		const char *end = memchr(data, '\n', size);
		const size_t bytes = end ? (size_t)(end - data) : size;

		if (bytes > 1 && bytes < CTL_MESSAGE_MAX)
			send_line(world, data + 1, bytes - 1,
				  make_descriptor(world, data[0]));
		data += end ? bytes + 1 : size;
		size -= end ? bytes + 1 : size;
	}
}

/* ---- all of it goes ---- */

static void ask(struct world *world, json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);

	if (!text)
		abort();
	send_text(world, text, strlen(text), -1);
	free(text);
	json_decref(request);
}

static void ask_name(struct world *world, const char *op, const char *name)
{
	ask(world, json_pack("{s:s, s:s}", "op", op, "name", name));
}

/* The first of each, in the order in which they need each other.  Returns
 * whether there is anything. */
static bool remove_some(struct world *world)
{
	const struct endpoint *endpoint = &world->endpoint;
	const struct endpoint_front *f = endpoint->fronts;

	if (f)
		ask(world,
		    json_pack(
			    "{s:s, s:s, s:s, s:I}", "op", "unlisten", "kind",
			    endpoint_front_kind(f), "vdev", f->vdev->name,
			    "pasid",
			    (json_int_t)(f->process ? f->process->pasid : 0)));
	else if (endpoint->processes)
		ask(world,
		    json_pack("{s:s, s:I}", "op", "process-remove", "pasid",
			      (json_int_t)endpoint->processes->pasid));
	else if (endpoint->vdevs)
		ask_name(world, "vdev-remove", endpoint->vdevs->name);
	else if (endpoint->pools)
		ask_name(world, "pool-remove", endpoint->pools->name);
	else if (endpoint->devices)
		ask_name(world, "device-remove", endpoint->devices->name);
	else
		return endpoint->works || endpoint->opening;
	return true;
}

static void remove_all(struct world *world)
{
	while (world->peer_count > 0)
		close(world->peers[--world->peer_count]);
	for (unsigned int i = 0; i < GOING_TURNS; i++)
		if (!remove_some(world))
			return;
		else
			turn(world);
	abort();	/* something stays for ever */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	static bool is_guarded;

	if (!is_guarded && guard_install() < 0)
		abort();
	is_guarded = true;
	create(&world);
	send_lines(&world, (const char *)data, size);
	remove_all(&world);
	destroy(&world);
	return 0;
}
