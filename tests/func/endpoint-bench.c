/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint-bench.c - see endpoint-bench.h */
#include "endpoint-bench.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"

const char *bench_program;

int bench_listener(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		bind(fd, (const struct sockaddr *)address, sizeof(*address)),
		0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void set_path(struct sockaddr_un *address, const char *directory,
		     const char *name)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s",
		 directory, name);
}

int bench_connect(const struct bench *bench)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&bench->control,
				 sizeof(bench->control)),
			 0);
	return fd;
}

static void start(struct bench *bench)
{
	int control, stats;

	bench->pid = fork();
	assert_true(bench->pid >= 0);
	if (bench->pid == 0) {
		/* Out of the way first: either may be 3 or 4 already. */
		control = dup2(bench->control_fd, 20);
		stats = dup2(bench->stats_fd, 21);
		dup2(control, CTL_LISTEN_FD);
		dup2(stats, CTL_STATS_FD);
		execl(bench_program, "penstock-endpoint", "--name", "ep0",
		      NULL);
		_exit(127);
	}
}

int bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int control, stats;

	strcpy(bench->directory, "/tmp/penstock-test-XXXXXX");
	assert_non_null(mkdtemp(bench->directory));
	set_path(&bench->control, bench->directory, "ep0.ctl");
	set_path(&bench->front, bench->directory, "vd0.sock");
	control = bench_listener(&bench->control, SOCK_SEQPACKET);
	stats = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(ftruncate(stats, sizeof(*bench->stats)), 0);
	bench->stats = mmap(NULL, sizeof(*bench->stats), PROT_READ | PROT_WRITE,
			    MAP_SHARED, stats, 0);
	assert_true(bench->stats != MAP_FAILED);
	bench->stats->magic = STATS_MAGIC;
	bench->stats->size_bytes = sizeof(*bench->stats);
	bench->control_fd = control;
	bench->stats_fd = stats;
	start(bench);
	bench->connection = bench_connect(bench);
	bench->fd = -1;
	*state = bench;
	return 0;
}

void bench_restart(struct bench *bench)
{
	if (bench->pid > 0) {
		kill(bench->pid, SIGKILL);
		waitpid(bench->pid, NULL, 0);
	}
	close(bench->connection);
	start(bench);
	bench->connection = bench_connect(bench);
}

int bench_teardown(void **state)
{
	struct bench *bench = *state;

	if (bench->pid > 0) {
		kill(bench->pid, SIGKILL);
		waitpid(bench->pid, NULL, 0);
	}
	close(bench->connection);
	close(bench->control_fd);
	close(bench->stats_fd);
	unlink(bench->control.sun_path);
	unlink(bench->front.sun_path);
	rmdir(bench->directory);
	munmap(bench->stats, sizeof(*bench->stats));
	free(bench);
	return 0;
}

json_t *bench_reply(struct bench *bench)
{
	struct pollfd ready = {.fd = bench->connection, .events = POLLIN};
	json_t *message;

	for (;;) {
		assert_int_equal(poll(&ready, 1, 20000), 1);
		assert_int_equal(
			ctl_receive(bench->connection, &message, &bench->fd),
			0);
		if (json_object_get(message, "id"))
			return message;
		json_decref(message);
	}
}

json_t *bench_event(struct bench *bench, const char *kind)
{
	struct pollfd ready = {.fd = bench->connection, .events = POLLIN};

	for (;;) {
		json_t *message;
		const char *is;
		int fd;

		assert_int_equal(poll(&ready, 1, 20000), 1);
		assert_int_equal(ctl_receive(bench->connection, &message, &fd),
				 0);
		is = json_string_value(json_object_get(message, "event"));
		if (is && strcmp(is, kind) == 0)
			return message;
		json_decref(message);
	}
}

json_t *bench_ask(struct bench *bench, json_t *request, int fd)
{
	json_t *reply;

	assert_non_null(request);
	json_object_set_new(request, "id", json_integer(++bench->id));
	assert_int_equal(ctl_send(bench->connection, request, fd), 0);
	json_decref(request);
	reply = bench_reply(bench);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")),
			 bench->id);
	return reply;
}

void bench_ok(json_t *reply)
{
	if (!json_is_true(json_object_get(reply, "ok")))
		fail_msg("refused: %s",
			 json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
}

void bench_error(json_t *reply, int error)
{
	assert_int_equal(json_integer_value(json_object_get(reply, "errno")),
			 error);
	assert_true(json_string_length(json_object_get(reply, "error")) > 0);
	json_decref(reply);
}

int bench_memory(uint64_t size_bytes)
{
	int fd = memfd_create("m0", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	return fd;
}

void bench_add_device(struct bench *bench, const char *kind,
		      uint64_t size_bytes, int fd)
{
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", "m0", "kind", kind,
				     "size_bytes", (json_int_t)size_bytes,
				     "slot", 0),
			   fd));
}

void bench_add_pool(struct bench *bench)
{
	static const char *const asked[] = {
		"{\"op\": \"pool-add\", \"name\": \"p\"}",
		"{\"op\": \"member-add\", \"pool\": \"p\", \"device\": \"m0\", \"uuid\": \"00000000000000000000000000000001\", \"claim\": true, \"zeroed\": true}",
		"{\"op\": \"pool-start\", \"pool\": \"p\"}",
	};

	for (unsigned int i = 0; i < sizeof(asked) / sizeof(*asked); i++)
		bench_ok(bench_ask(bench, json_loads(asked[i], 0, NULL), -1));
}

void bench_add_storage(struct bench *bench)
{
	int fd = bench_memory(16 << 20);

	bench_add_device(bench, "memory", 16 << 20, fd);
	bench_add_pool(bench);
	close(fd);
}

json_t *bench_vdev(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "op", "vdev-add",
			 "name", "vd0", "pool", "p", "uuid",
			 "00000000000000000000000000000002", "size_bytes",
			 8 << 20, "slot", 0);
}

json_t *bench_process(unsigned int pasid)
{
	return json_pack("{s:s, s:i, s:s, s:i}", "op", "process-add", "pasid",
			 pasid, "vdev", "vd0", "slot", pasid);
}

json_t *bench_listen(struct bench *bench, int listen_fd)
{
	return bench_ask(bench,
			 json_pack("{s:s, s:s, s:s}", "op", "listen", "kind",
				   "vhost-user", "vdev", "vd0"),
			 listen_fd);
}

/* ---- a guest ---- */

void bench_guest_create(struct bench_guest *guest, struct bench *bench,
			uint64_t size_bytes)
{
	*guest = (struct bench_guest){.bench = bench, .size_bytes = size_bytes};
	guest->listen_fd = bench_listener(&bench->front, SOCK_STREAM);
	guest->memory_fd = bench_memory(size_bytes);
	guest->memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED, guest->memory_fd, 0);
	assert_true(guest->memory != MAP_FAILED);
}

void bench_guest_connect(struct bench_guest *guest,
			 struct vhost_client_config config)
{
	const struct vhost_client_region region = {
		.fd = guest->memory_fd,
		.address = guest->memory,
		.size_bytes = guest->size_bytes,
	};
	struct error why;

	config.path = guest->bench->front.sun_path;
	config.queues = 1;
	config.timeout_ns = UINT64_C(60000000000);
	config.regions = &region;
	config.region_count = 1;
	if (vhost_client_create(&config, &guest->client, &why) < 0)
		fail_msg("%s", why.text);
	guest->queue = vhost_client_queue(guest->client, 0);
}

void bench_guest_reconnect(struct bench_guest *guest)
{
	struct error why;

	if (vhost_client_reconnect(guest->client, &why) < 0)
		fail_msg("%s", why.text);
}

void bench_guest_disconnect(struct bench_guest *guest)
{
	vhost_client_destroy(guest->client);
	guest->client = NULL;
}

void bench_guest_destroy(struct bench_guest *guest)
{
	bench_guest_disconnect(guest);
	munmap(guest->memory, guest->size_bytes);
	close(guest->memory_fd);
	close(guest->listen_fd);
}

void bench_guest_begin(struct bench_guest *guest,
		       struct vhost_client_request *request)
{
	request->result = 1;
	assert_int_equal(vhost_client_add(guest->queue, request), 0);
	vhost_client_publish(guest->queue);
}

void bench_guest_end(struct bench_guest *guest,
		     const struct vhost_client_request *request)
{
	struct vhost_client_request *done[1];
	bool resized;

	while (vhost_client_reap(guest->queue, done, 1) == 0)
		assert_int_equal(vhost_client_check(guest->client, &resized),
				 0);
	assert_ptr_equal(done[0], request);
	assert_int_equal(request->result, 0);
}
