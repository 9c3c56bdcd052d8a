/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo.c - bench-echo: a vhost-user-blk server that does nothing, as fast
 *          as it can be done
 *
 * Takes what the avail ring holds, writes "OK" into each status byte, and
 * puts it on the used ring; data is never touched, nobody is scheduled and
 * nothing is counted.  It polls and never sleeps.  What a real server needs
 * more than this is its own cost.
 *
 * With --limit each request is answered at the very time at which it is due:
 * no limit can be kept better on this machine.  When its front-end leaves, it
 * tells of the gaps in its polling: others had its CPU then.
 *
 * A reference for benchmarks only: it trusts its front-end.
 * Threads: one.
 */
#include "vhost/protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#define QUEUES		4U
#define SIZE_BYTES	(UINT64_C(64) << 30)
/* Rounds without a request between two looks at the socket. */
#define IDLE_ROUNDS	200000U
/* Polling that takes so long was interrupted; a second: by a signal, so that
 * others can be measured. */
#define GAP_NS		UINT64_C(100000)
#define SECOND_NS	UINT64_C(1000000000)
/* What was due for longer is not made up for. */
#define LATE_NS		UINT64_C(10000000)

struct region {
	struct vhost_user_region at;
	char *mapped;			/* where at.guest_addr lies here */
	void *base;
	size_t bytes;
};

struct queue {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size, next;
	int kick_fd, call_fd;
	bool started;
};

/* Requests are due at equal distances. */
struct pacer {
	uint64_t limit_iops;		/* 0: none */
	uint64_t due_ns, rest;
	uint64_t polled_ns;
	uint64_t gaps, gone_ns, worst_ns;
};

struct echo {
	int fd;
	struct pacer pacer;
	struct region regions[VHOST_USER_TABLE_REGIONS];
	unsigned int region_count;
	struct queue queues[QUEUES];
};

static void *translate(const struct echo *echo, uint64_t address)
{
	unsigned int i;

	for (i = 0; i < echo->region_count; i++) {
		const struct region *region = &echo->regions[i];

		if (address - region->at.guest_addr < region->at.size)
			return region->mapped +
				(address - region->at.guest_addr);
	}
	fprintf(stderr, "bench-echo: address %#llx is in no region\n",
		(unsigned long long)address);
	exit(1);
}

static void *translate_user(const struct echo *echo, uint64_t address)
{
	unsigned int i;

	for (i = 0; i < echo->region_count; i++) {
		const struct vhost_user_region *at = &echo->regions[i].at;

		if (address - at->user_addr < at->size)
			return translate(echo,
					 at->guest_addr +
						 (address - at->user_addr));
	}
	return translate(echo, UINT64_MAX);
}

/* How many of 'count' requests are due. */
static unsigned int pace(struct pacer *pacer, unsigned int count)
{
	unsigned int due = 0;
	struct timespec clock;
	uint64_t now_ns, gap_ns;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	now_ns = (uint64_t)clock.tv_sec * SECOND_NS + (uint64_t)clock.tv_nsec;
	gap_ns = now_ns - pacer->polled_ns;
	if (gap_ns > GAP_NS && gap_ns < SECOND_NS) {
		pacer->gaps++;
		pacer->gone_ns += gap_ns;
		if (gap_ns > pacer->worst_ns)
			pacer->worst_ns = gap_ns;
	}
	pacer->polled_ns = now_ns;
	if (pacer->due_ns + LATE_NS < now_ns)
		pacer->due_ns = now_ns - LATE_NS;
	while (due < count && pacer->due_ns <= now_ns) {
		pacer->rest += SECOND_NS;
		pacer->due_ns += pacer->rest / pacer->limit_iops;
		pacer->rest %= pacer->limit_iops;
		due++;
	}
	return due;
}

/* Finish all that is there and due; returns how much. */
static unsigned int serve(struct echo *echo, struct queue *queue)
{
	const uint16_t mask = (uint16_t)(queue->size - 1);
	const uint16_t shown =
		__atomic_load_n(&queue->avail->idx, __ATOMIC_ACQUIRE);
	const unsigned int waiting = (uint16_t)(shown - queue->next);
	const unsigned int count = echo->pacer.limit_iops > 0 ?
		pace(&echo->pacer, waiting) :
		waiting;
	const uint16_t until = (uint16_t)(queue->next + count);

	if (count == 0)
		return 0;
	while (queue->next != until) {
		const uint16_t head = queue->avail->ring[queue->next & mask];
		const struct vring_desc *desc = &queue->desc[head];

		while (desc->flags & VRING_DESC_F_NEXT)
			desc = &queue->desc[desc->next];
		*(uint8_t *)translate(echo, desc->addr) = VIRTIO_BLK_S_OK;
		queue->used->ring[queue->next & mask] =
			(struct vring_used_elem){head, 1};
		queue->next++;
	}
	__atomic_store_n(&queue->used->idx, queue->next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(queue->avail->flags & VRING_AVAIL_F_NO_INTERRUPT))
		(void)eventfd_write(queue->call_fd, 1);
	return count;
}

static void forget_regions(struct echo *echo)
{
	while (echo->region_count > 0) {
		struct region *region = &echo->regions[--echo->region_count];

		munmap(region->base, region->bytes);
	}
}

static int map_regions(struct echo *echo,
		       const struct vhost_user_memory *memory, int *fds)
{
	unsigned int i;

	forget_regions(echo);
	for (i = 0; i < memory->regions_count; i++) {
		struct region *region = &echo->regions[i];

		region->at = memory->regions[i];
		region->bytes = region->at.size + region->at.mmap_offset;
		region->base = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_POPULATE, fds[i], 0);
		if (region->base == MAP_FAILED)
			return -errno;
		region->mapped = (char *)region->base + region->at.mmap_offset;
		echo->region_count++;
	}
	return 0;
}

static int receive(int fd, struct vhost_user_header *header,
		   union vhost_user_payload *payload, int *fds)
{
	struct iovec iov = {header, sizeof(*header)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
	} control;
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *cmsg;
	ssize_t n;

	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	if (n != (ssize_t)sizeof(*header) || header->size > sizeof(*payload))
		return -ECONNRESET;
	cmsg = CMSG_FIRSTHDR(&message);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
	if (header->size > 0 &&
	    recv(fd, payload, header->size, MSG_WAITALL) !=
		    (ssize_t)header->size)
		return -ECONNRESET;
	return 0;
}

static int reply(int fd, struct vhost_user_header header, const void *payload,
		 uint32_t size)
{
	struct iovec iov[2] = {
		{&header, sizeof(header)},
		{(void *)(uintptr_t)payload, size},
	};
	const struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

	header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
	header.size = size;
	return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int reply_u64(int fd, const struct vhost_user_header *header,
		     uint64_t value)
{
	return reply(fd, *header, &value, sizeof(value));
}

static int reply_config(int fd, const struct vhost_user_header *header,
			struct vhost_user_config *config)
{
	const struct virtio_blk_config blk = {
		.capacity = SIZE_BYTES / 512,
		.blk_size = 512,
		.num_queues = QUEUES,
	};

	if (config->size > sizeof(blk))
		return -EPROTO;
	memcpy(config->data, &blk, config->size);
	return reply(fd, *header, config,
		     VHOST_USER_CONFIG_HEADER + config->size);
}

static void start(struct queue *queue, int kick_fd)
{
	queue->kick_fd = kick_fd;
	queue->used->flags = VRING_USED_F_NO_NOTIFY;
	queue->started = true;
}

/* One message; -errno ends the connection. */
static int handle(struct echo *echo)
{
	struct vhost_user_header header;
	union vhost_user_payload payload;
	int fds[VHOST_USER_FDS_MAX];
	struct queue *queue;
	int result;

	memset(fds, -1, sizeof(fds));
	result = receive(echo->fd, &header, &payload, fds);
	if (result < 0)
		return result;
	/* For the messages that name a queue, all begin with its number. */
	queue = &echo->queues[payload.u64 % QUEUES];
	switch (header.request) {
	case VHOST_USER_GET_FEATURES:
		return reply_u64(
			echo->fd, &header,
			VHOST_FEATURE(VIRTIO_F_VERSION_1) |
				VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES) |
				VHOST_FEATURE(VIRTIO_BLK_F_FLUSH) |
				VHOST_FEATURE(VIRTIO_BLK_F_MQ));
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return reply_u64(
			echo->fd, &header,
			VHOST_FEATURE(VHOST_USER_PROTOCOL_F_MQ) |
				VHOST_FEATURE(VHOST_USER_PROTOCOL_F_CONFIG));
	case VHOST_USER_GET_QUEUE_NUM:
		return reply_u64(echo->fd, &header, QUEUES);
	case VHOST_USER_GET_CONFIG:
		return reply_config(echo->fd, &header, &payload.config);
	case VHOST_USER_SET_MEM_TABLE:
		return map_regions(echo, &payload.memory, fds);
	case VHOST_USER_SET_VRING_NUM:
		queue->size = (uint16_t)payload.state.num;
		return 0;
	case VHOST_USER_SET_VRING_BASE:
		queue->next = (uint16_t)payload.state.num;
		return 0;
	case VHOST_USER_SET_VRING_ADDR:
		queue->desc = translate_user(echo, payload.addr.desc_user_addr);
		queue->avail =
			translate_user(echo, payload.addr.avail_user_addr);
		queue->used = translate_user(echo, payload.addr.used_user_addr);
		return 0;
	case VHOST_USER_SET_VRING_CALL:
		queue->call_fd = fds[0];
		return 0;
	case VHOST_USER_SET_VRING_KICK:
		start(queue, fds[0]);
		return 0;
	case VHOST_USER_GET_VRING_BASE:
		queue->started = false;
		payload.state.num = queue->next;
		return reply(echo->fd, header, &payload.state,
			     sizeof(payload.state));
	}
	return 0;	/* nothing to answer, nothing to do */
}

static void converse(struct echo *echo)
{
	unsigned int idle = 0, i;

	for (;;) {
		struct pollfd pollfd = {.fd = echo->fd, .events = POLLIN};
		bool started = false;
		unsigned int did = 0;

		for (i = 0; i < QUEUES; i++) {
			if (!echo->queues[i].started)
				continue;
			started = true;
			did += serve(echo, &echo->queues[i]);
		}
		idle = did > 0 ? idle : idle + 1;
		if (started && idle < IDLE_ROUNDS)
			continue;
		idle = 0;
		if (poll(&pollfd, 1, started ? 0 : -1) > 0 && handle(echo) < 0)
			break;
	}
	for (i = 0; i < QUEUES; i++) {
		if (echo->queues[i].kick_fd > 0)
			close(echo->queues[i].kick_fd);
		if (echo->queues[i].call_fd > 0)
			close(echo->queues[i].call_fd);
	}
	forget_regions(echo);
	close(echo->fd);
	if (echo->pacer.limit_iops > 0) {
		printf("{\"gaps\": %llu, \"ns\": %llu, \"worst_ns\": %llu}\n",
		       (unsigned long long)echo->pacer.gaps,
		       (unsigned long long)echo->pacer.gone_ns,
		       (unsigned long long)echo->pacer.worst_ns);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = argc > 1 ? argv[argc - 1] : "";
	uint64_t limit_iops = 0;
	int listen_fd;

	if (argc == 3 && strncmp(argv[1], "--limit=", 8) == 0)
		limit_iops = strtoull(argv[1] + 8, NULL, 10);
	if (argc != (limit_iops > 0 ? 3 : 2) || path[0] == '-' ||
	    strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: bench-echo [--limit=IOPS] SOCKET\n");
		return 2;
	}
	strcpy(address.sun_path, path);
	unlink(path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listen_fd < 0 ||
	    bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listen_fd, 4)) {
		fprintf(stderr, "bench-echo: %s: %s\n", path, strerror(errno));
		return 1;
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		struct echo echo = {.pacer.limit_iops = limit_iops};

		echo.fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (echo.fd < 0) {
			fprintf(stderr, "bench-echo: accept: %s\n",
				strerror(errno));
			return 1;
		}
		converse(&echo);
	}
}
