/* SPDX-License-Identifier: Apache-2.0 */
/* endpoint-process.c - the process of an endpoint: watched, ended, and what is
 * said about it */
#include "host/endpoint-data.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void endpoint_tell(struct endpoint *endpoint, const char *kind,
		   const char *format, ...)
{
	struct error text;
	va_list args;

	va_start(args, format);
	error_vset(&text, 0, format, args);
	va_end(args);
	endpoint->config.hooks.tell(endpoint->config.hooks.arg, kind,
				    text.text);
}

void endpoint_set_timer(struct endpoint *endpoint, uint64_t in_ns)
{
	loop_timer_set(endpoint->config.loop, &endpoint->timer,
		       loop_clock_ns() + in_ns);
}

int endpoint_watch_process(struct endpoint *endpoint, pid_t pid, int pidfd)
{
	int ret =
		loop_watch_add(endpoint->config.loop, &endpoint->death, pidfd);

	if (ret < 0)
		return ret;
	endpoint->pid = pid;
	endpoint->pidfd = pidfd;
	return 0;
}

void endpoint_forget_process(struct endpoint *endpoint)
{
	if (endpoint->pidfd < 0)
		return;
	loop_watch_remove(endpoint->config.loop, &endpoint->death);
	close(endpoint->pidfd);
	endpoint->pidfd = -1;
	endpoint->pid = 0;
}

void endpoint_kill(struct endpoint *endpoint)
{
	if (endpoint->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, endpoint->pidfd, SIGKILL, NULL,
			0);
}

void endpoint_describe_end(const struct endpoint *endpoint, char *text,
			   size_t size)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	if (waitid(P_PIDFD, (id_t)endpoint->pidfd, &info, WEXITED | WNOHANG) <
		    0 ||
	    info.si_pid == 0)
		snprintf(text, size, "ended");
	else if (info.si_code == CLD_EXITED && info.si_status == 127)
		snprintf(text, size, "could not be started: is %s there?",
			 endpoint->config.program);
	else if (info.si_code == CLD_EXITED)
		snprintf(text, size, "ended with status %d", info.si_status);
	else
		snprintf(text, size, "was ended by signal %d (%s)",
			 info.si_status, strsignal(info.si_status));
}
