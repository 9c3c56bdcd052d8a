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

#include "sched/lane.h"
#include "sched/sched.h"
#include "sched/state.h"
#include "sched/terms.h"
#include "sched/window.h"

static struct sched *client_sched(const struct sched_client *client)
{
	return chunk_of(client)->sched;
}

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
		sched->clients < LANE_LOOK_CLIENTS ? 1 : WHEEL_AHEAD;

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
	struct chunk **chunk;

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
	chunk = &sched->chunks[index >> CHUNK_BITS];
	if (!*chunk) {
		*chunk = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);
		if (!*chunk) {
			*reterr_code = error_set(reterr, -ENOMEM,
						 "no memory for a process");
			return NULL;
		}
		(*chunk)->sched = sched;
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

struct sched_request *sched_client_drain(struct sched_client *client)
{
	struct sched_request *first = NULL, **end = &first;
	struct sched_request *heads[2];
	struct sched *sched = client_sched(client);

	lane_remove(sched, client);
	for (unsigned int d = 0; d < 2; d++) {
		heads[d] = client->fifos[d].head;
		client->fifos[d] = (struct fifo){0};
	}
	while (heads[0] || heads[1]) {
		const unsigned int d = !heads[0] ||
			(heads[1] &&
			 heads[1]->arrival_ns < heads[0]->arrival_ns);

		*end = heads[d];
		end = &heads[d]->next;
		heads[d] = heads[d]->next;
	}
	*end = NULL;
	sched->queued -= client->queued;
	client->queued = 0;
	client_rest(client)->queued_bytes = 0;
	lane_clean(sched);
	sched_set_gate(sched);
	return first;
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
