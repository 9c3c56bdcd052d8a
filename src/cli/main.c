/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - penstock, the command line
 *
 * Finds the verb's line in the tables, has its words parsed, and runs it.
 */
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "api/client.h"
#include "cli/args.h"
#include "cli/cli.h"

static const struct cli_verb *const tables[] = {
	cli_status_verbs, cli_top_verbs,     cli_device_verbs, cli_pool_verbs,
	cli_vdev_verbs,	  cli_process_verbs, cli_derive_verbs, cli_host_verbs,
};
#define TABLES	(sizeof(tables) / sizeof(tables[0]))

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static const struct cli_verb *find_verb(const char *group, const char *name)
{
	for (size_t t = 0; t < TABLES; t++)
		for (const struct cli_verb *verb = tables[t]; verb->name;
		     verb++)
			if (same(verb->group, group) && same(verb->name, name))
				return verb;
	return NULL;
}

static const struct cli_later *find_later(const char *group, const char *name)
{
	for (const struct cli_later *later = cli_later; later->name; later++)
		if (same(later->group, group) && same(later->name, name))
			return later;
	return NULL;
}

static bool is_group(const char *word)
{
	for (size_t t = 0; t < TABLES; t++)
		for (const struct cli_verb *verb = tables[t]; verb->name;
		     verb++)
			if (same(verb->group, word))
				return true;
	for (const struct cli_later *later = cli_later; later->name; later++)
		if (same(later->group, word))
			return true;
	return false;
}

/* --- Help --------------------------------------------------------------- */

static void print_synopsis(const struct cli_verb *verb)
{
	int width = printf("  %s%s%s", verb->group ? verb->group : "",
			   verb->group ? " " : "", verb->name);

	if (verb->operands)
		width += printf(" %s", verb->operands);
	printf("%*s%s\n", width < 30 ? 30 - width : 1, "", verb->help);
}

static void print_options(const struct cli_verb *verb)
{
	for (const struct cli_option *option = verb->options;
	     option && option->name; option++) {
		int width = printf("      --%s", option->name);

		if (option->value)
			width += printf(" %s", option->value);
		printf("%*s%s\n", width < 30 ? 30 - width : 1, "",
		       option->help);
	}
}

/* 'group' NULL: everything, else one group with its options. */
static void print_verbs(const char *group)
{
	for (size_t t = 0; t < TABLES; t++)
		for (const struct cli_verb *verb = tables[t]; verb->name;
		     verb++) {
			if (group && !same(verb->group, group))
				continue;
			print_synopsis(verb);
			if (group)
				print_options(verb);
		}
}

static void print_later(const char *group)
{
	const char *last = NULL;
	bool any = false;

	for (const struct cli_later *later = cli_later; later->name; later++) {
		if (group && !same(later->group, group))
			continue;
		if (!any)
			printf("\nKnown, but not served by this version:\n ");
		any = true;
		if (!later->group)
			printf(" %s;", later->name);
		else if (last && same(last, later->group))
			printf("|%s", later->name);
		else
			printf(" %s %s", later->group, later->name);
		last = later->group;
		if (last && !same(later[1].group, last))
			printf(";");
	}
	if (any)
		printf("\n");
}

static int help(const char *group)
{
	printf("Usage: penstock [--api PATH|URL] %s [OPTION]... [--json]\n\n",
	       group ? group : "VERB");
	print_verbs(group);
	print_later(group);
	if (!group)
		printf("\nThe API is found by --api, else $PENSTOCK_API, else %s.\n"
		       "An https URL takes --cert FILE, --key FILE and --cacert FILE, else\n"
		       "$PENSTOCK_CERT, $PENSTOCK_KEY and $PENSTOCK_CACERT.\n"
		       "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by admission.\n"
		       "'penstock GROUP --help' and 'man penstock' tell more.\n",
		       CLIENT_DEFAULT_API);
	return CLI_DONE;
}

static int help_verb(const struct cli_verb *verb)
{
	printf("Usage: penstock %s%s%s%s%s [OPTION]...\n\n  %s\n\n",
	       verb->group ? verb->group : "", verb->group ? " " : "",
	       verb->name, verb->operands ? " " : "",
	       verb->operands ? verb->operands : "", verb->help);
	print_options(verb);
	printf("      --json                  one JSON value on one line\n"
	       "      --api PATH|URL          where penstockd answers\n"
	       "      --cert, --key, --cacert FILE  over https: ours, and whom to believe\n");
	return CLI_DONE;
}

/* --- Running ------------------------------------------------------------ */

static int not_served(const char *group, const char *name)
{
	fprintf(stderr,
		"penstock %s%s%s: not served by this version (" PENSTOCK_VERSION
		"): 'penstock --help' lists what is\n",
		group ? group : "", group ? " " : "", name);
	return CLI_FAILED;
}

static int no_such_verb(const char *group, const char *name)
{
	if (group && name)
		return cli_error(
			CLI_USAGE,
			"%s has no verb '%.60s': see 'penstock %s --help'",
			group, name, group);
	if (group)
		return cli_error(CLI_USAGE,
				 "%s needs a verb: see 'penstock %s --help'",
				 group, group);
	return cli_error(CLI_USAGE,
			 "unknown verb '%.60s': see 'penstock --help'", name);
}

static int run_verb(const struct cli_verb *verb, int argc, char **argv,
		    struct cli_common *common)
{
	struct cli cli = {0};
	struct cli_args args;
	struct error error;
	int status;

	if (cli_args_parse(verb, argc, argv, common, &args, &error) < 0)
		return cli_error(CLI_USAGE, "%s: see 'penstock %s%s%s --help'",
				 error.text, verb->group ? verb->group : "",
				 verb->group ? " " : "", verb->name);
	if (common->help)
		return help_verb(verb);
	cli.api = common->api;
	cli.cert = common->cert;
	cli.key = common->key;
	cli.cacert = common->cacert;
	cli.json = common->json;
	status = verb->run(&cli, &args);
	client_destroy(cli.client);
	return status;
}

/* Options before the verb.  Returns how many words they were, or -1 after
 * saying why (then '*ret_status' is the exit status). */
static int leading_options(int argc, char **argv, struct cli_common *common,
			   int *ret_status)
{
	static const struct cli_verb none = {.name = ""};
	struct cli_args args;
	struct error error;
	int count = 0;

	while (count < argc && argv[count][0] == '-') {
		if (strcmp(argv[count], "--version") == 0) {
			printf("penstock %s\n", PENSTOCK_VERSION);
			*ret_status = CLI_DONE;
			return -1;
		}
		count += cli_takes_value(argv[count]) && count + 1 < argc ? 2 :
									    1;
	}
	if (cli_args_parse(&none, count, argv, common, &args, &error) < 0) {
		*ret_status = cli_error(CLI_USAGE, "%s: see 'penstock --help'",
					error.text);
		return -1;
	}
	return count;
}

static int run(int argc, char **argv)
{
	struct cli_common common = {0};
	const char *group = NULL, *name;
	const struct cli_verb *verb;
	int status, count = leading_options(argc, argv, &common, &status);

	if (count < 0)
		return status;
	argc -= count;
	argv += count;
	if (argc == 0)
		return common.help ?
			help(NULL) :
			cli_error(CLI_USAGE,
				  "a verb is missing: see 'penstock --help'");
	name = argv[0];
	if (strcmp(name, "help") == 0)
		return help(argc > 1 && is_group(argv[1]) ? argv[1] : NULL);
	argc--;
	argv++;
	if (is_group(name)) {
		group = name;
		name = argc > 0 ? argv[0] : NULL;
		if (common.help ||
		    (name &&
		     (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)))
			return help(group);
		if (!name)
			return no_such_verb(group, NULL);
		argc--;
		argv++;
	}
	verb = find_verb(group, name);
	if (verb)
		return run_verb(verb, argc, argv, &common);
	if (find_later(group, name))
		return not_served(group, name);
	return no_such_verb(group, name);
}

/* Everything goes into JSON: what is no UTF-8 would be lost on the way.
 * Returns the place of the first such word, or 0. */
static int find_no_utf8(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		json_t *text = json_string(argv[i]);

		if (!text)
			return i;
		json_decref(text);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const int wrong = find_no_utf8(argc, argv);
	int status, error = 0;

	setlocale(LC_CTYPE, "");
	if (wrong)
		return cli_error(CLI_USAGE, "word %d is not UTF-8", wrong);
	status = run(argc - 1, argv + 1);
	/* A full disk is noticed here, or has been by an earlier write. */
	if (fflush(stdout) != 0)
		error = errno;
	if ((error || ferror(stdout)) && status == CLI_DONE)
		return cli_error(CLI_FAILED, "cannot write the answer%s%s",
				 error ? ": " : "",
				 error ? strerror(error) : "");
	return status;
}
