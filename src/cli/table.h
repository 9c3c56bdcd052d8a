/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - a listing: columns, each with a way to show a thing's JSON
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define TABLE_CELL_MAX	1280U

struct table_column {
	const char *title;		/* NULL ends the list */
	bool right;			/* numbers */
	/* Write what 'thing' has to say; 'key' is the column's. */
	void (*show)(const json_t *thing, const char *key, char *cell,
		     size_t size);
	const char *key;
};

/* To standard output, as wide as the terminal.  'things' is an array; an
 * empty one prints only the titles.  Returns 0 or -ENOMEM. */
int table_print(const struct table_column *columns, const json_t *things);
/* The same into a new string (free it) of at most 'width' columns. */
char *table_text(const struct table_column *columns, const json_t *things,
		 size_t width);

/* Ways to show a field; "-" when it is absent.  Keys may have dots. */
const json_t *table_get(const json_t *thing, const char *key);
void show_text(const json_t *thing, const char *key, char *cell, size_t size);
void show_list(const json_t *thing, const char *key, char *cell, size_t size);
void show_number(const json_t *thing, const char *key, char *cell, size_t size);
void show_size(const json_t *thing, const char *key, char *cell, size_t size);
void show_rate(const json_t *thing, const char *key, char *cell, size_t size);
void show_duration(const json_t *thing, const char *key, char *cell,
		   size_t size);
/* A ratio in thousandths as percent. */
void show_milli(const json_t *thing, const char *key, char *cell, size_t size);
/* "kept", "BROKEN", "-": too little to say. */
void show_kept(const json_t *thing, const char *key, char *cell, size_t size);

#endif
