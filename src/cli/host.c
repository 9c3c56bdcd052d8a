/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - penstock events, penstock enforce
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/client.h"
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/list.h"

/* --- events ------------------------------------------------------------- */

struct follower {
	struct client_follower base;	/* first */
	bool json;
	uint64_t left;			/* events still to show */
};

static void print_event(const json_t *event)
{
	const double seconds =
		json_number_value(json_object_get(event, "time"));
	const time_t whole = (time_t)seconds;
	const char *kind = json_string_value(json_object_get(event, "kind"));
	const char *text = json_string_value(json_object_get(event, "text"));
	struct tm local;
	char stamp[32] = "-";

	if (localtime_r(&whole, &local))
		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &local);
	printf("%s.%03d %-18s %s\n", stamp,
	       (int)((seconds - (double)whole) * 1000), kind ? kind : "?",
	       text ? text : "");
}

static bool on_event(struct client_follower *base, const json_t *event)
{
	struct follower *follower = (struct follower *)base;

	if (follower->json)
		list_json(json_incref((json_t *)(uintptr_t)event));
	else
		print_event(event);
	if (fflush(stdout) != 0)
		return false;
	return --follower->left > 0;
}

enum { EVENTS_AFTER, EVENTS_COUNT };
static const struct cli_option events_options[] = {
	[EVENTS_AFTER] =
		{"after", "N",
		 "begin after event number N; 0: with the oldest remembered"},
	[EVENTS_COUNT] = {"count", "N", "stop after N events"},
	{NULL, NULL, NULL},
};

static int events(struct cli *cli, const struct cli_args *args)
{
	const char *after_text = args->options[EVENTS_AFTER];
	const char *count_text = args->options[EVENTS_COUNT];
	struct follower follower = {
		.base = {on_event},
		.json = cli->json,
		.left = UINT64_MAX,
	};
	uint64_t after = UINT64_MAX;
	struct client *client;
	struct error error;

	if ((after_text &&
	     cli_parse_number("--after", after_text, 0, UINT64_MAX - 1, &after,
			      &error) < 0) ||
	    (count_text &&
	     cli_parse_number("--count", count_text, 1, UINT64_MAX - 1,
			      &follower.left, &error) < 0))
		return cli_error(CLI_USAGE, "%s", error.text);
	client = cli_client(cli);
	if (!client)
		return CLI_USAGE;
	if (client_follow(client, after, &follower.base, &error) < 0)
		return cli_error(CLI_FAILED, "%s", error.text);
	return CLI_DONE;
}

/* --- enforce ------------------------------------------------------------ */

static int enforce(struct cli *cli, const struct cli_args *args)
{
	const bool on = strcmp(args->operands[0], "on") == 0;
	json_t *answer;
	int status;

	if (!on && strcmp(args->operands[0], "off") != 0)
		return cli_error(CLI_USAGE,
				 "enforce: '%.40s' must be on or off",
				 args->operands[0]);
	status = cli_ask(cli, "POST", "/v1/enforce",
			 json_pack("{s:b}", "on", on), &answer);
	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(answer);
	json_decref(answer);
	printf(on ? "promises are enforced\n" :
		    "promises are NOT enforced until 'penstock enforce on'\n");
	return CLI_DONE;
}

const struct cli_verb cli_host_verbs[] = {
	{NULL, "events", NULL, 0, 0, events_options, events,
	 "follow what happens"},
	{NULL, "enforce", "on|off", 1, 1, NULL, enforce,
	 "scheduling on or off, for demonstrations and benchmarks"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
