/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-penstockd.c - the REST server on a host that is only data
 *
 * fake-penstockd SOCKET [COMMAND...]: serves while COMMAND runs (else until
 * standard input ends) and ends with its exit status.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/server.h"
#include "fake-host.h"
#include "os/loop.h"

static struct loop *loop;

static void on_end(struct loop_watch *watch)
{
	loop_watch_remove(loop, watch);
	loop_stop(loop);
}

static int start(char **command, pid_t *ret_pid)
{
	*ret_pid = fork();
	if (*ret_pid == 0) {
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	return (int)syscall(SYS_pidfd_open, *ret_pid, 0);
}

int main(int argc, char **argv)
{
	const struct loop_config loop_config = {.entries = 64};
	struct api_server_config config = {.everyone = API_ROLE_READ};
	struct api_server *server;
	struct loop_watch end = {.ready = on_end};
	struct error error;
	struct host *host;
	int fd = STDIN_FILENO, status = 0;
	pid_t pid = -1;

	if (argc < 2 || loop_create(&loop_config, &loop, &error) < 0)
		return 2;
	config.unix_path = argv[1];
	host = fake_host_create(loop);
	if (api_server_create(&config, loop, host, &server, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (argc > 2)
		fd = start(argv + 2, &pid);
	if (fd < 0 || loop_watch_add(loop, &end, fd) < 0)
		return 1;
	loop_run(loop);
	if (pid > 0)
		waitpid(pid, &status, 0);
	api_server_destroy(server);
	host_destroy(host);
	loop_destroy(loop);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
