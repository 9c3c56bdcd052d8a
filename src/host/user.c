/* SPDX-License-Identifier: Apache-2.0 */
/* user.c - see user.h */
#include "host/user.h"

#include <cap-ng.h>
#include <errno.h>
#include <pwd.h>

static const char usual[] = "penstock";

/* To become another, and then to end it. */
static bool may_have_others(void)
{
	return capng_get_caps_process() == 0 &&
		capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) &&
		capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID) &&
		capng_have_capability(CAPNG_EFFECTIVE, CAP_KILL);
}

int user_find(const char *name, struct host_program *program,
	      struct error *reterr)
{
	const struct passwd *user;

	if (!may_have_others()) {
		if (!name)
			return 0;
		return error_set(
			reterr, -EPERM,
			"penstockd: --endpoint-user: penstockd lacks CAP_SETUID, CAP_SETGID or CAP_KILL: start it as root, or without");
	}
	user = getpwnam(name ? name : usual);
	if (!user && name)
		return error_set(
			reterr, -ENOENT,
			"penstockd: --endpoint-user: there is no user '%s' on this host",
			name);
	if (!user)
		return 0;
	program->uid = user->pw_uid;
	program->gid = user->pw_gid;
	return 0;
}
