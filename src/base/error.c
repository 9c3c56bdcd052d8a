/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - see error.h */
#include "base/error.h"

#include <stdio.h>

int error_vset(struct error *reterr, int code, const char *format, va_list args)
{
	if (!reterr)
		return code;
	vsnprintf(reterr->text, sizeof(reterr->text), format, args);
	for (char *c = reterr->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return code;
}

int error_set(struct error *reterr, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(reterr, code, format, args);
	va_end(args);
	return code;
}
