/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - starting a penstock-endpoint and what it is given
 *
 * Threads: the control thread's.
 */
#ifndef HOST_SPAWN_H
#define HOST_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct stats_segment;

struct spawn {
	const char *program;
	const char *name;
	uint32_t uid, gid;	/* whose it becomes; uid 0: ours */
	int cpu;		/* -1: any */
	int nice;
	bool realtime;
	bool has_spin;
	uint64_t spin_ns;
	int control_fd;		/* listening; becomes CTL_LISTEN_FD */
	int stats_fd;		/* becomes CTL_STATS_FD */
};

/* Start it, with these two descriptors, an empty environment, no signal
 * blocked, in a session of its own.  It is our child and outlives us.
 * Returns 0 with a pidfd, or -errno. */
int spawn_endpoint(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd,
		   struct error *reterr);

/* A listening SOCK_SEQPACKET at 'path', which a dead one may have left. */
int spawn_control_socket(const char *path, int *ret_fd, struct error *reterr);
/* Connect to one.  -ECONNREFUSED, -ENOENT: nobody is there. */
int spawn_connect(const char *path, int *ret_fd);

/* A fresh, sealed segment; and one that an endpoint has, checked. */
int spawn_stats_create(const char *name, int *ret_fd,
		       struct stats_segment **ret_stats, struct error *reterr);
int spawn_stats_map(int fd, struct stats_segment **ret_stats);
void spawn_stats_unmap(struct stats_segment *stats);

#endif
