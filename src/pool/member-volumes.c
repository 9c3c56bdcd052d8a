/* SPDX-License-Identifier: Apache-2.0 */
/* member-volumes.c - the volumes that a device's log knows: see member.h */
#include "pool/member.h"

#include <errno.h>
#include <stdlib.h>

struct member_volume *member_find(const struct member *member,
				  const struct format_uuid *uuid)
{
	uint32_t left = member->volume_count;

	for (uint32_t id = 1; left > 0; id++) {
		struct member_volume *volume = member->volumes[id];

		if (!volume)
			continue;
		if (format_uuid_equal(&volume->is.uuid, uuid))
			return volume;
		left--;
	}
	return NULL;
}

int member_add_volume(struct member *member, const struct format_volume *is,
		      struct member_volume **ret_volume)
{
	struct member_volume *volume;
	uint32_t id = 1;

	while (id <= FORMAT_VOLUMES_MAX && member->volumes[id])
		id++;
	if (id > FORMAT_VOLUMES_MAX)
		return -ENOSPC;
	volume = calloc(1, sizeof(*volume));
	if (!volume)
		return -ENOMEM;
	volume->is = *is;
	volume->id = id;
	volume->table = &volume->own;
	member->volumes[id] = volume;
	member->volume_count++;
	*ret_volume = volume;
	return 0;
}

void member_remove_volume(struct member *member, struct member_volume *volume)
{
	member->volumes[volume->id] = NULL;
	member->volume_count--;
	table_finish(&volume->own);
	free(volume->members);
	free(volume);
}

bool member_volume_has_member(const struct member_volume *volume,
			      const struct format_uuid *uuid)
{
	for (uint32_t i = 0; i < volume->member_count; i++)
		if (format_uuid_equal(&volume->members[i], uuid))
			return true;
	return false;
}

void member_volume_drop_member(struct member_volume *volume,
			       const struct format_uuid *uuid)
{
	for (uint32_t i = 0; i < volume->member_count; i++)
		if (format_uuid_equal(&volume->members[i], uuid))
			volume->members[i--] =
				volume->members[--volume->member_count];
}

int member_volume_add_member(struct member_volume *volume,
			     const struct format_uuid *uuid)
{
	struct format_uuid *members;

	if (member_volume_has_member(volume, uuid))
		return 0;
	members = realloc(volume->members,
			  (volume->member_count + 1) * sizeof(*members));
	if (!members)
		return -ENOMEM;
	members[volume->member_count] = *uuid;
	volume->members = members;
	volume->member_count++;
	return 0;
}
