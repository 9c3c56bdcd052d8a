/* SPDX-License-Identifier: Apache-2.0 */
/* sla.c - see sla.h */
#include "sla/sla.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define WORD_MAX	48U	/* of one specification's text, per part */
#define SPEC_TEXT_MAX	128U

/* What a metric's specification may look like. */
static const struct {
	const char *name;
	enum sla_relation relation;
	bool has_direction, has_percentile, has_zero;
	uint64_t value_max;
	int (*parse)(const char *text, uint64_t *ret_value,
		     struct error *reterr);
	char *(*format)(char *buffer, size_t size, uint64_t value);
	bool needs_unit;
} metrics[] = {
	[SLA_IOPS] = {"iops", SLA_AT_LEAST, true, false, false, SLA_RATE_MAX,
		      units_parse_count, units_format_count, false},
	[SLA_BANDWIDTH] = {"bandwidth", SLA_AT_LEAST, true, false, false,
			   SLA_RATE_MAX, units_parse_rate, units_format_rate,
			   true},
	[SLA_LATENCY] = {"latency", SLA_AT_MOST, true, true, false,
			 SLA_TIME_MAX_NS, units_parse_duration,
			 units_format_duration, true},
	[SLA_JITTER] = {"jitter", SLA_AT_MOST, false, false, false,
			SLA_TIME_MAX_NS, units_parse_duration,
			units_format_duration, true},
	[SLA_LOSS] = {"loss", SLA_AT_MOST, false, false, true, 999999999,
		      units_parse_share, units_format_share, true},
	[SLA_CAPACITY] = {"capacity", SLA_AT_LEAST, false, false, false,
			  UINT64_C(1) << 62, units_parse_size,
			  units_format_size, true},
	[SLA_OPS] = {"ops", SLA_AT_LEAST, false, false, false, SLA_RATE_MAX,
		     units_parse_count, units_format_count, false},
};
static_assert(sizeof(metrics) / sizeof(metrics[0]) == SLA_METRICS,
	      "every metric is described");

static const char *const directions[] = {
	[SLA_TOTAL] = "",
	[SLA_READ] = "read",
	[SLA_WRITE] = "write",
};
static_assert(sizeof(directions) / sizeof(directions[0]) == SLA_DIRECTIONS,
	      "every direction has its word");

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cut the next word off '*text'; "" at the end, NULL: too long to be one. */
static const char *next_word(const char **text, char word[WORD_MAX])
{
	size_t length = 0;

	while (is_blank(**text))
		(*text)++;
	for (; **text != '\0' && !is_blank(**text); (*text)++) {
		if (length == WORD_MAX - 1)
			return NULL;
		word[length++] = **text;
	}
	word[length] = '\0';
	return word;
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_word(const char *word, const char *known)
{
	for (; *word != '\0' && to_lower(*word) == *known; word++)
		known++;
	return *word == '\0' && *known == '\0';
}

/* "p99", "p99.9", "max" in tenths, or 0: it is none of them. */
static uint16_t parse_percentile(const char *word)
{
	unsigned int tenths = 0, digits = 0;

	if (is_word(word, "max"))
		return SLA_PERCENTILE_MAX;
	if (to_lower(*word) != 'p')
		return 0;
	for (word++; *word >= '0' && *word <= '9' && digits < 3; word++) {
		tenths = tenths * 10 + (unsigned int)(*word - '0');
		digits++;
	}
	tenths *= 10;
	if (digits > 0 && word[0] == '.' && word[1] >= '0' && word[1] <= '9') {
		tenths += (unsigned int)(word[1] - '0');
		word += 2;
	}
	if (digits == 0 || *word != '\0' || tenths > SLA_PERCENTILE_MAX)
		return 0;
	return (uint16_t)tenths;
}

/* [read|write] METRIC [pNN|max] */
static int parse_key(const char *key, struct sla_spec *spec,
		     struct error *reterr)
{
	const char *rest = key, *found;
	char word[WORD_MAX];
	unsigned int metric = 0;

	found = next_word(&rest, word);
	spec->direction = SLA_TOTAL;
	if (found && is_word(found, "read"))
		spec->direction = SLA_READ;
	else if (found && is_word(found, "write"))
		spec->direction = SLA_WRITE;
	if (spec->direction != SLA_TOTAL)
		found = next_word(&rest, word);
	while (found && metric < SLA_METRICS &&
	       !is_word(found, metrics[metric].name))
		metric++;
	if (!found || metric == SLA_METRICS)
		return error_set(reterr, -EINVAL,
				 "'%.60s' names no metric: use "
				 "iops, bandwidth, latency, jitter, loss, "
				 "capacity or ops",
				 key);
	spec->metric = (uint8_t)metric;
	spec->percentile = 0;
	found = next_word(&rest, word);
	if (found && *found == '\0')
		return 0;
	if (found && metrics[metric].has_percentile)
		spec->percentile = parse_percentile(found);
	found = spec->percentile ? next_word(&rest, word) : NULL;
	if (!found || *found != '\0')
		return error_set(
			reterr, -EINVAL, "'%.60s': %s", key,
			metrics[metric].has_percentile ?
				"write the percentile as p50, p99.9 (one "
				"decimal at most) or max" :
				"nothing can stand behind this metric but the "
				"relation");
	return 0;
}

/* [pNN|max] REL VALUE [UNIT], of the metric that is in '*spec' already. */
static int parse_value(const char *key, const char *text, struct sla_spec *spec,
		       struct error *reterr)
{
	const bool at_least = metrics[spec->metric].relation == SLA_AT_LEAST;
	char head[WORD_MAX], word[WORD_MAX];
	const char *rest = head;
	const size_t length = strcspn(text, "<>=");
	struct error reason;

	if (length >= sizeof(head))
		return error_set(reterr, -EINVAL,
				 "'%.60s' is no relation and "
				 "value",
				 text);
	if (text[length] == '\0')
		return error_set(reterr, -EINVAL,
				 "%.60s: '%.40s' has no relation: write it "
				 "like '%s VALUE'",
				 key, text, at_least ? ">=" : "<=");
	memcpy(head, text, length);
	head[length] = '\0';
	next_word(&rest, word);
	if (word[0] != '\0') {
		const uint16_t percentile =
			metrics[spec->metric].has_percentile ?
			parse_percentile(word) :
			0;

		next_word(&rest, head);
		if (percentile == 0 || spec->percentile != 0 || head[0] != '\0')
			return error_set(reterr, -EINVAL,
					 "'%.40s' cannot stand "
					 "before the relation of '%.40s'",
					 text, key);
		spec->percentile = percentile;
	}
	if (metrics[spec->metric].has_percentile && spec->percentile == 0)
		spec->percentile = SLA_PERCENTILE_DEFAULT;
	text += length;
	if (strncmp(text, at_least ? ">=" : "<=", 2) != 0)
		return error_set(reterr, -EINVAL,
				 "'%.40s %.40s' promises "
				 "nothing: %s takes '%s'",
				 key, text, metrics[spec->metric].name,
				 at_least ? ">=" : "<=");
	spec->relation = (uint8_t)metrics[spec->metric].relation;
	text += 2;
	if (metrics[spec->metric].parse(text, &spec->value, &reason) < 0)
		return error_set(reterr, -EINVAL, "%.60s: %s", key,
				 reason.text);
	/* A number alone is a size in bytes elsewhere, but not in an SLA. */
	if (metrics[spec->metric].needs_unit &&
	    strspn(text, " \t.0123456789") == strlen(text))
		return error_set(reterr, -EINVAL, "%.60s: '%.40s' has no unit",
				 key, text);
	return 0;
}

static bool is_same_key(const struct sla_spec *a, const struct sla_spec *b)
{
	return a->metric == b->metric && a->direction == b->direction &&
		a->percentile == b->percentile;
}

/* Everything about a specification that does not depend on its text. */
static int check_spec(const struct sla_spec *spec, struct error *reterr)
{
	char value[UNITS_TEXT_MAX];

	if (spec->metric >= SLA_METRICS || spec->direction >= SLA_DIRECTIONS ||
	    spec->relation != metrics[spec->metric].relation)
		return error_set(reterr, -EINVAL, "not a specification");
	if (spec->direction != SLA_TOTAL &&
	    !metrics[spec->metric].has_direction)
		return error_set(reterr, -EINVAL, "%s has no %s of its own",
				 metrics[spec->metric].name,
				 directions[spec->direction]);
	if ((spec->percentile != 0) != metrics[spec->metric].has_percentile ||
	    spec->percentile > SLA_PERCENTILE_MAX)
		return error_set(reterr, -EINVAL, "%s: wrong percentile",
				 metrics[spec->metric].name);
	if (spec->value == 0 && !metrics[spec->metric].has_zero)
		return error_set(reterr, -EINVAL,
				 "%s: zero promises nothing "
				 "that could be kept",
				 metrics[spec->metric].name);
	if (spec->value > metrics[spec->metric].value_max)
		return error_set(
			reterr, -EINVAL, "%s: at most %s can be promised",
			metrics[spec->metric].name,
			sla_format_value(spec->metric,
					 metrics[spec->metric].value_max, value,
					 sizeof(value)));
	return 0;
}

static int append(struct sla *sla, const struct sla_spec *spec,
		  struct error *reterr)
{
	int r = check_spec(spec, reterr);

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < sla->count; i++)
		if (is_same_key(&sla->specs[i], spec))
			return error_set(reterr, -EINVAL, "%s is there twice",
					 metrics[spec->metric].name);
	if (sla->count == SLA_SPECS_MAX)
		return error_set(reterr, -EINVAL, "more than %u specifications",
				 SLA_SPECS_MAX);
	sla->specs[sla->count++] = *spec;
	return 0;
}

int sla_parse_entry(const char *key, const char *text, struct sla *sla,
		    struct error *reterr)
{
	struct sla_spec spec = {0};
	int r = parse_key(key, &spec, reterr);

	if (r < 0)
		return r;
	r = parse_value(key, text, &spec, reterr);
	if (r < 0)
		return r;
	return append(sla, &spec, reterr);
}

int sla_parse(const char *text, struct sla *ret_sla, struct error *reterr)
{
	struct sla sla = {.count = 0};

	if (strlen(text) >= SLA_TEXT_MAX)
		return error_set(reterr, -EINVAL,
				 "an SLA of more than %u "
				 "characters",
				 SLA_TEXT_MAX - 1);
	for (;;) {
		char entry[SPEC_TEXT_MAX], key[SPEC_TEXT_MAX];
		const size_t length = strcspn(text, ",");
		size_t key_length;
		int r;

		if (length >= sizeof(entry))
			return error_set(reterr, -EINVAL,
					 "'%.40s...' is too "
					 "long for one specification",
					 text);
		memcpy(entry, text, length);
		entry[length] = '\0';
		if (strspn(entry, " \t") == length)
			return error_set(reterr, -EINVAL,
					 "empty: write "
					 "specifications like 'iops >= 500, "
					 "latency <= 2 ms'");
		key_length = strcspn(entry, "<>=");
		memcpy(key, entry, key_length);
		while (key_length > 0 && is_blank(key[key_length - 1]))
			key_length--;
		key[key_length] = '\0';
		r = sla_parse_entry(key, entry + strcspn(entry, "<>="), &sla,
				    reterr);
		if (r < 0)
			return r;
		if (text[length] == '\0')
			break;
		text += length + 1;
	}
	*ret_sla = sla;
	return 0;
}

int sla_check(const struct sla *sla, struct error *reterr)
{
	struct sla copy = {.count = 0};

	if (sla->count > SLA_SPECS_MAX)
		return error_set(reterr, -EINVAL, "more than %u specifications",
				 SLA_SPECS_MAX);
	for (unsigned int i = 0; i < sla->count; i++) {
		int r = append(&copy, &sla->specs[i], reterr);

		if (r < 0)
			return r;
	}
	return 0;
}

bool sla_equal(const struct sla *a, const struct sla *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned int i = 0; i < a->count; i++) {
		unsigned int j = 0;

		while (j < b->count &&
		       !(is_same_key(&a->specs[i], &b->specs[j]) &&
			 a->specs[i].value == b->specs[j].value))
			j++;
		if (j == b->count)
			return false;
	}
	return true;
}

char *sla_format_percentile(unsigned int tenths, char *buffer, size_t size)
{
	if (tenths == 0)
		snprintf(buffer, size, "%s", "");
	else if (tenths >= SLA_PERCENTILE_MAX)
		snprintf(buffer, size, "max");
	else if (tenths % 10 == 0)
		snprintf(buffer, size, "p%u", tenths / 10);
	else
		snprintf(buffer, size, "p%u.%u", tenths / 10, tenths % 10);
	return buffer;
}

char *sla_format_specs(const struct sla_spec *specs, unsigned int count,
		       char *buffer, size_t size)
{
	size_t used = 0;

	assert(size > 0);
	buffer[0] = '\0';
	for (unsigned int i = 0; i < count; i++) {
		const struct sla_spec *spec = &specs[i];
		const char *direction = directions[spec->direction];
		char percentile[8], value[UNITS_TEXT_MAX];
		size_t length;

		sla_format_percentile(spec->percentile, percentile,
				      sizeof(percentile));
		length = (size_t)snprintf(
			buffer + used, size - used, "%s%s%s%s%s%s %s %s",
			i > 0 ? ", " : "", direction, *direction ? " " : "",
			metrics[spec->metric].name, *percentile ? " " : "",
			percentile,
			spec->relation == SLA_AT_LEAST ? ">=" : "<=",
			sla_format_value(spec->metric, spec->value, value,
					 sizeof(value)));
		if (length >= size - used) {
			buffer[used] = '\0';
			break;
		}
		used += length;
	}
	return buffer;
}

char *sla_format(const struct sla *sla, char *buffer, size_t size)
{
	return sla_format_specs(sla->specs, sla->count, buffer, size);
}

const char *sla_metric_name(enum sla_metric metric)
{
	return metrics[metric].name;
}

char *sla_format_value(enum sla_metric metric, uint64_t value, char *buffer,
		       size_t size)
{
	return metrics[metric].format(buffer, size, value);
}
