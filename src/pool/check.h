/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - is what lies on a pool's device in order?  And bring it in order
 *
 * Offline: nobody has the device open.  Looked at are both superblocks, both
 * copies of each block of the log, and whether each record is possible after
 * those before it: no extent mapped twice unless shared, none beyond the end,
 * none clean and in use.  What one copy has and the other lacks can be
 * repaired; what neither has is lost, and nothing is invented.
 *
 * Extents that a crash left open or dirty are no fault: they are scrubbed when
 * the device is opened next.
 */
#ifndef POOL_CHECK_H
#define POOL_CHECK_H

#include "block/block.h"

struct check_config {
	struct block_device *device;
	const char *name;
	bool repair;
	/* Let requests of the device end; called until one has.  Required. */
	void (*progress)(void *arg);
	/* One line.  Required. */
	void (*say)(void *arg, bool is_fatal, const char *text);
	void *arg;
};

struct check_report {
	uint64_t bad_supers, bad_blocks;	/* copies */
	uint64_t repaired;			/* of these */
	uint32_t log_blocks, volumes;
	uint32_t mapped, clean, dirty, bad;	/* extents */
};

/* Returns 0 (in order, or every copy that was not is repaired), -EUCLEAN (some
 * copies are damaged, and not to be repaired), or what member_open says of a
 * device that cannot be opened; each is said. */
int check_run(const struct check_config *config,
	      struct check_report *ret_report);

#endif
