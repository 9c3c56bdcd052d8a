/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared.h - mapping what a front-end sent a descriptor of
 *
 * Only memory file systems are accepted (memfd, tmpfs, hugetlbfs): a page
 * fault on anything else could make the reactor wait for somebody's disk, or
 * for somebody's FUSE server.  The descriptor may be truncated afterwards:
 * then there are zero pages instead (os/guard.h) and '*lost' becomes 1.
 */
#ifndef VHOST_SHARED_H
#define VHOST_SHARED_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct shared {
	uint8_t *data;		/* what was asked for */
	void *address;		/* the mapping around it */
	size_t length;
};

/* Map 'length' bytes at 'offset' of 'fd', which stays the caller's.  Returns
 * 0, -EINVAL (not memory, or shorter than that), -ENOSPC (too many mappings)
 * or what mmap said. */
int shared_map(int fd, uint64_t offset, uint64_t length,
	       volatile sig_atomic_t *lost, struct shared *ret_shared,
	       struct error *reterr);
void shared_unmap(const struct shared *shared);

#endif
