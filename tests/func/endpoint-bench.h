/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint-bench.h - the real penstock-endpoint, told what to do as penstockd
 * tells it (docs/control.md)
 */
#ifndef ENDPOINT_BENCH_H
#define ENDPOINT_BENCH_H

#include <jansson.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "ctl/stats.h"
#include "vhost/client.h"

struct bench {
	char directory[32];
	struct sockaddr_un control, front;
	struct stats_segment *stats;
	int connection, control_fd, stats_fd;
	pid_t pid;
	json_int_t id;
	int fd;			/* that came with the last reply, or -1 */
};

extern const char *bench_program;	/* the endpoint's; main sets it */

int bench_setup(void **state);
int bench_teardown(void **state);
/* kill -9 (if it has not ended), and another one with the same descriptors,
 * which has nothing. */
void bench_restart(struct bench *bench);

int bench_listener(const struct sockaddr_un *address, int type);
/* Another control connection: the one before is closed by the endpoint. */
int bench_connect(const struct bench *bench);
/* The next message that is a reply; events in between are dropped. */
json_t *bench_reply(struct bench *bench);
/* The next event of this kind; what comes before it is dropped. */
json_t *bench_event(struct bench *bench, const char *kind);
/* Ask, and wait for this answer: another one fails. */
json_t *bench_ask(struct bench *bench, json_t *request, int fd);
void bench_ok(json_t *reply);
void bench_error(json_t *reply, int error);

/* Device "m0", of memory or a file that 'fd' is. */
int bench_memory(uint64_t size_bytes);
void bench_add_device(struct bench *bench, const char *kind,
		      uint64_t size_bytes, int fd);
/* Started pool "p" of "m0", which is claimed if it is blank. */
void bench_add_pool(struct bench *bench);
/* All of that, of memory of 16 MiB. */
void bench_add_storage(struct bench *bench);
/* A vdev "vd0" of 8 MiB, its volume in "p"; a process of it; its way in. */
json_t *bench_vdev(void);
json_t *bench_process(unsigned int pasid);
json_t *bench_listen(struct bench *bench, int listen_fd);

/* A guest of "vd0".  Its memory and the socket outlive endpoints. */
struct bench_guest {
	struct bench *bench;
	int memory_fd, listen_fd;
	unsigned char *memory;
	uint64_t size_bytes;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
};

void bench_guest_create(struct bench_guest *guest, struct bench *bench,
			uint64_t size_bytes);
/* 'config' without its path, queues, regions and timeout. */
void bench_guest_connect(struct bench_guest *guest,
			 struct vhost_client_config config);
void bench_guest_reconnect(struct bench_guest *guest);
void bench_guest_disconnect(struct bench_guest *guest);
void bench_guest_destroy(struct bench_guest *guest);
void bench_guest_begin(struct bench_guest *guest,
		       struct vhost_client_request *request);
/* Returns when what was begun, and nothing else, has ended well. */
void bench_guest_end(struct bench_guest *guest,
		     const struct vhost_client_request *request);

#endif
