/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - the listings that more than one verb shows
 */
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "cli/cli.h"
#include "cli/table.h"

extern const struct table_column list_devices[], list_pools[], list_vdevs[],
	list_processes[];
/* A PASID as it may be: CLI_DONE, or an exit status after saying why. */
int list_check_pasid(const char *text);
/* "process 1 on v0 WHAT: what it is promised"; released. */
int list_process_result(const struct cli *cli, const char *what,
			json_t *process);

/* One value on one line of standard output; released. */
int list_json(json_t *value);
/* 'value' (an array; released) as JSON or as a table. */
int list_print(const struct cli *cli, const struct table_column *columns,
	       json_t *value);
/* Ask for 'path' and print the array. */
int list_ask(struct cli *cli, const char *path,
	     const struct table_column *columns);
/* "Title:  what 'show' says", unless it is absent. */
struct list_field {
	const char *title;
	void (*show)(const json_t *thing, const char *key, char *cell,
		     size_t size);
	const char *key;
};
void list_fields(const struct list_field *fields, const json_t *thing);
/* Ask for one thing and print it. */
int list_one(struct cli *cli, const char *kind, const char *name,
	     const struct list_field *fields);
/* Have it deleted, and print what it became: "vdev v0 BECAME". */
int list_delete(struct cli *cli, const char *kind, const char *name,
		const char *thing, const char *became);

#endif
