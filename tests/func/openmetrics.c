/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openmetrics.c - a strict reader of the OpenMetrics text format 1.0
 *
 * Only what Penstock writes: gauges and counters, no timestamps or exemplars.
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
	if (strcmp(type, "gauge") != 0 && strcmp(type, "counter") != 0)
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

static bool read_sample(struct reader *reader, const char *line)
{
	const bool is_counter = strcmp(reader->type, "counter") == 0;
	const size_t length = strlen(reader->family);
	const char *at = line + name_length(line);
	char *end, *key;
	double value;

	if (reader->descriptors == 0 ||
	    strncmp(line, reader->family, length) != 0)
		return bad(reader, "a sample of no family", line);
	if (is_counter ? strncmp(line + length, "_total", 6) != 0 ||
			    at != line + length + 6 :
			 at != line + length)
		return bad(reader, "a wrong suffix", line);
	if (*at == '{')
		at = skip_labels(at);
	if (!at || *at != ' ')
		return bad(reader, "wrong labels", line);
	value = strtod(at + 1, &end);
	if (end == at + 1 || *end != '\0' || !isfinite(value) ||
	    (is_counter && value < 0))
		return bad(reader, "a wrong number", line);
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
