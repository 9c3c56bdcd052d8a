/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vhost-inflight.c - each request is answered once, whenever a server dies
 *
 * The crash test runs a whole server in a child process and steps it
 * instruction by instruction.  Whenever what it shares with its front-end has
 * changed, a copy is kept: that is what a front-end would find if the server
 * had died there.  Then each copy is given to a new server, which must answer
 * everything that was not answered, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vhost-peer.h"

#define RING		64U
#define QUEUE_BYTES	0x10000U	/* all of queue 0 */
#define REGION_BYTES	4096U
#define COPIES_MAX	4096U

static struct world world;
static struct peer peer;

static int begin(void **state)
{
	(void)state;
	world_create(&world, 1);
	peer_connect(&world, &peer);
	return 0;
}

static int end(void **state)
{
	(void)state;
	peer_destroy(&peer);
	world_destroy(&world);
	return 0;
}

/* Ask for a region; returns its descriptor. */
static int get_region(struct vhost_user_inflight *ret_description)
{
	struct vhost_user_inflight wish = {.queues = 1, .queue_size = RING};
	struct vhost_user_header header;
	int fd = -1;

	peer_send(&peer, VHOST_USER_GET_INFLIGHT_FD, 0, &wish, sizeof(wish),
		  NULL, 0);
	assert_int_equal(peer_receive(&peer, &header, ret_description,
				      sizeof(*ret_description), &fd),
			 sizeof(wish));
	assert_true(fd >= 0);
	return fd;
}

static void start_with(struct peer *of,
		       const struct vhost_user_inflight *region, int fd,
		       uint16_t base)
{
	peer_negotiate(of, 0);
	peer_send(of, VHOST_USER_SET_INFLIGHT_FD, 0, region, sizeof(*region),
		  &fd, 1);
	peer_set_memory(of);
	peer_set_ring(of, 0, RING, base);
	peer_start_ring(of, 0);
	peer_enable_ring(of, 0, true);
	peer_sync(of);
}

static void test_vhost_inflight_region_is_given_and_taken(void **state)
{
	struct vhost_user_inflight region;
	int fd;

	(void)state;
	peer_negotiate(&peer, 0);
	fd = get_region(&region);
	assert_true(region.mmap_size >= 16 + RING * 16);
	assert_int_equal(region.queues, 1);
	start_with(&peer, &region, fd, 0);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(peer_do(&peer, 0, i % 20, VIRTIO_BLK_T_IN, i,
					 PEER_DATA_ADDR, 512),
				 VIRTIO_BLK_S_OK);
	assert_int_equal(peer_stop_ring(&peer, 0), 100);
	/* Stopped in order: the next start goes on from there. */
	peer_start_ring(&peer, 0);
	assert_int_equal(
		peer_do(&peer, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	close(fd);
}

/* As some front-ends describe it: without the four bytes of padding. */
static void test_vhost_inflight_description_of_20_bytes(void **state)
{
	struct vhost_user_inflight wish = {.queues = 1, .queue_size = RING};
	struct vhost_user_header header;
	int fd = -1;

	(void)state;
	peer_negotiate(&peer, 0);
	peer_send(&peer, VHOST_USER_GET_INFLIGHT_FD, 0, &wish,
		  VHOST_USER_INFLIGHT_SIZE_MIN, NULL, 0);
	assert_int_equal(peer_receive(&peer, &header, &wish, sizeof(wish), &fd),
			 VHOST_USER_INFLIGHT_SIZE_MIN);
	close(fd);
}

/* Four requests, of which the third is done: returns the region. */
static int four_come(struct vhost_user_inflight *ret_region)
{
	int fd;

	peer_negotiate(&peer, 0);
	fd = get_region(ret_region);
	start_with(&peer, ret_region, fd, 0);
	world.vdev->hold = true;
	for (unsigned int s = 0; s < 4; s++)
		peer_request(&peer, 0, s, VIRTIO_BLK_T_IN, s, PEER_DATA_ADDR,
			     512);
	peer_kick(&peer, 0);
	world_until(&world, world.vdev->held_count == 4);
	fake_complete(world.vdev, 2);
	world_until(&world, peer_answers(&peer, 0) == 1);
	return fd;
}

/* A new connection of the same guest: the same memory. */
static void reconnect(struct peer *next)
{
	peer_connect(&world, next);
	assert_int_equal(dup2(peer.memory_fd, next->memory_fd),
			 next->memory_fd);
	peer_close(&peer);
}

/* The others are done too, once. */
static void four_end(void)
{
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	world_until(&world, peer_answers(&peer, 0) == 4);
	world_settle(&world);
	assert_int_equal(peer_answers(&peer, 0), 4);
}

/* The connection is cut while the server lives: what is in flight is done
 * once, by the session that took it. */
static void test_vhost_inflight_reconnect_to_the_same_server(void **state)
{
	struct vhost_user_inflight region;
	struct peer next;
	int fd;

	(void)state;
	fd = four_come(&region);
	reconnect(&next);
	start_with(&next, &region, fd, 1);
	world_settle(&world);
	assert_int_equal(world.vdev->held_count, 3);
	four_end();
	assert_int_equal(world.vdev->counts[BLOCK_READ], 4);
	/* And the new session goes on behind them. */
	peer_request(&peer, 0, 5, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512);
	peer_kick(&next, 0);
	world_until(&world, peer_answers(&peer, 0) == 5);
	peer_destroy(&next);
	close(fd);
}

/* The connection is cut while requests wait at the vdev for their turn: what
 * the device was not given is the next session's at once, in its order. */
static void test_vhost_inflight_what_waits_is_the_next_sessions(void **state)
{
	struct vhost_user_inflight region;
	struct peer next;
	int fd;

	(void)state;
	fd = four_come(&region);
	world.vdev->waiting = true;
	reconnect(&next);
	world_until(&world, world.vdev->held_count == 1);
	assert_int_equal(world.vdev->held[0]->block.op, BLOCK_FLUSH);
	assert_int_equal(world.vdev->let_go, 1);
	world.vdev->waiting = false;
	fake_complete(world.vdev, 0);
	start_with(&next, &region, fd, 1);
	world_until(&world, world.vdev->held_count == 3);
	assert_int_equal(world.vdev->held[0]->block.offset_bytes, 0);
	assert_int_equal(world.vdev->held[1]->block.offset_bytes, 512);
	assert_int_equal(world.vdev->held[2]->block.offset_bytes, 3 * 512);
	four_end();
	peer_destroy(&next);
	close(fd);
}

/* ---- dying at every store ---- */

struct copy {
	uint8_t queue[QUEUE_BYTES];
	uint8_t region[REGION_BYTES];
};

/* What the child tells its parent. */
struct child_note {
	int memory_fd, region_fd;
	struct vhost_user_inflight region;
};

static void turns(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		world_turn(&world);
}

static void publish(unsigned int first, unsigned int count)
{
	for (unsigned int s = first; s < first + count; s++)
		peer_request(&peer, 0, s, VIRTIO_BLK_T_IN, s, PEER_DATA_ADDR,
			     512);
}

/* Requests that are answered at once and late, alone and in batches, in order
 * and not. */
static void child_scenario(void)
{
	publish(0, 2);
	turns(1);
	world.vdev->hold = true;
	publish(2, 6);
	turns(1);
	fake_complete(world.vdev, 3);
	fake_complete(world.vdev, 1);
	turns(1);
	publish(8, 3);
	turns(1);
	fake_complete(world.vdev, 6);
	turns(1);
	fake_complete(world.vdev, 0);
	fake_complete(world.vdev, 2);
	world.vdev->hold = false;
	publish(11, 2);
	turns(1);
	fake_complete_all(world.vdev);
	turns(1);
}

static void child_main(struct child_note *note)
{
	world_create(&world, 1);
	peer_connect(&world, &peer);
	peer_negotiate(&peer, 0);
	note->region_fd = get_region(&note->region);
	note->memory_fd = peer.memory_fd;
	start_with(&peer, &note->region, note->region_fd, 0);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	child_scenario();
	_exit(0);
}

static const uint8_t *map_of_child(pid_t child, int fd, off_t offset,
				   size_t bytes)
{
	char path[64];
	void *at;
	int own;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)child, fd);
	own = open(path, O_RDWR | O_CLOEXEC);
	assert_true(own >= 0);
	at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, own, offset);
	assert_ptr_not_equal(at, MAP_FAILED);
	close(own);
	return at;
}

/* Step the child to its end; returns how many copies were made. */
static unsigned int step_child(pid_t child, const struct child_note *note,
			       struct copy *copies)
{
	const uint8_t *queue =
		map_of_child(child, note->memory_fd,
			     (off_t)PEER_MEMORY_BYTES / 2, QUEUE_BYTES);
	const uint8_t *region =
		map_of_child(child, note->region_fd, 0, REGION_BYTES);
	unsigned int count = 0;
	int status;

	for (;;) {
		const struct copy *last = count > 0 ? &copies[count - 1] : NULL;

		if (!last || memcmp(last->region, region, REGION_BYTES) != 0 ||
		    memcmp(last->queue, queue, QUEUE_BYTES) != 0) {
			assert_true(count < COPIES_MAX);
			memcpy(copies[count].queue, queue, QUEUE_BYTES);
			memcpy(copies[count].region, region, REGION_BYTES);
			count++;
		}
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0)
			abort();
		if (waitpid(child, &status, 0) != child)
			abort();
		if (WIFEXITED(status))
			break;
		assert_true(WIFSTOPPED(status));
	}
	munmap((void *)(uintptr_t)queue, QUEUE_BYTES);
	munmap((void *)(uintptr_t)region, REGION_BYTES);
	return count;
}

static unsigned int count_id(const struct peer_queue *queue, uint32_t id,
			     uint16_t from, uint16_t until)
{
	unsigned int count = 0;

	for (uint16_t i = from; i != until; i++)
		count += queue->used->ring[i & (queue->size - 1)].id == id;
	return count;
}

/* A new server takes up what one left that died. */
static void take_up(const struct copy *copy,
		    const struct vhost_user_inflight *region, unsigned int nr)
{
	const int fd = memfd_create("region", MFD_CLOEXEC);
	struct peer_queue *queue = &peer.queues[0];
	uint16_t answered, published;

	(void)begin(NULL);
	if (ftruncate(fd, (off_t)region->mmap_size) < 0 ||
	    pwrite(fd, copy->region, region->mmap_size, 0) !=
		    (ssize_t)region->mmap_size)
		abort();
	memcpy(peer_at(&peer, 0), copy->queue, QUEUE_BYTES);
	published = ((struct vring_avail *)peer_at(&peer, 0x4000))->idx;
	answered = ((struct vring_used *)peer_at(&peer, 0x5000))->idx;
	world.vdev->hold = true;
	/* The base that a front-end has after a crash: what was answered. */
	start_with(&peer, region, fd, answered);
	world_settle(&world);
	if (world.vdev->held_count != (unsigned int)(published - answered))
		fail_msg("copy %u: %u of %u answered, %u done again", nr,
			 answered, published, world.vdev->held_count);
	/* In the order in which they were asked for. */
	for (unsigned int i = 1; i < world.vdev->held_count; i++)
		assert_true(world.vdev->held[i - 1]->block.offset_bytes <
			    world.vdev->held[i]->block.offset_bytes);
	while (world.vdev->held_count > 0)
		fake_complete(world.vdev, world.vdev->held_count - 1);
	world_settle(&world);
	assert_int_equal(queue->used->idx, published);
	for (uint16_t i = 0; i < published; i++) {
		const uint16_t head = queue->avail->ring[i];

		assert_int_equal(count_id(queue, head, 0, published), 1);
		assert_int_equal(peer_status(&peer, 0, head / 3U),
				 VIRTIO_BLK_S_OK);
	}
	assert_int_equal(world.reports, 0);
	close(fd);
	(void)end(NULL);
}

static void test_vhost_inflight_dying_at_every_store(void **state)
{
	struct child_note *note = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct copy *copies = calloc(COPIES_MAX, sizeof(*copies));
	unsigned int count;
	int status;
	pid_t child;

	(void)state;
	assert_non_null(copies);
	child = fork();
	if (child == 0)
		child_main(note);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSTOPPED(status))
		skip();		/* tracing is not allowed here */
	count = step_child(child, note, copies);
	/* Thirteen requests are more than a hundred stores. */
	assert_true(count > 100);
	for (unsigned int i = 0; i < count; i++)
		take_up(&copies[i], &note->region, i);
	print_message("%u states\n", count);
	free(copies);
	munmap(note, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(test_vhost_inflight_region_is_given_and_taken),
		TEST(test_vhost_inflight_description_of_20_bytes),
		TEST(test_vhost_inflight_reconnect_to_the_same_server),
		TEST(test_vhost_inflight_what_waits_is_the_next_sessions),
		cmocka_unit_test(test_vhost_inflight_dying_at_every_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
