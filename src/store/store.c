/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - what is the same for every kind of store: the state directory,
 * its lock, the writer thread
 */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/container.h"

struct store {
	const struct store_ops *ops;
	void *state;		/* the kind's */
	struct worker *writer;
	int lock_fd;
};

const char *store_kind_name(enum store_kind kind)
{
	static const char *const names[] = {
		[STORE_CAPACITY] = "capacity", [STORE_DEVICE] = "device",
		[STORE_VOLUME] = "volume",     [STORE_VDEV] = "vdev",
		[STORE_PROCESS] = "process",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == STORE_KINDS,
		      "a name for each kind");
	return names[kind];
}

/* Make a directory and those above it. */
static int make_directory(const char *directory, struct error *reterr)
{
	char *path = strdup(directory);
	char *slash = path;
	struct stat stat;
	int ret = 0;

	if (!path)
		return error_set(reterr, -ENOMEM, "out of memory");
	while ((slash = strchr(slash + 1, '/')) != NULL) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			break;
		*slash = '/';
	}
	free(path);
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		ret = -errno;
	else if (lstat(directory, &stat) < 0)
		ret = -errno;
	else if (!S_ISDIR(stat.st_mode))
		ret = -ENOTDIR;
	if (ret < 0)
		error_set(reterr, ret, "state directory %s: %s", directory,
			  strerror(-ret));
	return ret;
}

/* Say who holds the lock, as it wrote itself into the file. */
static int fail_locked(const char *directory, int fd, struct error *reterr)
{
	char pid[16] = "";
	ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[got > 0 ? got : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	return error_set(
		reterr, -EBUSY,
		"state directory %s is in use by another penstockd%s%s; end it first",
		directory, pid[0] ? ", pid " : "", pid);
}

static int lock_directory(const char *directory, int *ret_fd,
			  struct error *reterr)
{
	char *path;
	int fd, ret;

	if (asprintf(&path, "%s/lock", directory) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
		error_set(reterr, ret, "%s: %s", path, strerror(-ret));
		free(path);
		return ret;
	}
	free(path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ret = errno == EWOULDBLOCK ?
			fail_locked(directory, fd, reterr) :
			error_set(reterr, -errno, "%s/lock: %s", directory,
				  strerror(errno));
		close(fd);
		return ret;
	}
	/* Only for the message above: not being written is no error. */
	if (ftruncate(fd, 0) == 0)
		dprintf(fd, "%d\n", (int)getpid());
	*ret_fd = fd;
	return 0;
}

int store_open(const struct store_ops *ops, struct loop *loop,
	       const char *directory, struct store **ret_store,
	       struct error *reterr)
{
	struct store *store;
	int ret;

	store = calloc(1, sizeof(*store));
	if (!store)
		return error_set(reterr, -ENOMEM, "out of memory");
	store->ops = ops;
	ret = make_directory(directory, reterr);
	if (ret < 0)
		goto err_free;
	ret = lock_directory(directory, &store->lock_fd, reterr);
	if (ret < 0)
		goto err_free;
	ret = ops->open(directory, &store->state, reterr);
	if (ret < 0)
		goto err_unlock;
	ret = worker_create(loop, "store", &store->writer);
	if (ret < 0) {
		error_set(reterr, ret, "the store's writer: %s",
			  strerror(-ret));
		goto err_close;
	}
	*ret_store = store;
	return 0;

err_close:
	ops->close(store->state);
err_unlock:
	close(store->lock_fd);
err_free:
	free(store);
	return ret;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	worker_destroy(store->writer);
	store->ops->close(store->state);
	close(store->lock_fd);
	free(store);
}

struct loading {
	json_t *records;
	enum store_kind kind;
	struct error *error;
};

static int load_one(const char *key, const char *value, void *arg)
{
	struct loading *loading = arg;
	json_error_t why;
	json_t *object;

	object = json_loads(value, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(object)) {
		json_decref(object);
		return error_set(loading->error, -EUCLEAN,
				 "the state has a damaged record (%s '%s')",
				 store_kind_name(loading->kind), key);
	}
	if (json_object_set_new(loading->records, key, object) < 0)
		return error_set(loading->error, -ENOMEM, "out of memory");
	return 0;
}

int store_load(struct store *store, enum store_kind kind, json_t **ret_records,
	       struct error *reterr)
{
	struct loading loading = {
		.records = json_object(),
		.kind = kind,
		.error = reterr,
	};
	int ret;

	if (!loading.records)
		return error_set(reterr, -ENOMEM, "out of memory");
	ret = store->ops->load(store->state, kind, load_one, &loading, reterr);
	if (ret < 0) {
		json_decref(loading.records);
		return ret;
	}
	*ret_records = loading.records;
	return 0;
}

void store_write_init(struct store_write *write,
		      void (*done)(struct store_write *write))
{
	memset(write, 0, sizeof(*write));
	write->done = done;
}

int store_write_put(struct store_write *write, enum store_kind kind,
		    const char *key, const json_t *value)
{
	struct store_change *change = &write->changes[write->count];

	if (write->count == STORE_CHANGES_MAX)
		return -ENOSPC;
	if (strlen(key) >= sizeof(change->key))
		return -ENAMETOOLONG;
	change->kind = kind;
	strcpy(change->key, key);
	change->value = NULL;
	if (value) {
		change->value =
			json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
		if (!change->value)
			return -ENOMEM;
	}
	write->count++;
	return 0;
}

static struct store_write *write_of(struct worker_job *job)
{
	return container_of(job, struct store_write, job);
}

static void write_run(struct worker_job *job)
{
	struct store_write *write = write_of(job);
	struct store *store = write->store;

	write->result = store->ops->commit(store->state, write->changes,
					   write->count, &write->error);
}

static void write_done(struct worker_job *job)
{
	struct store_write *write = write_of(job);
	unsigned int i;

	for (i = 0; i < write->count; i++)
		free(write->changes[i].value);
	write->count = 0;
	write->done(write);
}

void store_write_start(struct store *store, struct store_write *write)
{
	write->store = store;
	write->job.run = write_run;
	write->job.done = write_done;
	worker_submit(store->writer, &write->job);
}
