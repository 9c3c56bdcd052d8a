/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-peer.c - see vhost-peer.h */
#include "vhost-peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/guard.h"
#include "vhost/access.h"

#define HALF_BYTES	(PEER_MEMORY_BYTES / 2)
#define QUEUE_BYTES	UINT64_C(0x10000)
#define AVAIL_AT	UINT64_C(0x4000)
#define USED_AT		UINT64_C(0x5000)
#define HEADERS_AT	UINT64_C(0x8000)
#define STATUS_AT	UINT64_C(0xc000)

/* ---- the world ---- */

static void take_report(void *arg, const struct error *error)
{
	struct world *world = arg;

	world->reports++;
	world->report = *error;
}

static void make_front(struct world *world, unsigned int queues)
{
	static unsigned int serial;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct front_config config = {
		.loop = world->loop,
		.vdev = world->vdev,
		.queues = queues,
		.id = "penstock-test-disk",
		.report = take_report,
		.arg = world,
	};
	struct error error;

	snprintf(world->name, sizeof(world->name), "penstock-test-%d-%u",
		 (int)getpid(), serial++);
	memcpy(address.sun_path + 1, world->name, strlen(world->name));
	config.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(config.listen_fd >= 0);
	if (bind(config.listen_fd, (struct sockaddr *)&address,
		 sizeof(address)) < 0 ||
	    listen(config.listen_fd, 16) < 0 ||
	    front_create(&config, &world->front, &error) < 0)
		abort();
}

void world_create(struct world *world, unsigned int queues)
{
	static bool guarded;
	const struct loop_config config = {.entries = 256};
	struct error error;

	if (!guarded && guard_install() < 0)
		abort();
	guarded = true;
	memset(world, 0, sizeof(*world));
	if (loop_create(&config, &world->loop, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		exit(77);
	}
	world->vdev = fake_create(16 << 20);
	make_front(world, queues);
}

void world_create_beside(struct world *world, const struct world *first,
			 unsigned int queues)
{
	memset(world, 0, sizeof(*world));
	world->loop = first->loop;
	world->vdev = fake_create(1 << 20);
	make_front(world, queues);
}

void world_destroy_beside(struct world *world)
{
	front_destroy(world->front);
	fake_complete_all(world->vdev);
	fake_destroy(world->vdev);
}

void world_destroy(struct world *world)
{
	world_destroy_beside(world);
	/* What the kernel still has of descriptors is given back. */
	world_settle(world);
	loop_destroy(world->loop);
}

void world_turn(struct world *world)
{
	if (loop_run_once(world->loop, 0) < 0)
		abort();
}

void world_settle(struct world *world)
{
	for (unsigned int i = 0; i < 30; i++)
		world_turn(world);
}

void world_check(uint64_t limit_ns, const char *what)
{
	if (loop_clock_ns() < limit_ns)
		return;
	fprintf(stderr, "never came true: %s\n", what);
	abort();
}

/* ---- messages ---- */

void peer_connect(struct world *world, struct peer *peer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct peer_queue unset = {.kick = -1, .call = -1, .error = -1};

	memset(peer, 0, sizeof(*peer));
	peer->world = world;
	for (unsigned int i = 0; i < PEER_QUEUES; i++)
		peer->queues[i] = unset;
	memcpy(address.sun_path + 1, world->name, strlen(world->name));
	peer->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	peer->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (peer->socket < 0 || peer->memory_fd < 0 ||
	    connect(peer->socket, (struct sockaddr *)&address,
		    sizeof(address)) < 0 ||
	    ftruncate(peer->memory_fd, (off_t)PEER_MEMORY_BYTES) < 0)
		abort();
	peer->memory = mmap(NULL, PEER_MEMORY_BYTES, PROT_READ | PROT_WRITE,
			    MAP_SHARED, peer->memory_fd, 0);
	if (peer->memory == MAP_FAILED)
		abort();
}

void peer_close(struct peer *peer)
{
	if (peer->socket >= 0)
		close(peer->socket);
	peer->socket = -1;
}

void peer_destroy(struct peer *peer)
{
	peer_close(peer);
	for (unsigned int i = 0; i < PEER_QUEUES; i++) {
		struct peer_queue *queue = &peer->queues[i];

		if (queue->kick >= 0)
			close(queue->kick);
		if (queue->call >= 0)
			close(queue->call);
		if (queue->error >= 0)
			close(queue->error);
	}
	munmap(peer->memory, PEER_MEMORY_BYTES);
	close(peer->memory_fd);
}

void peer_send(struct peer *peer, uint32_t request, uint32_t flags,
	       const void *payload, size_t size, const int *fds,
	       unsigned int fd_count)
{
	struct vhost_user_header header = {
		.request = request,
		.flags = flags | VHOST_USER_VERSION,
		.size = (uint32_t)size,
	};
	char bytes[sizeof(header) + 4096];
	struct iovec iov = {bytes, sizeof(header) + size};
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 32)];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	assert(size <= 4096 && fd_count <= 32);
	memcpy(bytes, &header, sizeof(header));
	if (size > 0)
		memcpy(bytes + sizeof(header), payload, size);
	if (fd_count > 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	/* A server that has closed it is the test's business, later. */
	(void)sendmsg(peer->socket, &msg, MSG_NOSIGNAL);
}

/* Returns bytes, 0 at the end. */
static size_t receive_all(struct peer *peer, void *to, size_t size, int *ret_fd)
{
	const uint64_t limit_ns = loop_clock_ns() + UINT64_C(10000000000);
	size_t have = 0;

	while (have < size) {
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control = {{0}};
		struct iovec iov = {(char *)to + have, size - have};
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t got = recvmsg(peer->socket, &msg, MSG_DONTWAIT);

		if (got < 0 && errno == EAGAIN) {
			world_turn(peer->world);
			world_check(limit_ns, "an answer");
			continue;
		}
		if (got <= 0)
			return 0;
		if (CMSG_FIRSTHDR(&msg) && ret_fd)
			memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)),
			       sizeof(*ret_fd));
		have += (size_t)got;
	}
	return have;
}

int peer_receive(struct peer *peer, struct vhost_user_header *ret_header,
		 void *payload, size_t size, int *ret_fd)
{
	if (receive_all(peer, ret_header, sizeof(*ret_header), ret_fd) == 0)
		return -1;
	assert(ret_header->size <= size);
	if (ret_header->size > 0 &&
	    receive_all(peer, payload, ret_header->size, NULL) == 0)
		return -1;
	return (int)ret_header->size;
}

bool peer_is_closed(struct peer *peer)
{
	char byte;
	ssize_t got = recv(peer->socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return got == 0 || (got < 0 && errno != EAGAIN);
}

void peer_set_u64(struct peer *peer, uint32_t request, uint64_t value)
{
	peer_send(peer, request, 0, &value, sizeof(value), NULL, 0);
}

uint64_t peer_get_u64(struct peer *peer, uint32_t request)
{
	struct vhost_user_header header;
	uint64_t value = 0;

	peer_send(peer, request, 0, NULL, 0, NULL, 0);
	if (peer_receive(peer, &header, &value, sizeof(value), NULL) !=
		    sizeof(value) ||
	    header.request != request)
		abort();
	return value;
}

uint64_t peer_acknowledged(struct peer *peer, uint32_t request,
			   const void *payload, size_t size, const int *fds,
			   unsigned int fd_count)
{
	struct vhost_user_header header;
	uint64_t value = 0;

	peer_send(peer, request, VHOST_USER_FLAG_NEED_REPLY, payload, size, fds,
		  fd_count);
	if (peer_receive(peer, &header, &value, sizeof(value), NULL) !=
		    sizeof(value) ||
	    header.request != request)
		abort();
	return value;
}

void peer_set_state(struct peer *peer, uint32_t request, uint32_t index,
		    uint32_t num)
{
	const struct vhost_user_vring_state state = {index, num};

	peer_send(peer, request, 0, &state, sizeof(state), NULL, 0);
}

void peer_sync(struct peer *peer)
{
	(void)peer_get_u64(peer, VHOST_USER_GET_FEATURES);
}

/* ---- a session, step by step ---- */

void peer_negotiate(struct peer *peer, uint64_t features)
{
	peer->features = features | VHOST_FEATURE(VIRTIO_F_VERSION_1) |
		VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES);
	(void)peer_get_u64(peer, VHOST_USER_GET_FEATURES);
	peer->protocol = peer_get_u64(peer, VHOST_USER_GET_PROTOCOL_FEATURES);
	peer_set_u64(peer, VHOST_USER_SET_PROTOCOL_FEATURES, peer->protocol);
	peer_send(peer, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	peer_set_u64(peer, VHOST_USER_SET_FEATURES, peer->features);
}

void peer_set_memory(struct peer *peer)
{
	const struct vhost_user_memory memory = {
		.regions_count = 2,
		.regions =
			{
				{0, HALF_BYTES, PEER_USER_ADDR, HALF_BYTES},
				{HALF_BYTES, HALF_BYTES,
				 PEER_USER_ADDR + HALF_BYTES, 0},
			},
	};
	const int fds[2] = {peer->memory_fd, peer->memory_fd};

	peer_send(peer, VHOST_USER_SET_MEM_TABLE, 0, &memory,
		  offsetof(struct vhost_user_memory, regions) +
			  2 * sizeof(memory.regions[0]),
		  fds, 2);
}

void peer_set_ring_addr(struct peer *peer, unsigned int queue, bool log)
{
	const uint64_t at = queue * QUEUE_BYTES;
	const struct vhost_user_vring_addr addr = {
		.index = queue,
		.flags = log ? VHOST_USER_VRING_F_LOG : 0,
		.desc_user_addr = PEER_USER_ADDR + at,
		.avail_user_addr = PEER_USER_ADDR + at + AVAIL_AT,
		.used_user_addr = PEER_USER_ADDR + at + USED_AT,
		.log_guest_addr = at + USED_AT,
	};

	peer_send(peer, VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL,
		  0);
}

static void send_event(struct peer *peer, uint32_t request, unsigned int queue,
		       int *fd)
{
	const uint64_t value = queue;

	if (*fd < 0)
		*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	peer_send(peer, request, 0, &value, sizeof(value), fd, 1);
}

void peer_set_ring(struct peer *peer, unsigned int queue, uint16_t size,
		   uint16_t base)
{
	struct peer_queue *q = &peer->queues[queue];
	uint8_t *at = peer_at(peer, queue * QUEUE_BYTES);

	q->desc = (struct vring_desc *)(void *)at;
	q->avail = (struct vring_avail *)(void *)(at + AVAIL_AT);
	q->used = (struct vring_used *)(void *)(at + USED_AT);
	q->size = size;
	peer_set_state(peer, VHOST_USER_SET_VRING_NUM, queue, size);
	peer_set_state(peer, VHOST_USER_SET_VRING_BASE, queue, base);
	peer_set_ring_addr(peer, queue, false);
	send_event(peer, VHOST_USER_SET_VRING_CALL, queue, &q->call);
	send_event(peer, VHOST_USER_SET_VRING_ERR, queue, &q->error);
}

void peer_start_ring(struct peer *peer, unsigned int queue)
{
	send_event(peer, VHOST_USER_SET_VRING_KICK, queue,
		   &peer->queues[queue].kick);
}

void peer_enable_ring(struct peer *peer, unsigned int queue, bool enable)
{
	peer_set_state(peer, VHOST_USER_SET_VRING_ENABLE, queue, enable);
}

uint32_t peer_stop_ring(struct peer *peer, unsigned int queue)
{
	struct vhost_user_vring_state state = {.index = queue};
	struct vhost_user_header header;

	peer_set_state(peer, VHOST_USER_GET_VRING_BASE, queue, 0);
	if (peer_receive(peer, &header, &state, sizeof(state), NULL) !=
		    sizeof(state) ||
	    header.request != VHOST_USER_GET_VRING_BASE || state.index != queue)
		abort();
	return state.num;
}

void peer_start(struct peer *peer, uint64_t features, unsigned int queues)
{
	peer_negotiate(peer, features);
	peer_set_memory(peer);
	for (unsigned int i = 0; i < queues; i++) {
		peer_set_ring(peer, i, 256, 0);
		peer_start_ring(peer, i);
		peer_enable_ring(peer, i, true);
	}
	peer_sync(peer);
}

/* ---- guest memory and requests ---- */

void *peer_at(struct peer *peer, uint64_t guest_addr)
{
	assert(guest_addr < PEER_MEMORY_BYTES);
	return peer->memory + (guest_addr ^ HALF_BYTES);
}

uint64_t peer_header_addr(unsigned int queue, unsigned int slot)
{
	return queue * QUEUE_BYTES + HEADERS_AT + slot * 16U;
}

uint64_t peer_status_addr(unsigned int queue, unsigned int slot)
{
	return queue * QUEUE_BYTES + STATUS_AT + slot;
}

uint8_t peer_status(struct peer *peer, unsigned int queue, unsigned int slot)
{
	return *(uint8_t *)peer_at(peer, peer_status_addr(queue, slot));
}

void peer_header(struct peer *peer, unsigned int queue, unsigned int slot,
		 uint32_t type, uint32_t ioprio, uint64_t sector)
{
	const struct virtio_blk_outhdr header = {type, ioprio, sector};

	assert(slot < PEER_SLOTS);
	memcpy(peer_at(peer, peer_header_addr(queue, slot)), &header,
	       sizeof(header));
	*(uint8_t *)peer_at(peer, peer_status_addr(queue, slot)) =
		PEER_NO_STATUS;
}

void peer_desc(struct peer *peer, unsigned int queue, unsigned int index,
	       uint64_t addr, uint32_t length, uint16_t flags, uint16_t next)
{
	peer->queues[queue].desc[index] =
		(struct vring_desc){addr, length, flags, next};
}

void peer_publish(struct peer *peer, unsigned int queue, uint16_t head)
{
	struct vring_avail *avail = peer->queues[queue].avail;
	const uint16_t idx = avail->idx;

	avail->ring[idx & (peer->queues[queue].size - 1)] = head;
	access_release_u16(&avail->idx, (uint16_t)(idx + 1));
}

void peer_kick(struct peer *peer, unsigned int queue)
{
	const uint64_t one = 1;

	if (write(peer->queues[queue].kick, &one, sizeof(one)) < 0)
		abort();
}

void peer_request(struct peer *peer, unsigned int queue, unsigned int slot,
		  uint32_t type, uint64_t sector, uint64_t data_addr,
		  uint32_t length)
{
	const uint16_t head = (uint16_t)(slot * 3);
	const bool reads =
		type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	peer_header(peer, queue, slot, type, 0, sector);
	peer_desc(peer, queue, head, peer_header_addr(queue, slot), 16,
		  VRING_DESC_F_NEXT, (uint16_t)(head + (length ? 1 : 2)));
	peer_desc(peer, queue, head + 1U, data_addr, length,
		  (uint16_t)(VRING_DESC_F_NEXT |
			     (reads ? VRING_DESC_F_WRITE : 0)),
		  (uint16_t)(head + 2));
	peer_desc(peer, queue, head + 2U, peer_status_addr(queue, slot), 1,
		  VRING_DESC_F_WRITE, 0);
	peer_publish(peer, queue, head);
}

unsigned int peer_answers(struct peer *peer, unsigned int queue)
{
	const struct peer_queue *q = &peer->queues[queue];

	return (uint16_t)(access_acquire_u16(&q->used->idx) - q->seen);
}

uint16_t peer_answer(struct peer *peer, unsigned int queue,
		     uint32_t *ret_length)
{
	struct peer_queue *q = &peer->queues[queue];
	const struct vring_used_elem *elem =
		&q->used->ring[q->seen & (q->size - 1)];

	assert(peer_answers(peer, queue) > 0);
	q->seen++;
	if (ret_length)
		*ret_length = elem->len;
	return (uint16_t)elem->id;
}

uint8_t peer_do(struct peer *peer, unsigned int queue, unsigned int slot,
		uint32_t type, uint64_t sector, uint64_t data_addr,
		uint32_t length)
{
	peer_request(peer, queue, slot, type, sector, data_addr, length);
	peer_kick(peer, queue);
	world_until(peer->world, peer_answers(peer, queue) > 0);
	if (peer_answer(peer, queue, NULL) != slot * 3)
		abort();
	return peer_status(peer, queue, slot);
}

bool peer_was_called(struct peer *peer, unsigned int queue)
{
	uint64_t value;

	/* The call goes out at the end of a round. */
	world_turn(peer->world);
	return read(peer->queues[queue].call, &value, sizeof(value)) ==
		(ssize_t)sizeof(value);
}
