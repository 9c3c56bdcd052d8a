/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-hostile.c - front-ends that mean harm: messages, connections
 *
 * See vhost-beside.h; what guests do: test-vhost-guest.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost-beside.h"

/* ---- messages ---- */

enum stage { FRESH, NEGOTIATED, STARTED };

enum fd_kind {
	FD_NONE,
	FD_MEMORY,	/* the guest's memory, 4 MiB */
	FD_SMALL,	/* one page of memory */
	FD_PATH,	/* opened with O_PATH */
	FD_DISK,	/* an ordinary file */
	FD_NULL,	/* /dev/null */
	FD_PIPE,
	FD_EPOLL,
	FD_EVENT,
	FD_SEALED,	/* memory that can't be written */
};

struct bad_message {
	const char *name;
	enum stage stage;
	uint32_t request;
	uint32_t size;
	enum fd_kind fd;
	unsigned int fd_count;
	/* Nothing is wrong with the message as such; only that nothing bad
	 * happens matters. */
	bool may_pass;
	union vhost_user_payload payload;
};

#define U64_SIZE	sizeof(uint64_t)
#define STATE_SIZE	sizeof(struct vhost_user_vring_state)
#define ADDR_SIZE	sizeof(struct vhost_user_vring_addr)
#define TABLE_SIZE(n)	(8 + (n) * sizeof(struct vhost_user_region))
#define SINGLE_SIZE	sizeof(struct vhost_user_single_region)
#define MiB		(UINT64_C(1) << 20)

/* clang-format off */
static const struct bad_message bad_messages[] = {
	{"unknown request", FRESH, 999, 0, .fd = FD_NONE},
	{"request 0", FRESH, 0, 0, .fd = FD_NONE},
	{"request 0xffffffff", FRESH, UINT32_MAX, 0, .fd = FD_NONE},
	{"SEND_RARP", NEGOTIATED, 19, 8, .fd = FD_NONE},
	{"IOTLB_MSG", NEGOTIATED, 22, 8, .fd = FD_NONE},
	{"CREATE_CRYPTO_SESSION", NEGOTIATED, 26, 8, .fd = FD_NONE},
	{"POSTCOPY_ADVISE", NEGOTIATED, 28, 0, .fd = FD_NONE},
	{"SET_FEATURES without payload", FRESH, VHOST_USER_SET_FEATURES, 0,
	 .fd = FD_NONE},
	{"SET_FEATURES of 4 bytes", FRESH, VHOST_USER_SET_FEATURES, 4,
	 .fd = FD_NONE},
	{"SET_FEATURES of 16 bytes", FRESH, VHOST_USER_SET_FEATURES, 16,
	 .fd = FD_NONE},
	{"SET_FEATURES never offered", FRESH, VHOST_USER_SET_FEATURES, U64_SIZE,
	 .payload.u64 = UINT64_MAX},
	{"SET_FEATURES while running", STARTED, VHOST_USER_SET_FEATURES,
	 U64_SIZE, .payload.u64 = VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX)},
	{"SET_FEATURES with a descriptor", FRESH, VHOST_USER_SET_FEATURES,
	 U64_SIZE, .fd = FD_EVENT, .fd_count = 1},
	{"GET_FEATURES with payload", FRESH, VHOST_USER_GET_FEATURES, 8,
	 .fd = FD_NONE},
	{"SET_OWNER with payload", FRESH, VHOST_USER_SET_OWNER, 64,
	 .fd = FD_NONE},
	{"SET_PROTOCOL_FEATURES never offered", FRESH,
	 VHOST_USER_SET_PROTOCOL_FEATURES, U64_SIZE, .payload.u64 = UINT64_MAX},
	{"SET_PROTOCOL_FEATURES while running", STARTED,
	 VHOST_USER_SET_PROTOCOL_FEATURES, U64_SIZE, .payload.u64 = 0},
	{"GET_QUEUE_NUM not negotiated", FRESH, VHOST_USER_GET_QUEUE_NUM, 0,
	 .fd = FD_NONE},
	{"GET_CONFIG not negotiated", FRESH, VHOST_USER_GET_CONFIG, 72,
	 .payload.config = {.size = 60}},
	{"GET_CONFIG longer than its message", NEGOTIATED,
	 VHOST_USER_GET_CONFIG, 72, .payload.config = {.size = 61}},
	{"GET_CONFIG of 4 GiB", NEGOTIATED, VHOST_USER_GET_CONFIG, 72,
	 .payload.config = {.size = UINT32_MAX}},
	{"GET_CONFIG beyond the end", NEGOTIATED, VHOST_USER_GET_CONFIG, 72,
	 .payload.config = {.offset = 200, .size = 60}},
	{"GET_CONFIG at 4 GiB", NEGOTIATED, VHOST_USER_GET_CONFIG, 72,
	 .payload.config = {.offset = UINT32_MAX - 10, .size = 60}},
	{"GET_CONFIG without header", NEGOTIATED, VHOST_USER_GET_CONFIG, 4,
	 .fd = FD_NONE},
	{"SET_CONFIG of the capacity", NEGOTIATED, VHOST_USER_SET_CONFIG, 20,
	 .payload.config = {.size = 8}},
	/* ---- memory ---- */
	{"SET_MEM_TABLE of 4 billion regions", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {.regions_count = UINT32_MAX}},
	{"SET_MEM_TABLE of 9 regions", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(8), FD_MEMORY, 8, .payload.memory = {.regions_count = 9}},
	{"SET_MEM_TABLE with fewer descriptors", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(2), FD_MEMORY, 1,
	 .payload.memory = {2, 0, {{0, 4096, 0, 0}, {4096, 4096, 4096, 0}}}},
	{"SET_MEM_TABLE with more descriptors", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 5,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE with 20 descriptors", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 20,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE cut short", NEGOTIATED, VHOST_USER_SET_MEM_TABLE, 12,
	 FD_MEMORY, 1, .payload.memory = {.regions_count = 1}},
	{"SET_MEM_TABLE of size 0", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{0, 0, 0, 0}}}},
	{"SET_MEM_TABLE around the end of addresses", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{UINT64_MAX - 4095, 8192, 0, 0}}}},
	{"SET_MEM_TABLE around the end of user addresses", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{0, 8192, UINT64_MAX - 4095, 0}}}},
	{"SET_MEM_TABLE of 2^64-1 bytes", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{0, UINT64_MAX, 0, 0}}}},
	{"SET_MEM_TABLE with a huge offset", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, UINT64_MAX - 100}}}},
	{"SET_MEM_TABLE beyond the file", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(1), FD_MEMORY, 1,
	 .payload.memory = {1, 0, {{0, 4 * MiB, 0, 4096}}}},
	{"SET_MEM_TABLE of 1 TiB in a page", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_SMALL, 1,
	 .payload.memory = {1, 0, {{0, UINT64_C(1) << 40, 0, 0}}}},
	{"SET_MEM_TABLE with overlapping regions", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(2), FD_MEMORY, 2,
	 .payload.memory = {2, 0, {{0, 8192, 0, 0}, {4096, 8192, 65536, 0}}}},
	{"SET_MEM_TABLE of an O_PATH descriptor", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_PATH, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE of /dev/null", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(1), FD_NULL, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE of a pipe", NEGOTIATED, VHOST_USER_SET_MEM_TABLE,
	 TABLE_SIZE(1), FD_PIPE, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE of an event descriptor", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_EVENT, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE of sealed memory", NEGOTIATED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(1), FD_SEALED, 1,
	 .payload.memory = {1, 0, {{0, 4096, 0, 0}}}},
	{"SET_MEM_TABLE of nothing under rings", STARTED,
	 VHOST_USER_SET_MEM_TABLE, TABLE_SIZE(0), .fd = FD_NONE},
	{"ADD_MEM_REG without a descriptor", NEGOTIATED,
	 VHOST_USER_ADD_MEM_REG, SINGLE_SIZE,
	 .payload.single.region = {0, 4096, 0, 0}},
	{"ADD_MEM_REG twice the same", STARTED, VHOST_USER_ADD_MEM_REG,
	 SINGLE_SIZE, FD_MEMORY, 1, .payload.single.region = {0, 4096, 0, 0}},
	{"REM_MEM_REG of what isn't there", STARTED, VHOST_USER_REM_MEM_REG,
	 SINGLE_SIZE, .payload.single.region = {12345, 4096, 0, 0}},
	{"REM_MEM_REG of the rings", STARTED, VHOST_USER_REM_MEM_REG,
	 SINGLE_SIZE,
	 .payload.single.region = {0, 2 * MiB, PEER_USER_ADDR, 2 * MiB}},
	/* ---- rings ---- */
	{"SET_VRING_NUM 0", NEGOTIATED, VHOST_USER_SET_VRING_NUM, STATE_SIZE,
	 .payload.state = {0, 0}},
	{"SET_VRING_NUM 3", NEGOTIATED, VHOST_USER_SET_VRING_NUM, STATE_SIZE,
	 .payload.state = {0, 3}},
	{"SET_VRING_NUM 65536", NEGOTIATED, VHOST_USER_SET_VRING_NUM,
	 STATE_SIZE, .payload.state = {0, 65536}},
	{"SET_VRING_NUM 2^31", NEGOTIATED, VHOST_USER_SET_VRING_NUM,
	 STATE_SIZE, .payload.state = {0, UINT32_C(1) << 31}},
	{"SET_VRING_NUM of queue 4", NEGOTIATED, VHOST_USER_SET_VRING_NUM,
	 STATE_SIZE, .payload.state = {4, 256}},
	{"SET_VRING_NUM of queue 2^32-1", NEGOTIATED, VHOST_USER_SET_VRING_NUM,
	 STATE_SIZE, .payload.state = {UINT32_MAX, 256}},
	{"SET_VRING_NUM while running", STARTED, VHOST_USER_SET_VRING_NUM,
	 STATE_SIZE, .payload.state = {0, 128}},
	{"SET_VRING_BASE 65536", NEGOTIATED, VHOST_USER_SET_VRING_BASE,
	 STATE_SIZE, .payload.state = {0, 65536}},
	{"SET_VRING_BASE while running", STARTED, VHOST_USER_SET_VRING_BASE,
	 STATE_SIZE, .payload.state = {0, 1}},
	{"SET_VRING_BASE of queue 255", NEGOTIATED, VHOST_USER_SET_VRING_BASE,
	 STATE_SIZE, .payload.state = {255, 0}},
	{"GET_VRING_BASE of queue 9", NEGOTIATED, VHOST_USER_GET_VRING_BASE,
	 STATE_SIZE, .payload.state = {9, 0}},
	{"SET_VRING_ENABLE of queue 64", NEGOTIATED,
	 VHOST_USER_SET_VRING_ENABLE, STATE_SIZE, .payload.state = {64, 1}},
	{"SET_VRING_ENABLE 7", NEGOTIATED, VHOST_USER_SET_VRING_ENABLE,
	 STATE_SIZE, .payload.state = {0, 7}},
	{"SET_VRING_ADDR not aligned", NEGOTIATED, VHOST_USER_SET_VRING_ADDR,
	 ADDR_SIZE, .payload.addr = {0, 0, 8, 0, 0, 0}},
	{"SET_VRING_ADDR with unknown flags", NEGOTIATED,
	 VHOST_USER_SET_VRING_ADDR, ADDR_SIZE,
	 .payload.addr = {0, 0xfe, 0, 0, 0, 0}},
	{"SET_VRING_ADDR of queue 77", NEGOTIATED, VHOST_USER_SET_VRING_ADDR,
	 ADDR_SIZE, .payload.addr = {77, 0, 0, 0, 0, 0}},
	{"SET_VRING_ADDR elsewhere while running", STARTED,
	 VHOST_USER_SET_VRING_ADDR, ADDR_SIZE,
	 .payload.addr = {0, 0, PEER_USER_ADDR + MiB, PEER_USER_ADDR,
			  PEER_USER_ADDR, 0}},
	{"SET_VRING_KICK of queue 200", NEGOTIATED, VHOST_USER_SET_VRING_KICK,
	 U64_SIZE, FD_EVENT, 1, .payload.u64 = 200},
	{"SET_VRING_KICK before anything else", NEGOTIATED,
	 VHOST_USER_SET_VRING_KICK, U64_SIZE, FD_EVENT, 1, .payload.u64 = 0},
	{"SET_VRING_KICK without its descriptor", STARTED,
	 VHOST_USER_SET_VRING_KICK, U64_SIZE, .payload.u64 = 0},
	{"SET_VRING_KICK with no-descriptor and one", STARTED,
	 VHOST_USER_SET_VRING_KICK, U64_SIZE, FD_EVENT, 1,
	 .payload.u64 = VHOST_USER_VRING_NO_FD},
	{"SET_VRING_KICK with unknown bits", STARTED, VHOST_USER_SET_VRING_KICK,
	 U64_SIZE, FD_EVENT, 1, .payload.u64 = UINT64_C(1) << 40},
	{"SET_VRING_KICK with an O_PATH descriptor", STARTED,
	 VHOST_USER_SET_VRING_KICK, U64_SIZE, .fd = FD_PATH, .fd_count = 1},
	{"SET_VRING_KICK with memory", STARTED, VHOST_USER_SET_VRING_KICK,
	 U64_SIZE, .fd = FD_MEMORY, .fd_count = 1},
	{"SET_VRING_KICK with /dev/null", STARTED, VHOST_USER_SET_VRING_KICK,
	 U64_SIZE, .fd = FD_NULL, .fd_count = 1},
	{"SET_VRING_KICK with an epoll descriptor", STARTED,
	 VHOST_USER_SET_VRING_KICK, U64_SIZE, .fd = FD_EPOLL, .fd_count = 1,
	 .may_pass = true},
	{"SET_VRING_CALL with a pipe", STARTED, VHOST_USER_SET_VRING_CALL,
	 U64_SIZE, .fd = FD_PIPE, .fd_count = 1},
	{"SET_VRING_CALL with an O_PATH descriptor", STARTED,
	 VHOST_USER_SET_VRING_CALL, U64_SIZE, .fd = FD_PATH, .fd_count = 1},
	{"SET_VRING_CALL with an epoll descriptor", STARTED,
	 VHOST_USER_SET_VRING_CALL, U64_SIZE, .fd = FD_EPOLL, .fd_count = 1,
	 .may_pass = true},
	{"SET_VRING_ERR with a file", STARTED, VHOST_USER_SET_VRING_ERR,
	 U64_SIZE, .fd = FD_DISK, .fd_count = 1},
	/* ---- log, inflight, backend channel ---- */
	{"SET_LOG_BASE of 68 GB", NEGOTIATED, VHOST_USER_SET_LOG_BASE, 16,
	 FD_MEMORY, 1, .payload.log = {UINT64_C(68) << 30, 0}},
	{"SET_LOG_BASE of 0", NEGOTIATED, VHOST_USER_SET_LOG_BASE, 16,
	 FD_MEMORY, 1, .payload.log = {0, 0}},
	{"SET_LOG_BASE of 2^64-1", NEGOTIATED, VHOST_USER_SET_LOG_BASE, 16,
	 FD_MEMORY, 1, .payload.log = {UINT64_MAX, UINT64_MAX}},
	{"SET_LOG_BASE beyond the file", NEGOTIATED, VHOST_USER_SET_LOG_BASE,
	 16, FD_SMALL, 1, .payload.log = {8192, 0}},
	{"SET_LOG_BASE with a wrapping offset", NEGOTIATED,
	 VHOST_USER_SET_LOG_BASE, 16, FD_MEMORY, 1,
	 .payload.log = {4096, UINT64_MAX - 10}},
	{"SET_LOG_BASE without a descriptor", NEGOTIATED,
	 VHOST_USER_SET_LOG_BASE, 16, .payload.log = {4096, 0}},
	{"SET_LOG_BASE of an O_PATH descriptor", NEGOTIATED,
	 VHOST_USER_SET_LOG_BASE, 16, FD_PATH, 1, .payload.log = {4096, 0}},
	{"SET_LOG_BASE of /dev/null", NEGOTIATED, VHOST_USER_SET_LOG_BASE, 16,
	 FD_NULL, 1, .payload.log = {4096, 0}},
	{"GET_INFLIGHT_FD of 65535 queues", NEGOTIATED,
	 VHOST_USER_GET_INFLIGHT_FD, 24,
	 .payload.inflight = {.queues = 65535, .queue_size = 65535}},
	{"GET_INFLIGHT_FD of no queues", NEGOTIATED,
	 VHOST_USER_GET_INFLIGHT_FD, 24, .payload.inflight = {.queues = 0}},
	{"SET_INFLIGHT_FD of 68 GB", NEGOTIATED, VHOST_USER_SET_INFLIGHT_FD,
	 24, FD_MEMORY, 1,
	 .payload.inflight = {UINT64_C(68) << 30, UINT64_C(68) << 30, 4, 256,
			      0}},
	{"SET_INFLIGHT_FD too small", NEGOTIATED, VHOST_USER_SET_INFLIGHT_FD,
	 24, FD_MEMORY, 1, .payload.inflight = {64, 0, 4, 1024, 0}},
	{"SET_INFLIGHT_FD in a file of a page", NEGOTIATED,
	 VHOST_USER_SET_INFLIGHT_FD, 24, FD_SMALL, 1,
	 .payload.inflight = {MiB, 0, 4, 1024, 0}},
	{"SET_INFLIGHT_FD not aligned", NEGOTIATED,
	 VHOST_USER_SET_INFLIGHT_FD, 24, FD_MEMORY, 1,
	 .payload.inflight = {MiB, 3, 4, 256, 0}},
	{"SET_INFLIGHT_FD while running", STARTED, VHOST_USER_SET_INFLIGHT_FD,
	 24, FD_MEMORY, 1, .payload.inflight = {MiB, 0, 4, 256, 0}},
	{"SET_INFLIGHT_FD of an O_PATH descriptor", NEGOTIATED,
	 VHOST_USER_SET_INFLIGHT_FD, 24, FD_PATH, 1,
	 .payload.inflight = {MiB, 0, 4, 256, 0}},
	{"SET_BACKEND_REQ_FD without one", NEGOTIATED,
	 VHOST_USER_SET_BACKEND_REQ_FD, 0, .fd = FD_NONE},
	{"SET_BACKEND_REQ_FD that is no socket", NEGOTIATED,
	 VHOST_USER_SET_BACKEND_REQ_FD, 0, .fd = FD_NULL, .fd_count = 1,
	 .may_pass = true},
	{"SET_BACKEND_REQ_FD O_PATH", NEGOTIATED,
	 VHOST_USER_SET_BACKEND_REQ_FD, 0, .fd = FD_PATH, .fd_count = 1,
	 .may_pass = true},
	{"SET_STATUS of 9 bits", NEGOTIATED, VHOST_USER_SET_STATUS, U64_SIZE,
	 .payload.u64 = 256},
};
/* clang-format on */

static int make_fd(enum fd_kind kind, int *ret_spare)
{
	int ends[2], fd;

	*ret_spare = -1;
	switch (kind) {
	case FD_NONE:
		return -1;
	case FD_MEMORY:
		return dup(peer.memory_fd);
	case FD_SMALL:
	case FD_SEALED:
		fd = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_int_equal(ftruncate(fd, 4096), 0);
		if (kind == FD_SEALED)
			assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE),
					 0);
		return fd;
	case FD_PATH:
		return open("/proc/self/exe", O_PATH | O_CLOEXEC);
	case FD_DISK:
		return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	case FD_NULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case FD_PIPE:
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		*ret_spare = ends[1];
		return ends[0];
	case FD_EPOLL:
		return epoll_create1(EPOLL_CLOEXEC);
	case FD_EVENT:
		return eventfd(0, EFD_CLOEXEC);
	}
	return -1;
}

static void reach(enum stage stage)
{
	switch (stage) {
	case FRESH:
		break;
	case NEGOTIATED:
		peer_negotiate(&peer, 0);
		break;
	case STARTED:
		peer_start(&peer, 0, 1);
		break;
	}
}

/* Returns whether the sender was told. */
static bool send_bad(const struct bad_message *bad, bool acknowledge)
{
	int spare, fd = make_fd(bad->fd, &spare);
	struct vhost_user_header header;
	uint64_t value = 0;
	bool told = false;
	int fds[32], size;

	for (unsigned int i = 0; i < 32; i++)
		fds[i] = fd;
	peer_send(&peer, bad->request,
		  acknowledge ? VHOST_USER_FLAG_NEED_REPLY : 0, &bad->payload,
		  bad->size, fds, bad->fd_count);
	if (fd >= 0)
		close(fd);
	if (spare >= 0)
		close(spare);
	/* Whatever comes after it, up to one answer that was asked for. */
	if (bad->stage != FRESH)
		peer_send(&peer, VHOST_USER_GET_STATUS, 0, NULL, 0, NULL, 0);
	else
		peer_send(&peer, VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	do {
		char bytes[512];

		size = peer_receive(&peer, &header, bytes, sizeof(bytes), NULL);
		if (size >= 8)
			memcpy(&value, bytes, sizeof(value));
		if (size < 0 || (header.request == bad->request && value != 0))
			told = true;
	} while (size >= 0 && header.request == bad->request);
	return told;
}

static void test_vhost_bad_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_messages) / sizeof(bad_messages[0]);
	     i++) {
		const struct bad_message *bad = &bad_messages[i];

		for (int acknowledge = 0; acknowledge < 2; acknowledge++) {
			const unsigned int reports = world.reports;
			bool told;

			reach(bad->stage);
			told = send_bad(bad, acknowledge);
			if (!bad->may_pass &&
			    (!told || world.reports == reports))
				fail_msg("%s (%s): told %d, reported %d",
					 bad->name,
					 acknowledge ? "acknowledged" : "not",
					 told, world.reports != reports);
			beside_is_well();
			peer_destroy(&peer);
			peer_connect(&world, &peer);
		}
	}
}

/* What isn't even a message. */
static void test_vhost_broken_streams(void **state)
{
	static const struct vhost_user_header headers[] = {
		{VHOST_USER_GET_FEATURES, 0, 0},
		{VHOST_USER_GET_FEATURES, 2, 0},
		{VHOST_USER_GET_FEATURES, 1 | VHOST_USER_FLAG_REPLY, 0},
		{VHOST_USER_SET_FEATURES, 1, UINT32_MAX},
		{VHOST_USER_SET_MEM_TABLE, 1, 100000},
		{VHOST_USER_SET_FEATURES, 1, 273},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		assert_int_equal(
			send(peer.socket, &headers[i], sizeof(headers[i]), 0),
			sizeof(headers[i]));
		world_until(&world, peer_is_closed(&peer));
		beside_is_well();
		peer_destroy(&peer);
		peer_connect(&world, &peer);
	}
}

/* A message in pieces of one byte is a message. */
static void test_vhost_message_byte_by_byte(void **state)
{
	const struct vhost_user_header header = {VHOST_USER_GET_FEATURES, 1, 0};
	struct vhost_user_header answer;
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(header); i++) {
		assert_int_equal(
			send(peer.socket, (const char *)&header + i, 1, 0), 1);
		world_settle(&world);
	}
	assert_int_equal(
		peer_receive(&peer, &answer, &value, sizeof(value), NULL),
		sizeof(value));
	/* And half of one, then the end, is none. */
	assert_int_equal(send(peer.socket, &header, 5, 0), 5);
	world_settle(&world);
	beside_is_well();
}

/* Somebody who sends and never reads. */
static void test_vhost_answers_that_nobody_reads(void **state)
{
	const struct vhost_user_header header = {VHOST_USER_GET_FEATURES, 1, 0};
	unsigned int sent = 0;

	(void)state;
	while (!world.reports && sent < 1000000) {
		if (send(peer.socket, &header, sizeof(header),
			 MSG_DONTWAIT | MSG_NOSIGNAL) ==
		    (ssize_t)sizeof(header))
			sent++;
		world_turn(&world);
	}
	assert_int_equal(world.reports, 1);
	beside_is_well();
}

/* Every slot, then one more; and each of them one page. */
static void test_vhost_memory_in_single_pages(void **state)
{
	struct vhost_user_single_region one = {
		.region = {.size = 4096},
	};
	unsigned int count;

	(void)state;
	peer_negotiate(&peer, 0);
	for (count = 0; count < 100; count++) {
		one.region.guest_addr = count * UINT64_C(4096);
		one.region.user_addr = PEER_USER_ADDR + count * UINT64_C(4096);
		one.region.mmap_offset = count * UINT64_C(8192);
		if (peer_acknowledged(&peer, VHOST_USER_ADD_MEM_REG, &one,
				      sizeof(one), &peer.memory_fd, 1) != 0)
			break;
	}
	assert_int_equal(count,
			 peer_get_u64(&peer, VHOST_USER_GET_MAX_MEM_SLOTS));
	beside_is_well();
}

/* Maps that requests in flight hold back are counted. */
static void test_vhost_maps_are_bounded(void **state)
{
	(void)state;
	peer_start(&peer, 0, 1);
	world.vdev->hold = true;
	for (unsigned int i = 0; i < 1000 && !world.reports; i++) {
		peer_request(&peer, 0, i % PEER_SLOTS, VIRTIO_BLK_T_IN, 0,
			     PEER_DATA_ADDR, 512);
		peer_kick(&peer, 0);
		peer_set_memory(&peer);
		world_settle(&world);
	}
	assert_true(world.reports > 0);
	beside_is_well();
}

/* ---- connections ---- */

static void test_vhost_many_connections_come_and_go(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 300; i++) {
		struct peer guest;

		peer_connect(&world, &guest);
		if (i % 3 == 0)
			peer_negotiate(&guest, 0);
		world_turn(&world);
		peer_destroy(&guest);
	}
	beside_is_well();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, beside_begin, beside_end)
		TEST(test_vhost_bad_messages),
		TEST(test_vhost_broken_streams),
		TEST(test_vhost_message_byte_by_byte),
		TEST(test_vhost_answers_that_nobody_reads),
		TEST(test_vhost_memory_in_single_pages),
		TEST(test_vhost_maps_are_bounded),
		TEST(test_vhost_many_connections_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
