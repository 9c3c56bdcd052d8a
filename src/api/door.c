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
		if (door->refused[i] >= 0)
			close(door->refused[i]);
		door->refused[i] = -1;
	}
}

/* 'fd' is taken over. */
static void refuse(struct api_door *door, int fd, const char *why)
{
	int *held = &door->refused[door->next_refused++ % API_REFUSED_MAX];
	char body[256], answer[512];

	snprintf(body, sizeof(body), "{\"error\":\"%s\",\"code\":\"busy\"}\n",
		 why);
	snprintf(
		answer, sizeof(answer),
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
		"Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		strlen(body), body);
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
		      API_CONNECTIONS_MAX - API_CONNECTIONS_KEPT == 48,
	      "the texts below say so");

/* Why it must not come in, or NULL. */
static const char *check(const struct api_door *door, uint32_t uid,
			 bool is_trusted)
{
	unsigned int own = 0, others = 0;

	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++) {
		const struct api_door_place *place = &door->places[i];

		own += place->is_taken && place->uid == uid;
		others += place->is_taken && !place->is_trusted;
	}
	if (uid != 0 && uid != (uint32_t)geteuid() &&
	    own >= API_CONNECTIONS_OF_USER)
		return "you have 16 connections open, which is the most: close one, or try again";
	if (!is_trusted && others >= API_CONNECTIONS_MAX - API_CONNECTIONS_KEPT)
		return "48 connections are open, and the rest is kept for root and operators: try again";
	return NULL;
}

static void arrived(struct api_door *door, int fd, struct api_door_place *place)
{
	struct api_peer peer = {.uid = UINT32_MAX};
	enum api_role role = API_ROLE_NONE;
	const char *why;

	if (api_peer_of(fd, &peer) == 0)
		role = door->role(door, &peer);
	place->uid = peer.uid;
	place->is_trusted = role == API_ROLE_ADMINISTER ||
		(role >= API_ROLE_OPERATE && role > door->everyone);
	why = check(door, place->uid, place->is_trusted);
	if (why) {
		refuse(door, fd, why);
		return;
	}
	place->is_taken = true;
	door->enter(door, fd, place);
}

static void watch(struct api_door *door, bool on)
{
	if (on == door->is_watched)
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
	struct api_door_place *place;
	unsigned int left = API_CONNECTIONS_MAX;
	int fd;

	/* Those who knock without end wait for the next round. */
	while ((place = free_place(door)) != NULL) {
		if (left-- == 0)
			return;
		fd = accept4(door->fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			arrived(door, fd, place);
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
	if (!door->is_watched)
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
		door->refused[i] = -1;
	ret = loop_timer_init(door->loop, &door->timer, on_timer);
	if (ret < 0)
		return ret;
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
