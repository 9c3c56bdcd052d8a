/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.c - the way in from other machines: who comes, and for how long; see
 * gate.h
 *
 * One epoll set has the listening socket and both ends of every link; the loop
 * watches that.  A link that ended is freed after the events that may name it.
 */
#include "api/gate.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/gate-data.h"
#include "base/container.h"
#include "os/fd.h"
#include "os/loop.h"

#define BACKLOG		128
#define EVENTS		8	/* a handshake takes a millisecond */
#define TICK_NS		UINT64_C(100000000)
#define COMING_PER_TICK	(GATE_COMING_PER_S / 10U)
#define LOOK_NS		UINT64_C(10000000000)	/* at the files */

struct api_gate {
	struct api_gate_config config;
	struct api_credentials *credentials;
	struct loop_watch watch;	/* of the epoll set */
	struct loop_timer tick;		/* while there are links */
	struct loop_timer look;
	int epoll_fd, fd;
	bool is_listening;		/* 'fd' is in the set */
	bool is_ticking;
	unsigned int coming;		/* that may in this tick */
	struct error why;		/* the files were not in order */
	struct gate_link *links[GATE_LINKS];
};

/* --- Who is there -------------------------------------------------------- */

static void free_dead(struct api_gate *gate)
{
	for (unsigned int i = 0; i < GATE_LINKS; i++)
		if (gate->links[i] && gate->links[i]->phase == LINK_DEAD) {
			link_destroy(gate->links[i]);
			gate->links[i] = NULL;
		}
}

static struct gate_link **free_slot(struct api_gate *gate)
{
	for (unsigned int i = 0; i < GATE_LINKS; i++)
		if (!gate->links[i])
			return &gate->links[i];
	return NULL;
}

/* Room for a stranger from there: if those who are still unknown are too many,
 * the one that has been longest gives way. */
static void make_room(struct api_gate *gate, const struct in6_addr *from)
{
	struct gate_link *oldest = NULL, *oldest_there = NULL;
	unsigned int strangers = 0, there = 0;

	for (unsigned int i = 0; i < GATE_LINKS; i++) {
		struct gate_link *link = gate->links[i];

		if (!link || link->phase != LINK_HANDSHAKE)
			continue;
		strangers++;
		if (!oldest || link->since_ns < oldest->since_ns)
			oldest = link;
		if (memcmp(&link->from, from, sizeof(*from)) != 0)
			continue;
		there++;
		if (!oldest_there || link->since_ns < oldest_there->since_ns)
			oldest_there = link;
	}
	if (there >= GATE_STRANGERS_OF_ADDRESS)
		link_leave(oldest_there);
	else if (strangers >= GATE_STRANGERS)
		link_leave(oldest);
}

/* What is counted as one: an IPv4 address, or the /64 of one customer. */
static void read_address(const struct sockaddr_storage *address,
			 struct in6_addr *from, char text[API_ADDRESS_MAX])
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	char host[46] = "?", port[6] = "0";

	memset(from, 0, sizeof(*from));
	(void)getnameinfo((const struct sockaddr *)address, sizeof(*address),
			  host, sizeof(host), port, sizeof(port),
			  NI_NUMERICHOST | NI_NUMERICSERV);
	if (address->ss_family == AF_INET) {
		memcpy(&from->s6_addr[12], &v4->sin_addr, 4);
		memset(&from->s6_addr[10], 0xff, 2);
	} else {
		memcpy(from, &v6->sin6_addr,
		       IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) ? 16 : 8);
	}
	snprintf(text, API_ADDRESS_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s",
		 host, port);
}

/* --- Coming -------------------------------------------------------------- */

static void listen_for(struct api_gate *gate, bool on)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (on == gate->is_listening)
		return;
	if (epoll_ctl(gate->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
		      gate->fd, &event) == 0)
		gate->is_listening = on;
}

static void arrived(struct api_gate *gate, struct gate_link **slot, int fd,
		    const struct sockaddr_storage *address)
{
	struct api_who who = {
		.is_remote = true,
		.uid = UINT32_MAX,
		.gid = UINT32_MAX,
	};
	struct in6_addr from;
	const int on = 1;

	read_address(address, &from, who.address);
	make_room(gate, &from);
	/* A machine that is gone is noticed; answers are small. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (link_create(&gate->config, gate->epoll_fd, fd, gate->credentials,
			&who, slot) == 0)
		(*slot)->from = from;
}

static void accept_some(struct api_gate *gate)
{
	struct sockaddr_storage address;
	struct gate_link **slot;
	socklen_t length;
	int fd;

	while (gate->coming > 0 && (slot = free_slot(gate)) != NULL) {
		memset(&address, 0, sizeof(address));
		length = sizeof(address);
		fd = accept4(gate->fd, (struct sockaddr *)&address, &length,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			gate->coming--;
			arrived(gate, slot, fd, &address);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			break;
		}
	}
	/* The tick opens it again. */
	listen_for(gate, false);
}

static void on_ready(struct loop_watch *watch)
{
	struct api_gate *gate = container_of(watch, struct api_gate, watch);
	struct epoll_event events[EVENTS];
	int count = epoll_wait(gate->epoll_fd, events, EVENTS, 0);

	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr)
			link_event(events[i].data.ptr, events[i].events);
		else
			accept_some(gate);
	}
	free_dead(gate);
	if (gate->is_ticking)
		return;
	gate->is_ticking = true;
	loop_timer_set(gate->config.loop, &gate->tick,
		       loop_clock_ns() + TICK_NS);
}

static void on_tick(struct loop_timer *timer, uint64_t now_ns)
{
	struct api_gate *gate = container_of(timer, struct api_gate, tick);
	bool any = false;

	for (unsigned int i = 0; i < GATE_LINKS; i++)
		if (gate->links[i] && gate->links[i]->deadline_ns <= now_ns)
			link_expired(gate->links[i]);
	free_dead(gate);
	for (unsigned int i = 0; i < GATE_LINKS; i++)
		any |= gate->links[i] != NULL;
	if (gate->coming + COMING_PER_TICK < GATE_STRANGERS)
		gate->coming += COMING_PER_TICK;
	else
		gate->coming = GATE_STRANGERS;
	listen_for(gate, true);
	gate->is_ticking =
		any || !gate->is_listening || gate->coming < GATE_STRANGERS;
	if (gate->is_ticking)
		loop_timer_set(gate->config.loop, timer, now_ns + TICK_NS);
}

/* --- Certificates -------------------------------------------------------- */

static void send_away(struct api_gate *gate)
{
	for (unsigned int i = 0; i < GATE_LINKS; i++)
		if (gate->links[i])
			link_leave(gate->links[i]);
}

void api_gate_set_grants(struct api_gate *gate, const struct api_grant *grants,
			 size_t count, bool are_new)
{
	gate->config.grants = grants;
	gate->config.grant_count = count;
	if (are_new)
		send_away(gate);
}

void api_gate_reload(struct api_gate *gate)
{
	const struct api_gate_config *config = &gate->config;
	struct api_credentials *credentials;
	struct error why;

	if (!api_credentials_changed(gate->credentials, &config->files))
		return;
	if (api_credentials_load(&config->files, &credentials, &why) < 0) {
		/* Once for each state of the files. */
		if (strcmp(gate->why.text, why.text) != 0)
			config->say(config->arg, why.text);
		gate->why = why;
		return;
	}
	gate->why.text[0] = '\0';
	api_credentials_drop(gate->credentials);
	gate->credentials = credentials;
	send_away(gate);
	config->say(config->arg, "api: tls: the certificates are read again");
}

static void on_look(struct loop_timer *timer, uint64_t now_ns)
{
	struct api_gate *gate = container_of(timer, struct api_gate, look);

	api_gate_reload(gate);
	loop_timer_set(gate->config.loop, timer, now_ns + LOOK_NS);
}

/* --- Life ---------------------------------------------------------------- */

static int resolve(const char *address, struct addrinfo **ret_found,
		   struct error *reterr)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : 0;
	char host[64];
	int rc;

	if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
		address++;
		length -= 2;
	}
	if (!colon || length == 0 || length >= sizeof(host))
		return error_set(reterr, -EINVAL,
				 "api: tcp: '%s' is no address of this machine",
				 address);
	memcpy(host, address, length);
	host[length] = '\0';
	rc = getaddrinfo(host, colon + 1, &hints, ret_found);
	if (rc != 0)
		return error_set(
			reterr, -EINVAL,
			"api: tcp: '%s' is no address in numbers, like 192.0.2.1 or [::]: %s",
			host, gai_strerror(rc));
	return 0;
}

static int open_socket(const char *address, int *ret_fd, struct error *reterr)
{
	struct addrinfo *found;
	const int on = 1;
	fd_cleanup int fd = -1;
	int ret = resolve(address, &found, reterr);

	if (ret < 0)
		return ret;
	fd = socket(found->ai_family,
		    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG) < 0)
		ret = error_set(reterr, -errno, "cannot listen at %s: %s",
				address, strerror(errno));
	freeaddrinfo(found);
	if (ret == 0)
		*ret_fd = fd_steal(&fd);
	return ret;
}

static int start(struct api_gate *gate, struct error *reterr)
{
	struct loop *loop = gate->config.loop;
	int ret = api_credentials_load(&gate->config.files, &gate->credentials,
				       reterr);

	if (ret == 0)
		ret = open_socket(gate->config.address, &gate->fd, reterr);
	if (ret < 0)
		return ret;
	gate->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (gate->epoll_fd < 0)
		return error_set(reterr, -errno, "api: tcp: %s",
				 strerror(errno));
	listen_for(gate, true);
	ret = loop_timer_init(loop, &gate->tick, on_tick);
	if (ret == 0)
		ret = loop_timer_init(loop, &gate->look, on_look);
	if (ret == 0)
		ret = loop_watch_add(loop, &gate->watch, gate->epoll_fd);
	if (ret < 0)
		return error_set(reterr, ret, "out of memory");
	loop_timer_set(loop, &gate->look, loop_clock_ns() + LOOK_NS);
	return 0;
}

int api_gate_create(const struct api_gate_config *config,
		    struct api_gate **ret_gate, struct error *reterr)
{
	struct api_gate *gate = calloc(1, sizeof(*gate));
	int ret;

	if (!gate)
		return error_set(reterr, -ENOMEM, "out of memory");
	gate->config = *config;
	gate->fd = -1;
	gate->epoll_fd = -1;
	gate->coming = GATE_STRANGERS;
	gate->watch.ready = on_ready;
	ret = start(gate, reterr);
	if (ret < 0) {
		api_gate_destroy(gate);
		return ret;
	}
	*ret_gate = gate;
	return 0;
}

void api_gate_destroy(struct api_gate *gate)
{
	if (!gate)
		return;
	for (unsigned int i = 0; i < GATE_LINKS; i++)
		if (gate->links[i])
			link_destroy(gate->links[i]);
	loop_watch_remove(gate->config.loop, &gate->watch);
	if (gate->tick.expired)
		loop_timer_finish(gate->config.loop, &gate->tick);
	if (gate->look.expired)
		loop_timer_finish(gate->config.loop, &gate->look);
	api_credentials_drop(gate->credentials);
	fd_close(&gate->epoll_fd);
	fd_close(&gate->fd);
	free(gate);
}

unsigned int api_gate_port(const struct api_gate *gate)
{
	struct sockaddr_in6 address = {0};
	socklen_t length = sizeof(address);

	if (getsockname(gate->fd, (struct sockaddr *)&address, &length) < 0)
		return 0;
	/* At the same place in both kinds. */
	return ntohs(address.sin6_port);
}
