/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holes.h - where a device's file holds data, and where nothing
 *
 * What is read from a hole no disk has to fetch: measured there, a device
 * promises what it never does.  In a file that is one hole nobody's data are.
 *
 * Threads: holes_find any; holes_start the loop's, and so is 'done'.
 */
#ifndef HOST_HOLES_H
#define HOST_HOLES_H

#include <stdbool.h>
#include <stdint.h>

#include "block/ranges.h"
#include "host/identity.h"

struct errand;
struct loop;

struct holes {
	/* False: not a regular file, or its file system does not tell: there
	 * may be data everywhere. */
	bool is_known;
	bool is_blank;		/* no data at all */
	bool is_allocated;	/* it has all its space, data or not */
	/* Data, from all over the file; large ones rather than small ones, not
	 * necessarily all. */
	struct range data[RANGES_MAX];
	unsigned int data_count;
};

/* In the first 'size_bytes'.  Returns 0 or -errno.  May block. */
int holes_find(int fd, uint64_t size_bytes, struct holes *ret_holes);

/* Look at 'file', on a thread of its own, if it lies at its path still; else,
 * and if that fails, it is known to have no data that could be read (and is
 * not blank).  Returns 0 or -errno. */
int holes_start(struct loop *loop, const struct identity *file,
		uint64_t size_bytes,
		void (*done)(void *arg, const struct holes *holes), void *arg,
		struct errand **ret_errand);

#endif
