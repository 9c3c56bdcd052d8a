/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - a block device in memory
 *
 * The memory is a memfd, mapped and shared, so that it outlives the process
 * when somebody else holds the descriptor too.  Requests complete inside
 * submit: a copy, no system call.  Only large discards and write-zeroes go to
 * the kernel, which takes its time and so does it on the side.
 *
 * Somebody may truncate a memfd that was passed in: the guard turns the
 * access into zeroes, and from then on every request fails.
 */
#include "block/kinds.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/guard.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Zeroing more than this is left to the kernel. */
#define ZERO_MAX_BYTES		(UINT64_C(128) << 10)
#define STREAM_MIN_BYTES	(UINT64_C(64) << 20)
#define PREFETCH_BYTES		1024U	/* of the next request */

struct memory {
	struct block_device device;
	struct loop *loop;
	unsigned char *map;
	int fd;
	bool streams;	/* larger than caches: write round them */
	volatile sig_atomic_t hit;	/* part of the memory is gone */
};

static struct memory *memory_of(struct block_device *device)
{
	return (struct memory *)device;
}

static void copy_out(const unsigned char *from,
		     const struct block_request *request)
{
	for (uint32_t i = 0; i < request->iov_count; i++) {
		memcpy(request->iov[i].iov_base, from, request->iov[i].iov_len);
		from += request->iov[i].iov_len;
	}
}

/* Past the caches: a store that goes round them need not fetch the line that
 * it overwrites (a fifth less time for 4 KiB at random in 512 MiB). */
#if defined(__SSE2__)
static void stream(unsigned char *to, const unsigned char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64) {
		const __m128i *in = (const __m128i *)(const void *)(from + i);
		__m128i *out = (__m128i *)(void *)(to + i);
		const __m128i a = _mm_loadu_si128(in);
		const __m128i b = _mm_loadu_si128(in + 1);
		const __m128i c = _mm_loadu_si128(in + 2);
		const __m128i d = _mm_loadu_si128(in + 3);

		_mm_stream_si128(out, a);
		_mm_stream_si128(out + 1, b);
		_mm_stream_si128(out + 2, c);
		_mm_stream_si128(out + 3, d);
	}
	/* Before anybody can be told that the request is done. */
	_mm_sfence();
}
#else
static void stream(unsigned char *to, const unsigned char *from, size_t bytes)
{
	memcpy(to, from, bytes);
}
#endif

static void copy_in(const struct memory *memory, unsigned char *to,
		    const struct block_request *request)
{
	for (uint32_t i = 0; i < request->iov_count; i++) {
		const size_t bytes = request->iov[i].iov_len;

		if (memory->streams && bytes % 64 == 0 &&
		    (uintptr_t)to % 64 == 0)
			stream(to, request->iov[i].iov_base, bytes);
		else
			memcpy(to, request->iov[i].iov_base, bytes);
		to += bytes;
	}
}

static void punched(struct loop_op *op, int result)
{
	struct block_request *request = (struct block_request *)op;

	static_assert(offsetof(struct block_request, uring) == 0,
		      "the operation is the request's first member");
	block_end(request, result);
}

/* Returns true when the kernel has the request. */
static bool zero(struct memory *memory, struct block_request *request)
{
	struct io_uring_sqe *sqe = NULL;

	if (request->length_bytes > ZERO_MAX_BYTES) {
		request->uring.done = punched;
		sqe = loop_sqe(memory->loop, &request->uring);
	}
	if (sqe) {
		io_uring_prep_fallocate(sqe, memory->fd,
					FALLOC_FL_PUNCH_HOLE |
						FALLOC_FL_KEEP_SIZE,
					(off_t)request->offset_bytes,
					(off_t)request->length_bytes);
		return true;
	}
	memset(memory->map + request->offset_bytes, 0, request->length_bytes);
	return false;
}

static void memory_submit(struct block_device *device,
			  struct block_request *request)
{
	struct memory *memory = memory_of(device);
	unsigned char *at = memory->map + request->offset_bytes;

	switch ((enum block_op)request->op) {
	case BLOCK_READ:
		copy_out(at, request);
		break;
	case BLOCK_WRITE:
		copy_in(memory, at, request);
		break;
	case BLOCK_FLUSH:
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		if (zero(memory, request))
			return;
		break;
	}
	block_end(request, memory->hit ? -EIO : 0);
}

static void prefetch_lines(const unsigned char *from, uint64_t bytes)
{
	const uint64_t end = bytes < PREFETCH_BYTES ? bytes : PREFETCH_BYTES;

	for (uint64_t at = 0; at < end; at += 64)
		__builtin_prefetch(from + at);
}

/* The first lines are enough: what costs most at random places is finding the
 * page, and the processor's own prefetching goes on from there. */
static void memory_prefetch(struct block_device *device,
			    const struct block_request *request,
			    uint64_t offset_bytes)
{
	const struct memory *memory = memory_of(device);

	if (request->iov_count == 0)
		return;
	if (request->op == BLOCK_READ) {
		prefetch_lines(memory->map + offset_bytes,
			       request->length_bytes);
		__builtin_prefetch(request->iov[0].iov_base, 1);
	} else {
		prefetch_lines(request->iov[0].iov_base,
			       request->iov[0].iov_len);
	}
}

static void memory_destroy(struct block_device *device)
{
	struct memory *memory = memory_of(device);

	guard_remove(memory->map);
	munmap(memory->map, device->size_bytes);
	fd_close(&memory->fd);
	free(memory);
}

static const struct block_device_ops memory_ops = {
	.kind = "memory",
	.submit = memory_submit,
	.prefetch = memory_prefetch,
	.destroy = memory_destroy,
};

/* Huge pages, if there are enough of them free. */
static int huge_memfd(uint64_t size_bytes)
{
	fd_cleanup int fd =
		memfd_create("penstock-memory",
			     MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0 || ftruncate(fd, (off_t)size_bytes) < 0 ||
	    fallocate(fd, 0, 0, (off_t)size_bytes) < 0)
		return -1;
	return fd_steal(&fd);
}

/* A memfd of our own, which nobody can shrink. */
static int make_memfd(const struct block_config *config, int *ret_fd,
		      struct error *reterr)
{
	fd_cleanup int fd = -1;

	if (config->size_bytes == 0)
		return error_set(reterr, -EINVAL,
				 "memory device: it needs a size");
	if (config->huge_pages)
		fd = huge_memfd(config->size_bytes);
	if (fd < 0)
		fd = memfd_create("penstock-memory",
				  MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(reterr, -errno, "memory device: memfd: %m");
	if (ftruncate(fd, (off_t)config->size_bytes) < 0)
		return error_set(reterr, -errno,
				 "memory device of %" PRIu64 " bytes: %m",
				 config->size_bytes);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return error_set(reterr, -errno, "memory device: seal: %m");
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* What a memfd that was passed in must be. */
static int check_memfd(const struct block_config *config, uint64_t *ret_bytes,
		       struct error *reterr)
{
	struct stat status;

	if (fstat(config->fd, &status) < 0)
		return error_set(reterr, -errno, "memory device: %m");
	if (!S_ISREG(status.st_mode) || status.st_size <= 0)
		return error_set(reterr, -EINVAL,
				 "memory device: the descriptor is no memory");
	if ((uint64_t)status.st_size < config->size_bytes)
		return error_set(reterr, -EINVAL,
				 "memory device: %" PRIu64
				 " bytes wanted, the descriptor has %jd",
				 config->size_bytes, (intmax_t)status.st_size);
	*ret_bytes = config->size_bytes;
	if (config->size_bytes == 0)
		*ret_bytes = (uint64_t)status.st_size -
			(uint64_t)status.st_size % BLOCK_SIZE_BYTES;
	if (*ret_bytes == 0)
		return error_set(reterr, -EINVAL,
				 "memory device: smaller than a block");
	return 0;
}

int block_memory_open(const struct block_config *config, struct loop *loop,
		      struct block_device **ret_device, struct error *reterr)
{
	uint64_t size_bytes = config->size_bytes;
	fd_cleanup int made = -1;
	struct memory *memory;
	void *map;
	int rc;

	if (config->fd < 0)
		rc = make_memfd(config, &made, reterr);
	else
		rc = check_memfd(config, &size_bytes, reterr);
	if (rc < 0)
		return rc;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return error_set(reterr, -ENOMEM,
				 "memory device: out of memory");
	map = mmap(NULL, size_bytes,
		   config->read_only ? PROT_READ : PROT_READ | PROT_WRITE,
		   MAP_SHARED, made < 0 ? config->fd : made, 0);
	if (map == MAP_FAILED) {
		rc = error_set(reterr, -errno,
			       "memory device of %" PRIu64 " bytes: %m",
			       size_bytes);
		goto err_after_alloc;
	}
	rc = guard_add(map, size_bytes, &memory->hit);
	if (rc < 0) {
		error_set(reterr, rc, "memory device: too many mappings");
		goto err_after_map;
	}
	/* A wish: random access then misses the TLB less often. */
	(void)madvise(map, size_bytes, MADV_HUGEPAGE);
	memory->device.ops = &memory_ops;
	memory->device.size_bytes = size_bytes;
	memory->device.block_size = BLOCK_SIZE_BYTES;
	memory->device.read_only = config->read_only;
	memory->loop = loop;
	memory->streams = size_bytes >= STREAM_MIN_BYTES;
	memory->map = map;
	memory->fd = made < 0 ? config->fd : fd_steal(&made);
	*ret_device = &memory->device;
	return 0;

err_after_map:
	munmap(map, size_bytes);
err_after_alloc:
	free(memory);
	return rc;
}
