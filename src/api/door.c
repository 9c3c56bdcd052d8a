/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.c - who may come in, and how many at once; see door.h
 *
 * Who is turned away may still be sending its request: its answer is written
 * and its connection held for a moment, because closing it with a request
 * unread would take the answer away.
 */
#include "api/door.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container.h"

#define MOMENT_NS	UINT64_C(1000000000)

/* --- Turned away --------------------------------------------------------- */

static void close_refused(struct api_door *door)
{
	for (unsigned int i = 0; i < API_REFUSED_MAX; i++) {
		if (door->turned_away[i] >= 0)
			close(door->turned_away[i]);
		door->turned_away[i] = -1;
	}
}

void api_door_answer(const char *why, char answer[API_DOOR_ANSWER_MAX])
{
	char body[256];

	snprintf(body, sizeof(body), "{\"error\":\"%s\",\"code\":\"busy\"}\n",
		 why);
	snprintf(
		answer, API_DOOR_ANSWER_MAX,
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
		"Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		strlen(body), body);
}

/* 'fd' is taken over. */
static void refuse(struct api_door *door, int fd, const char *why)
{
	int *held = &door->turned_away[door->next_away++ % API_REFUSED_MAX];
	char answer[API_DOOR_ANSWER_MAX];

	api_door_answer(why, answer);
	/* A fresh socket has room for it, and nobody else writes there. */
	(void)!send(fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	if (*held >= 0)
		close(*held);
	*held = fd;
	loop_timer_set(door->loop, &door->timer, loop_clock_ns() + MOMENT_NS);
}

/* --- Let in -------------------------------------------------------------- */

static struct api_door_place *free_place(struct api_door *door)
{
	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++)
		if (!door->places[i].is_taken)
			return &door->places[i];
	return NULL;
}

static_assert(API_CONNECTIONS_OF_USER == 16 &&
		      API_CONNECTIONS_MAX - API_CONNECTIONS_KEPT == 48 &&
		      API_CONNECTIONS_MAX == 64,
	      "the texts below say so");

/* root, or penstockd's own user. */
static bool is_us(const struct api_who *who)
{
	return !who->is_remote &&
		(who->uid == 0 || who->uid == (uint32_t)geteuid());
}

/* Why it must not come in, or NULL. */
static const char *check(const struct api_door *door, const struct api_who *who,
			 bool is_trusted)
{
	unsigned int own = 0, others = 0;

	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++) {
		const struct api_door_place *place = &door->places[i];

		own += place->is_taken && api_who_is_same(&place->who, who);
		others += place->is_taken && !place->is_trusted;
	}
	if (!is_us(who) && own >= API_CONNECTIONS_OF_USER)
		return "you have 16 connections open, which is the most: close one, or try again";
	if (!is_trusted && others >= API_CONNECTIONS_MAX - API_CONNECTIONS_KEPT)
		return "48 connections are open, and the rest is kept for root and operators: try again";
	return NULL;
}

const char *api_door_come_in(struct api_door *door, int fd,
			     const struct api_who *who)
{
	struct api_door_place *place = free_place(door);
	const bool is_trusted = who->role == API_ROLE_ADMINISTER ||
		(who->role >= API_ROLE_OPERATE && who->role > door->everyone);
	const char *why = place ?
		check(door, who, is_trusted) :
		"64 connections are open, which is the most: try again";

	if (why) {
		door->refused(door, who, why);
		return why;
	}
	place->who = *who;
	place->is_trusted = is_trusted;
	place->is_taken = true;
	door->enter(door, fd, place);
	return NULL;
}

static void arrived(struct api_door *door, int fd)
{
	struct api_who who = {.uid = UINT32_MAX, .gid = UINT32_MAX};
	struct api_peer peer;
	const char *why;

	if (api_peer_of(fd, &peer) == 0) {
		who.uid = peer.uid;
		who.gid = peer.gid;
		who.pid = peer.pid;
		who.role = door->role(door, &peer);
	}
	why = api_door_come_in(door, fd, &who);
	if (why)
		refuse(door, fd, why);
}

static void watch(struct api_door *door, bool on)
{
	if (on == door->is_watched || door->fd < 0)
		return;
	if (!on)
		loop_watch_remove(door->loop, &door->watch);
	else if (loop_watch_add(door->loop, &door->watch, door->fd) < 0)
		return;		/* the timer tries again */
	door->is_watched = on;
}

/* Full, or no descriptors left: look again when somebody left, or soon. */
static void pause_for(struct api_door *door)
{
	watch(door, false);
	loop_timer_set(door->loop, &door->timer, loop_clock_ns() + MOMENT_NS);
}

static void on_ready(struct loop_watch *ready)
{
	struct api_door *door = container_of(ready, struct api_door, watch);
	unsigned int left = API_CONNECTIONS_MAX;
	int fd;

	/* Those who knock without end wait for the next round. */
	while (free_place(door)) {
		if (left-- == 0)
			return;
		fd = accept4(door->fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			arrived(door, fd);
		else if (errno == EAGAIN)
			return;
		else if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	pause_for(door);
}

static void on_timer(struct loop_timer *timer, uint64_t now_ns)
{
	struct api_door *door = container_of(timer, struct api_door, timer);

	(void)now_ns;
	close_refused(door);
	if (free_place(door))
		watch(door, true);
	if (!door->is_watched && door->fd >= 0)
		pause_for(door);
}

void api_door_leave(struct api_door *door, struct api_door_place *place)
{
	if (!place)
		return;
	place->is_taken = false;
	watch(door, true);
}

/* --- Life ---------------------------------------------------------------- */

int api_door_open(struct api_door *door, int fd)
{
	int ret;

	door->fd = fd;
	door->watch.ready = on_ready;
	memset(door->places, 0, sizeof(door->places));
	for (unsigned int i = 0; i < API_REFUSED_MAX; i++)
		door->turned_away[i] = -1;
	ret = loop_timer_init(door->loop, &door->timer, on_timer);
	if (ret < 0)
		return ret;
	if (fd < 0)
		return 0;
	ret = loop_watch_add(door->loop, &door->watch, fd);
	if (ret < 0)
		loop_timer_finish(door->loop, &door->timer);
	door->is_watched = ret == 0;
	return ret;
}

void api_door_close(struct api_door *door)
{
	watch(door, false);
	close_refused(door);
	loop_timer_finish(door->loop, &door->timer);
}
