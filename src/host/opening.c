/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opening.c - a device's file on its way; see opening.h
 *
 * The opening belongs to its thread and to the loop together: whoever is done
 * with it last frees it.  An eventfd that the loop watches says that the
 * thread is through.
 */
#include "host/opening.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/container.h"
#include "host/errand.h"
#include "os/loop.h"
#include "pool/format.h"

#define MS			1000000L
#define LOCK_RETRY_NS		(20 * MS)
#define LOCK_RETRY_SLOW_NS	(500 * MS)
#define LOCK_FAST_TRIES		250U
#define SECOND_NS		(1000 * MS)

struct opening {
	struct opening_config config;
	struct loop_watch watch;	/* the loop's side; of 'event_fd' */
	int event_fd;
	char *path;
	struct opening_result result;	/* the thread's until it is through */
	struct format_super super;	/* the thread's; with 'result.uuid' */
	pthread_mutex_t lock;
	pthread_cond_t wake;		/* 'is_abandoned' */
	unsigned int users;		/* under lock, as all below */
	bool is_abandoned;
	bool is_through;		/* 'result' is the loop's now */
	enum opening_phase phase;
};

static void opening_free(struct opening *opening)
{
	if (opening->result.fd >= 0)
		close(opening->result.fd);
	if (opening->event_fd >= 0)
		close(opening->event_fd);
	pthread_cond_destroy(&opening->wake);
	pthread_mutex_destroy(&opening->lock);
	free(opening->path);
	free(opening);
}

static void opening_leave(struct opening *opening)
{
	bool is_last;

	pthread_mutex_lock(&opening->lock);
	is_last = --opening->users == 0;
	pthread_mutex_unlock(&opening->lock);
	if (is_last)
		opening_free(opening);
}

/* --- On its thread ------------------------------------------------------- */

/* Open as the configuration says, without the page cache where possible. */
static int open_path(const struct opening *opening, bool *ret_made)
{
	const struct opening_config *config = &opening->config;
	int flags = O_CLOEXEC | (config->read_only ? O_RDONLY : O_RDWR);
	int fd = open(opening->path, flags | O_DIRECT);

	if (fd < 0 && errno == EINVAL)
		fd = open(opening->path, flags);
	if (fd >= 0)
		return fd;
	if (errno != ENOENT || config->size_bytes == 0 || config->read_only ||
	    config->must_exist || *ret_made)
		return -errno;
	fd = open(opening->path, flags | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	*ret_made = true;
	return open_path(opening, ret_made);
}

/* Wait for the lock.  Returns 0, -ECANCELED or -errno. */
static int take_lock(struct opening *opening, int fd)
{
	unsigned int tries;
	int ret = 0;

	for (tries = 0;; tries++) {
		struct timespec until;
		long wait_ns = tries < LOCK_FAST_TRIES ? LOCK_RETRY_NS :
							 LOCK_RETRY_SLOW_NS;

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += wait_ns;
		if (until.tv_nsec >= SECOND_NS) {
			until.tv_nsec -= SECOND_NS;
			until.tv_sec++;
		}
		pthread_mutex_lock(&opening->lock);
		opening->phase = OPENING_LOCKS;
		while (!opening->is_abandoned && ret == 0)
			ret = pthread_cond_timedwait(&opening->wake,
						     &opening->lock, &until);
		ret = opening->is_abandoned ? -ECANCELED : 0;
		pthread_mutex_unlock(&opening->lock);
		if (ret < 0)
			return ret;
	}
}

/* The first superblock of a pool's device, if it is there. */
static void read_super(struct opening *opening, int fd)
{
	void *block = aligned_alloc(FORMAT_BLOCK_BYTES, FORMAT_BLOCK_BYTES);
	const struct format_uuid *uuid = &opening->super.uuid;
	struct error why;

	if (block &&
	    pread(fd, block, FORMAT_BLOCK_BYTES, 0) == FORMAT_BLOCK_BYTES &&
	    format_super_decode(block, &opening->super, &why) == 0)
		for (size_t i = 0; i < sizeof(uuid->bytes); i++)
			snprintf(opening->result.uuid + 2 * i, 3, "%02x",
				 uuid->bytes[i]);
	free(block);
}

/* Are the first and the last MiB nobody's?  Its space may be allocated. */
static bool is_blank(int fd, uint64_t size_bytes)
{
	const size_t piece_bytes = 1 << 20;
	const uint64_t last = size_bytes < 2 * piece_bytes ?
		0 :
		(size_bytes - piece_bytes) / FORMAT_BLOCK_BYTES *
			FORMAT_BLOCK_BYTES;
	unsigned char *piece = aligned_alloc(FORMAT_BLOCK_BYTES, piece_bytes);
	bool is_blank = piece != NULL;
	ssize_t got;

	for (unsigned int i = 0; is_blank && i < 2; i++) {
		got = pread(fd, piece, piece_bytes, (off_t)(i ? last : 0));
		is_blank = got >= 0 && format_is_zero(piece, (uint64_t)got);
	}
	free(piece);
	return is_blank;
}

/* How long a file with data is to be.  It grows, as it was configured; what was
 * cut off is not made up for. */
static uint64_t grown_bytes(const struct format_super *super,
			    uint64_t now_bytes, uint64_t size_bytes)
{
	uint64_t need_bytes;

	if (super->capacity_bytes >= size_bytes ||
	    now_bytes < super->metadata_bytes +
			    super->extent_count * FORMAT_EXTENT_BYTES)
		return now_bytes;
	need_bytes = super->metadata_bytes +
		format_extents(size_bytes) * FORMAT_EXTENT_BYTES;
	return need_bytes > now_bytes ? need_bytes : now_bytes;
}

/* Of a file that is there: as long as it is to be. */
static uint64_t wanted_bytes(struct opening *opening, int fd,
			     uint64_t now_bytes)
{
	const struct opening_config *config = &opening->config;
	const char *uuid = opening->result.uuid;

	if (config->read_only || config->size_bytes == 0)
		return now_bytes;
	if (opening->result.is_zeroed || is_blank(fd, now_bytes))
		return format_device_bytes(config->size_bytes);
	if (!*uuid || (*config->uuid && strcmp(uuid, config->uuid) != 0))
		return now_bytes;
	return grown_bytes(&opening->super, now_bytes, config->size_bytes);
}

/* A file: make it as long as it is to be. */
static int find_length(struct opening *opening, int fd, uint64_t now_bytes)
{
	struct opening_result *result = &opening->result;
	uint64_t need_bytes;

	result->is_zeroed = lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
	need_bytes = wanted_bytes(opening, fd, now_bytes);
	if (need_bytes <= now_bytes)
		need_bytes = now_bytes;
	else if (ftruncate(fd, (off_t)need_bytes) < 0)
		return error_set(&result->why, -errno, "%s: %s", opening->path,
				 strerror(errno));
	result->size_bytes = need_bytes / 512 * 512;
	return 0;
}

/* How much is behind it? */
static int find_size(struct opening *opening, int fd)
{
	struct opening_result *result = &opening->result;
	struct stat status;
	int ret = 0;

	if (fstat(fd, &status) < 0)
		return error_set(&result->why, -errno, "%s: %s", opening->path,
				 strerror(errno));
	if (S_ISREG(status.st_mode))
		ret = find_length(opening, fd, (uint64_t)status.st_size);
	else if (!S_ISBLK(status.st_mode))
		ret = error_set(&result->why, -EINVAL,
				"%s is neither a file nor a block device",
				opening->path);
	else if (ioctl(fd, BLKGETSIZE64, &result->size_bytes) < 0)
		ret = error_set(&result->why, -errno, "%s: %s", opening->path,
				strerror(errno));
	if (ret == 0 && result->size_bytes == 0)
		ret = error_set(&result->why, -ENOSPC,
				"%s is empty and no size is configured",
				opening->path);
	return ret;
}

static int open_all(struct opening *opening)
{
	bool is_made = false;
	int fd = open_path(opening, &is_made);
	int ret;

	if (fd < 0)
		return error_set(&opening->result.why, fd, "%s: %s",
				 opening->path, strerror(-fd));
	ret = take_lock(opening, fd);
	if (ret < 0)
		error_set(&opening->result.why, ret, "%s: %s", opening->path,
			  strerror(-ret));
	else
		read_super(opening, fd);
	if (ret == 0)
		ret = find_size(opening, fd);
	if (ret == 0) {
		ret = identity_read(&opening->result.file, opening->path, fd);
		if (ret < 0)
			error_set(&opening->result.why, ret, "%s: %s",
				  opening->path, strerror(-ret));
	}
	if (ret < 0) {
		close(fd);
		return ret;
	}
	opening->result.fd = fd;
	return 0;
}

static void *opening_run(void *arg)
{
	struct opening *opening = arg;
	const uint64_t one = 1;

	opening->result.result = open_all(opening);
	pthread_mutex_lock(&opening->lock);
	opening->is_through = true;
	pthread_mutex_unlock(&opening->lock);
	/* An eventfd below its maximum can be written always. */
	if (write(opening->event_fd, &one, sizeof(one)) < 0)
		abort();
	opening_leave(opening);
	return NULL;
}

/* --- In the loop --------------------------------------------------------- */

static void opening_ready(struct loop_watch *watch)
{
	struct opening *opening = container_of(watch, struct opening, watch);
	struct opening_result result;

	pthread_mutex_lock(&opening->lock);
	assert(opening->is_through);
	pthread_mutex_unlock(&opening->lock);
	result = opening->result;
	opening->result.fd = -1;
	loop_watch_remove(opening->config.loop, watch);
	opening->config.done(opening->config.arg, &result);
	opening_leave(opening);
}

static struct opening *opening_new(const struct opening_config *config)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	pthread_condattr_t attributes;

	if (!opening)
		return NULL;
	opening->config = *config;
	opening->users = 2;
	opening->result.fd = -1;
	opening->watch.ready = opening_ready;
	pthread_mutex_init(&opening->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&opening->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	opening->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	opening->path = strdup(config->path);
	if (opening->event_fd < 0 || !opening->path) {
		opening_free(opening);
		return NULL;
	}
	return opening;
}

int opening_start(const struct opening_config *config,
		  struct opening **ret_opening)
{
	struct opening *opening = opening_new(config);
	int ret;

	if (!opening)
		return -ENOMEM;
	ret = loop_watch_add(config->loop, &opening->watch, opening->event_fd);
	if (ret < 0)
		goto err_free;
	ret = errand_thread(opening_run, opening);
	if (ret < 0)
		goto err_unwatch;
	*ret_opening = opening;
	return 0;

err_unwatch:
	loop_watch_remove(config->loop, &opening->watch);
err_free:
	opening_free(opening);
	return ret;
}

enum opening_phase opening_phase(struct opening *opening)
{
	enum opening_phase phase;

	pthread_mutex_lock(&opening->lock);
	phase = opening->phase;
	pthread_mutex_unlock(&opening->lock);
	return phase;
}

void opening_abandon(struct opening *opening)
{
	if (!opening)
		return;
	loop_watch_remove(opening->config.loop, &opening->watch);
	pthread_mutex_lock(&opening->lock);
	opening->is_abandoned = true;
	pthread_cond_signal(&opening->wake);
	pthread_mutex_unlock(&opening->lock);
	opening_leave(opening);
}
