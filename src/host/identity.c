/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - which file it is that lies at a device's path */
#include "host/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SECOND_NS UINT64_C(1000000000)

void identity_of_path(struct identity *identity, const char *path)
{
	memset(identity, 0, sizeof(*identity));
	if (path)
		snprintf(identity->path, sizeof(identity->path), "%s", path);
}

int identity_read(struct identity *identity, const char *path, int fd)
{
	struct statx status;

	identity_of_path(identity, path);
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
		  &status) < 0)
		return -errno;
	if (S_ISBLK(status.stx_mode)) {
		identity->device =
			makedev(status.stx_rdev_major, status.stx_rdev_minor);
		return 0;
	}
	identity->device = makedev(status.stx_dev_major, status.stx_dev_minor);
	identity->inode = status.stx_ino;
	if (status.stx_mask & STATX_BTIME)
		identity->born_ns =
			(uint64_t)status.stx_btime.tv_sec * SECOND_NS +
			status.stx_btime.tv_nsec;
	return 0;
}

json_t *identity_json(const struct identity *identity)
{
	if (identity->path[0] == '\0')
		return NULL;
	return json_pack("{s:s, s:I, s:I, s:I}", "path", identity->path,
			 "device", (json_int_t)identity->device, "inode",
			 (json_int_t)identity->inode, "born_ns",
			 (json_int_t)identity->born_ns);
}

static uint64_t number_of(const json_t *json, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(json, key));
}

void identity_from_json(struct identity *identity, const json_t *json)
{
	identity_of_path(identity,
			 json_string_value(json_object_get(json, "path")));
	identity->device = number_of(json, "device");
	identity->inode = number_of(json, "inode");
	identity->born_ns = number_of(json, "born_ns");
}

bool identity_is_same(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->inode == b->inode &&
		a->born_ns == b->born_ns;
}

bool identity_is_recorded(const struct identity *before,
			  const struct identity *now)
{
	bool is_path = strcmp(before->path, now->path) == 0;

	if (before->inode == 0 || now->inode == 0)
		return is_path && before->path[0] != '\0';
	return before->inode == now->inode && before->born_ns == now->born_ns &&
		(is_path || before->device == now->device);
}
