/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port-data.h - what the files of a port share
 *
 * A request has a command from when it begins until it is done; one that is
 * larger than a command's part of the arena is done piece by piece, one at a
 * time, by the same command.  Commands are a fixed number; requests for which
 * there is none wait in a FIFO, and so do commands whose ring is broken until
 * there is another (port.c: connections; port-command.c: requests).
 */
#ifndef VHOST_PORT_DATA_H
#define VHOST_PORT_DATA_H

#include "vhost/client.h"
#include "vhost/port.h"

#define PORT_COMMANDS		128U
#define PORT_PIECE_BYTES	(UINT32_C(128) << 10)

struct port_command {
	struct vhost_client_request wire;	/* first: reaped */
	struct port_command *next;		/* free, or homeless */
	struct block_request *request;
	struct iovec iov;			/* its part of the arena */
	unsigned char *data;			/* where that begins */
	uint64_t piece_bytes;			/* of the request, under way */
};

struct port {
	struct block_device device;
	struct port_config config;
	char *vdev;
	struct vhost_client *client;
	struct vhost_client_queue *queue;	/* once it has served */
	struct vhost_client_info info;
	bool ready;				/* it has served */
	bool serving, shaking;			/* now */
	bool agreed; /* hands are shaken: it serves soon */
	struct port_status status;

	int arena_fd;
	unsigned char *arena;
	struct port_command commands[PORT_COMMANDS];
	struct port_command *free;
	struct port_command *homeless, **homeless_end;
	struct block_request *waiting, **waiting_end;	/* for a command */
	bool unpublished, armed;

	struct loop_poller poller;
	struct loop_watch socket, call;
	bool watching;				/* the socket */
	/* While it shakes hands: until when; while nothing is connected: when a
	 * connection is asked for again. */
	struct loop_timer timer;
	uint64_t ask_ns;
};

/* ---- port-command.c ---- */

void port_submit(struct block_device *device, struct block_request *request);
void port_commands_init(struct port *port);
/* Commands for which there was no ring. */
void port_house(struct port *port);
/* What has finished, bounded; returns how much, or -EPROTO: the ring is
 * broken. */
int port_reap(struct port *port);

#endif
