/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - penstock pool list | show | check
 */
#include "cli/ask.h"
#include "cli/list.h"

static int pool_list(struct cli *cli, const struct cli_args *args)
{
	(void)args;
	return list_ask(cli, "/v1/pools", list_pools);
}

static const struct list_field fields[] = {
	{"Pool", show_text, "name"},
	{"Devices", show_list, "devices"},
	{"Provisioning", show_text, "provisioning"},
	{"Size", show_size, "size_bytes"},
	{"Used", show_size, "allocated_bytes"},
	{"Free", show_size, "free_bytes"},
	{"Reserved", show_size, "reserved_bytes"},
	{"Of vdevs", show_size, "promised_bytes"},
	{"State", show_text, "state"},
	{"Error", show_text, "error"},
	{"Vdevs", show_list, "vdevs"},
	{"Promised", show_text, "combined_text"},
	{NULL, NULL, NULL},
};

/* First writes go where it says yes, as long as there is room. */
static void show_local(const json_t *thing, const char *key, char *cell,
		       size_t size)
{
	snprintf(cell, size, "%s",
		 json_is_true(json_object_get(thing, key)) ? "yes" : "no");
}

static const struct table_column members[] = {
	{"DEVICE", false, show_text, "name"},
	{"LOCAL", false, show_local, "is_local"},
	{"SIZE", true, show_size, "size_bytes"},
	{"USED", true, show_size, "allocated_bytes"},
	{"STATE", false, show_text, "state"},
	{"FAULT", false, show_text, "fault"},
	{NULL, false, NULL, NULL},
};

static int pool_show(struct cli *cli, const struct cli_args *args)
{
	json_t *pool;
	const int status = cli_ask_one(cli, "GET", "pools", args->operands[0],
				       "", NULL, &pool);

	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(pool);
	list_fields(fields, pool);
	if (json_array_size(json_object_get(pool, "members")) > 0) {
		printf("\n");
		table_print(members, json_object_get(pool, "members"));
	}
	json_decref(pool);
	return CLI_DONE;
}

const struct cli_verb cli_pool_verbs[] = {
	{"pool", "list", NULL, 0, 0, NULL, pool_list, "pools and their space"},
	{"pool", "show", "NAME", 1, 1, NULL, pool_show, "one pool"},
	{"pool", "check", "NAME|PATH...", 1, CLI_OPERANDS_MAX,
	 cli_check_options, cli_check,
	 "look at what lies on a pool's devices, offline"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
