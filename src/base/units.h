/* SPDX-License-Identifier: Apache-2.0 */
/*
 * units.h - numbers with units, from text and back (E4, contract)
 *
 * Parsing refuses a missing unit where one is needed, an unknown unit,
 * signs, empty text, trailing text and values beyond 2^62.  Fractions are
 * exact to the base unit ("1.5k" is 1500, "62.5 MB/s" is 62500000).
 * Formatting picks the largest unit that shows the value exactly, else
 * three digits behind the point, and never needs more than UNITS_TEXT_MAX.
 * Pure.  Every parser returns 0 or -EINVAL with '*reterr' filled.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define UNITS_TEXT_MAX	32

/* "1.5k", "500", "2M", "1G": a count, SI multiples. */
int units_parse_count(const char *text, uint64_t *ret_count,
		      struct error *reterr);
/* "10GiB", "512MiB", "1 TB", "4096 B", "4096": bytes. */
int units_parse_size(const char *text, uint64_t *ret_bytes,
		     struct error *reterr);
/* "500 Mbps", "62.5 MB/s", "10 MBS", "4 KiB/s": bytes per second. */
int units_parse_rate(const char *text, uint64_t *ret_bytes_per_s,
		     struct error *reterr);
/* "250 us", "2ms", "1.5 s", "100 ns": nanoseconds. */
int units_parse_duration(const char *text, uint64_t *ret_ns,
			 struct error *reterr);

/* All write at most 'size' bytes with a NUL and return 'buffer'. */
char *units_format_count(char *buffer, size_t size, uint64_t count);
char *units_format_size(char *buffer, size_t size, uint64_t bytes);
char *units_format_rate(char *buffer, size_t size, uint64_t bytes_per_s);
char *units_format_duration(char *buffer, size_t size, uint64_t ns);

#endif
