/* SPDX-License-Identifier: Apache-2.0 */
/*
 * on-error.h - what becomes of a vdev's request that a device fails, or that
 *              finds no space
 *
 * None is done again after it was done.  A flush that fails is always reported:
 * what it should have kept may be lost, and another one that succeeds would
 * hide it.
 */
#ifndef CTL_ON_ERROR_H
#define CTL_ON_ERROR_H

#include <stdint.h>

enum on_error {
	ON_ERROR_REPORT,	/* its front gets the error */
	/* It waits, and all that come after it, until somebody says that the
	 * vdev may go on; for want of space only those that need some, until
	 * there is some. */
	ON_ERROR_STOP,
	ON_ERROR_RETRY,	/* again, for ON_ERROR_RETRY_NS at most; then REPORT */
};
#define ON_ERROR_RETRY_NS	UINT64_C(30000000000)

/* The word for it. */
const char *on_error_name(enum on_error on_error);
/* Returns 0 or -EINVAL. */
int on_error_parse(const char *text, enum on_error *ret_on_error);

#endif
