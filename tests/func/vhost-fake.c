/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-fake.c - see vhost-fake.h */
#include "vhost-fake.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vdev *fake_create(uint64_t size_bytes)
{
	struct vdev *vdev = calloc(1, sizeof(*vdev));

	assert(vdev);
	vdev->data = calloc(1, size_bytes);
	assert(vdev->data);
	vdev->size_bytes = size_bytes;
	vdev->block_size = 512;
	return vdev;
}

void fake_destroy(struct vdev *vdev)
{
	free(vdev->data);
	free(vdev);
}

static int perform(struct vdev *vdev, const struct block_request *block)
{
	uint64_t at = block->offset_bytes;

	if (vdev->fail < 0)
		return vdev->fail;
	if (block->op == BLOCK_FLUSH)
		return 0;
	if (block->op != BLOCK_READ && vdev->read_only)
		return -EROFS;
	if (at > vdev->size_bytes ||
	    block->length_bytes > vdev->size_bytes - at)
		return -EINVAL;
	if (block->length_bytes > vdev->largest_bytes)
		vdev->largest_bytes = block->length_bytes;
	if (block->op == BLOCK_DISCARD || block->op == BLOCK_WRITE_ZEROES) {
		memset(vdev->data + at, 0, block->length_bytes);
		return 0;
	}
	for (uint32_t i = 0; i < block->iov_count; i++) {
		const struct iovec *iov = &block->iov[i];

		if (block->op == BLOCK_READ)
			memcpy(iov->iov_base, vdev->data + at, iov->iov_len);
		else
			memcpy(vdev->data + at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	assert(at == block->offset_bytes + block->length_bytes);
	return 0;
}

static void end(struct vdev *vdev, struct vdev_request *request)
{
	request->block.result = perform(vdev, &request->block);
	request->done(request);
}

void fake_complete(struct vdev *vdev, unsigned int index)
{
	struct vdev_request *request = vdev->held[index];

	assert(index < vdev->held_count);
	vdev->held_count--;
	memmove(&vdev->held[index], &vdev->held[index + 1],
		(vdev->held_count - index) * sizeof(request));
	end(vdev, request);
}

void fake_complete_all(struct vdev *vdev)
{
	while (vdev->held_count > 0)
		fake_complete(vdev, 0);
}

/* ---- vdev/vdev.h ---- */

struct vdev_process *vdev_find_process(const struct vdev *vdev, uint32_t ioprio)
{
	/* Handed out to be counted in. */
	struct vdev *writable = (struct vdev *)(uintptr_t)vdev;

	return &writable->processes[ioprio & 7U];
}

struct vdev_process *vdev_unpromised(const struct vdev *vdev)
{
	return vdev_find_process(vdev, 0);
}

struct vdev_process *vdev_process_by_pasid(const struct vdev *vdev,
					   uint32_t pasid)
{
	struct vdev *writable = (struct vdev *)(uintptr_t)vdev;

	return pasid < 8 && writable->processes[pasid].bound ?
		&writable->processes[pasid] :
		NULL;
}

struct vdev_process *vdev_process_by_peer(const struct vdev *vdev,
					  const struct match_peer *peer)
{
	struct vdev *writable = (struct vdev *)(uintptr_t)vdev;

	for (unsigned int i = 0; i < 8; i++)
		if (match_is_peer(&vdev->processes[i].match, peer))
			return &writable->processes[i];
	return NULL;
}

bool vdev_process_is_open_to(const struct vdev_process *process,
			     const struct match_peer *peer)
{
	return !match_is_of_peer(&process->match) ||
		match_is_peer(&process->match, peer);
}

void vdev_submit(struct vdev *vdev, struct vdev_request *request,
		 uint64_t now_ns)
{
	(void)now_ns;
	assert(request->process && request->done);
	request->process->requests++;
	vdev->counts[request->block.op]++;
	if (vdev->submitted)
		vdev->submitted();
	if (!vdev->hold) {
		end(vdev, request);
		return;
	}
	assert(vdev->held_count < FAKE_HELD_MAX);
	vdev->held[vdev->held_count++] = request;
}

void vdev_answered(struct vdev_request *request)
{
	assert(request->process);
}

void vdev_take_back(struct vdev *vdev, const void *owner,
		    void (*taken)(struct vdev_request *request),
		    uint64_t now_ns)
{
	unsigned int kept = 0;

	(void)now_ns;
	for (unsigned int i = 0; vdev->waiting && i < vdev->held_count; i++)
		if (vdev->held[i]->owner == owner)
			taken(vdev->held[i]);
		else
			vdev->held[kept++] = vdev->held[i];
	if (vdev->waiting)
		vdev->held_count = kept;
}

void vdev_take_halted(struct vdev *vdev, const void *owner,
		      void (*taken)(struct vdev_request *request),
		      uint64_t now_ns)
{
	(void)owner;
	(void)taken;
	(void)now_ns;
	assert(vdev);
}

bool vdev_halts(const struct vdev *vdev)
{
	assert(vdev);
	return false;
}

void vdev_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns)
{
	(void)owner;
	(void)now_ns;
	vdev->let_go++;
}

uint64_t vdev_quiet_until_ns(const struct vdev *vdev)
{
	return vdev->quiet_until_ns;
}

uint64_t vdev_process_quiet_until_ns(const struct vdev_process *process)
{
	(void)process;
	return 0;
}

uint64_t vdev_size_bytes(const struct vdev *vdev)
{
	return vdev->size_bytes;
}

uint32_t vdev_block_size(const struct vdev *vdev)
{
	return vdev->block_size;
}

bool vdev_read_only(const struct vdev *vdev)
{
	return vdev->read_only;
}

int vdev_resize(struct vdev *vdev, uint64_t size_bytes)
{
	vdev->size_bytes = size_bytes;
	for (struct vdev_listener *l = vdev->listeners; l; l = l->next)
		l->resized(l);
	return 0;
}

void vdev_listen(struct vdev *vdev, struct vdev_listener *listener)
{
	listener->next = vdev->listeners;
	vdev->listeners = listener;
}

void vdev_unlisten(struct vdev *vdev, struct vdev_listener *listener)
{
	struct vdev_listener **link = &vdev->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}

bool vdev_prefetches(const struct vdev *vdev)
{
	(void)vdev;
	return true;
}

void vdev_prefetch(const struct vdev *vdev, const struct vdev_request *request)
{
	(void)vdev;
	(void)request;
}

void vdev_turn_back(struct vdev *vdev, struct vdev_process *process,
		    struct turns_seat *seat, unsigned int count)
{
	(void)vdev;
	(void)process;
	(void)seat;
	assert(count > 0);
}

unsigned int vdev_turn(struct vdev *vdev, struct vdev_process *process,
		       struct turns_seat *seat, unsigned int found,
		       uint64_t now_ns)
{
	(void)vdev;
	(void)process;
	(void)seat;
	(void)now_ns;
	return found;
}

bool vdev_is_hole(const struct vdev *vdev, uint64_t offset_bytes,
		  uint64_t length_bytes, uint64_t *ret_bytes)
{
	(void)vdev;
	(void)offset_bytes;
	*ret_bytes = length_bytes;
	return false;
}

bool vdev_zeroes_fast(const struct vdev *vdev, uint64_t offset_bytes,
		      uint64_t length_bytes, bool may_unmap)
{
	(void)vdev;
	(void)offset_bytes;
	(void)length_bytes;
	(void)may_unmap;
	return false;
}
