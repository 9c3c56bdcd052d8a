/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate-data.h - the insides that gate.c and gate-link.c share: gate.c calls
 * gate-link.c, never the other way
 */
#ifndef API_GATE_DATA_H
#define API_GATE_DATA_H

#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/gate.h"

#define LINK_BUFFER_BYTES	16384U	/* the largest TLS record */

struct gate_link;

enum link_phase {
	LINK_HANDSHAKE,
	LINK_OPEN,
	LINK_LEAVING,	/* told; what it still sends is thrown away */
	LINK_DEAD,	/* to be freed when no event can name it */
};

struct link_end {			/* of two, in the gate's epoll set */
	struct gate_link *link;
	uint32_t events;		/* that it is watched for */
	bool is_watched;
};

struct link_buffer {
	size_t from, to;
	char data[LINK_BUFFER_BYTES];
};

struct gate_link {
	const struct api_gate_config *config;
	int epoll_fd;			/* the gate's */
	enum link_phase phase;
	uint64_t since_ns;
	uint64_t deadline_ns;		/* UINT64_MAX: none */
	struct in6_addr from;		/* IPv4 mapped; IPv6: its /64 */
	struct api_who who;
	struct error why;		/* it is refused */
	struct api_credentials *credentials;
	gnutls_session_t tls;
	int fd, plain_fd;
	struct link_end net, plain;
	bool is_net_over, is_plain_over, is_plain_told;
	size_t thrown_bytes;		/* LEAVING */
	struct link_buffer in, out;	/* from and to the other machine */
};

/* Takes 'fd' (non-blocking), also on failure.  Returns 0 or -errno. */
int link_create(const struct api_gate_config *config, int epoll_fd, int fd,
		struct api_credentials *credentials, const struct api_who *who,
		struct gate_link **ret_link);
/* Not while an event may name it. */
void link_destroy(struct gate_link *link);
void link_event(struct link_end *end, uint32_t events);
/* Its time is over. */
void link_expired(struct gate_link *link);
/* Say goodbye. */
void link_leave(struct gate_link *link);

#endif
