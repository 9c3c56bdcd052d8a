/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h */
#include "vhost/log.h"

#include <errno.h>
#include <stdlib.h>

int log_create(const struct vhost_user_log *log, int fd,
	       struct dirty_log **ret_log, struct error *reterr)
{
	struct dirty_log *made;
	int rc;

	if (log->mmap_size == 0 || log->mmap_size > LOG_BYTES_MAX)
		return error_set(reterr, -EINVAL,
				 "dirty log of %llu bytes: must be 1 to %llu",
				 (unsigned long long)log->mmap_size,
				 (unsigned long long)LOG_BYTES_MAX);
	made = calloc(1, sizeof(*made));
	if (!made)
		return error_set(reterr, -ENOMEM, "dirty log: no memory");
	rc = shared_map(fd, log->mmap_offset, log->mmap_size, &made->lost,
			&made->shared, reterr);
	if (rc < 0) {
		free(made);
		return rc;
	}
	made->bits = made->shared.data;
	made->bytes = log->mmap_size;
	*ret_log = made;
	return 0;
}

void log_destroy(struct dirty_log *log)
{
	if (!log)
		return;
	shared_unmap(&log->shared);
	free(log);
}

void log_mark(struct dirty_log *log, uint64_t guest_addr, uint64_t length)
{
	uint64_t page, last;

	if (length == 0)
		return;
	last = (guest_addr + length - 1) / VHOST_USER_LOG_PAGE;
	for (page = guest_addr / VHOST_USER_LOG_PAGE; page <= last; page++) {
		if (page / 8 >= log->bytes) {
			log->overrun = true;
			return;
		}
		__atomic_fetch_or(&log->bits[page / 8],
				  (uint8_t)(1U << (page % 8)),
				  __ATOMIC_RELAXED);
	}
}
