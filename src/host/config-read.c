/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-read.c - walking a YAML document by tables of keys
 *
 * The walk follows the tables, so it goes no deeper than they do, whatever
 * the file nests or refers to by aliases; and no file can make it visit more
 * than READER_NODES_MAX nodes.
 */
#include "host/config-read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define READER_NODES_MAX	100000U
#define READER_NOTES_MAX	1000U

unsigned int reader_line(const yaml_node_t *node)
{
	return (unsigned int)node->start_mark.line + 1U;
}

int reader_fail(struct reader *reader, unsigned int line, const char *format,
		...)
{
	struct error why;
	va_list args;

	va_start(args, format);
	error_vset(&why, -EINVAL, format, args);
	va_end(args);
	return error_set(reader->error, -EINVAL, "%s:%u: %s", reader->file,
			 line, why.text);
}

int reader_note(struct reader *reader, unsigned int line, const char *format,
		...)
{
	struct config *config = reader->config;
	struct config_note *notes;
	struct error text;
	va_list args;

	if (config->note_count >= READER_NOTES_MAX)
		return 0;
	va_start(args, format);
	error_vset(&text, 0, format, args);
	va_end(args);
	notes = reallocarray(config->notes, config->note_count + 1U,
			     sizeof(*notes));
	if (!notes)
		return -ENOMEM;
	config->notes = notes;
	notes[config->note_count].line = line;
	notes[config->note_count].text = strdup(text.text);
	if (!notes[config->note_count].text)
		return -ENOMEM;
	config->note_count++;
	return 0;
}

static const char *node_word(const yaml_node_t *node)
{
	if (node->type == YAML_SCALAR_NODE)
		return "a single value";
	if (node->type == YAML_SEQUENCE_NODE)
		return "a list";
	return "a mapping";
}

static int reader_visit(struct reader *reader, const yaml_node_t *node)
{
	if (++reader->visited > READER_NODES_MAX)
		return reader_fail(
			reader, reader_line(node),
			"more than %u values in all (aliases count each time)",
			READER_NODES_MAX);
	return 0;
}

int reader_text(struct reader *reader, const char *what, yaml_node_t *node,
		const char **ret_text)
{
	if (node->type != YAML_SCALAR_NODE)
		return reader_fail(reader, reader_line(node),
				   "%s must be a single value, not %s", what,
				   node_word(node));
	if (strlen((const char *)node->data.scalar.value) !=
	    node->data.scalar.length)
		return reader_fail(reader, reader_line(node),
				   "%s contains a NUL character", what);
	for (size_t i = 0; i < node->data.scalar.length; i++)
		if (node->data.scalar.value[i] < 0x20 ||
		    node->data.scalar.value[i] == 0x7f)
			return reader_fail(reader, reader_line(node),
					   "%s contains a control character",
					   what);
	if (node->data.scalar.length == 0)
		return reader_fail(reader, reader_line(node), "%s is empty",
				   what);
	*ret_text = (const char *)node->data.scalar.value;
	return 0;
}

/* The names of a table's keys, for "unknown key". */
static const char *known_keys(const struct reader_key *keys, char *buffer,
			      size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (; keys->name && used < size; keys++) {
		int wrote = snprintf(buffer + used, size - used, "%s%s",
				     used ? ", " : "", keys->name);

		if (wrote < 0)
			break;
		used += (size_t)wrote;
	}
	return buffer;
}

static const struct reader_key *find_key(const struct reader_key *keys,
					 const char *name)
{
	for (; keys->name; keys++)
		if (strcmp(keys->name, name) == 0)
			return keys;
	return NULL;
}

/* Has an earlier pair the same key?  Gives its line, or 0. */
static unsigned int seen_before(struct reader *reader,
				const yaml_node_t *mapping,
				const yaml_node_pair_t *pair, const char *name)
{
	const yaml_node_pair_t *other = mapping->data.mapping.pairs.start;

	for (; other < pair; other++) {
		const yaml_node_t *key =
			yaml_document_get_node(reader->document, other->key);

		if (strcmp((const char *)key->data.scalar.value, name) == 0)
			return reader_line(key);
	}
	return 0;
}

int reader_pairs(struct reader *reader, yaml_node_t *node, const char *what,
		 unsigned int most,
		 int (*read)(struct reader *reader, yaml_node_t *key,
			     const char *name, yaml_node_t *value, void *arg),
		 void *arg)
{
	yaml_node_pair_t *pair;
	unsigned int count = 0;
	int ret;

	ret = reader_visit(reader, node);
	if (ret < 0)
		return ret;
	if (node->type != YAML_MAPPING_NODE)
		return reader_fail(reader, reader_line(node),
				   "%s must be a mapping (key: value), not %s",
				   what, node_word(node));
	for (pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		yaml_node_t *key =
			yaml_document_get_node(reader->document, pair->key);
		yaml_node_t *value =
			yaml_document_get_node(reader->document, pair->value);
		const char *name = "";
		unsigned int first;

		ret = reader_visit(reader, value);
		if (ret < 0)
			return ret;
		ret = reader_text(reader, "a key", key, &name);
		if (ret < 0)
			return ret;
		if (++count > most)
			return reader_fail(reader, reader_line(key),
					   "%s has more than %u keys", what,
					   most);
		first = seen_before(reader, node, pair, name);
		if (first)
			return reader_fail(
				reader, reader_line(key),
				"%s has the key '%s' twice (first in line %u)",
				what, name, first);
		ret = read(reader, key, name, value, arg);
		if (ret < 0)
			return ret;
	}
	return 0;
}

struct table {
	const char *what;
	const struct reader_key *keys;
	char *object;
	uint64_t seen;		/* by index into 'keys' */
};

static int table_pair(struct reader *reader, yaml_node_t *key_node,
		      const char *name, yaml_node_t *value, void *arg)
{
	struct table *table = arg;
	const struct reader_key *key = find_key(table->keys, name);
	char known[256];

	if (!key)
		return reader_fail(
			reader, reader_line(key_node),
			"%s has no key '%s'; there are: %s", table->what, name,
			known_keys(table->keys, known, sizeof(known)));
	table->seen |= UINT64_C(1) << (key - table->keys);
	return key->read(reader, key, value, table->object + key->offset);
}

int reader_mapping(struct reader *reader, yaml_node_t *node, const char *what,
		   const struct reader_key *keys, void *object)
{
	struct table table = {
		.what = what,
		.keys = keys,
		.object = object,
	};
	unsigned int i;
	int ret;

	ret = reader_pairs(reader, node, what, 64, table_pair, &table);
	if (ret < 0)
		return ret;
	for (i = 0; keys[i].name; i++)
		if (keys[i].required && !(table.seen & UINT64_C(1) << i))
			return reader_fail(reader, reader_line(node),
					   "%s has no '%s'", what,
					   keys[i].name);
	return 0;
}

int reader_list(struct reader *reader, yaml_node_t *node,
		const struct reader_list *list, void **array,
		unsigned int *count)
{
	yaml_node_item_t *item;
	int ret;

	ret = reader_visit(reader, node);
	if (ret < 0)
		return ret;
	if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0)
		return 0;	/* "pools:" with nothing behind */
	if (node->type != YAML_SEQUENCE_NODE)
		return reader_fail(reader, reader_line(node),
				   "%s must be a list, not %s", list->what,
				   node_word(node));
	for (item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++) {
		yaml_node_t *element =
			yaml_document_get_node(reader->document, *item);
		void *grown;
		char *slot;

		if (*count >= list->most)
			return reader_fail(reader, reader_line(element),
					   "more than %u %s", list->most,
					   list->what);
		grown = reallocarray(*array, *count + 1U, list->element_size);
		if (!grown)
			return -ENOMEM;
		*array = grown;
		slot = (char *)grown + (size_t)*count * list->element_size;
		memset(slot, 0, list->element_size);
		++*count;
		ret = reader_visit(reader, element);
		if (ret == 0)
			ret = list->read(reader, element, slot);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int reader_number(struct reader *reader, const char *what, yaml_node_t *node,
		  long long least, long long most, long long *ret_value)
{
	const char *text = "";
	long long value;
	char *end;
	int ret;

	ret = reader_text(reader, what, node, &text);
	if (ret < 0)
		return ret;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (*end || end == text || text[0] == ' ' || text[0] == '+')
		return reader_fail(reader, reader_line(node),
				   "%s must be a whole number, not '%s'", what,
				   text);
	if (errno || value < least || value > most)
		return reader_fail(reader, reader_line(node),
				   "%s must be from %lld to %lld, not %s", what,
				   least, most, text);
	*ret_value = value;
	return 0;
}

/* Copy into '*field'; a key comes once, so nothing is there yet. */
static int keep_text(const char *text, void *field)
{
	char **slot = field;

	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

int reader_string(struct reader *reader, const struct reader_key *key,
		  yaml_node_t *node, void *field)
{
	const char *text = "";
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (strlen(text) > 4000)
		return reader_fail(reader, reader_line(node),
				   "%s is longer than 4000 characters",
				   key->name);
	return keep_text(text, field);
}

/* A string that 'check' accepts. */
static int checked_string(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *field,
			  int (*check)(const char *text, struct error *reterr))
{
	struct error why;
	const char *text = "";
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (check(text, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s: %s",
				   key->name, why.text);
	return keep_text(text, field);
}

int reader_name(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field)
{
	return checked_string(reader, key, node, field, config_check_name);
}

int reader_socket(struct reader *reader, const struct reader_key *key,
		  yaml_node_t *node, void *field)
{
	return checked_string(reader, key, node, field, config_check_socket);
}

int reader_size(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field)
{
	struct error why;
	const char *text = "";
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (config_parse_size(text, field, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s: %s",
				   key->name, why.text);
	return 0;
}

int reader_duration(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field)
{
	struct error why;
	const char *text = "";
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (units_parse_duration(text, field, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s: %s",
				   key->name, why.text);
	return 0;
}

int reader_bool(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field)
{
	bool *ret_value = field;
	const char *text = "";
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (strcmp(text, "true") && strcmp(text, "false"))
		return reader_fail(reader, reader_line(node),
				   "%s must be true or false, not '%s'",
				   key->name, text);
	*ret_value = text[0] == 't';
	return 0;
}
