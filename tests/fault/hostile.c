/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile.c - a front-end that means harm
 *
 * usage: hostile SOCKET ROUNDS SEED
 *
 * Each round is a connection of one of three kinds: noise; well-formed
 * messages with wrong fields and descriptors; a correct set-up with a ring
 * and request headers full of lies, which change while they are read.  Ends
 * with 0 when all rounds are done: what matters is what others notice.
 */
#include "vhost/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX	9U
#define MEMORY_BYTES	(UINT64_C(4) << 20)
#define GUEST_BASE	UINT64_C(0x10000)
#define QUEUE_SIZE	128U
#define RING_BYTES	UINT64_C(0x4000)
#define ROUND_MESSAGES	200
#define ROUND_KICKS	50

struct attack {
	const char *path;
	uint64_t random;
	uint8_t *memory;
	int memory_fd;
	int kick_fd;
	uint64_t sent, cut;
};

static uint64_t next_random(struct attack *attack)
{
	attack->random ^= attack->random << 13;
	attack->random ^= attack->random >> 7;
	attack->random ^= attack->random << 17;
	return attack->random;
}

/* A number that is likelier than not to hurt. */
static uint64_t nasty(struct attack *attack)
{
	static const uint64_t edges[] = {
		0,
		1,
		7,
		255,
		256,
		1023,
		1024,
		1025,
		0x7fff,
		0xffff,
		0x10000,
		MEMORY_BYTES - 1,
		MEMORY_BYTES,
		GUEST_BASE,
		GUEST_BASE + MEMORY_BYTES - 16,
		INT32_MAX,
		UINT32_MAX,
		INT64_MAX,
		UINT64_MAX - 4095,
		UINT64_MAX,
	};
	uint64_t choice = next_random(attack);

	if (choice % 3 == 0)
		return next_random(attack) >> (choice >> 8 & 63);
	return edges[(choice >> 8) % (sizeof(edges) / sizeof(edges[0]))];
}

static void fill_noise(struct attack *attack, void *to, size_t bytes)
{
	uint8_t *at = to;

	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(next_random(attack) >> 24);
}

/* Returns a connected socket, or -1 when the server is not there now. */
static int connect_to(const struct attack *attack)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_usec = 100000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	strncpy(address.sun_path, attack->path, sizeof(address.sun_path) - 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) <
	    0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Returns false when the server has cut the connection. */
static bool send_bytes(struct attack *attack, int fd, const void *bytes,
		       size_t size, const int *fds, unsigned int count)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(&iov.iov_base, &bytes, sizeof(bytes));
	if (count) {
		struct cmsghdr *header = &control.align;

		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
	}
	attack->sent++;
	return sendmsg(fd, &message, MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
}

static bool send_message(struct attack *attack, int fd, uint32_t request,
			 const void *payload, uint32_t size, const int *fds,
			 unsigned int count)
{
	uint8_t bytes[sizeof(struct vhost_user_header) + 512];
	struct vhost_user_header header = {
		.request = request,
		.flags = VHOST_USER_VERSION,
		.size = size,
	};

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), payload, size);
	return send_bytes(attack, fd, bytes, sizeof(header) + size, fds, count);
}

static void drop_replies(int fd)
{
	uint8_t bytes[1024];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void round_noise(struct attack *attack, int fd)
{
	uint8_t bytes[256];

	for (int i = 0; i < 20; i++) {
		size_t size = 1 + next_random(attack) % sizeof(bytes);

		fill_noise(attack, bytes, size);
		if (!send_bytes(attack, fd, bytes, size, NULL, 0)) {
			attack->cut++;
			return;
		}
	}
}

/* A known request, its payload's words nasty, descriptors at random. */
static bool send_wrong(struct attack *attack, int fd)
{
	struct vhost_user_header header = {
		.request = (uint32_t)(next_random(attack) %
				      (VHOST_USER_REQUESTS + 3)),
		.flags = VHOST_USER_VERSION,
	};
	uint8_t bytes[sizeof(header) + 320];
	int fds[FDS_MAX];
	unsigned int count = 0;

	if (next_random(attack) % 4 == 0)
		header.flags |= VHOST_USER_FLAG_NEED_REPLY;
	if (next_random(attack) % 50 == 0)
		header.flags = (uint32_t)nasty(attack);
	header.size = (uint32_t)(next_random(attack) % 40 * 8);
	for (size_t at = sizeof(header); at + 8 <= sizeof(bytes); at += 8) {
		uint64_t word = nasty(attack);

		memcpy(bytes + at, &word, 8);
	}
	if (next_random(attack) % 3 == 0)
		count = (unsigned int)(next_random(attack) % (FDS_MAX + 1));
	for (unsigned int i = 0; i < count; i++)
		fds[i] = next_random(attack) % 2 ? attack->memory_fd :
						   attack->kick_fd;
	memcpy(bytes, &header, sizeof(header));
	if (next_random(attack) % 50 == 0) {
		header.size = (uint32_t)nasty(attack);
		memcpy(bytes, &header, sizeof(header));
		header.size = 64;
	}
	return send_bytes(attack, fd, bytes, sizeof(header) + header.size, fds,
			  count);
}

static void round_wrong(struct attack *attack, int fd)
{
	for (int i = 0; i < ROUND_MESSAGES; i++) {
		if (!send_wrong(attack, fd)) {
			attack->cut++;
			return;
		}
		drop_replies(fd);
	}
}

/* Everything right, up to the enabled ring. */
static bool set_up(struct attack *attack, int fd)
{
	const uint64_t user = (uint64_t)(uintptr_t)attack->memory;
	uint64_t features = VHOST_FEATURE(VIRTIO_F_VERSION_1) |
		VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
		VHOST_FEATURE(VIRTIO_BLK_F_DISCARD) |
		VHOST_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES) |
		VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES);
	struct vhost_user_memory memory = {
		.regions_count = 1,
		.regions = {{GUEST_BASE, MEMORY_BYTES, user, 0}},
	};
	struct vhost_user_vring_state number = {0, QUEUE_SIZE}, base = {0, 0};
	struct vhost_user_vring_state enable = {0, 1};
	struct vhost_user_vring_addr addresses = {
		.desc_user_addr = user,
		.avail_user_addr = user + 0x1000,
		.used_user_addr = user + 0x2000,
	};
	uint64_t protocol = 0, index = 0;

	return send_message(attack, fd, VHOST_USER_SET_OWNER, "", 0, NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_FEATURES, &features, 8,
			     NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_PROTOCOL_FEATURES,
			     &protocol, 8, NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_MEM_TABLE, &memory,
			     8 + 32, &attack->memory_fd, 1) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_NUM, &number, 8,
			     NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_BASE, &base, 8,
			     NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_ADDR, &addresses,
			     sizeof(addresses), NULL, 0) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_KICK, &index, 8,
			     &attack->kick_fd, 1) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_CALL, &index, 8,
			     &attack->kick_fd, 1) &&
		send_message(attack, fd, VHOST_USER_SET_VRING_ENABLE, &enable,
			     8, NULL, 0);
}

/* A descriptor table whose entries are now right, now wrong. */
static void lie(struct attack *attack)
{
	struct vring_desc *table = (struct vring_desc *)(void *)attack->memory;
	uint16_t *avail = (uint16_t *)(void *)(attack->memory + 0x1000);

	for (unsigned int i = 0; i < QUEUE_SIZE; i++) {
		uint64_t choice = next_random(attack);

		table[i].addr = choice % 4 ?
			GUEST_BASE + RING_BYTES + (choice >> 16) % 0x100000 :
			nasty(attack);
		table[i].len = choice % 5 ?
			(uint32_t)(16 << (choice >> 40) % 9) :
			(uint32_t)nasty(attack);
		table[i].flags =
			(uint16_t)(choice % 7 ? choice >> 8 & 3 : choice >> 8);
		table[i].next = (uint16_t)(choice % 11 ? (i + 1) % QUEUE_SIZE :
							 choice >> 32);
	}
	for (unsigned int i = 0; i < QUEUE_SIZE; i++)
		avail[2 + i] = (uint16_t)(next_random(attack) % 9 ?
						  i :
						  next_random(attack));
	/* Headers, indirect tables and data, at every possible place. */
	for (uint64_t at = RING_BYTES; at < RING_BYTES + 0x100000; at += 512) {
		struct virtio_blk_outhdr header = {
			.type = (uint32_t)(next_random(attack) % 16),
			.ioprio = (uint32_t)next_random(attack),
			.sector = nasty(attack),
		};

		memcpy(attack->memory + at, &header, sizeof(header));
	}
	avail[1] = (uint16_t)(avail[1] +
			      (next_random(attack) % 20 ?
				       next_random(attack) % 32 :
				       next_random(attack)));
}

static void round_lies(struct attack *attack, int fd)
{
	const uint64_t one = 1;
	uint8_t byte;

	memset(attack->memory, 0, RING_BYTES);
	if (!set_up(attack, fd)) {
		attack->cut++;
		return;
	}
	for (int i = 0; i < ROUND_KICKS; i++) {
		lie(attack);
		if (write(attack->kick_fd, &one, sizeof(one)) < 0)
			break;
		/* While the server reads it. */
		for (int j = 0; j < 200; j++)
			fill_noise(attack,
				   attack->memory +
					   next_random(attack) % RING_BYTES,
				   2);
		if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0) {
			attack->cut++;
			break;
		}
	}
	/* Sometimes ask for the ring's end; mostly just be gone. */
	if (next_random(attack) % 3 == 0) {
		struct vhost_user_vring_state state = {0, 0};

		if (send_message(attack, fd, VHOST_USER_GET_VRING_BASE, &state,
				 8, NULL, 0))
			(void)!recv(fd, &byte, 1, 0);
	}
}

int main(int argc, char **argv)
{
	static void (*const rounds[])(struct attack * attack, int fd) = {
		round_noise,
		round_wrong,
		round_lies,
	};
	struct attack attack = {0};
	unsigned long count, done = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: hostile SOCKET ROUNDS SEED\n");
		return 2;
	}
	attack.path = argv[1];
	count = strtoul(argv[2], NULL, 10);
	attack.random = strtoul(argv[3], NULL, 10) * 2 + 1;
	attack.memory_fd = memfd_create("hostile", MFD_CLOEXEC);
	attack.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (attack.memory_fd < 0 || attack.kick_fd < 0 ||
	    ftruncate(attack.memory_fd, (off_t)MEMORY_BYTES) < 0)
		return 1;
	attack.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			     MAP_SHARED, attack.memory_fd, 0);
	if (attack.memory == MAP_FAILED)
		return 1;

	for (unsigned long i = 0; i < count; i++) {
		int fd = connect_to(&attack);

		if (fd < 0)
			continue;
		rounds[i % 3](&attack, fd);
		close(fd);
		done++;
	}
	printf("rounds=%lu sent=%lu cut=%lu\n", done,
	       (unsigned long)attack.sent, (unsigned long)attack.cut);
	return done > count / 2 ? 0 : 1;
}
