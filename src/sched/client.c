/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - clients and groups come, change and go
 *
 * Nothing here is on the way of a request.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/charge.h"
#include "sched/lane.h"
#include "sched/place.h"
#include "sched/sched.h"
#include "sched/state.h"
#include "sched/terms.h"
#include "sched/window.h"

void client_apply_all(struct sched *sched)
{
	sched->least_bound_ns = UINT32_MAX;
	for (uint32_t i = 0; i < sched->clients_made; i++) {
		struct sched_client *client = client_at(sched, i);

		if (client_rest(client)->in_use)
			terms_apply(client, &client_rest(client)->params,
				    sched->now_ns);
	}
}

/* Only where it is worth the effort. */
static void look_ahead(struct sched *sched)
{
	const uint32_t ahead =
		sched->clients < PLACE_LOOK_CLIENTS ? 1 : WHEEL_AHEAD;

	sched->limits.ahead = ahead;
	sched->dues.ahead = ahead;
	sched->due.ahead = ahead;
	sched->spare.ahead = ahead;
}

/* Room in the queues for this many clients: two lanes each, twice while they
 * are being replaced, and as many invalid entries as lane_clean leaves. */
static int make_room(struct sched *sched, uint32_t clients)
{
	uint32_t room = sched->room ? sched->room : 16;

	while (room < clients)
		room *= 2;
	if (wheel_reserve(&sched->limits, 5 * room) < 0 ||
	    wheel_reserve(&sched->dues, 5 * room) < 0 ||
	    wheel_reserve(&sched->due, 5 * room) < 0 ||
	    wheel_reserve(&sched->spare, 5 * room) < 0)
		return -ENOMEM;
	sched->room = room;
	return 0;
}

static void slot_give_back(struct sched *sched, struct sched_client *client)
{
	struct client_rest *rest = client_rest(client);

	rest->in_use = false;
	rest->next_free = sched->client_free;
	sched->client_free = client_index(client) + 1;
}

/* A free slot, from a new chunk if need be. */
static struct sched_client *slot_take(struct sched *sched, struct error *reterr,
				      int *reterr_code)
{
	const uint32_t index = sched->clients_made;
	struct client_rest **chunk;

	if (sched->client_free) {
		struct sched_client *client =
			client_at(sched, sched->client_free - 1);

		sched->client_free = client_rest(client)->next_free;
		return client;
	}
	if (index == SCHED_CLIENTS_MAX) {
		*reterr_code = error_set(reterr, -EINVAL,
					 "a device serves %u processes at most",
					 SCHED_CLIENTS_MAX);
		return NULL;
	}
	chunk = &sched->table->chunks[index >> CHUNK_BITS];
	if (!*chunk) {
		*chunk = calloc(CHUNK_CLIENTS, sizeof(**chunk));
		if (!*chunk) {
			*reterr_code = error_set(reterr, -ENOMEM,
						 "no memory for a process");
			return NULL;
		}
	}
	if (make_room(sched, index + 1) < 0) {
		*reterr_code =
			error_set(reterr, -ENOMEM, "no memory for a process");
		return NULL;
	}
	sched->clients_made++;
	client_at(sched, index)->id = index << 1;
	return client_at(sched, index);
}

static int group_join(struct sched_group *group, struct sched_client *client,
		      struct error *reterr)
{
	struct client_rest *rest = client_rest(client);

	for (unsigned int d = 0; d < 2; d++) {
		struct group_lane *lane = &group->lanes[d];
		uint32_t room = lane->due.capacity;

		if (group->members == room)
			room = room ? 2 * room : 8;
		if (heap_reserve(&lane->due, room) < 0 ||
		    heap_reserve(&lane->spare, room) < 0)
			return error_set(reterr, -ENOMEM,
					 "no memory for a process");
	}
	group->members++;
	rest->group = group;
	rest->next_of_group = group->clients;
	rest->link_of_group = &group->clients;
	if (group->clients)
		client_rest(group->clients)->link_of_group =
			&rest->next_of_group;
	group->clients = client;
	return 0;
}

static void group_leave(struct client_rest *rest)
{
	*rest->link_of_group = rest->next_of_group;
	if (rest->next_of_group)
		client_rest(rest->next_of_group)->link_of_group =
			rest->link_of_group;
	rest->group->members--;
}

int sched_client_create(struct sched *sched, struct sched_group *group,
			const struct sched_params *params, uint64_t now_ns,
			struct sched_client **ret_client, struct error *reterr)
{
	struct sched_client *client;
	struct client_rest *rest;
	int result = terms_check(params, reterr);

	if (result < 0)
		return result;
	client = slot_take(sched, reterr, &result);
	if (!client)
		return result;
	*client = (struct sched_client){
		.id = client->id,
		.vtime = sched->vtime,
	};
	rest = client_rest(client);
	memset(rest, 0, sizeof(*rest));
	if (group) {
		result = group_join(group, client, reterr);
		if (result < 0) {
			slot_give_back(sched, client);
			return result;
		}
	}
	rest->in_use = true;
	if (sched->clients++ == 0)
		sched->least_bound_ns = UINT32_MAX;
	look_ahead(sched);
	terms_apply(client, params, now_ns);
	*ret_client = client;
	return 0;
}

int sched_client_update(struct sched_client *client,
			const struct sched_params *params, uint64_t now_ns,
			struct error *reterr)
{
	struct sched *sched = client_sched(client);
	const int result = terms_check(params, reterr);

	if (result < 0)
		return result;
	lane_remove(sched, client);
	terms_apply(client, params, now_ns);
	lane_place_both(sched, client, now_ns);
	lane_clean(sched);
	sched_set_gate(sched);
	return 0;
}

/* ---- what waits is taken off, or let go ---- */

static bool is_any(struct sched_request *request, const void *arg)
{
	(void)request;
	(void)arg;
	return true;
}

static void fifo_add(struct fifo *fifo, struct sched_request *request)
{
	request->next = NULL;
	if (fifo->head)
		fifo->tail->next = request;
	else
		fifo->head = request;
	fifo->tail = request;
}

static struct sched_request *fifo_take(struct fifo *fifo)
{
	struct sched_request *request = fifo->head;

	if (request)
		fifo->head = request->next;
	return request;
}

/* Move what is wanted out of a client's queues; its lanes are idle then. */
static void sift(struct sched *sched, struct sched_client *client,
		 bool (*is_wanted)(struct sched_request *request,
				   const void *arg),
		 const void *arg, struct fifo taken[2])
{
	struct client_rest *rest = client_rest(client);

	lane_remove(sched, client);
	for (unsigned int d = 0; d < 2; d++) {
		struct fifo queued = client->fifos[d];
		struct sched_request *request;

		client->fifos[d] = (struct fifo){0};
		taken[d] = (struct fifo){0};
		while ((request = fifo_take(&queued)) != NULL) {
			if (!is_wanted(request, arg)) {
				fifo_add(&client->fifos[d], request);
				continue;
			}
			fifo_add(&taken[d], request);
			client->queued--;
			sched->queued--;
			if (!client_is_plain(client))
				rest->queued_bytes -= request->bytes;
		}
	}
}

/* What was left waits where it belongs now. */
static void settle(struct sched *sched, struct sched_client *client,
		   uint64_t now_ns)
{
	lane_place_both(sched, client, now_ns);
	lane_clean(sched);
	sched_set_gate(sched);
}

struct sched_request *sched_client_take(
	struct sched_client *client,
	bool (*is_wanted)(struct sched_request *request, const void *arg),
	const void *arg, uint64_t now_ns)
{
	struct sched *sched = client_sched(client);
	struct fifo taken[2], all = {0};

	if (client->queued == 0)
		return NULL;
	sift(sched, client, is_wanted, arg, taken);
	while (taken[0].head || taken[1].head) {
		const unsigned int d = !taken[0].head ||
			(taken[1].head &&
			 taken[1].head->arrival_ns < taken[0].head->arrival_ns);

		fifo_add(&all, fifo_take(&taken[d]));
	}
	settle(sched, client, now_ns);
	return all.head;
}

struct sched_request *sched_client_drain(struct sched_client *client)
{
	return sched_client_take(client, is_any, NULL,
				 client_sched(client)->now_ns);
}

static bool is_limited(const struct sched_client *client)
{
	const struct client_rest *rest = client_rest(client);

	if (client_is_plain(client))
		return client->limit.slope > 0;
	return rest->limits[0] || rest->limits[1] ||
		client->flags & CLIENT_GROUPED;
}

static void cap_debts(struct meter *meters, uint32_t mask, uint64_t now_ns)
{
	for (; mask; mask &= mask - 1) {
		struct meter *meter = &meters[__builtin_ctz(mask)];

		if (meter->tag_ns > now_ns + BURST_MAX_NS)
			meter->tag_ns = now_ns + BURST_MAX_NS;
	}
}

/* Charge a request to limits that did not hold it. */
static void owe(struct sched_client *client,
		const struct sched_request *request, uint64_t now_ns)
{
	struct client_rest *rest = client_rest(client);
	const unsigned int d = request->direction;

	if (client_is_plain(client)) {
		charge_plain_limit(client, now_ns, true);
		cap_debts(&client->limit, 1, now_ns);
		return;
	}
	charge_limits(client, d, request->bytes, now_ns, true);
	cap_debts(rest->meters, rest->limits[d], now_ns);
	if (client->flags & CLIENT_GROUPED) {
		struct sched_group *group = rest->group;

		charge_group(group, d, request->bytes, now_ns, true);
		cap_debts(group->meters, group->limits[d], now_ns);
	}
}

void sched_client_let_go(struct sched_client *client,
			 struct sched_client *unlimited,
			 bool (*is_wanted)(struct sched_request *request,
					   const void *arg),
			 const void *arg, uint64_t now_ns)
{
	struct sched *sched = client_sched(client);
	struct fifo taken[2];

	if (client->queued == 0 || !sched->enforcing || !is_limited(client))
		return;
	sched->now_ns = now_ns;
	sift(sched, client, is_wanted, arg, taken);
	lane_remove(sched, unlimited);
	for (unsigned int d = 0; d < 2; d++) {
		struct sched_request *request;

		while ((request = fifo_take(&taken[d])) != NULL) {
			owe(client, request, now_ns);
			request->client = unlimited;
			fifo_add(&unlimited->fifos[d], request);
			unlimited->queued++;
			sched->queued++;
			if (!client_is_plain(unlimited))
				client_rest(unlimited)->queued_bytes +=
					request->bytes;
		}
	}
	lane_place_both(sched, unlimited, now_ns);
	settle(sched, client, now_ns);
}

void sched_client_destroy(struct sched_client *client)
{
	struct client_rest *rest;
	struct sched *sched;

	if (!client)
		return;
	assert(client->queued == 0);
	sched = client_sched(client);
	rest = client_rest(client);
	/* Nothing that was left in a queue is for who comes after it. */
	lane_remove(sched, client);
	lane_clean(sched);
	for (unsigned int d = 0; d < 2; d++)
		window_promise(sched, client_index(client), d, 0);
	if (rest->group)
		group_leave(rest);
	slot_give_back(sched, client);
	sched->clients--;
	look_ahead(sched);
}

int sched_group_create(struct sched *sched, const struct sched_limits *limits,
		       struct sched_group **ret_group, struct error *reterr)
{
	struct sched_group *group;
	uint32_t index = 0;
	const int result = terms_check_limits(limits, reterr);

	if (result < 0)
		return result;
	while (index < SCHED_GROUPS_MAX && sched->group_table[index])
		index++;
	if (index == SCHED_GROUPS_MAX)
		return error_set(reterr, -EINVAL,
				 "a device serves %u virtual devices at most",
				 SCHED_GROUPS_MAX);
	group = calloc(1, sizeof(*group));
	if (!group)
		return error_set(reterr, -ENOMEM, "no memory for a group");
	group->sched = sched;
	group->index = index;
	for (unsigned int d = 0; d < 2; d++) {
		group->lanes[d].due.place = sched->member_places[0];
		group->lanes[d].spare.place = sched->member_places[1];
	}
	terms_apply_limits(group, limits, sched->now_ns);
	sched->group_table[index] = group;
	sched->groups++;
	*ret_group = group;
	return 0;
}

int sched_group_update(struct sched_group *group,
		       const struct sched_limits *limits, struct error *reterr)
{
	struct sched *sched = group->sched;
	const int result = terms_check_limits(limits, reterr);
	struct sched_client *client;

	if (result < 0)
		return result;
	for (client = group->clients; client;
	     client = client_rest(client)->next_of_group)
		lane_remove(sched, client);
	terms_apply_limits(group, limits, sched->now_ns);
	for (client = group->clients; client;
	     client = client_rest(client)->next_of_group) {
		terms_apply(client, &client_rest(client)->params,
			    sched->now_ns);
		lane_place_both(sched, client, sched->now_ns);
	}
	lane_clean(sched);
	sched_set_gate(sched);
	return 0;
}

void sched_group_destroy(struct sched_group *group)
{
	if (!group)
		return;
	assert(group->members == 0);
	group->sched->group_table[group->index] = NULL;
	group->sched->groups--;
	for (unsigned int d = 0; d < 2; d++) {
		heap_finish(&group->lanes[d].due);
		heap_finish(&group->lanes[d].spare);
	}
	free(group);
}

void sched_enforce(struct sched *sched, bool on, uint64_t now_ns)
{
	if (sched->enforcing == on)
		return;
	lane_remove_all(sched);
	lane_forget_vtimes(sched);
	sched->enforcing = on;
	window_set_gate(sched);
	lane_place_all(sched, now_ns);
	sched_set_gate(sched);
}
