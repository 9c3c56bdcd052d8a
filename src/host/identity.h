/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - which file it is that lies at a device's path
 *
 * A path can be changed in the configuration, and another file moved to it.
 * What is written down about places, and what an endpoint serves, is of a file.
 *
 * Threads: any.
 */
#ifndef HOST_IDENTITY_H
#define HOST_IDENTITY_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define IDENTITY_DISK_MAX	256U

struct identity {
	char path[PATH_MAX];		/* "": there is no file */
	/* st_dev; of a block device its own number. */
	uint64_t device;
	/* 0: a block device (its node is made anew at each boot), or one that
	 * was not opened yet: its path is all that is known. */
	uint64_t inode;
	uint64_t born_ns;		/* 0: the file system does not say */
	/* A block device's own name (WWID, serial number, UUID of a mapping),
	 * the same after a boot; "": it has none. */
	char disk[IDENTITY_DISK_MAX];
};

/* Not opened yet; 'path' NULL: there is no file. */
void identity_of_path(struct identity *identity, const char *path);
/* Of the file that was opened there.  Returns 0 or -errno.  May block. */
int identity_read(struct identity *identity, const char *path, int fd);
/* NULL: there is no file (or no memory). */
json_t *identity_json(const struct identity *identity);
void identity_from_json(struct identity *identity, const json_t *json);

/* Both opened since this machine was booted: is it the same file? */
bool identity_is_same(const struct identity *a, const struct identity *b);
/* Is 'now' the file that was written down as 'before', perhaps before a boot
 * (devices are numbered anew then), or a move to another path? */
bool identity_is_recorded(const struct identity *before,
			  const struct identity *now);
/* Is what was measured of 'before' true of 'now'?  As above, but of another
 * disk behind the same path it is not. */
bool identity_is_measured(const struct identity *before,
			  const struct identity *now);
/* The name of the disk, or partition, with this directory in sysfs. */
void identity_find_disk(const char *directory, char disk[IDENTITY_DISK_MAX]);

#endif
