/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-client.c - the client end against a server in another process
 *
 * The server is bench-echo (argv[1]): it answers everything, has no inflight
 * region, and can be killed.
 */
#include "vhost/client.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#define DEPTH		8U
#define BLOCK		4096U

static const char *echo_program;

struct fixture {
	char directory[64], path[96];
	pid_t server;
	int memory_fd;
	char *memory;
	struct vhost_client *client;
	struct iovec iov[DEPTH];
	struct vhost_client_request requests[DEPTH];
};

/* Returns when the server listens. */
static void start_server(struct fixture *f)
{
	int ready[2];
	char text[16];

	assert_int_equal(pipe(ready), 0);
	f->server = fork();
	assert_true(f->server >= 0);
	if (f->server == 0) {
		dup2(ready[1], STDOUT_FILENO);
		execl(echo_program, echo_program, f->path, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	assert_true(read(ready[0], text, sizeof(text)) > 0);
	close(ready[0]);
}

static void stop_server(struct fixture *f)
{
	kill(f->server, SIGKILL);
	assert_int_equal(waitpid(f->server, NULL, 0), f->server);
}

static void connect_client(struct fixture *f, unsigned int queues)
{
	const struct vhost_client_region region = {
		.fd = f->memory_fd,
		.address = f->memory,
		.size_bytes = DEPTH * BLOCK,
	};
	const struct vhost_client_config config = {
		.path = f->path,
		.queues = queues,
		.queue_size = 64,
		.event_index = true,
		.indirect = true,
		.timeout_ns = UINT64_C(10000000000),
		.regions = &region,
		.region_count = 1,
	};
	struct error error;

	if (vhost_client_create(&config, &f->client, &error) < 0)
		fail_msg("%s", error.text);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int i;

	assert_non_null(f);
	strcpy(f->directory, "/tmp/test-vhost-client-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	f->memory_fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->memory_fd, DEPTH * BLOCK), 0);
	f->memory = mmap(NULL, DEPTH * BLOCK, PROT_READ | PROT_WRITE,
			 MAP_SHARED, f->memory_fd, 0);
	assert_ptr_not_equal(f->memory, MAP_FAILED);
	for (i = 0; i < DEPTH; i++) {
		f->iov[i] = (struct iovec){f->memory + i * BLOCK, BLOCK};
		f->requests[i] = (struct vhost_client_request){
			.iov = &f->iov[i],
			.iov_count = 1,
			.offset_bytes = i * BLOCK,
			.op = VHOST_CLIENT_READ,
			.result = 1,
		};
	}
	start_server(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	vhost_client_destroy(f->client);
	stop_server(f);
	munmap(f->memory, DEPTH * BLOCK);
	close(f->memory_fd);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void add_all(struct fixture *f, struct vhost_client_queue *queue)
{
	unsigned int i;

	for (i = 0; i < DEPTH; i++)
		assert_int_equal(vhost_client_add(queue, &f->requests[i]), 0);
	vhost_client_publish(queue);
}

/* Sleep until all are done; each must be given back once. */
static void reap_all(struct fixture *f, struct vhost_client_queue *queue)
{
	struct vhost_client_request *done[DEPTH];
	unsigned int left = DEPTH;
	int count, i;

	while (left > 0) {
		if (vhost_client_arm(queue)) {
			struct pollfd pollfd = {
				.fd = vhost_client_queue_fd(queue),
				.events = POLLIN,
			};

			assert_int_equal(poll(&pollfd, 1, 10000), 1);
		}
		vhost_client_disarm(queue);
		count = vhost_client_reap(queue, done, DEPTH);
		assert_true(count >= 0);
		for (i = 0; i < count; i++) {
			assert_int_equal(done[i]->result, 0);
			done[i]->result = 1;
		}
		left -= (unsigned int)count;
	}
	assert_int_equal(vhost_client_in_flight(queue), 0);
	assert_in_range((uintptr_t)done[0], (uintptr_t)f->requests,
			(uintptr_t)(f->requests + DEPTH));
}

static void test_vhost_client_tells_what_the_server_has(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_info info;

	connect_client(f, 16);
	vhost_client_info(f->client, &info);
	assert_int_equal(info.size_bytes, UINT64_C(64) << 30);
	assert_int_equal(info.block_size, 512);
	assert_int_equal(info.queues, 4);	/* bench-echo has no more */
	assert_int_equal(info.slots, 64 / 3);
	assert_int_equal(info.segments_max, 1);
	assert_false(info.inflight);
	assert_false(info.event_index);
}

static void test_vhost_client_serves_every_queue(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	connect_client(f, 4);
	for (i = 0; i < 4; i++) {
		add_all(f, vhost_client_queue(f->client, i));
		reap_all(f, vhost_client_queue(f->client, i));
	}
}

/* kill -9 of a server with requests in flight: the next one gets them all. */
static void test_vhost_client_replays_after_kill(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_queue *queue;
	struct error error;
	int fds[2];

	connect_client(f, 1);
	queue = vhost_client_queue(f->client, 0);
	add_all(f, queue);
	reap_all(f, queue);
	kill(f->server, SIGSTOP);
	assert_int_equal(waitpid(f->server, NULL, WUNTRACED), f->server);
	add_all(f, queue);
	assert_int_equal(vhost_client_check(f->client, NULL), 0);
	vhost_client_descriptors(f->client, fds);
	stop_server(f);
	assert_int_equal(poll(&(struct pollfd){fds[0], POLLIN, 0}, 1, 10000),
			 1);
	assert_int_equal(vhost_client_check(f->client, NULL), -ECONNRESET);
	assert_int_equal(vhost_client_reconnect(f->client, &error),
			 -ECONNREFUSED);
	assert_int_equal(vhost_client_in_flight(queue), DEPTH);
	start_server(f);
	if (vhost_client_reconnect(f->client, &error) < 0)
		fail_msg("%s", error.text);
	reap_all(f, queue);
}

static void test_vhost_client_reconnect_wants_all_reaped(void **state)
{
	struct fixture *f = *state;
	struct vhost_client_queue *queue;
	struct error error;

	connect_client(f, 1);
	queue = vhost_client_queue(f->client, 0);
	add_all(f, queue);
	if (vhost_client_arm(queue))
		assert_int_equal(
			poll(&(struct pollfd){vhost_client_queue_fd(queue),
					      POLLIN, 0},
			     1, 10000),
			1);
	assert_int_equal(vhost_client_reconnect(f->client, &error), -EBUSY);
	reap_all(f, queue);
}

/* A server that accepts and says nothing: an error, not a hang. */
static void test_vhost_client_silent_server_times_out(void **state)
{
	struct fixture *f = *state;
	const struct vhost_client_region region = {
		.fd = f->memory_fd,
		.address = f->memory,
		.size_bytes = DEPTH * BLOCK,
	};
	const struct vhost_client_config config = {
		.path = f->path,
		.queues = 1,
		.queue_size = 64,
		.timeout_ns = UINT64_C(50000000),
		.regions = &region,
		.region_count = 1,
	};
	struct error error;

	kill(f->server, SIGSTOP);
	assert_int_equal(waitpid(f->server, NULL, WUNTRACED), f->server);
	assert_int_equal(vhost_client_create(&config, &f->client, &error),
			 -ETIMEDOUT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(test_vhost_client_tells_what_the_server_has),
		TEST(test_vhost_client_serves_every_queue),
		TEST(test_vhost_client_replays_after_kill),
		TEST(test_vhost_client_reconnect_wants_all_reaped),
		TEST(test_vhost_client_silent_server_times_out),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test-vhost-client BENCH-ECHO\n");
		return 2;
	}
	echo_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
