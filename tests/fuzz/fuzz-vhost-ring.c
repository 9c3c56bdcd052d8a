/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-vhost-ring.c - a ring, descriptors and requests of a hostile guest
 *
 * The input is guest memory: the first bytes choose how the ring is set up,
 * the rest is copied to the start of memory, where rings, indirect tables and
 * headers lie close together, so that few bytes say much.  Requests are done
 * at once or held and done later.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/guard.h"
#include "vhost/ring-poll.h"
#include "vhost/ring-state.h"
#include "../func/vhost-fake.h"

#define MEMORY_BYTES	UINT64_C(65536)
#define AVAIL_AT	0x100U
#define USED_AT		0x200U
#define CONTENT_MAX	4096U

static struct {
	struct loop *loop;
	struct memory_map *map;
	struct vdev *vdev;
	struct blk_target target;
	uint8_t *memory;
} fuzz;

static void ignore(void *arg)
{
	(void)arg;
}

static void ignore_trouble(void *arg, const struct error *error)
{
	(void)arg;
	(void)error;
}

/* Two neighbouring regions, swapped in the file, and one far away. */
static void create_once(void)
{
	const struct loop_config config = {.entries = 8};
	const struct vhost_user_region regions[] = {
		{0, MEMORY_BYTES / 2, 0, MEMORY_BYTES / 2},
		{MEMORY_BYTES / 2, MEMORY_BYTES / 2, MEMORY_BYTES / 2, 0},
		{UINT64_MAX - 8191, 4096, UINT64_C(1) << 40, 0},
	};
	int fds[3];
	struct memory_map *empty;
	struct error error;

	fds[0] = memfd_create("guest", 0);
	fds[1] = fds[2] = fds[0];
	if (guard_install() < 0 || loop_create(&config, &fuzz.loop, &error) ||
	    ftruncate(fds[0], (off_t)MEMORY_BYTES) < 0 ||
	    memory_map_create(&empty) < 0 ||
	    memory_map_replace(empty, regions, fds, 3, &fuzz.map, &error) < 0)
		abort();
	memory_map_put(empty);
	fuzz.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			   MAP_SHARED, fds[0], 0);
	if (fuzz.memory == MAP_FAILED)
		abort();
	fuzz.vdev = fake_create(32768);
	fuzz.target = (struct blk_target){.vdev = fuzz.vdev, .queues = 1};
}

static void run(struct ring *ring, bool hold)
{
	for (unsigned int i = 0; i < 8; i++) {
		(void)ring_poll(&ring->poller, i);
		(void)ring_arm(&ring->poller, i);
		if (hold && fuzz.vdev->held_count > 0)
			fake_complete(fuzz.vdev, i % fuzz.vdev->held_count);
	}
	ring_quiesce(ring, false);
	for (unsigned int i = 0; i < 4; i++) {
		fake_complete_all(fuzz.vdev);
		(void)ring_poll(&ring->poller, i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ring_config config = {
		.target = &fuzz.target,
		.idle = ignore,
		.trouble = ignore_trouble,
	};
	struct ring_layout layout = {
		.avail_user_addr = AVAIL_AT,
		.used_user_addr = USED_AT,
	};
	struct ring_environment environment;
	struct ring *ring;
	struct error error;

	if (!fuzz.loop)
		create_once();
	if (size < 4)
		return 0;
	layout.size = (uint16_t)(1U << (data[0] & 3U));
	layout.base = data[1];
	environment = (struct ring_environment){
		.map = fuzz.map,
		.features = data[2] & 1 ?
			VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX) :
			0,
	};
	fuzz.vdev->hold = data[2] & 2;
	fuzz.vdev->fail = data[2] & 4 ? -5 : 0;
	memset(fuzz.memory + MEMORY_BYTES / 2, 0, CONTENT_MAX);
	memcpy(fuzz.memory + MEMORY_BYTES / 2, data + 4,
	       size - 4 < CONTENT_MAX ? size - 4 : CONTENT_MAX);
	config.loop = fuzz.loop;
	if (ring_create(&config, &ring) < 0)
		abort();
	ring_enable(ring, true);
	if (ring_start(ring, &layout, &environment, &error) == 0)
		run(ring, fuzz.vdev->hold);
	ring_destroy(ring);
	/* Orphans end with their requests. */
	fake_complete_all(fuzz.vdev);
	return 0;
}
