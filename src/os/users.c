/* SPDX-License-Identifier: Apache-2.0 */
/* users.c - see users.h */
#include "os/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

/* An entry's text: a group with all its members may be long. */
#define TEXT_BYTES	4096U
#define TEXT_MAX_BYTES	(1U << 22)

static int look_up_user(const char *name, char *text, size_t size,
			uint32_t *ret_uid)
{
	struct passwd entry, *user;
	int error = getpwnam_r(name, &entry, text, size, &user);

	if (!user)
		return error ? -error : -ENOENT;
	*ret_uid = user->pw_uid;
	return 0;
}

static int look_up_group(const char *name, char *text, size_t size,
			 uint32_t *ret_gid)
{
	struct group entry, *group;
	int error = getgrnam_r(name, &entry, text, size, &group);

	if (!group)
		return error ? -error : -ENOENT;
	*ret_gid = group->gr_gid;
	return 0;
}

static int find(int (*look_up)(const char *, char *, size_t, uint32_t *),
		const char *name, uint32_t *ret_id)
{
	int ret = -ERANGE;

	for (size_t size = TEXT_BYTES; ret == -ERANGE && size <= TEXT_MAX_BYTES;
	     size *= 4) {
		char *text = malloc(size);

		if (!text)
			return -ENOMEM;
		ret = look_up(name, text, size, ret_id);
		free(text);
	}
	return ret;
}

int users_find(const char *name, uint32_t *ret_uid)
{
	return find(look_up_user, name, ret_uid);
}

int users_find_group(const char *name, uint32_t *ret_gid)
{
	return find(look_up_group, name, ret_gid);
}
