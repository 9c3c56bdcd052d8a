/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - is what lies on a pool's devices in order?  And bring it in order
 *
 * Offline: nobody has the devices open.  Of each are looked at both copies of
 * the superblock, both copies of each block of the log, and whether each record
 * is possible after those before it: no extent mapped twice unless shared, none
 * beyond the end, none clean and in use.  Of all together: no device twice,
 * none missing that a volume is on, no extent of volumes that are not related.
 *
 * What one copy has and the other lacks can be repaired; what neither has is
 * lost, and nothing is invented.
 *
 * What a crash may leave is no fault, and is told as a note: the next start
 * sees to it.  So are extents that are open or dirty: they will be scrubbed.
 */
#ifndef POOL_CHECK_H
#define POOL_CHECK_H

#include "block/block.h"
#include "pool/format.h"

#define CHECK_DEVICES_MAX	64U

struct check_device {
	struct block_device *device;
	const char *name;
	/* The result: 0 (it could be looked at), or what member_open says. */
	int result;
	struct format_super super;
	uint64_t bad_supers, bad_blocks;	/* copies */
	uint64_t repaired;			/* of these */
	uint32_t log_blocks, volumes;
	uint32_t mapped, clean, dirty, bad;	/* extents */
};

struct check_finding {
	const struct check_device *device;	/* NULL: of all together */
	const char *text;	/* one line: where, what */
	bool is_wrong;		/* else only worth knowing */
	bool can_repair;
	bool is_repaired;
};

struct check_config {
	struct check_device *devices;
	uint32_t count;			/* 1 to CHECK_DEVICES_MAX */
	bool repair;
	/* Let requests end; called until one has.  Required. */
	void (*progress)(void *arg);
	/* In order.  Required. */
	void (*say)(void *arg, const struct check_finding *finding);
	void *arg;
};

struct check_report {
	uint32_t wrong, repaired;	/* findings */
};

/* Returns 0 (in order), -EUCLEAN (something is or was wrong) or -ENOMEM. */
int check_run(const struct check_config *config,
	      struct check_report *ret_report);

#endif
