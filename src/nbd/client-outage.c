/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-outage.c - connections that come and go, and what becomes of the
 * commands meanwhile; see client.h and client-data.h
 *
 * The clock of an outage starts when the last connection is lost, and is set
 * back by answers only: a server that accepts connections and ends each does
 * not keep requests waiting longer than one that is gone.
 */
#include "nbd/client-data.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/container.h"
#include "block/kinds.h"

/* Then doubled, up to the next. */
#define ASK_FIRST_NS		UINT64_C(100000000)
#define ASK_NS			UINT64_C(1000000000)
#define ASK_SECOND_NS		UINT64_C(30000000000)
#define HANDSHAKE_NS		UINT64_C(10000000000)
#define SILENCE_MS		20000U

/* ---- which link ---- */

static bool serves(const struct client_link *link)
{
	return link && link->serving && !link->leaving && !link->lost;
}

/* Large ones go by the second link: who has a small one does not wait for
 * theirs to go through the socket. */
static struct client_link *choose(const struct client *client,
				  const struct command *command)
{
	struct client_link *bulk = client->links[1];
	struct client_link *small = client->links[0];

	if (!serves(bulk))
		return serves(small) ? small : NULL;
	if (!serves(small))
		return bulk;
	return (command->wire.command == WIRE_READ ||
		command->wire.command == WIRE_WRITE) &&
			command->wire.length_bytes > CLIENT_BULK_BYTES ?
		bulk :
		small;
}

/* Among the homeless by its age: nearly always it is the youngest. */
static void put_homeless(struct client *client, struct command *command)
{
	struct command_list *list = &client->homeless;
	struct command *older = list->last;

	command->link = NULL;
	while (older && older->sequence > command->sequence)
		older = older->before;
	if (older == list->last) {
		command_list_add(list, command);
		return;
	}
	command->before = older;
	command->next = older ? older->next : list->first;
	command->next->before = command;
	if (older)
		older->next = command;
	else
		list->first = command;
}

void client_route(struct client *client, struct command *command)
{
	struct client_link *link = choose(client, command);

	if (!link) {
		put_homeless(client, command);
		return;
	}
	command->link = link;
	command_list_add(&link->queue, command);
	if (!link->blocked)
		link_heat(link);
}

static void house_all(struct client *client)
{
	struct command_list list = client->homeless;

	client->homeless = (struct command_list){0};
	while (list.first) {
		struct command *command = list.first;

		command_list_remove(&list, command);
		client_route(client, command);
	}
}

/* ---- asking for connections ---- */

static unsigned int wanted(const struct client *client)
{
	const bool many = client->config.connections > 1 && client->ready &&
		(client->export.flags & WIRE_CAN_MULTI_CONN);

	return many ? CLIENT_CONNECTIONS_MAX : 1;
}

bool client_is_missing(const struct client *client)
{
	for (unsigned int i = 0; i < wanted(client); i++)
		if (!client->links[i])
			return true;
	return false;
}

static void ask(struct client *client, uint64_t now_ns)
{
	if (!client_is_missing(client))
		return;
	loop_timer_set(client->config.loop, &client->again,
		       now_ns + client->ask_ns);
	if (client->ask_ns < ASK_NS)
		client->ask_ns *= 2;
	client->config.ops->want(client->config.arg);
}

static void again_expired(struct loop_timer *timer, uint64_t now_ns)
{
	ask(container_of(timer, struct client, again), now_ns);
}

/* Has the other host acknowledged nothing of what was sent for that long?  A
 * server that is only slow is not given up: it may still do what it has. */
static bool is_silent(const struct client_link *link)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	if (getsockopt(link->stream.fd, IPPROTO_TCP, TCP_INFO, &info, &length) <
	    0)
		return false;	/* a unix socket */
	return info.tcpi_unacked > 0 && info.tcpi_last_ack_recv > SILENCE_MS &&
		info.tcpi_last_data_sent > SILENCE_MS;
}

static void look_at(struct client_link *link, uint64_t now_ns)
{
	if (link->greet && now_ns - link->since_ns >= HANDSHAKE_NS)
		link_fail(link, "the server's handshake takes too long");
	else if (!link->greet && is_silent(link))
		link_fail(link, "the server's host does not answer");
	else
		return;
	link_heat(link);
}

/* Once a second. */
static void look_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct client *client = container_of(timer, struct client, look);

	loop_timer_set(client->config.loop, timer, now_ns + ASK_NS);
	for (unsigned int i = 0; i < CLIENT_CONNECTIONS_MAX; i++)
		if (client->links[i])
			look_at(client->links[i], now_ns);
}

/* ---- the end of patience ---- */

static void expire(struct client *client)
{
	struct command_list list = client->homeless;
	struct block_request *waiting = client->waiting;
	const struct error error = {"no connection for too long: requests "
				    "fail until there is one"};

	if (client->expired)
		return;
	client->expired = true;
	client->homeless = (struct command_list){0};
	client->waiting = NULL;
	client->waiting_end = &client->waiting;
	client->config.ops->report(client->config.arg, &error);
	while (list.first) {
		struct command *command = list.first;

		command_list_remove(&list, command);
		command_fail(command, -EIO);
	}
	while (waiting) {
		struct block_request *request = waiting;

		waiting = request->next;
		block_end(request, -EIO);
	}
}

static void outage_expired(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	expire(container_of(timer, struct client, outage));
}

void client_progress(struct client *client)
{
	client->progress = true;
	client->ask_ns = ASK_FIRST_NS;
}

static bool any_serves(const struct client *client)
{
	for (unsigned int i = 0; i < CLIENT_CONNECTIONS_MAX; i++)
		if (client->links[i] && client->links[i]->serving)
			return true;
	return false;
}

static void outage_begins(struct client *client, uint64_t now_ns)
{
	if (client->progress || client->outage_since_ns == 0)
		client->outage_since_ns = now_ns;
	client->progress = false;
	loop_timer_set(client->config.loop, &client->outage,
		       client->outage_since_ns + client->config.reconnect_ns);
}

/* ---- a link is lost ---- */

/* Flushes that wait are of writes that may be lost: they must not be
 * acknowledged. */
struct doomed {
	struct command_list commands;
	struct block_request *requests, **end;	/* that had no command */
};

static void doom_waiting(struct client *client, struct doomed *doomed)
{
	struct block_request **link = &client->waiting;

	while (*link) {
		struct block_request *request = *link;

		if (request->op != BLOCK_FLUSH) {
			link = &request->next;
			continue;
		}
		*link = request->next;
		request->next = NULL;
		*doomed->end = request;
		doomed->end = &request->next;
	}
	client->waiting_end = link;
}

static void doom_flushes(struct client *client, struct doomed *doomed)
{
	struct command *command = client->homeless.first;

	while (command) {
		struct command *next = command->next;

		if (command->wire.command == WIRE_FLUSH) {
			command_list_remove(&client->homeless, command);
			command_list_add(&doomed->commands, command);
		}
		command = next;
	}
	doom_waiting(client, doomed);
}

/* Last: when they were the only ones, the client may be gone. */
static void fail_doomed(struct doomed *doomed)
{
	struct block_request *request = doomed->requests;

	while (doomed->commands.first) {
		struct command *command = doomed->commands.first;

		command_list_remove(&doomed->commands, command);
		command_fail(command, -EIO);
	}
	while (request) {
		struct block_request *next = request->next;

		block_end(request, -EIO);
		request = next;
	}
}

/* Are there acknowledged writes that nobody can vouch for? */
static void count_losses(struct client *client, struct doomed *doomed)
{
	if (client->config.unflushed != CLIENT_UNFLUSHED_LOST ||
	    !(client->export.flags & WIRE_SEND_FLUSH) ||
	    client->changes == client->flushed)
		return;
	client->device.losses++;
	client->flushed = client->changes;
	doom_flushes(client, doomed);
	client->flush_fails = !doomed->commands.first && !doomed->requests;
}

/* Its commands begin anew, with cookies that it never knew. */
static void take_commands(struct client *client, struct command_list *from)
{
	while (from->first) {
		struct command *command = from->first;

		command_list_remove(from, command);
		client->status.replayed += command->sent;
		command_again(command);
		put_homeless(client, command);
	}
}

static void fail_opening(struct client *client, const struct client_link *link)
{
	const struct error error = link->why;

	client->config.ops->ready(client->config.arg, -ECONNREFUSED, &error);
}

void client_link_down(struct client_link *link)
{
	struct client *client = link->client;
	const uint64_t now_ns = loop_now_ns(client->config.loop);
	const bool served = link->serving;
	struct doomed doomed = {.end = &doomed.requests};

	client->links[link->number] = NULL;
	link_orphan(link);
	if (!client->ready) {
		fail_opening(client, link);
		return;
	}
	client->config.ops->report(client->config.arg, &link->why);
	/* One that ends at once is not asked for at once. */
	if (served && now_ns - link->since_ns >= ASK_NS)
		ask(client, now_ns);
	else
		loop_timer_set(client->config.loop, &client->again,
			       now_ns +
				       (any_serves(client) ? ASK_SECOND_NS :
							     client->ask_ns));
	if (!served)
		return;
	client->status.lost++;
	take_commands(client, &link->sent);
	take_commands(client, &link->queue);
	count_losses(client, &doomed);
	if (any_serves(client))
		house_all(client);
	else
		outage_begins(client, now_ns);
	fail_doomed(&doomed);
}

/* ---- a link comes up ---- */

static bool check_first(const struct client_config *config,
			const struct client_link *link, struct error *reterr)
{
	const struct wire_export *export = &link->greet->export;

	if (config->size_bytes > export->size_bytes)
		error_set(reterr, -ENOSPC,
			  "%" PRIu64
			  " bytes are wanted, the export has %" PRIu64,
			  config->size_bytes, export->size_bytes);
	else if (!config->read_only && (export->flags & WIRE_READ_ONLY))
		error_set(reterr, -EROFS,
			  "the export is read-only: say 'read-only: true'");
	else if (config->unflushed == CLIENT_UNFLUSHED_NONE &&
		 !(export->flags & WIRE_SEND_FUA))
		error_set(
			reterr, -EOPNOTSUPP,
			"'unflushed: none' needs a server that has FUA; say 'lost' or 'kept'");
	else
		return true;
	return false;
}

static bool check_later(const struct client *client,
			const struct client_link *link, struct error *reterr)
{
	return greet_is_same_export(&client->export, &link->greet->export,
				    reterr);
}

/* What the export is: what the device is from now on. */
static void become_ready(struct client *client,
			 const struct wire_export *export)
{
	struct block_device *device = &client->device;

	client->export = *export;
	client->ready = true;
	device->block_size = export->block_min > BLOCK_SIZE_BYTES ?
		export->block_min :
		BLOCK_SIZE_BYTES;
	device->size_bytes = client->config.size_bytes ?
		client->config.size_bytes :
		export->size_bytes;
	device->size_bytes -= device->size_bytes % device->block_size;
	client->piece_bytes =
		export->block_max - export->block_max % device->block_size;
	client->config.ops->ready(client->config.arg, 0, NULL);
}

bool client_link_up(struct client_link *link)
{
	struct client *client = link->client;
	struct error error;

	if (client->ready ? !check_later(client, link, &error) :
			    !check_first(&client->config, link, &error)) {
		link_fail(link, "%s", error.text);
		return false;
	}
	link->structured = link->greet->structured;
	link->serving = true;
	link->since_ns = loop_now_ns(client->config.loop);
	client->expired = false;
	client->status.connects++;
	loop_timer_cancel(client->config.loop, &client->outage);
	if (!client->ready)
		become_ready(client, &link->greet->export);
	house_all(client);
	ask(client, link->since_ns);
	return true;
}

/* ---- life ---- */

int client_outage_init(struct client *client)
{
	struct loop *loop = client->config.loop;
	int rc = loop_timer_init(loop, &client->outage, outage_expired);

	client->ask_ns = ASK_FIRST_NS;
	if (rc == 0)
		rc = loop_timer_init(loop, &client->again, again_expired);
	if (rc == 0)
		rc = loop_timer_init(loop, &client->look, look_expired);
	if (rc == 0)
		loop_timer_set(loop, &client->look, loop_now_ns(loop) + ASK_NS);
	return rc;
}

void client_outage_finish(struct client *client)
{
	loop_timer_finish(client->config.loop, &client->outage);
	loop_timer_finish(client->config.loop, &client->again);
	loop_timer_finish(client->config.loop, &client->look);
}
