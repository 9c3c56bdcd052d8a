/* SPDX-License-Identifier: Apache-2.0 */
/*
 * units.c - see units.h
 *
 * A unit is 'scale' / 'parts' base units (a Kbps is 1000/8 bytes per second);
 * everything is multiplied before it is divided, in 128 bits.
 */
#include "base/units.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX	(UINT64_C(1) << 62)
#define WHOLE_DIGITS	19	/* fit in 64 bits whatever they are */
#define FRACTION_DIGITS	18	/* 10^18 times the largest scale: 2^100 */
#define COUNT_PLAIN	UINT64_C(100000)

#define K1	UINT64_C(1000)
#define K2	(K1 * K1)
#define K3	(K1 * K2)
#define K4	(K1 * K3)

struct unit {
	const char *name;
	uint64_t scale;
	uint32_t parts;
	bool shown;		/* may be chosen when formatting */
};

struct kind {
	const char *what;	/* for messages */
	const char *known;
	bool is_bare;		/* a number alone is in base units */
	bool shows_below_one;	/* 0.01 of a unit may be shown */
	unsigned int decimals;	/* shown at most */
	const struct unit *units;	/* smallest first; ends with no name */
};

static const struct kind kind_count = {
	.what = "count",
	.known = "k, M, G",
	.is_bare = true,
	.decimals = 3,
	.units = (const struct unit[]){{"", 1, 1, true},
				       {"k", K1, 1, true},
				       {"M", K2, 1, true},
				       {"G", K3, 1, true},
				       {0}},
};

static const struct kind kind_size = {
	.what = "size",
	.known = "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB",
	.is_bare = true,
	.decimals = 3,
	.units = (const struct unit[]){{"B", 1, 1, true},
				       {"KB", K1, 1, true},
				       {"KiB", UINT64_C(1) << 10, 1, true},
				       {"MB", K2, 1, true},
				       {"MiB", UINT64_C(1) << 20, 1, true},
				       {"GB", K3, 1, true},
				       {"GiB", UINT64_C(1) << 30, 1, true},
				       {"TB", K4, 1, true},
				       {"TiB", UINT64_C(1) << 40, 1, true},
				       {0}},
};

static const struct kind kind_rate = {
	.what = "rate",
	.known = "B/s, KB/s, MB/s, GB/s, KBS, MBS, GBS, KiB/s, MiB/s, GiB/s, "
		 "bps, Kbps, Mbps, Gbps",
	.decimals = 3,
	.units = (const struct unit[]){{"bps", 1, 8, false},
				       {"Kbps", K1, 8, false},
				       {"Mbps", K2, 8, false},
				       {"Gbps", K3, 8, false},
				       {"KBS", K1, 1, false},
				       {"MBS", K2, 1, false},
				       {"GBS", K3, 1, false},
				       {"B/s", 1, 1, true},
				       {"KB/s", K1, 1, true},
				       {"KiB/s", UINT64_C(1) << 10, 1, true},
				       {"MB/s", K2, 1, true},
				       {"MiB/s", UINT64_C(1) << 20, 1, true},
				       {"GB/s", K3, 1, true},
				       {"GiB/s", UINT64_C(1) << 30, 1, true},
				       {0}},
};

static const struct kind kind_duration = {
	.what = "time",
	.known = "ns, us, ms, s",
	.decimals = 3,
	.units = (const struct unit[]){{"ns", 1, 1, true},
				       {"us", K1, 1, true},
				       {"ms", K2, 1, true},
				       {"s", K3, 1, true},
				       {0}},
};

static const struct kind kind_share = {
	.what = "share",
	.known = "%, ppm, ppb",
	.shows_below_one = true,
	.decimals = 7,
	.units = (const struct unit[]){{"ppb", 1, 1, false},
				       {"ppm", K1, 1, false},
				       {"%", K3 / 100, 1, true},
				       {0}},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}

/* A decimal number of at most WHOLE_DIGITS: 'whole' and 'fraction' /
 * 'ten_power'.  Returns where it ends, or NULL: there is none, or its fraction
 * is longer than makes sense. */
static const char *scan_number(const char *text, uint64_t *ret_whole,
			       uint64_t *ret_fraction, uint64_t *ret_ten_power)
{
	const char *p = text;
	uint64_t whole = 0, fraction = 0, ten_power = 1;
	int digits = 0;

	for (; is_digit(*p); p++) {
		whole = whole * 10 + (uint64_t)(*p - '0');
		digits++;
	}
	if (*p == '.') {
		p++;
		if (!is_digit(*p))
			return NULL;
		for (digits = 0; is_digit(*p); p++) {
			if (++digits > FRACTION_DIGITS)
				return NULL;
			fraction = fraction * 10 + (uint64_t)(*p - '0');
			ten_power *= 10;
		}
	}
	if (digits == 0)
		return NULL;
	*ret_whole = whole;
	*ret_fraction = fraction;
	*ret_ten_power = ten_power;
	return p;
}

/* The unit that 'text' names, blanks behind it allowed, or NULL. */
static const struct unit *find_unit(const struct kind *kind, const char *text)
{
	for (const struct unit *unit = kind->units; unit->name; unit++) {
		const size_t length = strlen(unit->name);

		if (length > 0 && strncmp(text, unit->name, length) == 0 &&
		    *skip_blanks(text + length) == '\0')
			return unit;
	}
	return NULL;
}

static int parse(const struct kind *kind, const char *text, uint64_t *ret_value,
		 struct error *reterr)
{
	static const struct unit base = {"", 1, 1, false};
	const struct unit *unit = &base;
	uint64_t whole, fraction, ten_power;
	unsigned __int128 value, divisor;
	const char *p;

	text = skip_blanks(text);
	if (*text == '\0')
		return error_set(reterr, -EINVAL,
				 "no %s given: write a number%s", kind->what,
				 kind->is_bare ? "" : " with its unit");
	if (strspn(text, "0123456789") > WHOLE_DIGITS)
		return error_set(reterr, -EINVAL, "'%.40s' is too large", text);
	p = scan_number(text, &whole, &fraction, &ten_power);
	if (!p)
		return error_set(reterr, -EINVAL,
				 "'%.40s' is not a %s: write it like 1.5", text,
				 kind->what);
	p = skip_blanks(p);
	if (*p == '\0' && !kind->is_bare)
		return error_set(reterr, -EINVAL,
				 "'%.40s' has no unit: add one of %s", text,
				 kind->known);
	if (*p != '\0')
		unit = find_unit(kind, p);
	if (!unit)
		return error_set(reterr, -EINVAL,
				 "'%.40s' is not a unit of a %s: use one of %s",
				 p, kind->what, kind->known);

	/* After the first test it is below 2^66, times 10^18 below 2^126. */
	value = (unsigned __int128)whole * unit->scale;
	if (value > (unsigned __int128)VALUE_MAX * unit->parts)
		return error_set(reterr, -EINVAL, "'%.40s' is too large", text);
	divisor = (unsigned __int128)ten_power * unit->parts;
	value = value * ten_power + (unsigned __int128)fraction * unit->scale;
	if (kind == &kind_count && value % divisor != 0)
		return error_set(reterr, -EINVAL, "'%.40s' is no whole number",
				 text);
	value = (value + divisor / 2) / divisor;
	if (value > VALUE_MAX)
		return error_set(reterr, -EINVAL, "'%.40s' is too large", text);
	if (value == 0 && (whole | fraction) != 0)
		return error_set(reterr, -EINVAL, "'%.40s' is too small", text);
	*ret_value = (uint64_t)value;
	return 0;
}

/* 'value' in 'unit' with the decimals it needs; false if it needs more than
 * are shown, or is less than one unit. */
static bool format_in(const struct kind *kind, const struct unit *unit,
		      uint64_t value, char *text, size_t size)
{
	uint64_t whole = value / unit->scale, rest = value % unit->scale;
	char digits[24] = "";
	unsigned int count = 0;

	if (whole == 0 && unit->scale > 1 && !kind->shows_below_one)
		return false;
	while (rest > 0) {
		if (count == kind->decimals)
			return false;
		rest *= 10;	/* scales are below 2^41 */
		digits[count++] = (char)('0' + rest / unit->scale);
		rest %= unit->scale;
	}
	snprintf(text, size, "%llu%s%s%s%s", (unsigned long long)whole,
		 count > 0 ? "." : "", digits, kind != &kind_count ? " " : "",
		 unit->name);
	return true;
}

static char *format(const struct kind *kind, uint64_t value, char *buffer,
		    size_t size)
{
	char best[UNITS_TEXT_MAX] = "", text[UNITS_TEXT_MAX];

	for (const struct unit *unit = kind->units; unit->name; unit++) {
		if (!unit->shown ||
		    !format_in(kind, unit, value, text, sizeof(text)))
			continue;
		if (best[0] == '\0' || strlen(text) <= strlen(best))
			memcpy(best, text, sizeof(best));
	}
	/* The smallest unit shows every value. */
	assert(best[0] != '\0');
	snprintf(buffer, size, "%s", best);
	return buffer;
}

int units_parse_count(const char *text, uint64_t *ret_count,
		      struct error *reterr)
{
	return parse(&kind_count, text, ret_count, reterr);
}

int units_parse_size(const char *text, uint64_t *ret_bytes,
		     struct error *reterr)
{
	return parse(&kind_size, text, ret_bytes, reterr);
}

int units_parse_rate(const char *text, uint64_t *ret_bytes_per_s,
		     struct error *reterr)
{
	return parse(&kind_rate, text, ret_bytes_per_s, reterr);
}

int units_parse_duration(const char *text, uint64_t *ret_ns,
			 struct error *reterr)
{
	return parse(&kind_duration, text, ret_ns, reterr);
}

int units_parse_share(const char *text, uint64_t *ret_ppb, struct error *reterr)
{
	return parse(&kind_share, text, ret_ppb, reterr);
}

char *units_format_count(char *buffer, size_t size, uint64_t count)
{
	if (count < COUNT_PLAIN) {
		snprintf(buffer, size, "%llu", (unsigned long long)count);
		return buffer;
	}
	return format(&kind_count, count, buffer, size);
}

char *units_format_size(char *buffer, size_t size, uint64_t bytes)
{
	return format(&kind_size, bytes, buffer, size);
}

char *units_format_rate(char *buffer, size_t size, uint64_t bytes_per_s)
{
	return format(&kind_rate, bytes_per_s, buffer, size);
}

char *units_format_duration(char *buffer, size_t size, uint64_t ns)
{
	return format(&kind_duration, ns, buffer, size);
}

char *units_format_share(char *buffer, size_t size, uint64_t ppb)
{
	return format(&kind_share, ppb, buffer, size);
}
