/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - what every kind of block device can do
 *
 * A kind is one file with one 'static const struct block_device_ops' and a
 * line in the table of block.c.  No kind knows another.
 *
 * Threads: a device belongs to the loop it was opened on.
 * Ownership: a request belongs to its submitter; between submit and 'done'
 * nobody else touches it.  'done' is called exactly once for each submit,
 * possibly before submit returns.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "os/loop.h"

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
};

#define BLOCK_FLAG_UNMAP	0x1U	/* write-zeroes may free the space */

#define BLOCK_IOV_MAX		1024U	/* segments of one request */

struct block_request {
	struct loop_op uring;		/* the device's, while submitted */
	void (*done)(struct block_request *request);
	const struct iovec *iov;	/* read, write: total == length_bytes */
	uint64_t offset_bytes;		/* in range: the submitter checked */
	uint64_t length_bytes;
	uint32_t iov_count;
	uint8_t op;			/* enum block_op */
	uint8_t flags;
	int result;			/* 0 or -errno, valid in 'done' */
	struct block_device *device;	/* the device's, while submitted */
	struct block_request *next;	/* the device's, while submitted */
	union {				/* the device's, while submitted */
		uint64_t due_ns;
		uint64_t done_bytes;
	};
	struct iovec single;		/* the device's, while submitted */
};

struct block_device {
	const struct block_device_ops *ops;
	uint64_t size_bytes;
	uint32_t block_size;		/* smallest unit of offset and length */
	bool read_only;
	/* How often writes that were done, and not flushed, may have been lost
	 * (a server died).  A flush after it has failed once; who flushes for
	 * several must fail the next one of each. */
	uint64_t losses;
};

struct block_device_ops {
	const char *kind;		/* the word in the configuration */
	/* Start a request.  Required.  Reactor thread; never blocks, never
	 * allocates. */
	void (*submit)(struct block_device *device,
		       struct block_request *request);
	/* 'request', a read or write not yet submitted, will come next: begin
	 * to fetch what it needs.  Its own offset may be another's;
	 * 'offset_bytes' and its length are in range.  Keeps nothing.
	 * Optional.  Reactor thread. */
	void (*prefetch)(struct block_device *device,
			 const struct block_request *request,
			 uint64_t offset_bytes);
	/* How long it is now, which may be more than 'size_bytes' (or less:
	 * somebody cut it off).  Optional: it stays as long as it is.  Reactor
	 * thread; never blocks. */
	uint64_t (*length)(const struct block_device *device);
	/* Free it.  No request is in flight.  Required. */
	void (*destroy)(struct block_device *device);
};

/* The service model of nullio and memory, for tests: one of 'servers' serves a
 * request for a time drawn from a log-normal distribution (seeded), then it
 * completes.
 * 'servers' == 0: completes at once. */
struct block_model {
	uint32_t servers;
	uint64_t read_median_ns, write_median_ns;
	uint64_t per_kib_ns;		/* added for each KiB */
	uint32_t sigma_milli;		/* of the log-normal, thousandths */
	uint64_t seed;
	uint32_t error_ppm;		/* of a million requests fail (EIO) */
	uint64_t stall_every_ns;	/* 0: never */
	uint64_t stall_ns;		/* how long nothing completes then */
};

struct block_config {
	const char *kind;
	uint64_t size_bytes;		/* 0: take the descriptor's own */
	int fd; /* file, memory: taken over on success;
					 * memory: < 0, make our own */
	bool read_only;
	bool huge_pages;	/* memory: of our own making, if possible */
	struct block_model model;	/* nullio, memory */
};

/* Open a device of 'config->kind'.  Returns 0, -EINVAL (unknown kind,
 * impossible size), -ENOMEM, or the system's reason. */
int block_open(const struct block_config *config, struct loop *loop,
	       struct block_device **ret_device, struct error *reterr);
/* The kinds' names, for error texts; NULL-terminated. */
const char *const *block_kinds(void);

/* Between 'bytes' of the request's memory from 'from_bytes' on and 'data': into
 * data, or out of it.  Copies nothing that the request has not. */
void block_copy(const struct block_request *request, uint64_t from_bytes,
		void *data, uint64_t bytes, bool into_data);

static inline void block_submit(struct block_device *device,
				struct block_request *request)
{
	device->ops->submit(device, request);
}

static inline void block_close(struct block_device *device)
{
	if (device)		/* NULL is allowed */
		device->ops->destroy(device);
}

#endif
