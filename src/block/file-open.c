/* SPDX-License-Identifier: Apache-2.0 */
/* file-open.c - opening a file device: what it is, and what it needs */
#include "block/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What direct I/O wants: the kernel tells since 6.1. */
static void find_alignment(struct file *file, bool is_block_device)
{
	struct statx status = {0};
	int sector = 0;

	file->device.block_size = BLOCK_SIZE_BYTES;
	file->memory_align = BLOCK_SIZE_BYTES;
#ifdef STATX_DIOALIGN
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
	    (status.stx_mask & STATX_DIOALIGN) != 0 &&
	    status.stx_dio_offset_align != 0) {
		file->memory_align = status.stx_dio_mem_align;
		if (status.stx_dio_offset_align > BLOCK_SIZE_BYTES)
			file->device.block_size = status.stx_dio_offset_align;
		return;
	}
#else
	(void)status;
#endif
	if (is_block_device && ioctl(file->fd, BLKSSZGET, &sector) == 0 &&
	    sector > (int)BLOCK_SIZE_BYTES) {
		file->device.block_size = (uint32_t)sector;
		file->memory_align = (uint32_t)sector;
	}
}

static int find_size(struct file *file, const struct block_config *config,
		     struct error *reterr)
{
	const off_t end = lseek(config->fd, 0, SEEK_END);
	uint64_t there;

	if (end < 0)
		return error_set(reterr, -errno, "file device: size: %m");
	if (config->size_bytes % file->device.block_size != 0)
		return error_set(
			reterr, -EINVAL,
			"file device of %" PRIu64
			" bytes: it must be a multiple of the device's %u",
			config->size_bytes, file->device.block_size);
	there = (uint64_t)end - (uint64_t)end % file->device.block_size;
	if (there < config->size_bytes)
		return error_set(
			reterr, -EINVAL,
			"file device: %" PRIu64
			" bytes wanted, the file has %jd: enlarge it or ask for less",
			config->size_bytes, (intmax_t)end);
	file->device.size_bytes =
		config->size_bytes != 0 ? config->size_bytes : there;
	if (file->device.size_bytes == 0)
		return error_set(
			reterr, -EINVAL,
			"file device: the file is empty: give it a size");
	return 0;
}

static int find_out(struct file *file, const struct block_config *config,
		    struct error *reterr)
{
	const int flags = fcntl(config->fd, F_GETFL);
	struct stat status;
	struct statfs system;

	if (flags < 0 || fstat(config->fd, &status) < 0 ||
	    fstatfs(config->fd, &system) < 0)
		return error_set(reterr, -errno, "file device: %m");
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return error_set(
			reterr, -EINVAL,
			"file device: neither a regular file nor a block device");
	if ((flags & O_ACCMODE) != O_RDWR &&
	    ((flags & O_ACCMODE) != O_RDONLY || !config->read_only))
		return error_set(
			reterr, -EINVAL,
			"file device: opened without the right to write");
	file->fd = config->fd;
	file->device.ops = &file_ops;
	file->device.read_only = config->read_only;
	file->in_place =
		S_ISREG(status.st_mode) && system.f_type == TMPFS_MAGIC;
	file->direct = (flags & O_DIRECT) != 0 && !file->in_place;
	file->punches = file->zeroes = true;
	file->waiting.end = &file->waiting.first;
	file->bouncing.end = &file->bouncing.first;
	find_alignment(file, S_ISBLK(status.st_mode));
	return find_size(file, config, reterr);
}

/* Anonymous memory: a page takes space when it is first used. */
static int map_buffers(struct file *file)
{
	void *map;

	map = mmap(NULL, BOUNCE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	file->zero = map;
	if (!file->direct)
		return 0;
	map = mmap(NULL, BOUNCE_COUNT * BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		munmap(file->zero, BOUNCE_BYTES);
		return -ENOMEM;
	}
	file->bounce = map;
	while (file->bounce_free < BOUNCE_COUNT) {
		file->bounce_list[file->bounce_free] =
			file->bounce + file->bounce_free * BOUNCE_BYTES;
		file->bounce_free++;
	}
	return 0;
}

int block_file_open(const struct block_config *config, struct loop *loop,
		    struct block_device **ret_device, struct error *reterr)
{
	struct file *file = calloc(1, sizeof(*file));
	int rc;

	if (!file)
		return error_set(reterr, -ENOMEM, "file device: out of memory");
	file->loop = loop;
	rc = find_out(file, config, reterr);
	if (rc < 0)
		goto err_after_alloc;
	rc = map_buffers(file);
	if (rc < 0) {
		error_set(reterr, rc, "file device: out of memory");
		goto err_after_alloc;
	}
	rc = loop_timer_init(loop, &file->retry, file_retry);
	if (rc < 0) {
		error_set(reterr, rc, "file device: out of memory");
		goto err_after_map;
	}
	*ret_device = &file->device;
	return 0;

err_after_map:
	if (file->bounce)
		munmap(file->bounce, BOUNCE_COUNT * BOUNCE_BYTES);
	munmap(file->zero, BOUNCE_BYTES);
err_after_alloc:
	free(file);
	return rc;
}
