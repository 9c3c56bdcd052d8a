/* SPDX-License-Identifier: Apache-2.0 */
/* on-error.c - see on-error.h */
#include "ctl/on-error.h"

#include <errno.h>
#include <string.h>

static const char *const names[] = {
	[ON_ERROR_REPORT] = "report",
	[ON_ERROR_STOP] = "stop",
	[ON_ERROR_RETRY] = "retry",
};

const char *on_error_name(enum on_error on_error)
{
	return names[on_error];
}

int on_error_parse(const char *text, enum on_error *ret_on_error)
{
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (text && strcmp(text, names[i]) == 0) {
			*ret_on_error = (enum on_error)i;
			return 0;
		}
	return -EINVAL;
}
