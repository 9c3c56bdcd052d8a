/* SPDX-License-Identifier: Apache-2.0 */
/*
 * later.c - verbs of the contract that this version does not serve yet
 *
 * They are known, so that a script learns "not yet" and not "no such verb".
 */
#include "cli/cli.h"

const struct cli_later cli_later[] = {
	{"process", "migrate", "move a process to another host"},
	{NULL, "handover", "give a device to another owner"},
	{NULL, "upgrade", "replace running endpoint processes"},
	{"vm", "define", "describe a virtual machine"},
	{"vm", "start", "start a virtual machine"},
	{"vm", "stop", "stop it"},
	{"vm", "suspend", "suspend it"},
	{"vm", "resume", "resume it"},
	{"vm", "list", "all of them"},
	{"vm", "show", "one of them"},
	{"vm", "stats", "what it uses"},
	{"vm", "set", "change it"},
	{"vm", "attach", "give it a device"},
	{"vm", "detach", "take a device from it"},
	{"vm", "save", "save its state"},
	{"vm", "restore", "restore its state"},
	{"vm", "migrate", "move it to another host"},
	{"host", "list", "the hosts of the cluster"},
	{"host", "drain", "move everything off a host"},
	{"net", "status", "the host's network"},
	{"net", "flows", "flows and their classes"},
	{"net", "queues", "queues and who is on them"},
	{"net", "rules", "the rule set"},
	{"net", "probe", "measure a path"},
	{"net", "clear", "remove everything from the network"},
	{"app", "check", "check an application specification"},
	{"app", "apply", "apply one"},
	{"app", "list", "all of them"},
	{"app", "show", "one of them"},
	{"app", "delete", "forget one"},
	{NULL, "simulate", "run a scenario in a simulated data center"},
	{"lab", "up", "a cluster of namespaces on this machine"},
	{"lab", "status", "how it is"},
	{"lab", "down", "remove it"},
	{"lab", "exec", "run a command in it"},
	{NULL, NULL, NULL},
};
