/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - the words after a verb, by the verb's table
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "cli/cli.h"

/* What every verb takes. */
struct cli_common {
	const char *api;	/* --api */
	const char *cert, *key, *cacert;	/* over TLS */
	bool json, help;
};

/* "--api" and the others that are followed by their value. */
bool cli_takes_value(const char *word);

/* Options and operands in any order, "--x V" or "--x=V", "--" ends options.
 * Returns 0, or -EINVAL with a hint (an unknown, repeated or incomplete
 * option, too many or too few operands; with --help nothing is missing). */
int cli_args_parse(const struct cli_verb *verb, int argc, char **argv,
		   struct cli_common *common, struct cli_args *ret_args,
		   struct error *reterr);

/* Whole numbers from 'min' to 'max'; seconds with a fraction to ns.  Return
 * 0 or -EINVAL with a hint that names 'what'. */
int cli_parse_number(const char *what, const char *text, uint64_t min,
		     uint64_t max, uint64_t *ret_number, struct error *reterr);
int cli_parse_seconds(const char *what, const char *text, uint64_t *ret_ns,
		      struct error *reterr);

#endif
