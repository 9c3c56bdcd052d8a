/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - one line for a human: what, where, what to do
 *
 * Library rooms don't log.  A function that can fail for a reason worth a
 * sentence takes a 'struct error *' as its last parameter and fills it
 * together with its -errno; whoever consumes the error says it, once.
 * Pure: no I/O.  Threads: the caller's.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#define ERROR_TEXT_MAX	512

struct error {
	char text[ERROR_TEXT_MAX];
};

/* Write the sentence into '*reterr' (NULL: nobody wants it) and return
 * 'code', so that a caller can say 'return error_set(err, -EINVAL, ...)'.
 * In the result control characters and what is no UTF-8 are replaced: it may
 * quote a stranger, or end in the middle of a character, and goes into JSON. */
int error_set(struct error *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int error_vset(struct error *reterr, int code, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

#endif
