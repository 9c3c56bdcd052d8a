/* SPDX-License-Identifier: Apache-2.0 */
/* check-internal.h - what check.c and check-volumes.c share */
#ifndef POOL_CHECK_INTERNAL_H
#define POOL_CHECK_INTERNAL_H

#include "pool/check.h"
#include "pool/member.h"

struct check {
	const struct check_config *config;
	struct check_report report;
	struct member *members[CHECK_DEVICES_MAX];	/* by device */
	/* It can be looked at together with the others. */
	bool is_part[CHECK_DEVICES_MAX];
};

/* Say what was found: "NAME: ...", of 'device' or (NULL) of all together. */
void check_say(struct check *check, const struct check_device *device,
	       bool is_wrong, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* check-volumes.c: of all devices together.  0 or -ENOMEM. */
int check_volumes(struct check *check);

#endif
