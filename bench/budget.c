/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c - bench-budget: the whole data path in one thread, to count its
 *            instructions
 *
 * A virtqueue's server, a vdev over a volume that is all there, and nullio in
 * one process, with the client end as its guest.  budget.sh runs it under
 * callgrind, which counts only what happens inside budget_serve: the server's
 * work, not the client's.
 *
 * Threads: one while counting; connecting needs a second one for a moment,
 * because the client end waits for replies that the loop must give.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/stats.h"
#include "vdev/vdev.h"
#include "vhost/client.h"
#include "vhost/front.h"

#include "../tests/unit/mapped.h"

#define DEPTH_MAX 64U
#define BLOCK_BYTES 4096U
#define DISK_BYTES (UINT64_C(1) << 30)

struct house {
	struct loop *loop;
	struct stats_segment *stats;
	struct block_device *block;
	struct vdev_device *device;
	struct vdev_gate *gate;
	struct mapped mapped;
	struct vdev *vdev;
	struct vdev_process *process;
	struct front *front;
	char directory[64], path[96];
};

struct guest {
	const char *path;
	int memory_fd;
	char *memory;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
	struct iovec iov[DEPTH_MAX];
	struct vhost_client_request requests[DEPTH_MAX];
	struct error error;
	atomic_bool done;
	int result;
};

/* What callgrind counts.  Never inlined: it is found by its name. */
void budget_serve(struct loop *loop);

__attribute__((noinline)) void budget_serve(struct loop *loop)
{
	(void)loop_run_once(loop, 0);
}

static int listen_at(struct house *house)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	strcpy(house->directory, "/tmp/bench-budget-XXXXXX");
	if (!mkdtemp(house->directory))
		return -errno;
	snprintf(house->path, sizeof(house->path), "%s/socket",
		 house->directory);
	strcpy(address.sun_path, house->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, 4))
		return -errno;
	return fd;
}

/* A process that is promised something, which nothing here endangers. */
static int promise(struct house *house, struct error *reterr)
{
	struct vdev_process_config config = {
		.pasid = 1,
		.sched =
			{
				.reservation_per_s[SCHED_TOTAL_IOPS] = 1000,
				.limit_per_s[SCHED_TOTAL_IOPS] = 2000000000,
				/* Time is slow under callgrind: a limit would
				 * bind within a batch, now and then. */
				.burst_ns = 1000000,
				.latency_ns = {50000000, 50000000},
			},
		.stats = &house->stats->processes[1],
	};

	if (sla_parse("iops >= 1000, latency <= 50 ms", &config.sla, reterr) <
	    0)
		return -EINVAL;
	return vdev_process_add(house->vdev, &config, &house->process, reterr);
}

static int build(struct house *house, bool promised, struct error *reterr)
{
	const struct loop_config loop = {.entries = 64};
	const struct block_config block = {
		.kind = "nullio",
		.size_bytes = DISK_BYTES,
		.fd = -1,
	};
	const struct sched_config sched = {
		.window_min = 1024,
		.window_max = 1024,
		.immediate = true,
	};
	struct vdev_config vdev = {
		.name = "budget",
		.size_bytes = DISK_BYTES,
	};
	struct front_config front = {.queues = 1};
	int result;

	house->stats = calloc(1, sizeof(*house->stats));
	if (!house->stats)
		return error_set(reterr, -ENOMEM, "no memory for statistics");
	result = loop_create(&loop, &house->loop, reterr);
	if (result == 0)
		result = block_open(&block, house->loop, &house->block, reterr);
	if (result == 0)
		result = vdev_device_create(
			house->block, &sched, &house->stats->devices[0],
			house->loop, &house->device, reterr);
	if (result == 0)
		result = vdev_gate_create(house->loop, &house->gate, reterr);
	if (result == 0)
		result = mapped_create(&house->mapped, house->block,
				       house->device, DISK_BYTES, true);
	if (result < 0)
		return result;
	vdev.device = house->device;
	vdev.volume = house->mapped.volume;
	vdev.gate = house->gate;
	vdev.default_stats = &house->stats->processes[0];
	result = vdev_create(&vdev, &house->vdev, reterr);
	if (result == 0 && promised)
		result = promise(house, reterr);
	if (result < 0)
		return result;
	front.loop = house->loop;
	front.vdev = house->vdev;
	front.listen_fd = listen_at(house);
	if (front.listen_fd < 0)
		return error_set(reterr, front.listen_fd, "can't listen: %s",
				 strerror(-front.listen_fd));
	return front_create(&front, &house->front, reterr);
}

static void *connect_guest(void *arg)
{
	struct guest *guest = arg;
	const struct vhost_client_region region = {
		.fd = guest->memory_fd,
		.address = guest->memory,
		.size_bytes = DEPTH_MAX * BLOCK_BYTES,
	};
	const struct vhost_client_config config = {
		.path = guest->path,
		.queues = 1,
		.queue_size = 256,
		.timeout_ns = UINT64_C(60000000000),
		.regions = &region,
		.region_count = 1,
	};

	guest->result =
		vhost_client_create(&config, &guest->client, &guest->error);
	atomic_store(&guest->done, true);
	return NULL;
}

static int start_guest(struct guest *guest, struct house *house)
{
	pthread_t thread;
	unsigned int i;

	guest->path = house->path;
	guest->memory_fd = memfd_create("bench-budget", MFD_CLOEXEC);
	if (guest->memory_fd < 0 ||
	    ftruncate(guest->memory_fd, DEPTH_MAX * BLOCK_BYTES))
		return -errno;
	guest->memory =
		mmap(NULL, DEPTH_MAX * BLOCK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_SHARED, guest->memory_fd, 0);
	if (guest->memory == MAP_FAILED)
		return -errno;
	if (pthread_create(&thread, NULL, connect_guest, guest))
		return -EAGAIN;
	/* Let the other thread have its turn: valgrind runs one at a time. */
	while (!atomic_load(&guest->done)) {
		(void)loop_run_once(house->loop, 0);
		usleep(100);
	}
	pthread_join(thread, NULL);
	if (guest->result < 0)
		return guest->result;
	guest->queue = vhost_client_queue(guest->client, 0);
	for (i = 0; i < DEPTH_MAX; i++) {
		guest->iov[i] = (struct iovec){
			guest->memory + i * BLOCK_BYTES,
			BLOCK_BYTES,
		};
		guest->requests[i] = (struct vhost_client_request){
			.iov = &guest->iov[i],
			.iov_count = 1,
			.offset_bytes = (uint64_t)i * 7919 * BLOCK_BYTES,
			.op = VHOST_CLIENT_READ,
		};
	}
	return 0;
}

/* Keep 'depth' requests in flight until 'total' are done. */
static int run(struct guest *guest, struct loop *loop, unsigned int depth,
	       unsigned long total, void (*serve)(struct loop *loop))
{
	struct vhost_client_request *done[DEPTH_MAX];
	unsigned long finished = 0;
	unsigned int i;
	int count, k;

	for (i = 0; i < depth; i++)
		(void)vhost_client_add(guest->queue, &guest->requests[i]);
	vhost_client_publish(guest->queue);
	while (finished < total) {
		serve(loop);
		count = vhost_client_reap(guest->queue, done, DEPTH_MAX);
		if (count < 0)
			return count;
		for (k = 0; k < count; k++, finished++) {
			if (done[k]->result < 0)
				return done[k]->result;
			if (finished + 1 +
				    vhost_client_in_flight(guest->queue) <
			    total)
				(void)vhost_client_add(guest->queue, done[k]);
		}
		vhost_client_publish(guest->queue);
	}
	return 0;
}

static void serve_uncounted(struct loop *loop)
{
	(void)loop_run_once(loop, 0);
}

int main(int argc, char **argv)
{
	struct error error = {.text = "out of resources"};
	struct house house = {.loop = NULL};
	struct guest guest = {.memory_fd = -1};
	unsigned int depth = argc == 4 ? (unsigned int)atoi(argv[2]) : 0;
	unsigned long total = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	int result;

	if (depth == 0 || depth > DEPTH_MAX || total < depth ||
	    (strcmp(argv[1], "promised") && strcmp(argv[1], "free"))) {
		fprintf(stderr,
			"usage: bench-budget promised|free DEPTH REQUESTS\n");
		return 2;
	}
	result = build(&house, strcmp(argv[1], "promised") == 0, &error);
	if (result == 0) {
		result = start_guest(&guest, &house);
		if (result < 0 && guest.error.text[0])
			error = guest.error;
	}
	/* First uncounted, until everything has found its place. */
	if (result == 0)
		result = run(&guest, house.loop, depth, depth * 4UL,
			     serve_uncounted);
	if (result == 0)
		result = run(&guest, house.loop, depth, total, budget_serve);
	unlink(house.path);
	rmdir(house.directory);
	if (result < 0) {
		fprintf(stderr, "bench-budget: %s (%s)\n", error.text,
			strerror(-result));
		return 1;
	}
	printf("%lu requests\n", total);
	/* The process's end takes everything down. */
	fflush(stdout);
	_exit(0);
}
