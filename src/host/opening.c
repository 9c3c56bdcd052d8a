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
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/container.h"
#include "base/units.h"
#include "host/errand.h"
#include "os/loop.h"

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
	    *ret_made)
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

/* How much is behind it?  A file of 0 bytes is what a crash leaves between
 * making and sizing: nobody's data are in it. */
static int find_size(struct opening *opening, int fd, uint64_t *ret_size_bytes)
{
	const struct opening_config *config = &opening->config;
	struct opening_result *result = &opening->result;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set(&result->why, -errno, "%s: %s", opening->path,
				 strerror(errno));
	if (S_ISBLK(status.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, ret_size_bytes) < 0)
			return error_set(&result->why, -errno, "%s: %s",
					 opening->path, strerror(errno));
		return 0;
	}
	if (!S_ISREG(status.st_mode))
		return error_set(&result->why, -EINVAL,
				 "%s is neither a file nor a block device",
				 opening->path);
	*ret_size_bytes = (uint64_t)status.st_size;
	if (status.st_size || config->size_bytes == 0 || config->read_only)
		return 0;
	if (ftruncate(fd, (off_t)config->size_bytes) < 0)
		return error_set(&result->why, -errno, "%s: %s", opening->path,
				 strerror(errno));
	*ret_size_bytes = config->size_bytes;
	result->is_blank = true;
	return 0;
}

/* Is there as much behind it as it is to have? */
static int check_size(struct opening *opening, int fd)
{
	const struct opening_config *config = &opening->config;
	struct opening_result *result = &opening->result;
	char has[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX];
	uint64_t size_bytes = 0;
	int ret = find_size(opening, fd, &size_bytes);

	if (ret < 0)
		return ret;
	if (size_bytes < config->size_bytes)
		return error_set(
			&result->why, -ENOSPC,
			"%s has %s, not the %s configured", opening->path,
			units_format_size(has, sizeof(has), size_bytes),
			units_format_size(wanted, sizeof(wanted),
					  config->size_bytes));
	result->size_bytes = config->size_bytes ? config->size_bytes :
						  size_bytes / 512 * 512;
	if (result->size_bytes == 0)
		return error_set(&result->why, -ENOSPC,
				 "%s is empty and no size is configured",
				 opening->path);
	return 0;
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
		ret = check_size(opening, fd);
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
