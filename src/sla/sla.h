/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sla.h - specifications and the SLA of a process (E4)
 *
 * Text: "[read|write] METRIC [pNN|max] REL VALUE [UNIT]", comma-separated.
 * Values are integers in base units: iops and ops per second, bytes per
 * second, bytes, ns; loss in parts per billion.
 * Pure.
 */
#ifndef SLA_SLA_H
#define SLA_SLA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum sla_metric {
	SLA_IOPS,
	SLA_BANDWIDTH,
	SLA_LATENCY,
	SLA_JITTER,
	SLA_LOSS,
	SLA_CAPACITY,
	SLA_OPS,
	SLA_METRICS
};

enum sla_direction { SLA_TOTAL, SLA_READ, SLA_WRITE, SLA_DIRECTIONS };

enum sla_relation { SLA_AT_LEAST, SLA_AT_MOST };	/* ">=", "<=" */

#define SLA_PERCENTILE_DEFAULT	990U	/* tenths of a percent: p99 */
#define SLA_PERCENTILE_MAX	1000U	/* "max" */
#define SLA_SPECS_MAX		16U	/* specifications of one SLA */
#define SLA_TEXT_MAX		1024U
#define SLA_RATE_MAX		(UINT64_C(1) << 42)	/* per second */
#define SLA_TIME_MAX_NS		UINT64_C(3600000000000)	/* an hour */

struct sla_spec {
	uint8_t metric;			/* enum sla_metric */
	uint8_t direction;		/* enum sla_direction */
	uint8_t relation;		/* enum sla_relation */
	uint16_t percentile;		/* tenths; 0 where it has none */
	uint64_t value;			/* base unit of the metric */
};

struct sla {
	struct sla_spec specs[SLA_SPECS_MAX];
	unsigned int count;
};

/* "iops >= 1.5k, read latency p99.9 <= 250 us".  Empty text, a repeated
 * specification, a relation that makes no promise ("iops <= 5"), unknown
 * words, missing units, values that promise nothing or cannot be are refused.
 * iops, bandwidth and latency have directions; latency has a percentile, which
 * may also be the first word behind the colon of the YAML form
 * ("latency: p95 <= 1 ms").  Returns 0 or -EINVAL. */
int sla_parse(const char *text, struct sla *ret_sla, struct error *reterr);
/* One specification as configured: key "read iops", text ">= 500", to the end
 * of '*sla'.  Returns 0 or -EINVAL. */
int sla_parse_entry(const char *key, const char *text, struct sla *sla,
		    struct error *reterr);
/* Whether an SLA that was not made by the parser (a database, JSON) is one
 * that the parser could have made.  Returns 0 or -EINVAL. */
int sla_check(const struct sla *sla, struct error *reterr);
/* Whether both are the same specifications, in any order. */
bool sla_equal(const struct sla *a, const struct sla *b);
/* The same words back; the percentile is always shown.  Writes at most 'size'
 * bytes with a NUL (SLA_TEXT_MAX is always enough); returns 'buffer'. */
char *sla_format(const struct sla *sla, char *buffer, size_t size);
/* The same of any number of them; what does not fit whole is left out. */
char *sla_format_specs(const struct sla_spec *specs, unsigned int count,
		       char *buffer, size_t size);
const char *sla_metric_name(enum sla_metric metric);
/* "p99", "p99.9", "max"; "" for 0.  Writes at most 'size' bytes with a NUL (8
 * is always enough); returns 'buffer'. */
char *sla_format_percentile(unsigned int tenths, char *buffer, size_t size);
/* The value alone with its unit, for messages: "1200", "62.5 MB/s", "2 ms".
 * UNITS_TEXT_MAX is always enough; returns 'buffer'. */
char *sla_format_value(enum sla_metric metric, uint64_t value, char *buffer,
		       size_t size);

#endif
