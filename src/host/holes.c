/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holes.c - see holes.h
 *
 * A file may have a million holes.  So it is looked at in slots of one size,
 * in each for a bounded time, and the largest range of each is taken.
 */
#include "host/holes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/errand.h"

#define LOOKS_MAX	1024U	/* in a slot */

struct look {
	struct identity file;
	uint64_t size_bytes;
	struct holes holes;
	void (*done)(void *arg, const struct holes *holes);
	void *arg;
};

/* The range of data at or after 'at_bytes' that begins before 'end_bytes', cut
 * off there.  Returns false if there is none. */
static bool next_data(int fd, uint64_t at_bytes, uint64_t end_bytes,
		      uint64_t *ret_start, uint64_t *ret_end)
{
	const off_t start = lseek(fd, (off_t)at_bytes, SEEK_DATA);
	off_t end;

	if (start < 0 || (uint64_t)start >= end_bytes)
		return false;
	end = lseek(fd, start, SEEK_HOLE);
	if (end <= start)
		return false;
	*ret_start = (uint64_t)start;
	*ret_end = (uint64_t)end < end_bytes ? (uint64_t)end : end_bytes;
	return true;
}

static void find_largest(int fd, uint64_t from_bytes, uint64_t to_bytes,
			 struct range *ret_range)
{
	uint64_t at = from_bytes, start, end;
	unsigned int looks = 0;

	*ret_range = (struct range){0, 0};
	while (at < to_bytes && looks++ < LOOKS_MAX &&
	       next_data(fd, at, to_bytes, &start, &end)) {
		at = end;
		start = (start + RANGES_ALIGN - 1) / RANGES_ALIGN *
			RANGES_ALIGN;
		end = end / RANGES_ALIGN * RANGES_ALIGN;
		if (end > start && end - start > ret_range->size_bytes)
			*ret_range = (struct range){start, end - start};
	}
}

/* Behind the one before it is more of the same. */
static void add(struct holes *holes, const struct range *range)
{
	struct range *last =
		holes->data_count ? &holes->data[holes->data_count - 1] : NULL;

	if (last &&
	    last->offset_bytes + last->size_bytes == range->offset_bytes)
		last->size_bytes += range->size_bytes;
	else if (range->size_bytes >= RANGES_BYTES)
		holes->data[holes->data_count++] = *range;
}

int holes_find(int fd, uint64_t size_bytes, struct holes *ret_holes)
{
	uint64_t slot_bytes = (size_bytes + RANGES_MAX - 1) / RANGES_MAX;
	struct stat status;
	off_t first;

	memset(ret_holes, 0, sizeof(*ret_holes));
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return 0;
	first = lseek(fd, 0, SEEK_DATA);
	if (first < 0 && errno != ENXIO)
		return errno == EINVAL ? 0 : -errno;
	ret_holes->is_known = true;
	ret_holes->is_blank = first < 0 || (uint64_t)first >= size_bytes;
	ret_holes->is_allocated =
		(uint64_t)status.st_blocks * 512U >= size_bytes;
	if (ret_holes->is_blank)
		return 0;
	if (slot_bytes < RANGES_BYTES)
		slot_bytes = RANGES_BYTES;
	slot_bytes =
		(slot_bytes + RANGES_ALIGN - 1) / RANGES_ALIGN * RANGES_ALIGN;
	for (uint64_t at = 0; at < size_bytes; at += slot_bytes) {
		const uint64_t left = size_bytes - at;
		struct range range;

		find_largest(fd, at,
			     at + (left < slot_bytes ? left : slot_bytes),
			     &range);
		add(ret_holes, &range);
	}
	return 0;
}

/* --- On its thread ------------------------------------------------------- */

static int look_at(struct look *look, int fd)
{
	struct identity now;
	int ret = identity_read(&now, look->file.path, fd);

	if (ret == 0 && !identity_is_same(&look->file, &now))
		ret = -ESTALE;
	return ret == 0 ? holes_find(fd, look->size_bytes, &look->holes) : ret;
}

static void look_run(void *arg, struct errand *errand)
{
	struct look *look = arg;
	int fd = open(look->file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret = fd < 0 ? -errno : look_at(look, fd);

	(void)errand;
	if (ret < 0)
		look->holes = (struct holes){.is_known = true};
	if (fd >= 0)
		close(fd);
}

/* --- In the loop --------------------------------------------------------- */

static void look_done(void *arg)
{
	struct look *look = arg;

	look->done(look->arg, &look->holes);
}

int holes_start(struct loop *loop, const struct identity *file,
		uint64_t size_bytes,
		void (*done)(void *arg, const struct holes *holes), void *arg,
		struct errand **ret_errand)
{
	struct look *look = calloc(1, sizeof(*look));
	const struct errand_config config = {
		.loop = loop,
		.run = look_run,
		.done = look_done,
		.free = free,
		.arg = look,
	};
	int ret;

	if (!look)
		return -ENOMEM;
	look->file = *file;
	look->size_bytes = size_bytes;
	look->done = done;
	look->arg = arg;
	ret = errand_start(&config, ret_errand);
	if (ret < 0)
		free(look);
	return ret;
}
