/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint-meet.c - getting to know an endpoint: hello, what statistics it
 * writes, what it has
 *
 * Ends with 'met' or 'unmet' of the endpoint, which endpoint.c sets.
 */
#include "host/endpoint-data.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/stats.h"
#include "host/spawn.h"

static void list_answered(void *arg, struct link_reply *reply);

static void ask_list(struct endpoint *endpoint, json_int_t from)
{
	link_request(&endpoint->link,
		     json_pack("{s:s, s:I}", "op", "list", "from", from), -1,
		     list_answered, endpoint);
}

/* A slot is an index into the statistics: is each one inside? */
static bool slots_fit(const json_t *items, json_int_t slots)
{
	const json_t *item;
	json_int_t slot;
	size_t i;

	json_array_foreach(items, i, item)
	{
		slot = json_integer_value(json_object_get(item, "slot"));
		if (slot < 0 || slot >= slots)
			return false;
	}
	return true;
}

/* Add a part of the list to what was gathered before. */
static int gather(json_t *list, const json_t *part)
{
	static const char *const keys[] = {
		"devices", "pools",	"members",
		"vdevs",   "processes", "listeners",
	};
	unsigned int i;

	if (!slots_fit(json_object_get(part, "devices"), STATS_DEVICES) ||
	    !slots_fit(json_object_get(part, "pools"), STATS_POOLS) ||
	    !slots_fit(json_object_get(part, "vdevs"), STATS_PROCESSES) ||
	    !slots_fit(json_object_get(part, "processes"), STATS_PROCESSES))
		return -EBADMSG;
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *all = json_object_get(list, keys[i]);
		json_t *more = json_object_get(part, keys[i]);

		if (!all) {
			all = json_array();
			json_object_set_new(list, keys[i], all);
		}
		if (more && json_array_extend(all, more) < 0)
			return -EBADMSG;
	}
	json_object_set(list, "enforce", json_object_get(part, "enforce"));
	return 0;
}

static void list_answered(void *arg, struct link_reply *reply)
{
	struct endpoint *endpoint = arg;
	json_t *next;

	if (reply->result == -ECONNRESET ||
	    endpoint->state == ENDPOINT_STOPPING)
		return;
	if (!endpoint->list)
		endpoint->list = json_object();
	if (reply->result < 0 || gather(endpoint->list, reply->reply) < 0) {
		endpoint->unmet(
			endpoint,
			"it does not say what it has, or what cannot be");
		return;
	}
	next = json_object_get(reply->reply, "next");
	if (next)
		ask_list(endpoint, json_integer_value(next));
	else
		endpoint->met(endpoint);
}

/* An adopted endpoint has a segment of its own. */
static void stats_answered(void *arg, struct link_reply *reply)
{
	struct endpoint *endpoint = arg;
	struct stats_segment *stats;

	if (reply->result == -ECONNRESET ||
	    endpoint->state == ENDPOINT_STOPPING)
		return;
	if (reply->result < 0 || reply->fd < 0 ||
	    spawn_stats_map(reply->fd, &stats) < 0) {
		endpoint->unmet(
			endpoint,
			"its statistics are of another version, or not sealed");
		return;
	}
	spawn_stats_unmap(endpoint->stats);
	close(endpoint->stats_fd);
	endpoint->stats = stats;
	endpoint->stats_fd = reply->fd;
	reply->fd = -1;
	endpoint->started_ns = loop_clock_ns();
	ask_list(endpoint, 0);
}

static void ignore_answer(void *arg, struct link_reply *reply)
{
	(void)arg;
	(void)reply;
}

void endpoint_ask_drain(struct endpoint *endpoint)
{
	link_request(&endpoint->link, json_pack("{s:s}", "op", "drain"), -1,
		     ignore_answer, NULL);
}

/* Is it the process that we started, or have a record of?  Its own word for
 * its number is never enough. */
static bool is_known(const struct endpoint *endpoint, const json_t *hello)
{
	return endpoint->pidfd >= 0 &&
		json_integer_value(json_object_get(hello, "pid")) ==
		(json_int_t)endpoint->pid;
}

/* A stranger, or one of another version: nothing else that it says is looked
 * at.  It is left to finish; ours is started when it has ended. */
static bool is_ours(struct endpoint *endpoint, const struct link_reply *reply)
{
	json_t *hello = reply->reply;
	const char *name = json_string_value(json_object_get(hello, "name"));
	json_int_t version =
		json_integer_value(json_object_get(hello, "version"));

	if (reply->result < 0)
		endpoint_tell(
			endpoint, "error",
			"endpoint %s is of another version (%s, this penstockd version %d): it is drained, then one of this version started",
			endpoint->config.name, reply->text, CTL_VERSION);
	else if (version != CTL_VERSION)
		endpoint_tell(
			endpoint, "error",
			"endpoint %s is of another version (it speaks version %d of the control protocol, this penstockd version %d): it is drained, then one of this version started",
			endpoint->config.name, (int)version, CTL_VERSION);
	else if (!name || strcmp(name, endpoint->config.name) != 0)
		endpoint_tell(
			endpoint, "error",
			"endpoint %s: another one answers at its socket: it is drained, then this one started",
			endpoint->config.name);
	else
		return true;
	return false;
}

static void hello_answered(void *arg, struct link_reply *reply)
{
	struct endpoint *endpoint = arg;
	const json_t *hello = reply->reply;

	if (reply->result == -ECONNRESET ||
	    endpoint->state == ENDPOINT_STOPPING)
		return;
	if (!is_ours(endpoint, reply)) {
		endpoint->is_draining = true;
		endpoint_set_timer(endpoint, ENDPOINT_STOP_NS);
		endpoint_ask_drain(endpoint);
		return;
	}
	if (!is_known(endpoint, hello)) {
		endpoint->unmet(endpoint,
				"it is not the process that was started");
		return;
	}
	if (endpoint->adopted)
		link_request(&endpoint->link,
			     json_pack("{s:s, s:s}", "op", "descriptor", "kind",
				       "stats"),
			     -1, stats_answered, endpoint);
	else
		ask_list(endpoint, 0);
}

/* Connect and say hello.  Returns 0 or why nobody is there. */
int endpoint_connect(struct endpoint *endpoint)
{
	int fd, ret;

	ret = spawn_connect(endpoint->control_path, &fd);
	if (ret < 0)
		return ret;
	ret = link_open(&endpoint->link, fd);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	json_decref(endpoint->list);
	endpoint->list = NULL;
	link_request(
		&endpoint->link,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1, hello_answered, endpoint);
	return 0;
}
