/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the files of the command line share
 *
 * A verb is a line in a table: {group, name, what it takes, function, help}.
 * main.c finds the line, args.c parses what follows by it, and the function
 * asks penstockd and prints.  Functions return the exit status.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_REFUSED = 3,	/* by admission */
};

#define CLI_OPTIONS_MAX		16U
#define CLI_OPERANDS_MAX	64U

struct cli_option {
	const char *name;	/* without "--" */
	const char *value;	/* its value's name; NULL: a flag */
	const char *help;
};

struct cli_args {
	/* By the option's place in the verb's table: its value, "" for a
	 * flag, NULL if it was not given. */
	const char *options[CLI_OPTIONS_MAX];
	const char *operands[CLI_OPERANDS_MAX];
	unsigned int operand_count;
};

struct cli {
	const char *api;	/* --api, or NULL */
	const char *cert, *key, *cacert;	/* --cert ..., or NULL */
	bool json;		/* --json */
	struct client *client;	/* made by the first question */
};

struct cli_verb {
	const char *group;	/* "process", or NULL */
	const char *name;
	const char *operands;	/* for the help: "PASID" */
	unsigned int operands_min, operands_max;
	const struct cli_option *options;	/* ends with a NULL name */
	int (*run)(struct cli *cli, const struct cli_args *args);
	const char *help;
};

/* The tables; each ends with a NULL name. */
extern const struct cli_verb cli_status_verbs[], cli_top_verbs[],
	cli_device_verbs[], cli_pool_verbs[], cli_vdev_verbs[],
	cli_process_verbs[], cli_derive_verbs[], cli_host_verbs[];
/* Verbs of the contract that a later version serves. */
struct cli_later {
	const char *group, *name, *help;
};
extern const struct cli_later cli_later[];

/* check.c: penstock pool check */
extern const struct cli_option cli_check_options[];
int cli_check(struct cli *cli, const struct cli_args *args);

/* transfer.c: penstock vdev import, export */
extern const struct cli_option cli_import_options[], cli_export_options[];
int cli_import(struct cli *cli, const struct cli_args *args);
int cli_export(struct cli *cli, const struct cli_args *args);

/* "penstock: ..." on standard error; returns 'status'. */
int cli_error(int status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
