/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - penstock pool list | show | check
 */
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
	{"Sizes of vdevs", show_size, "promised_bytes"},
	{"State", show_text, "state"},
	{"Error", show_text, "error"},
	{"Vdevs", show_list, "vdevs"},
	{"Promised", show_text, "combined_text"},
	{NULL, NULL, NULL},
};

static int pool_show(struct cli *cli, const struct cli_args *args)
{
	return list_one(cli, "pools", args->operands[0], fields);
}

const struct cli_verb cli_pool_verbs[] = {
	{"pool", "list", NULL, 0, 0, NULL, pool_list, "pools and their space"},
	{"pool", "show", "NAME", 1, 1, NULL, pool_show, "one pool"},
	{"pool", "check", "NAME|PATH...", 1, CLI_OPERANDS_MAX,
	 cli_check_options, cli_check,
	 "look at what lies on a pool's devices, offline"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
