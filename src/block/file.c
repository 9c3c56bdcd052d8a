/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - a block device in a regular file or on a real block device
 *
 * Who opens the descriptor decides on O_DIRECT.  Each request is one io_uring
 * operation at a time:
 *
 *	submit --> issue --> kernel --> completed --+--> done
 *	             ^  \                           |
 *	             |   +--> waiting <--(busy)-----+
 *	             +----(short: the rest)---------+
 *
 * 'waiting' is a FIFO of requests for which there was no room in the ring;
 * they go on when another request ends, or at the latest after RETRY_NS.
 * Nothing is allocated and nothing blocks.
 *
 * Direct I/O wants aligned memory, and guests do not always have it: then a
 * request goes through one of a fixed number of bounce buffers, a buffer's
 * length at a time.  Those for which there was none wait in 'bouncing', a FIFO
 * of their own, until one is given back: a guest whose memory is not aligned
 * delays its like, and nobody else.
 *
 * A transfer that the kernel cut short is continued; one that moves nothing
 * (somebody truncated the file) fails with EIO, so a reader never gets zeroes
 * or garbage for data.
 *
 * Files in tmpfs are memory: io_uring would hand each request to a worker
 * thread, because tmpfs can't promise not to block, which costs three times
 * the copy.  Small ones are read and written in place, inside submit.  (They
 * would wait only for a page that was swapped out.)
 */
#include "block/file-internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/container.h"
#include "os/fd.h"

#define TRANSFER_MAX_BYTES	(UINT64_C(1) << 30)
#define IN_PLACE_MAX_BYTES	(UINT64_C(256) << 10)
#define RETRY_NS		UINT64_C(1000000)

static struct file *file_of(struct block_device *device)
{
	return (struct file *)device;
}

static bool transfers(const struct block_request *request)
{
	return request->op == BLOCK_READ || request->op == BLOCK_WRITE;
}

/* ---- segments ---- */

/* The segment that 'done_bytes' falls into, and how far into it. */
static uint32_t find_segment(const struct block_request *request,
			     uint64_t *ret_into_bytes)
{
	uint64_t left = request->done_bytes;
	uint32_t i = 0;

	while (i < request->iov_count && left >= request->iov[i].iov_len)
		left -= request->iov[i++].iov_len;
	*ret_into_bytes = left;
	return i;
}

static bool is_aligned(const struct file *file,
		       const struct block_request *request)
{
	uintptr_t addresses = 0, lengths = 0;

	for (uint32_t i = 0; i < request->iov_count; i++) {
		addresses |= (uintptr_t)request->iov[i].iov_base;
		lengths |= request->iov[i].iov_len;
	}
	return addresses % file->memory_align == 0 &&
		lengths % file->device.block_size == 0;
}

/* ---- to the kernel ---- */

/* 'single' says where the operation's data is: for a bounced request the
 * buffer (kept until its end), else a part of a segment.  For a range its
 * length is the mode of fallocate. */

static bool is_bounced(const struct file *file,
		       const struct block_request *request)
{
	const unsigned char *at = request->single.iov_base;

	return file->bounce && at >= file->bounce &&
		at < file->bounce + BOUNCE_COUNT * BOUNCE_BYTES;
}

static void prep_transfer(const struct file *file,
			  struct block_request *request,
			  struct io_uring_sqe *sqe)
{
	const uint64_t at_bytes = request->offset_bytes + request->done_bytes;
	uint64_t left = request->length_bytes - request->done_bytes;
	uint64_t into;
	uint32_t i;

	if (is_bounced(file, request)) {
		if (left > BOUNCE_BYTES)
			left = BOUNCE_BYTES;
		request->single.iov_len = left;
		if (request->op == BLOCK_WRITE)
			block_copy(request, request->done_bytes,
				   request->single.iov_base, left, true);
	} else {
		i = find_segment(request, &into);
		if (into == 0 && request->iov_count - i > 1) {
			if (request->op == BLOCK_READ)
				io_uring_prep_readv(
					sqe, file->fd, &request->iov[i],
					request->iov_count - i, at_bytes);
			else
				io_uring_prep_writev(
					sqe, file->fd, &request->iov[i],
					request->iov_count - i, at_bytes);
			return;
		}
		request->single.iov_base =
			(unsigned char *)request->iov[i].iov_base + into;
		request->single.iov_len = request->iov[i].iov_len - into;
		if (request->single.iov_len > TRANSFER_MAX_BYTES)
			request->single.iov_len = TRANSFER_MAX_BYTES;
	}
	if (request->op == BLOCK_READ)
		io_uring_prep_read(sqe, file->fd, request->single.iov_base,
				   (unsigned int)request->single.iov_len,
				   at_bytes);
	else
		io_uring_prep_write(sqe, file->fd, request->single.iov_base,
				    (unsigned int)request->single.iov_len,
				    at_bytes);
}

/* How a range is freed or zeroed: by fallocate while it may work, else (0) by
 * writing zeroes. */
static int range_mode(const struct file *file,
		      const struct block_request *request)
{
	if (request->op == BLOCK_DISCARD ||
	    (file->punches && (request->flags & BLOCK_FLAG_UNMAP) != 0))
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return file->zeroes ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE : 0;
}

static void prep_range(struct file *file, struct block_request *request,
		       struct io_uring_sqe *sqe)
{
	const int mode = range_mode(file, request);
	uint64_t left = request->length_bytes - request->done_bytes;

	request->single.iov_len = (size_t)mode;
	if (mode != 0) {
		io_uring_prep_fallocate(sqe, file->fd, mode,
					(off_t)request->offset_bytes,
					(off_t)request->length_bytes);
		return;
	}
	if (left > BOUNCE_BYTES)
		left = BOUNCE_BYTES;
	io_uring_prep_write(sqe, file->fd, file->zero, (unsigned int)left,
			    request->offset_bytes + request->done_bytes);
}

enum issued {
	ISSUED,
	NO_ROOM, /* in the ring; a bounce buffer is kept */
	NO_BUFFER, /* only one that has not begun */
};

static enum issued issue(struct file *file, struct block_request *request)
{
	struct io_uring_sqe *sqe;

	if (file->direct && transfers(request) && !is_bounced(file, request) &&
	    !is_aligned(file, request)) {
		if (file->bounce_free == 0)
			return NO_BUFFER;
		request->single.iov_base =
			file->bounce_list[--file->bounce_free];
	}
	sqe = loop_sqe(file->loop, &request->uring);
	if (!sqe)
		return NO_ROOM;
	switch ((enum block_op)request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		prep_transfer(file, request, sqe);
		break;
	case BLOCK_FLUSH:
		io_uring_prep_fsync(sqe, file->fd, IORING_FSYNC_DATASYNC);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		prep_range(file, request, sqe);
		break;
	}
	return ISSUED;
}

/* ---- waiting ---- */

static void queue_add(struct file_queue *queue, struct block_request *request)
{
	request->next = NULL;
	*queue->end = request;
	queue->end = &request->next;
}

static void queue_add_front(struct file_queue *queue,
			    struct block_request *request)
{
	request->next = queue->first;
	if (!queue->first)
		queue->end = &request->next;
	queue->first = request;
}

static struct block_request *queue_take(struct file_queue *queue)
{
	struct block_request *request = queue->first;

	queue->first = request->next;
	if (!queue->first)
		queue->end = &queue->first;
	return request;
}

static void retry_later(struct file *file)
{
	loop_timer_set(file->loop, &file->retry,
		       loop_now_ns(file->loop) + RETRY_NS);
}

/* One that had begun goes first: it may hold a bounce buffer that the others
 * wait for. */
static void wait_in_front(struct file *file, struct block_request *request)
{
	queue_add_front(&file->waiting, request);
	retry_later(file);
}

/* One that comes, or whose turn has come. */
static void begin(struct file *file, struct block_request *request)
{
	switch (issue(file, request)) {
	case ISSUED:
		break;
	case NO_ROOM:
		wait_in_front(file, request);
		break;
	case NO_BUFFER:
		queue_add(&file->bouncing, request);
		break;
	}
}

/* As many as can.  When nobody waits for room any more, nobody waits for a
 * buffer while there is one. */
static void issue_waiting(struct file *file)
{
	struct block_request *last = NULL;

	loop_timer_cancel(file->loop, &file->retry);
	while (file->waiting.first && file->waiting.first != last) {
		last = queue_take(&file->waiting);
		begin(file, last);
	}
	while (!file->waiting.first && file->bouncing.first &&
	       file->bounce_free > 0)
		begin(file, queue_take(&file->bouncing));
}

void file_retry(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	issue_waiting(container_of(timer, struct file, retry));
}

/* ---- back from the kernel ---- */

static void end(struct file *file, struct block_request *request, int result)
{
	if (is_bounced(file, request))
		file->bounce_list[file->bounce_free++] =
			request->single.iov_base;
	if (file->waiting.first || file->bouncing.first)
		issue_waiting(file);
	/* Last: when this was the only one, 'done' may close the device. */
	block_end(request, result);
}

/* 'moved' bytes came or went: returns true when the request goes on. */
static bool account(struct file *file, struct block_request *request, int moved,
		    int *ret_result)
{
	uint64_t bytes = (uint64_t)moved;

	/* Direct I/O goes on at a block; less than one left is the end. */
	if (file->direct && bytes < request->length_bytes - request->done_bytes)
		bytes -= bytes % file->device.block_size;
	if (bytes == 0) {
		*ret_result = -EIO;
		return false;
	}
	if (request->op == BLOCK_READ && is_bounced(file, request))
		block_copy(request, request->done_bytes,
			   request->single.iov_base, bytes, false);
	request->done_bytes += bytes;
	*ret_result = 0;
	return request->done_bytes < request->length_bytes;
}

static bool is_unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;
}

/* The same for discard and write-zeroes. */
static bool account_range(struct file *file, struct block_request *request,
			  int result, int *ret_result)
{
	const int mode = (int)request->single.iov_len;

	if (mode != 0 && is_unsupported(result)) {
		if ((mode & FALLOC_FL_PUNCH_HOLE) != 0)
			file->punches = false;
		else
			file->zeroes = false;
		*ret_result = 0; /* a discard is a hint */
		return request->op == BLOCK_WRITE_ZEROES;
	}
	if (mode != 0 || result < 0) {
		*ret_result = result;
		return false;
	}
	return account(file, request, result, ret_result);
}

static void completed(struct loop_op *op, int result)
{
	struct block_request *request = (struct block_request *)op;
	struct file *file = file_of(request->device);
	bool goes_on = false;

	static_assert(offsetof(struct block_request, uring) == 0,
		      "the operation is the request's first member");
	if (result == -EAGAIN || result == -EINTR) {
		wait_in_front(file, request);
		return;
	}
	if (request->op == BLOCK_DISCARD || request->op == BLOCK_WRITE_ZEROES)
		goes_on = account_range(file, request, result, &result);
	else if (request->op != BLOCK_FLUSH && result >= 0)
		goes_on = account(file, request, result, &result);
	if (!goes_on)
		end(file, request, result > 0 ? 0 : result);
	else if (issue(file, request) != ISSUED)
		wait_in_front(file, request);
}

/* ---- from above ---- */

/* One segment has the shorter way. */
static ssize_t transfer_once(int fd, uint8_t op, const struct iovec *iov,
			     int count, off_t at)
{
	if (count == 1)
		return op == BLOCK_READ ?
			pread(fd, iov->iov_base, iov->iov_len, at) :
			pwrite(fd, iov->iov_base, iov->iov_len, at);
	return op == BLOCK_READ ? preadv(fd, iov, count, at) :
				  pwritev(fd, iov, count, at);
}

/* tmpfs, inside submit. */
static int transfer_in_place(const struct file *file,
			     struct block_request *request)
{
	const struct iovec *iov = request->iov;
	int count = (int)request->iov_count;

	while (request->done_bytes < request->length_bytes) {
		const off_t at =
			(off_t)(request->offset_bytes + request->done_bytes);
		ssize_t moved;
		uint64_t into;
		uint32_t i;

		moved = transfer_once(file->fd, request->op, iov, count, at);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved < 0 ? -errno : -EIO;
		request->done_bytes += (uint64_t)moved;
		if (request->done_bytes == request->length_bytes)
			break;
		/* The rest of a segment first, then the segments after it. */
		i = find_segment(request, &into);
		iov = &request->iov[i];
		count = (int)(request->iov_count - i);
		if (into > 0) {
			request->single.iov_base =
				(unsigned char *)iov->iov_base + into;
			request->single.iov_len = iov->iov_len - into;
			iov = &request->single;
			count = 1;
		}
	}
	return 0;
}

static void file_submit(struct block_device *device,
			struct block_request *request)
{
	struct file *file = file_of(device);

	request->uring.done = completed;
	request->device = device;
	request->done_bytes = 0;
	request->single.iov_base = NULL;
	if ((request->length_bytes == 0 && request->op != BLOCK_FLUSH) ||
	    (request->op == BLOCK_DISCARD && !file->punches)) {
		block_end(request, 0);
		return;
	}
	if (file->in_place) {
		if (request->op == BLOCK_FLUSH) {
			block_end(request, 0);
			return;
		}
		if (transfers(request) &&
		    request->length_bytes <= IN_PLACE_MAX_BYTES) {
			block_end(request, transfer_in_place(file, request));
			return;
		}
	}
	if (file->waiting.first)
		queue_add(&file->waiting, request);
	else
		begin(file, request);
}

/* Nobody uses the descriptor's position. */
static uint64_t file_length(const struct block_device *device)
{
	const struct file *file = (const struct file *)device;
	const off_t end = lseek(file->fd, 0, SEEK_END);

	if (end < 0)
		return device->size_bytes;
	return (uint64_t)end - (uint64_t)end % device->block_size;
}

static void file_destroy(struct block_device *device)
{
	struct file *file = file_of(device);

	loop_timer_finish(file->loop, &file->retry);
	if (file->bounce)
		munmap(file->bounce, BOUNCE_COUNT * BOUNCE_BYTES);
	munmap(file->zero, BOUNCE_BYTES);
	fd_close(&file->fd);
	free(file);
}

const struct block_device_ops file_ops = {
	.kind = "file",
	.submit = file_submit,
	.length = file_length,
	.destroy = file_destroy,
};
