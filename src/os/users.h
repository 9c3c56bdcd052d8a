/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - users and groups of this host by name
 *
 * Where they come from a directory server, a look-up may take as long as that
 * does: not on a thread that others wait for.
 * Threads: any, at the same time.
 */
#ifndef OS_USERS_H
#define OS_USERS_H

#include <stdint.h>

/* Returns 0; -ENOENT: there is none; -ENOMEM, or why it could not be looked
 * up. */
int users_find(const char *name, uint32_t *ret_uid);
int users_find_group(const char *name, uint32_t *ret_gid);

#endif
