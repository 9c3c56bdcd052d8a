/* SPDX-License-Identifier: Apache-2.0 */
/*
 * units.h - numbers with units, from text and back (E4, contract)
 *
 * Parsing refuses a missing unit where one is needed, an unknown unit,
 * signs, empty text, trailing text and values beyond 2^62.  Upper and lower
 * case matter ("Mbps" are bits, "MB/s" bytes).  Arithmetic is exact ("1.5k"
 * is 1500, "62.5 MB/s" is 62500000); what is still no whole number of base
 * units is rounded to the nearest, and refused if it is a count or that is 0.
 * Formatting picks the shortest text that shows the value exactly, so that
 * parsing it gives the same value; counts below 100,000 are plain digits.
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
/* "10GiB", "512MiB", "1 TB", "4096 B", "4096": bytes.  B, KB, MB, GB, TB are
 * powers of 1000; KiB, MiB, GiB, TiB of 1024. */
int units_parse_size(const char *text, uint64_t *ret_bytes,
		     struct error *reterr);
/* "500 Mbps", "62.5 MB/s", "10 MBS", "4 KiB/s": bytes per second.  B/s; KBS,
 * MBS, GBS and KB/s, MB/s, GB/s; bps, Kbps, Mbps, Gbps (bits): powers of 1000;
 * KiB/s, MiB/s, GiB/s of 1024.  No bare numbers. */
int units_parse_rate(const char *text, uint64_t *ret_bytes_per_s,
		     struct error *reterr);
/* "250 us", "2ms", "1.5 s", "100 ns": nanoseconds.  No bare numbers. */
int units_parse_duration(const char *text, uint64_t *ret_ns,
			 struct error *reterr);
/* "0.1 %", "20 ppm", "5 ppb": parts per billion.  No bare numbers. */
int units_parse_share(const char *text, uint64_t *ret_ppb,
		      struct error *reterr);

/* All write at most 'size' bytes with a NUL and return 'buffer'. */
char *units_format_count(char *buffer, size_t size, uint64_t count);
char *units_format_size(char *buffer, size_t size, uint64_t bytes);
char *units_format_rate(char *buffer, size_t size, uint64_t bytes_per_s);
char *units_format_duration(char *buffer, size_t size, uint64_t ns);
char *units_format_share(char *buffer, size_t size, uint64_t ppb);

#endif
