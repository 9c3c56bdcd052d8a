/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - see error.h */
#include "base/error.h"

#include <stddef.h>
#include <stdio.h>

static size_t length_by_first(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first < 0xe0)
		return 2;
	if (first >= 0xe0 && first < 0xf0)
		return 3;
	return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* Of the character at 'c', in bytes; 0: it is none of UTF-8. */
static size_t utf8_length(const unsigned char *c)
{
	const size_t length = length_by_first(*c);

	for (size_t i = 1; i < length; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than need be, half of a pair, beyond the last. */
	if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] >= 0xa0) ||
	    (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] >= 0x90))
		return 0;
	return length;
}

int error_vset(struct error *reterr, int code, const char *format, va_list args)
{
	if (!reterr)
		return code;
	vsnprintf(reterr->text, sizeof(reterr->text), format, args);
	for (unsigned char *c = (unsigned char *)reterr->text; *c;) {
		const size_t length = utf8_length(c);

		if (length == 0 || *c < 0x20 || *c == 0x7f)
			*c++ = '?';
		else
			c += length;
	}
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
