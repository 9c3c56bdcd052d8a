/* SPDX-License-Identifier: Apache-2.0 */
/*
 * role.c - peer credentials to role
 */
#include "api/role.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "host/config.h"

int api_peer_of(int fd, struct api_peer *ret_peer)
{
	struct ucred cred = {0};
	socklen_t length = sizeof(cred);
	struct api_peer peer = {0};
	gid_t groups[API_PEER_GROUPS_MAX];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return -errno;
	/* A socket that has no Unix peer answers with "nobody known". */
	if (length != sizeof(cred) || cred.uid == (uid_t)-1)
		return -ENOTSUP;
	peer.uid = cred.uid;
	peer.gid = cred.gid;
	peer.pid = cred.pid;

	/* More groups than fit is an error of getsockopt: they give nothing,
	 * which can only make the role smaller. */
	length = sizeof(groups);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0) {
		peer.group_count = length / (socklen_t)sizeof(groups[0]);
		for (unsigned int i = 0; i < peer.group_count; i++)
			peer.groups[i] = groups[i];
	}
	*ret_peer = peer;
	return 0;
}

static bool in_group(const struct api_peer *peer, uint32_t gid)
{
	if (peer->gid == gid)
		return true;
	for (unsigned int i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

enum api_role api_role_of(const struct api_peer *peer, uint32_t own_uid,
			  const struct api_grant *grants, size_t count,
			  enum api_role everyone)
{
	enum api_role role = everyone;

	if (peer->uid == 0 || peer->uid == own_uid)
		return API_ROLE_ADMINISTER;
	for (size_t i = 0; i < count; i++) {
		const struct api_grant *grant = &grants[i];
		bool named = grant->is_group ? in_group(peer, grant->id) :
					       peer->uid == grant->id;

		if (named && !grant->name && grant->role > role)
			role = grant->role;
	}
	return role;
}

enum api_role api_role_of_name(const char *name, const struct api_grant *grants,
			       size_t count)
{
	enum api_role role = API_ROLE_NONE;

	for (size_t i = 0; i < count; i++)
		if (grants[i].name && strcmp(grants[i].name, name) == 0 &&
		    grants[i].role > role)
			role = grants[i].role;
	return role;
}

static int find_id(const struct config_role_entry *entry, uint32_t *ret_id)
{
	const struct passwd *user;
	const struct group *group;
	char *end;
	unsigned long number;

	if (entry->who[0] >= '0' && entry->who[0] <= '9') {
		errno = 0;
		number = strtoul(entry->who, &end, 10);
		if (errno || *end != '\0' || number >= UINT32_MAX)
			return -EINVAL;
		*ret_id = (uint32_t)number;
		return 0;
	}
	if (entry->is_group) {
		group = getgrnam(entry->who);
		if (!group)
			return -ENOENT;
		*ret_id = group->gr_gid;
		return 0;
	}
	user = getpwnam(entry->who);
	if (!user)
		return -ENOENT;
	*ret_id = user->pw_uid;
	return 0;
}

static enum api_role role_from_config(enum config_role role)
{
	switch (role) {
	case CONFIG_ROLE_NONE:
	case CONFIG_ROLE_HOST_TO_HOST:	/* no route is theirs yet */
		return API_ROLE_NONE;
	case CONFIG_ROLE_READ:
		return API_ROLE_READ;
	case CONFIG_ROLE_OPERATE:
		return API_ROLE_OPERATE;
	case CONFIG_ROLE_ADMINISTER:
		return API_ROLE_ADMINISTER;
	}
	abort();
}

int api_grants_load(const char *file, const struct config_api *config,
		    struct api_grant **ret_grants, size_t *ret_count,
		    struct error *reterr)
{
	struct api_grant *grants;

	grants = calloc((size_t)config->role_count + 1, sizeof(*grants));
	if (!grants)
		return error_set(reterr, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < config->role_count; i++) {
		const struct config_role_entry *entry = &config->roles[i];

		grants[i].role = role_from_config(entry->role);
		grants[i].is_group = entry->is_group;
		if (entry->is_certificate) {
			grants[i].name = entry->who;
			continue;
		}
		if (find_id(entry, &grants[i].id) < 0) {
			free(grants);
			return error_set(
				reterr, -EINVAL,
				"%s:%u: there is no %s '%s' on this host", file,
				entry->line, entry->is_group ? "group" : "user",
				entry->who);
		}
	}
	*ret_grants = grants;
	*ret_count = config->role_count;
	return 0;
}

enum api_role api_role_everyone(const struct config_api *config)
{
	for (unsigned int i = 0; i < config->role_count; i++)
		if (config->roles[i].role == CONFIG_ROLE_READ &&
		    !config->roles[i].is_certificate)
			return API_ROLE_NONE;
	return API_ROLE_READ;
}

const char *api_role_name(enum api_role role)
{
	switch (role) {
	case API_ROLE_NONE:
		return "none";
	case API_ROLE_READ:
		return "read";
	case API_ROLE_OPERATE:
		return "operate";
	case API_ROLE_ADMINISTER:
		return "administer";
	}
	abort();
}
