/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opening.h - a device's file on its way: opened, locked, sized
 *
 * Where the storage is gone (a dead NFS server, a suspended dm device) open
 * does not return, and a lock may be long in coming.  So each opening has a
 * thread of its own, which nobody waits for: penstockd goes on, and one
 * device does not hold up another.  The caller keeps at most one for each
 * device.
 *
 * Threads: the functions and 'done' are the loop's.
 */
#ifndef HOST_OPENING_H
#define HOST_OPENING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/identity.h"

struct loop;
struct opening;

#define OPENING_UUID_MAX 33U	/* 32 digits */

struct opening_result {
	int result;			/* 0, or -errno with a reason */
	struct error why;
	/* With 0: the caller's, and locked (flock): whoever had it before has
	 * no request in flight any more. */
	int fd;
	struct identity file;
	uint64_t size_bytes;		/* with superblocks and log */
	bool is_zeroed;			/* nothing was ever written to it */
	char uuid[OPENING_UUID_MAX];	/* in its superblock; "": none */
};

struct opening_config {
	struct loop *loop;
	const char *path;		/* copied */
	/* For data; 0: as much as it has room for.  A file that is not there,
	 * or in which nothing was ever written, is made so long that
	 * superblocks and log have room beside them; a device of a pool that is
	 * to grow, too.  A read-only one is left as it is. */
	uint64_t size_bytes;
	bool read_only;
	bool must_exist;		/* it held data: none is made anew */
	/* The one that is expected, or "".  Another one is left as it is. */
	char uuid[OPENING_UUID_MAX];
	/* Called once, unless it is abandoned before; the opening is gone
	 * then. */
	void (*done)(void *arg, const struct opening_result *result);
	void *arg;
};

enum opening_phase {
	OPENING_OPENS,			/* the storage has not answered yet */
	OPENING_LOCKS,			/* another program has the lock */
};

/* Returns 0 or -errno. */
int opening_start(const struct opening_config *config,
		  struct opening **ret_opening);
enum opening_phase opening_phase(struct opening *opening);
/* 'done' is not called any more; the thread ends when it can.  NULL is
 * allowed. */
void opening_abandon(struct opening *opening);

#endif
