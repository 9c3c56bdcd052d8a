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
/* Ask, and wait for this answer: another one fails. */
json_t *bench_ask(struct bench *bench, json_t *request, int fd);
void bench_ok(json_t *reply);
void bench_error(json_t *reply, int error);

/* Memory of 16 MiB, "m0"; a vdev "vd0" of 8 MiB on it; a process. */
void bench_add_device(struct bench *bench);
json_t *bench_vdev(void);
json_t *bench_process(unsigned int pasid);

#endif
