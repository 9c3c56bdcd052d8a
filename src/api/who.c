/* SPDX-License-Identifier: Apache-2.0 */
/* who.c - see who.h */
#include "api/who.h"

#include <stdio.h>
#include <string.h>

bool api_who_is_same(const struct api_who *a, const struct api_who *b)
{
	if (a->is_remote != b->is_remote)
		return false;
	return a->is_remote ? strcmp(a->name, b->name) == 0 : a->uid == b->uid;
}

json_t *api_who_json(const struct api_who *who)
{
	const char *role = api_role_name(who->role);

	if (!who->is_remote && who->uid == UINT32_MAX)
		return json_pack("{s:s}", "role", role);
	if (!who->is_remote)
		return json_pack("{s:I, s:I, s:i, s:s}", "uid",
				 (json_int_t)who->uid, "gid",
				 (json_int_t)who->gid, "pid", (int)who->pid,
				 "role", role);
	if (!who->name[0])
		return json_pack("{s:s, s:s}", "address", who->address, "role",
				 role);
	return json_pack("{s:s, s:s, s:s}", "certificate", who->name, "address",
			 who->address, "role", role);
}

const char *api_who_text(const struct api_who *who, char text[API_WHO_TEXT_MAX])
{
	if (!who->is_remote)
		snprintf(text, API_WHO_TEXT_MAX, "uid %u", who->uid);
	else if (!who->name[0])
		snprintf(text, API_WHO_TEXT_MAX, "%s", who->address);
	else
		snprintf(text, API_WHO_TEXT_MAX, "certificate %s at %s",
			 who->name, who->address);
	return text;
}
