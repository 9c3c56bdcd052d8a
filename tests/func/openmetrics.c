/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openmetrics.c - a strict reader of the OpenMetrics text format 1.0
 *
 * Only what Penstock writes: gauges, counters and histograms, no timestamps or
 * exemplars.  Of a histogram come its buckets, each with those before it, the
 * last +Inf, then the count, which is that, then the sum.
 */
#include "openmetrics.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX	512
#define SAMPLES_MAX	65536

struct reader {
	char names[NAMES_MAX][128];	/* families so far */
	unsigned int count;
	char family[128], type[16];
	int descriptors;		/* 1 TYPE, 2 UNIT, 3 HELP, 4 samples */
	char *samples[SAMPLES_MAX];	/* name and labels, to find doubles */
	unsigned int sample_count;
	double bucket;			/* the last of this histogram */
	bool is_whole;			/* that was +Inf */
	char wrong[256];
};

static bool bad(struct reader *reader, const char *why, const char *line)
{
	snprintf(reader->wrong, sizeof(reader->wrong), "%s: %.150s", why, line);
	return false;
}

static size_t name_length(const char *text)
{
	size_t length = 0;

	if (isdigit((unsigned char)text[0]))
		return 0;
	while (isalnum((unsigned char)text[length]) || text[length] == '_' ||
	       text[length] == ':')
		length++;
	return length;
}

static bool start_family(struct reader *reader, const char *name,
			 const char *type, const char *line)
{
	if (strcmp(type, "gauge") != 0 && strcmp(type, "counter") != 0 &&
	    strcmp(type, "histogram") != 0)
		return bad(reader, "unknown type", line);
	if (strncmp(name, "penstock_", 9) != 0)
		return bad(reader, "no prefix", line);
	for (unsigned int i = 0; i < reader->count; i++)
		if (strcmp(reader->names[i], name) == 0)
			return bad(reader, "a family in two pieces", line);
	if (reader->count == NAMES_MAX)
		return bad(reader, "too many families", line);
	strcpy(reader->names[reader->count++], name);
	strcpy(reader->family, name);
	strcpy(reader->type, type);
	reader->bucket = 0;
	reader->is_whole = false;
	reader->descriptors = 1;
	return true;
}

static bool read_descriptor(struct reader *reader, const char *line)
{
	char what[8], name[128], rest[512];
	size_t unit, whole;

	if (sscanf(line, "# %7s %127s %511[^\n]", what, name, rest) != 3)
		return bad(reader, "not a descriptor", line);
	if (strcmp(what, "TYPE") == 0)
		return start_family(reader, name, rest, line);
	if (strcmp(reader->family, name) != 0)
		return bad(reader, "a descriptor of another family", line);
	if (strcmp(what, "UNIT") == 0 && reader->descriptors == 1) {
		unit = strlen(rest);
		whole = strlen(name);
		reader->descriptors = 2;
		if (unit + 1 >= whole || name[whole - unit - 1] != '_' ||
		    strcmp(name + whole - unit, rest) != 0)
			return bad(reader,
				   "the name does not end with its unit", line);
		return true;
	}
	if (strcmp(what, "HELP") == 0 && reader->descriptors < 3) {
		reader->descriptors = 3;
		return true;
	}
	return bad(reader, "descriptor out of order", line);
}

/* At '{'; returns what follows '}', or NULL. */
static const char *skip_labels(const char *at)
{
	at++;
	for (;;) {
		size_t length = name_length(at);

		if (length == 0 || strncmp(at + length, "=\"", 2) != 0)
			return NULL;
		for (at += length + 2; *at && *at != '"'; at++)
			if (*at == '\\' && !strchr("\\\"n", *++at))
				return NULL;
		if (*at++ != '"')
			return NULL;
		if (*at == '}')
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

/* What may follow a family's name in a sample. */
static bool is_suffix(const struct reader *reader, const char *text,
		      size_t length)
{
	static const char *const suffixes[][2] = {
		{"gauge", ""},
		{"counter", "_total"},
		{"histogram", "_bucket"},
		{"histogram", "_count"},
		{"histogram", "_sum"},
	};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcmp(reader->type, suffixes[i][0]) == 0 &&
		    strlen(suffixes[i][1]) == length &&
		    strncmp(text, suffixes[i][1], length) == 0)
			return true;
	return false;
}

/* The line of a histogram beside those before it. */
static bool read_histogram(struct reader *reader, const char *line,
			   double value)
{
	const char *suffix = line + strlen(reader->family);

	if (strncmp(suffix, "_bucket{", 8) == 0) {
		if (!strstr(suffix, "le=\""))
			return bad(reader, "a bucket without its bound", line);
		if (reader->is_whole) {
			reader->is_whole = false;
			reader->bucket = 0;
		}
		if (value < reader->bucket)
			return bad(reader, "less than the bucket before", line);
		reader->bucket = value;
		reader->is_whole = strstr(suffix, "le=\"+Inf\"") != NULL;
	} else if (!reader->is_whole) {
		return bad(reader, "buckets without +Inf", line);
	} else if (strncmp(suffix, "_count", 6) == 0 &&
		   value != reader->bucket) {
		return bad(reader, "the count is not the last bucket", line);
	}
	return true;
}

static bool read_sample(struct reader *reader, const char *line)
{
	const bool is_gauge = strcmp(reader->type, "gauge") == 0;
	const size_t length = strlen(reader->family);
	const char *at = line + name_length(line);
	char *end, *key;
	double value;

	if (reader->descriptors == 0 ||
	    strncmp(line, reader->family, length) != 0)
		return bad(reader, "a sample of no family", line);
	if (!is_suffix(reader, line + length, (size_t)(at - line) - length))
		return bad(reader, "a wrong suffix", line);
	if (*at == '{')
		at = skip_labels(at);
	if (!at || *at != ' ')
		return bad(reader, "wrong labels", line);
	value = strtod(at + 1, &end);
	if (end == at + 1 || *end != '\0' || !isfinite(value) ||
	    (!is_gauge && value < 0))
		return bad(reader, "a wrong number", line);
	if (strcmp(reader->type, "histogram") == 0 &&
	    !read_histogram(reader, line, value))
		return false;
	reader->descriptors = 4;
	key = strndup(line, (size_t)(at - line));
	for (unsigned int i = 0; i < reader->sample_count; i++)
		if (strcmp(reader->samples[i], key) == 0) {
			free(key);
			return bad(reader, "a sample twice", line);
		}
	reader->samples[reader->sample_count++] = key;
	return reader->sample_count < SAMPLES_MAX;
}

static bool read_all(struct reader *reader, char *text)
{
	bool ended = false;
	char *line;

	if (text[0] == '\0' || text[strlen(text) - 1] != '\n')
		return bad(reader, "no line feed at the end", "");
	text[strlen(text) - 1] = '\0';
	while ((line = strsep(&text, "\n"))) {
		if (ended)
			return bad(reader, "text after the end", line);
		if (strcmp(line, "# EOF") == 0)
			ended = true;
		else if (!(line[0] == '#' ? read_descriptor(reader, line) :
					    read_sample(reader, line)))
			return false;
	}
	return ended ? true : bad(reader, "no # EOF", "");
}

const char *openmetrics_check(const char *text)
{
	static char wrong[256];
	struct reader *reader = calloc(1, sizeof(*reader));
	char *copy = strdup(text);
	const bool right = read_all(reader, copy);

	strcpy(wrong, reader->wrong);
	for (unsigned int i = 0; i < reader->sample_count; i++)
		free(reader->samples[i]);
	free(reader);
	free(copy);
	return right ? NULL : wrong;
}
