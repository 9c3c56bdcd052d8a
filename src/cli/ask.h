/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - questions to penstockd, with errors said on standard error
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/cli.h"

/* Ask; 'body' may be NULL and is released.  Returns CLI_DONE with a new
 * reference, or the exit status after saying why. */
int cli_ask(struct cli *cli, const char *method, const char *path, json_t *body,
	    json_t **ret_value);
/* The same of one thing: of "/v1/KIND/NAME" and 'more' ("" or "/WORD"). */
int cli_ask_one(struct cli *cli, const char *method, const char *kind,
		const char *name, const char *more, json_t *body,
		json_t **ret_value);
/* The client, made on first use; NULL after saying why. */
struct client *cli_client(struct cli *cli);
/* Set a field of a body, unless 'text' is NULL. */
void cli_set_text(json_t *body, const char *key, const char *text);

#endif
