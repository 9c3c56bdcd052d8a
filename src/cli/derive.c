/* SPDX-License-Identifier: Apache-2.0 */
/*
 * derive.c - penstock process derive, penstock report: from history
 */
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/ask.h"
#include "cli/list.h"
#include "sla/derive.h"

/* --- process derive ------------------------------------------------------ */

enum { WINDOW, PERCENTILE, HEADROOM, SPLIT, ACCEPT, KEEP_UP };

static const struct cli_option derive_options[] = {
	[WINDOW] = {"window", "SPAN", "of the last 30min, 1h, 7d, ... (1h)"},
	[PERCENTILE] = {"percentile", "N",
			"what so much of the time was enough (100: the top)"},
	[HEADROOM] = {"headroom", "N%", "so much more (0%)"},
	[SPLIT] = {"split", NULL, "reads and writes apart"},
	[ACCEPT] = {"accept", NULL, "promise it"},
	[KEEP_UP] = {"keep-up", NULL,
		     "promise it, and derive it again each minute"},
	{NULL, NULL, NULL},
};

/* "N %" of a share. */
static void show_share(const json_t *thing, const char *key, char *cell,
		       size_t size)
{
	const json_t *share = table_get(thing, key);

	if (json_is_number(share))
		snprintf(cell, size, "%.4g %%", 100 * json_number_value(share));
	else
		snprintf(cell, size, "-");
}

static void show_span(const json_t *thing, const char *key, char *cell,
		      size_t size)
{
	const json_int_t span_s = json_integer_value(table_get(thing, key));

	if (span_s % 86400 == 0)
		snprintf(cell, size, "%lld d", (long long)span_s / 86400);
	else if (span_s % 3600 == 0)
		snprintf(cell, size, "%lld h", (long long)span_s / 3600);
	else if (span_s % 60 == 0)
		snprintf(cell, size, "%lld min", (long long)span_s / 60);
	else
		snprintf(cell, size, "%lld s", (long long)span_s);
}

static void show_percentile(const json_t *thing, const char *key, char *cell,
			    size_t size)
{
	const double percent = json_number_value(table_get(thing, key));

	if (percent < 100)
		snprintf(cell, size, "%g", percent);
	else
		snprintf(cell, size, "100 (the top)");
}

/* A text, or that it is none. */
static void show_text_or_none(const json_t *thing, const char *key, char *cell,
			      size_t size)
{
	show_text(thing, key, cell, size);
	if (strcmp(cell, "-") == 0 || cell[0] == '\0')
		snprintf(cell, size, "nothing");
}

static const struct list_field proposal_fields[] = {
	{"Process", show_number, "pasid"},
	{"Name", show_text, "name"},
	{"Vdev", show_text, "vdev"},
	{"Window", show_span, "window_s"},
	{"Busy seconds", show_number, "observed.seconds"},
	{"Percentile", show_percentile, "percentile"},
	{"Head-room", show_share, "headroom"},
	{"Top IOPS", show_number, "observed.iops"},
	{"  read", show_number, "observed.read_iops"},
	{"  write", show_number, "observed.write_iops"},
	{"Top bandwidth", show_rate, "observed.bandwidth_bytes_per_s"},
	{"  read", show_rate, "observed.read_bandwidth_bytes_per_s"},
	{"  write", show_rate, "observed.write_bandwidth_bytes_per_s"},
	{"Worst p99", show_duration, "observed.latency_p99_ns"},
	{"Stated", show_text_or_none, "stated_text"},
	{"Proposed", show_text_or_none, "proposed_text"},
	{NULL, NULL, NULL},
};

static int print_proposal(const struct cli *cli, json_t *proposal)
{
	const json_t *bounded = json_object_get(proposal, "bounded");
	const json_t *text;
	size_t i;

	if (cli->json)
		return list_json(proposal);
	list_fields(proposal_fields, proposal);
	json_array_foreach((json_t *)(uintptr_t)bounded, i, text)
	{
		printf("%-14s%s\n", "At its limit", json_string_value(text));
	}
	json_decref(proposal);
	return CLI_DONE;
}

static int check_words(const char *const *options, struct error *reterr)
{
	uint32_t value;

	if ((options[WINDOW] &&
	     derive_parse_window(options[WINDOW], &value, reterr) < 0) ||
	    (options[PERCENTILE] &&
	     derive_parse_percentile(options[PERCENTILE], &value, reterr) <
		     0) ||
	    (options[HEADROOM] &&
	     derive_parse_headroom(options[HEADROOM], &value, reterr) < 0))
		return CLI_USAGE;
	return CLI_DONE;
}

static int process_derive(struct cli *cli, const struct cli_args *args)
{
	const char *const *options = args->options;
	const bool accepts = options[ACCEPT] || options[KEEP_UP];
	int status = list_check_pasid(args->operands[0]);
	json_t *body, *answer;
	struct error error;

	if (status != CLI_DONE)
		return status;
	if (check_words(options, &error) != CLI_DONE)
		return cli_error(CLI_USAGE, "%s", error.text);
	body = json_object();
	cli_set_text(body, "window", options[WINDOW]);
	cli_set_text(body, "percentile", options[PERCENTILE]);
	cli_set_text(body, "headroom", options[HEADROOM]);
	if (options[SPLIT])
		json_object_set_new(body, "split", json_true());
	if (options[KEEP_UP])
		json_object_set_new(body, "keep-up", json_true());
	status = cli_ask_one(cli, "POST", "processes", args->operands[0],
			     accepts ? "/derive/accept" : "/derive", body,
			     &answer);
	if (status != CLI_DONE)
		return status;
	if (!accepts)
		return print_proposal(cli, answer);
	return list_process_result(
		cli, options[KEEP_UP] ? "is kept up" : "changed", answer);
}

/* --- report -------------------------------------------------------------- */

enum { SINCE };

static const struct cli_option report_options[] = {
	[SINCE] = {"since", "SPAN", "of the last 1h, 24h, 7d, ... (24h)"},
	{NULL, NULL, NULL},
};

static void show_gone(const json_t *thing, const char *key, char *cell,
		      size_t size)
{
	snprintf(cell, size, "%s", table_get(thing, key) ? "released" : "-");
}

static const struct table_column report_columns[] = {
	{"PASID", true, show_number, "pasid"},
	{"NAME", false, show_text, "name"},
	{"VDEV", false, show_text, "vdev"},
	{"KEPT", true, show_share, "kept_share"},
	{"BROKEN-SECONDS", true, show_number, "broken_s"},
	{"REQUESTS", true, show_number, "requests"},
	{"TOP-IOPS", true, show_number, "iops"},
	{"TOP-BANDWIDTH", true, show_rate, "bandwidth_bytes_per_s"},
	{"WORST-P99", true, show_duration, "latency_p99_ns"},
	{"STATE", false, show_gone, "released"},
	{NULL, false, NULL, NULL},
};

static int report(struct cli *cli, const struct cli_args *args)
{
	const char *since = args->options[SINCE];
	json_t *answer, *processes;
	uint32_t window_s = 86400;
	struct error error;
	char path[64];
	int status;

	if (since && derive_parse_window(since, &window_s, &error) < 0)
		return cli_error(CLI_USAGE, "--since: %s", error.text);
	snprintf(path, sizeof(path), "/v1/report?since=%us", window_s);
	status = cli_ask(cli, "GET", path, NULL, &answer);
	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(answer);
	processes = json_incref(json_object_get(answer, "processes"));
	json_decref(answer);
	return list_print(cli, report_columns, processes);
}

const struct cli_verb cli_derive_verbs[] = {
	{"process", "derive", "PASID", 1, 1, derive_options, process_derive,
	 "propose a promise from what it was seen to use"},
	{NULL, "report", NULL, 0, 0, report_options, report,
	 "what was used, and whether promises were kept"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
