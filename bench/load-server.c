/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-server.c - what /proc says of the server: CPU time that it used, and
 *                 time that it had to wait for a CPU
 */
#include "bench/load.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void load_server_open(struct load_server *server, int pid)
{
	char path[300];
	struct dirent *entry;
	DIR *tasks;

	server->count = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return;
	while ((entry = readdir(tasks)) && server->count < LOAD_TASKS_MAX) {
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid,
			 entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			server->fds[server->count++] = fd;
	}
	closedir(tasks);
}

void load_server_close(struct load_server *server)
{
	while (server->count > 0)
		close(server->fds[--server->count]);
}

void load_server_read(const struct load_server *server, uint64_t *ret_ran_ns,
		      uint64_t *ret_waited_ns)
{
	unsigned int i;

	*ret_ran_ns = *ret_waited_ns = 0;
	for (i = 0; i < server->count; i++) {
		unsigned long long ran, waited;
		char text[96];
		ssize_t size;

		size = pread(server->fds[i], text, sizeof(text) - 1, 0);
		if (size <= 0)
			continue;	/* the thread has ended */
		text[size] = '\0';
		if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
			continue;
		*ret_ran_ns += ran;
		*ret_waited_ns += waited;
	}
}
