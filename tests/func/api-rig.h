/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api-rig.h - a REST server in a child, on a host that is only data, for tests
 *             that are its clients
 */
#ifndef API_RIG_H
#define API_RIG_H

#include <sys/types.h>

/* Where the tests' server is, and the directory that it is in. */
extern char api_rig_path[64];
extern char api_rig_directory[];

/* cmocka's group setup and teardown: the tests' server. */
int api_rig_setup(void **state);
int api_rig_teardown(void **state);

/* One more; it ends when 'ret_end' is closed, as api_rig_stop does. */
pid_t api_rig_start(const char *at, int *ret_end);
void api_rig_stop(pid_t pid, int end);

/* Ask, and expect this status. */
void api_rig_check(const char *method, const char *target, const char *body,
		   int status);
/* Expect an error of this code that says 'text'. */
void api_rig_refused(const char *method, const char *target, const char *body,
		     int status, const char *code, const char *text);

#endif
