/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file-internal.h - a file device's state, for file.c and file-open.c only
 *
 * Threads: the loop's.
 */
#ifndef BLOCK_FILE_INTERNAL_H
#define BLOCK_FILE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "block/kinds.h"

#define BOUNCE_BYTES	(UINT64_C(128) << 10)
#define BOUNCE_COUNT	32U

struct file_queue { /* a FIFO */
	struct block_request *first, **end;
};

struct file {
	struct block_device device;
	struct loop *loop;
	int fd;
	bool direct;	/* opened with O_DIRECT */
	bool in_place;	/* tmpfs */
	bool punches, zeroes;	/* fallocate can, as far as known */
	uint32_t memory_align;	/* what direct I/O wants of addresses */
	struct file_queue waiting;	/* for room in the ring */
	struct file_queue bouncing;	/* for a bounce buffer */
	struct loop_timer retry;
	unsigned char *bounce;	/* all buffers; zeroes come from 'zero' */
	unsigned char *zero;	/* BOUNCE_BYTES that are never written */
	unsigned int bounce_free;
	unsigned char *bounce_list[BOUNCE_COUNT];
};

extern const struct block_device_ops file_ops;

/* The timer: what waits may go on. */
void file_retry(struct loop_timer *timer, uint64_t now_ns);

#endif
