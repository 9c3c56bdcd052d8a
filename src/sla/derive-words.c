/* SPDX-License-Identifier: Apache-2.0 */
/* derive-words.c - how a proposal is asked for, in words; see derive.h */
#include "sla/derive.h"

#include <errno.h>
#include <string.h>

/* A number with up to three decimals, in thousandths, and what stands behind
 * it.  NULL: there is none, or it is longer than makes sense. */
static const char *scan_milli(const char *text, uint64_t *ret_milli)
{
	uint64_t value = 0, scale = 1000;
	unsigned int digits = 0;

	for (; *text >= '0' && *text <= '9' && digits < 9; text++, digits++)
		value = value * 10 + (uint64_t)(*text - '0');
	if (digits == 0)
		return NULL;
	value *= 1000;
	if (*text == '.') {
		if (text[1] < '0' || text[1] > '9')
			return NULL;
		for (text++; *text >= '0' && *text <= '9' && scale > 1;
		     text++) {
			scale /= 10;
			value += (uint64_t)(*text - '0') * scale;
		}
	}
	if (*text >= '0' && *text <= '9')
		return NULL;
	*ret_milli = value;
	while (*text == ' ')
		text++;
	return text;
}

int derive_parse_window(const char *text, uint32_t *ret_window_s,
			struct error *reterr)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} units[] = {
		{"s", 1}, {"min", 60}, {"m", 60}, {"h", 3600}, {"d", 86400},
	};
	uint64_t milli, window_s = 0;
	const char *unit = scan_milli(text, &milli);
	unsigned int i;

	for (i = 0; unit && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(unit, units[i].name) == 0)
			window_s = milli * units[i].seconds / 1000;
	if (window_s < DERIVE_WINDOW_MIN_S || window_s > DERIVE_WINDOW_MAX_S)
		return error_set(
			reterr, -EINVAL,
			"'%.40s': a span is from 1 min to 400 d, as '30 min', '1 h' or '7 d'",
			text);
	*ret_window_s = (uint32_t)window_s;
	return 0;
}

int derive_parse_percentile(const char *text, uint32_t *ret_milli,
			    struct error *reterr)
{
	uint64_t milli;
	const char *rest = scan_milli(text + (*text == 'p'), &milli);

	if (strcmp(text, "max") == 0) {
		*ret_milli = 100000;
		return 0;
	}
	if (!rest || (*rest && strcmp(rest, "%") != 0) || milli == 0 ||
	    milli > 100000)
		return error_set(
			reterr, -EINVAL,
			"'%.40s': a percentile is above 0 and up to 100, as '95' or '99.9'",
			text);
	*ret_milli = (uint32_t)milli;
	return 0;
}

int derive_parse_headroom(const char *text, uint32_t *ret_milli,
			  struct error *reterr)
{
	uint64_t milli;
	const char *rest = scan_milli(text, &milli);

	if (!rest || strcmp(rest, "%") != 0 ||
	    milli > DERIVE_HEADROOM_MAX * UINT64_C(100))
		return error_set(
			reterr, -EINVAL,
			"'%.40s': head-room is from 0 %% to 1000 %%, as '20 %%'",
			text);
	*ret_milli = (uint32_t)(milli / 100);
	return 0;
}
