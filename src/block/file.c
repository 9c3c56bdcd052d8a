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
 * 'waiting' is a FIFO of requests for which there was no room in the ring or
 * no bounce buffer; they go on when another request ends, or at the latest
 * after RETRY_NS.  Nothing is allocated and nothing blocks.
 *
 * Direct I/O wants aligned memory, and guests do not always have it: then a
 * request goes through one of a fixed number of bounce buffers, a buffer's
 * length at a time.
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
#include "block/kinds.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/container.h"
#include "os/fd.h"

#define BOUNCE_BYTES		(UINT64_C(128) << 10)
#define BOUNCE_COUNT		32U
#define TRANSFER_MAX_BYTES	(UINT64_C(1) << 30)
#define IN_PLACE_MAX_BYTES	(UINT64_C(256) << 10)
#define RETRY_NS		UINT64_C(1000000)

struct file {
	struct block_device device;
	struct loop *loop;
	int fd;
	bool direct;			/* opened with O_DIRECT */
	bool in_place;			/* tmpfs */
	bool punches, zeroes;		/* fallocate can, as far as known */
	uint32_t memory_align;		/* what direct I/O wants of addresses */
	struct block_request *waiting, **waiting_end;
	struct loop_timer retry;
	unsigned char *bounce;	/* all buffers; zeroes come from 'zero' */
	unsigned char *zero;	/* BOUNCE_BYTES that are never written */
	unsigned int bounce_free;
	unsigned char *bounce_list[BOUNCE_COUNT];
};

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

/* Between the bounce buffer and the request's segments, from done_bytes. */
static void copy_bounce(const struct block_request *request,
			unsigned char *bounce, uint64_t bytes)
{
	uint64_t into;
	uint32_t i = find_segment(request, &into);

	while (bytes > 0) {
		unsigned char *at =
			(unsigned char *)request->iov[i].iov_base + into;
		uint64_t part = request->iov[i].iov_len - into;

		if (part > bytes)
			part = bytes;
		if (request->op == BLOCK_READ)
			memcpy(at, bounce, part);
		else
			memcpy(bounce, at, part);
		bounce += part;
		bytes -= part;
		into = 0;
		i++;
	}
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
			copy_bounce(request, request->single.iov_base, left);
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

/* False: no room now. */
static bool issue(struct file *file, struct block_request *request)
{
	struct io_uring_sqe *sqe;

	if (file->direct && transfers(request) && !is_bounced(file, request) &&
	    !is_aligned(file, request)) {
		if (file->bounce_free == 0)
			return false;
		request->single.iov_base =
			file->bounce_list[--file->bounce_free];
	}
	sqe = loop_sqe(file->loop, &request->uring);
	if (!sqe)
		return false;
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
	return true;
}

static void retry_later(struct file *file)
{
	loop_timer_set(file->loop, &file->retry,
		       loop_now_ns(file->loop) + RETRY_NS);
}

static void wait_for_room(struct file *file, struct block_request *request)
{
	request->next = NULL;
	*file->waiting_end = request;
	file->waiting_end = &request->next;
	if (file->waiting == request)
		retry_later(file);
}

/* One that had begun goes first: it may hold a bounce buffer that the others
 * wait for. */
static void wait_in_front(struct file *file, struct block_request *request)
{
	request->next = file->waiting;
	if (!file->waiting)
		file->waiting_end = &request->next;
	file->waiting = request;
	retry_later(file);
}

static void issue_waiting(struct file *file)
{
	while (file->waiting) {
		struct block_request *request = file->waiting;

		if (!issue(file, request)) {
			retry_later(file);
			return;
		}
		file->waiting = request->next;
		if (!file->waiting)
			file->waiting_end = &file->waiting;
	}
	loop_timer_cancel(file->loop, &file->retry);
}

static void retry_expired(struct loop_timer *timer, uint64_t now_ns)
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
	if (file->waiting)
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
		copy_bounce(request, request->single.iov_base, bytes);
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
	else if (!issue(file, request))
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
	if (file->waiting || !issue(file, request))
		wait_for_room(file, request);
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

static const struct block_device_ops file_ops = {
	.kind = "file",
	.submit = file_submit,
	.destroy = file_destroy,
};

/* ---- opening ---- */

/* What direct I/O wants: the kernel tells since 6.1. */
static void find_alignment(struct file *file, bool is_block_device)
{
	struct statx status = {0};
	int sector = 0;

	file->device.block_size = BLOCK_SIZE_BYTES;
	file->memory_align = BLOCK_SIZE_BYTES;
#ifdef STATX_DIOALIGN
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
	    (status.stx_mask & STATX_DIOALIGN) != 0 &&
	    status.stx_dio_offset_align != 0) {
		file->memory_align = status.stx_dio_mem_align;
		if (status.stx_dio_offset_align > BLOCK_SIZE_BYTES)
			file->device.block_size = status.stx_dio_offset_align;
		return;
	}
#else
	(void)status;
#endif
	if (is_block_device && ioctl(file->fd, BLKSSZGET, &sector) == 0 &&
	    sector > (int)BLOCK_SIZE_BYTES) {
		file->device.block_size = (uint32_t)sector;
		file->memory_align = (uint32_t)sector;
	}
}

static int find_size(struct file *file, const struct block_config *config,
		     struct error *reterr)
{
	const off_t end = lseek(config->fd, 0, SEEK_END);
	uint64_t there;

	if (end < 0)
		return error_set(reterr, -errno, "file device: size: %m");
	if (config->size_bytes % file->device.block_size != 0)
		return error_set(
			reterr, -EINVAL,
			"file device of %" PRIu64
			" bytes: it must be a multiple of the device's %u",
			config->size_bytes, file->device.block_size);
	there = (uint64_t)end - (uint64_t)end % file->device.block_size;
	if (there < config->size_bytes)
		return error_set(
			reterr, -EINVAL,
			"file device: %" PRIu64
			" bytes wanted, the file has %jd: enlarge it or ask for less",
			config->size_bytes, (intmax_t)end);
	file->device.size_bytes =
		config->size_bytes != 0 ? config->size_bytes : there;
	if (file->device.size_bytes == 0)
		return error_set(
			reterr, -EINVAL,
			"file device: the file is empty: give it a size");
	return 0;
}

static int find_out(struct file *file, const struct block_config *config,
		    struct error *reterr)
{
	const int flags = fcntl(config->fd, F_GETFL);
	struct stat status;
	struct statfs system;

	if (flags < 0 || fstat(config->fd, &status) < 0 ||
	    fstatfs(config->fd, &system) < 0)
		return error_set(reterr, -errno, "file device: %m");
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return error_set(
			reterr, -EINVAL,
			"file device: neither a regular file nor a block device");
	if ((flags & O_ACCMODE) != O_RDWR &&
	    ((flags & O_ACCMODE) != O_RDONLY || !config->read_only))
		return error_set(
			reterr, -EINVAL,
			"file device: opened without the right to write");
	file->fd = config->fd;
	file->device.ops = &file_ops;
	file->device.read_only = config->read_only;
	file->in_place =
		S_ISREG(status.st_mode) && system.f_type == TMPFS_MAGIC;
	file->direct = (flags & O_DIRECT) != 0 && !file->in_place;
	file->punches = file->zeroes = true;
	file->waiting_end = &file->waiting;
	find_alignment(file, S_ISBLK(status.st_mode));
	return find_size(file, config, reterr);
}

/* Anonymous memory: a page takes space when it is first used. */
static int map_buffers(struct file *file)
{
	void *map;

	map = mmap(NULL, BOUNCE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	file->zero = map;
	if (!file->direct)
		return 0;
	map = mmap(NULL, BOUNCE_COUNT * BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		munmap(file->zero, BOUNCE_BYTES);
		return -ENOMEM;
	}
	file->bounce = map;
	while (file->bounce_free < BOUNCE_COUNT) {
		file->bounce_list[file->bounce_free] =
			file->bounce + file->bounce_free * BOUNCE_BYTES;
		file->bounce_free++;
	}
	return 0;
}

int block_file_open(const struct block_config *config, struct loop *loop,
		    struct block_device **ret_device, struct error *reterr)
{
	struct file *file = calloc(1, sizeof(*file));
	int rc;

	if (!file)
		return error_set(reterr, -ENOMEM, "file device: out of memory");
	file->loop = loop;
	rc = find_out(file, config, reterr);
	if (rc < 0)
		goto err_after_alloc;
	rc = map_buffers(file);
	if (rc < 0) {
		error_set(reterr, rc, "file device: out of memory");
		goto err_after_alloc;
	}
	rc = loop_timer_init(loop, &file->retry, retry_expired);
	if (rc < 0) {
		error_set(reterr, rc, "file device: out of memory");
		goto err_after_map;
	}
	*ret_device = &file->device;
	return 0;

err_after_map:
	if (file->bounce)
		munmap(file->bounce, BOUNCE_COUNT * BOUNCE_BYTES);
	munmap(file->zero, BOUNCE_BYTES);
err_after_alloc:
	free(file);
	return rc;
}
