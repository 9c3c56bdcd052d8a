/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify-listen.c - a service manager that only listens
 *
 * notify-listen SOCKET COMMAND...: runs COMMAND with it as $NOTIFY_SOCKET,
 * prints what it is told, a line for each line, until COMMAND ends, and exits
 * as it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
	char text[4096];
	int status = 0;
	ssize_t got;
	pid_t pid;

	if (argc < 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	fds[0].fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unlink(argv[1]);
	if (bind(fds[0].fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		setenv("NOTIFY_SOCKET", argv[1], 1);
		/* As systemd has it: of the process that it started. */
		snprintf(text, sizeof(text), "%d", getpid());
		if (getenv("WATCHDOG_USEC"))
			setenv("WATCHDOG_PID", text, 1);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	printf("PID=%d\n", pid);
	fds[1].fd = (int)syscall(SYS_pidfd_open, pid, 0);
	do {
		fflush(stdout);
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		while ((got = recv(fds[0].fd, text, sizeof(text) - 1,
				   MSG_DONTWAIT)) > 0)
			printf("%.*s\n", (int)got, text);
	} while (!fds[1].revents);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
