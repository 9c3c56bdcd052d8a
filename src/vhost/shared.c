/* SPDX-License-Identifier: Apache-2.0 */
/* shared.c - see shared.h */
#include "vhost/shared.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "os/guard.h"

/* Is it memory, does it hold 'end' bytes, and how must a mapping of it be
 * aligned?  Huge pages can only be mapped whole. */
static int check_file(int fd, uint64_t end, uint64_t *ret_align,
		      struct error *reterr)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_set(reterr, -errno, "shared memory: %s",
				 strerror(errno));
	if (!S_ISREG(st.st_mode) ||
	    ((unsigned long)fs.f_type != TMPFS_MAGIC &&
	     (unsigned long)fs.f_type != HUGETLBFS_MAGIC &&
	     (unsigned long)fs.f_type != RAMFS_MAGIC))
		return error_set(
			reterr, -EINVAL,
			"shared memory: not a memory file: use memory-backend-memfd, tmpfs or hugetlbfs");
	if (st.st_size < 0 || (uint64_t)st.st_size < end)
		return error_set(
			reterr, -EINVAL,
			"shared memory: ends at byte %llu of a file of %lld",
			(unsigned long long)end, (long long)st.st_size);
	*ret_align = (uint64_t)sysconf(_SC_PAGESIZE);
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		*ret_align = (uint64_t)fs.f_bsize;
	return 0;
}

int shared_map(int fd, uint64_t offset, uint64_t length,
	       volatile sig_atomic_t *lost, struct shared *ret_shared,
	       struct error *reterr)
{
	uint64_t align = 0, start, end;
	struct shared shared;
	int rc;

	if (__builtin_add_overflow(offset, length, &end) || length == 0 ||
	    end > INT64_MAX)
		return error_set(reterr, -EINVAL,
				 "shared memory: impossible size or offset");
	rc = check_file(fd, end, &align, reterr);
	if (rc < 0)
		return rc;
	start = offset & ~(align - 1);
	shared.length = (end - start + align - 1) & ~(align - 1);
	shared.address = mmap(NULL, shared.length, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (shared.address == MAP_FAILED)
		return error_set(reterr, -errno, "shared memory: mmap: %s",
				 strerror(errno));
	shared.data = (uint8_t *)shared.address + (offset - start);
	rc = guard_add(shared.address, shared.length, lost);
	if (rc < 0) {
		munmap(shared.address, shared.length);
		return error_set(
			reterr, rc,
			"shared memory: too many mappings of all guests");
	}
	*ret_shared = shared;
	return 0;
}

void shared_unmap(const struct shared *shared)
{
	guard_remove(shared->address);
	munmap(shared->address, shared->length);
}
