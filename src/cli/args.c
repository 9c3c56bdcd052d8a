/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c - the words after a verb, by the verb's table
 */
#include "cli/args.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option no_options[] = {{NULL, NULL, NULL}};

/* What an option's word may be: its place in the table, or one of these. */
enum {
	COMMON_API = -1,
	COMMON_CERT = -2,
	COMMON_KEY = -3,
	COMMON_CACERT = -4,	/* those up to here take a value */
	COMMON_JSON = -5,
	COMMON_HELP = -6,
	UNKNOWN = -7,
};
#define COMMON_NAMES	6
static const char *const common_names[COMMON_NAMES] = {
	"api", "cert", "key", "cacert", "json", "help",
};

bool cli_takes_value(const char *word)
{
	for (int i = 0; i <= COMMON_API - COMMON_CACERT; i++)
		if (strncmp(word, "--", 2) == 0 &&
		    strcmp(word + 2, common_names[i]) == 0)
			return true;
	return false;
}

static int find_option(const struct cli_option *options, const char *name,
		       size_t length)
{
	for (int i = 0; options[i].name; i++)
		if (strlen(options[i].name) == length &&
		    memcmp(options[i].name, name, length) == 0)
			return i;
	for (int i = 0; i < COMMON_NAMES; i++)
		if (strlen(common_names[i]) == length &&
		    memcmp(common_names[i], name, length) == 0)
			return COMMON_API - i;
	return UNKNOWN;
}

/* Put an option where it belongs.  'value' is NULL for a flag. */
static int store(int which, const char *name, const char *value,
		 struct cli_common *common, struct cli_args *args,
		 struct error *reterr)
{
	switch (which) {
	case COMMON_API:
		common->api = value;
		return 0;
	case COMMON_CERT:
		common->cert = value;
		return 0;
	case COMMON_KEY:
		common->key = value;
		return 0;
	case COMMON_CACERT:
		common->cacert = value;
		return 0;
	case COMMON_JSON:
		common->json = true;
		return 0;
	case COMMON_HELP:
		common->help = true;
		return 0;
	default:
		assert(which >= 0 && which < (int)CLI_OPTIONS_MAX);
		if (args->options[which])
			return error_set(reterr, -EINVAL, "--%s is given twice",
					 name);
		args->options[which] = value ? value : "";
		return 0;
	}
}

/* One option at argv[*at]; '*at' goes behind it. */
static int take_option(const struct cli_option *options, int argc, char **argv,
		       int *at, struct cli_common *common,
		       struct cli_args *args, struct error *reterr)
{
	const char *word = argv[(*at)++];
	const char *name = strcmp(word, "-h") == 0 ? "help" : word + 2;
	const char *value = NULL;
	const size_t length = strcspn(name, "=");
	const int which = word[1] == '-' || strcmp(word, "-h") == 0 ?
		find_option(options, name, length) :
		UNKNOWN;
	const bool takes_value =
		(which <= COMMON_API && which >= COMMON_CACERT) ||
		(which >= 0 && options[which].value);

	if (which == UNKNOWN)
		return error_set(reterr, -EINVAL, "unknown option '%.60s'",
				 word);
	if (name[length] == '=') {
		value = name + length + 1;
		if (!takes_value)
			return error_set(reterr, -EINVAL,
					 "--%.*s takes no value", (int)length,
					 name);
	} else if (takes_value) {
		if (*at >= argc)
			return error_set(reterr, -EINVAL, "--%s needs a value",
					 name);
		value = argv[(*at)++];
	}
	if (which >= 0)
		name = options[which].name;
	return store(which, name, value, common, args, reterr);
}

int cli_args_parse(const struct cli_verb *verb, int argc, char **argv,
		   struct cli_common *common, struct cli_args *ret_args,
		   struct error *reterr)
{
	const struct cli_option *options =
		verb->options ? verb->options : no_options;
	struct cli_args args = {0};
	bool only_operands = false;

	assert(verb->operands_max <= CLI_OPERANDS_MAX);
	for (int at = 0; at < argc;) {
		const char *word = argv[at];

		if (!only_operands && strcmp(word, "--") == 0) {
			only_operands = true;
			at++;
		} else if (!only_operands && word[0] == '-' && word[1]) {
			if (take_option(options, argc, argv, &at, common, &args,
					reterr) < 0)
				return -EINVAL;
		} else if (args.operand_count == verb->operands_max) {
			return error_set(reterr, -EINVAL,
					 "'%.60s' is one word too many", word);
		} else {
			args.operands[args.operand_count++] = word;
			at++;
		}
	}
	if (args.operand_count < verb->operands_min && !common->help)
		return error_set(reterr, -EINVAL, "%s is missing",
				 verb->operands);
	*ret_args = args;
	return 0;
}

int cli_parse_number(const char *what, const char *text, uint64_t min,
		     uint64_t max, uint64_t *ret_number, struct error *reterr)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno ||
	    number < min || number > max)
		return error_set(
			reterr, -EINVAL,
			"%s '%.40s' must be a whole number from %llu to %llu",
			what, text, (unsigned long long)min,
			(unsigned long long)max);
	*ret_number = number;
	return 0;
}

int cli_parse_seconds(const char *what, const char *text, uint64_t *ret_ns,
		      struct error *reterr)
{
	char *end;
	const double seconds = strtod(text, &end);

	if (text[0] < '0' || text[0] > '9' ||
	    (*end != '\0' && strcmp(end, "s") != 0) || !isfinite(seconds) ||
	    seconds < 0.05 || seconds > 86400)
		return error_set(
			reterr, -EINVAL,
			"%s '%.40s' must be seconds from 0.05 to 86400", what,
			text);
	*ret_ns = (uint64_t)(seconds * 1e9);
	return 0;
}
