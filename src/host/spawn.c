/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c - starting a penstock-endpoint; see spawn.h */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/stats.h"

#define ARGUMENTS_MAX	16U
#define SPARE_FD	64	/* above what the endpoint is given */

static int set_path(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	strcpy(address->sun_path, path);
	return 0;
}

int spawn_control_socket(const char *path, int *ret_fd, struct error *reterr)
{
	struct sockaddr_un address;
	int fd, ret;

	ret = set_path(&address, path);
	if (ret < 0)
		return error_set(reterr, ret, "%s: too long for a socket",
				 path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "a control socket: %s",
				 strerror(errno));
	/* The state directory is locked by us: what lies here is stale. */
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, 0600) < 0 || listen(fd, 4) < 0) {
		ret = error_set(reterr, -errno, "%s: %s", path,
				strerror(errno));
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

int spawn_connect(const char *path, int *ret_fd)
{
	struct sockaddr_un address;
	int fd, ret;

	ret = set_path(&address, path);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

int spawn_stats_map(int fd, struct stats_segment **ret_stats)
{
	struct stats_segment *stats;
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	/* One that can shrink under our reads would end us (SIGBUS). */
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return -EPROTO;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_size != (off_t)sizeof(*stats))
		return -EPROTO;
	stats = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (stats == MAP_FAILED)
		return -errno;
	if (stats->magic != STATS_MAGIC ||
	    stats->size_bytes != sizeof(*stats)) {
		munmap(stats, sizeof(*stats));
		return -EPROTO;
	}
	*ret_stats = stats;
	return 0;
}

void spawn_stats_unmap(struct stats_segment *stats)
{
	if (stats)
		munmap(stats, sizeof(*stats));
}

int spawn_stats_create(const char *name, int *ret_fd,
		       struct stats_segment **ret_stats, struct error *reterr)
{
	const struct {
		uint64_t magic, size_bytes;
	} head = {
		STATS_MAGIC,
		sizeof(struct stats_segment),
	};
	char label[96];
	int fd, ret = 0;

	snprintf(label, sizeof(label), "penstock-stats-%s", name);
	fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(reterr, -errno, "statistics segment: %s",
				 strerror(errno));
	/* The endpoint must not be able to take the memory away from us. */
	if (ftruncate(fd, (off_t)sizeof(struct stats_segment)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
		    0 ||
	    pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		ret = -errno;
	if (ret == 0)
		ret = spawn_stats_map(fd, ret_stats);
	if (ret < 0) {
		close(fd);
		return error_set(reterr, ret, "statistics segment: %s",
				 strerror(-ret));
	}
	*ret_fd = fd;
	return 0;
}

/* In the child, between fork and exec: only what is safe after fork in a
 * program with threads. */
static void become_endpoint(const struct spawn *spawn, char **arguments)
{
	char *const environment[] = {NULL};
	int control = fcntl(spawn->control_fd, F_DUPFD_CLOEXEC, SPARE_FD);
	int stats = fcntl(spawn->stats_fd, F_DUPFD_CLOEXEC, SPARE_FD);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;
	int i;

	setsid();
	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (control < 0 || stats < 0 || null < 0 || dup2(null, 0) < 0 ||
	    dup2(control, CTL_LISTEN_FD) < 0 || dup2(stats, CTL_STATS_FD) < 0)
		_exit(126);
	syscall(SYS_close_range, CTL_STATS_FD + 1, ~0U, 0);
	execve(spawn->program, arguments, environment);
	_exit(127);
}

int spawn_endpoint(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd,
		   struct error *reterr)
{
	char cpu[16], nice[16], spin[24], uid[16], gid[16];
	char *arguments[ARGUMENTS_MAX] = {NULL};
	char name[] = "penstock-endpoint";
	char name_option[] = "--name", cpu_option[] = "--cpu";
	char nice_option[] = "--nice", spin_option[] = "--spin-ns";
	char realtime_option[] = "--realtime";
	char uid_option[] = "--uid", gid_option[] = "--gid";
	char *unit = strdup(spawn->name);
	unsigned int count = 0;
	pid_t pid;
	int pidfd;

	if (!unit)
		return error_set(reterr, -ENOMEM, "out of memory");
	snprintf(cpu, sizeof(cpu), "%d", spawn->cpu);
	snprintf(nice, sizeof(nice), "%d", spawn->nice);
	snprintf(spin, sizeof(spin), "%llu",
		 (unsigned long long)spawn->spin_ns);
	snprintf(uid, sizeof(uid), "%u", spawn->uid);
	snprintf(gid, sizeof(gid), "%u", spawn->gid);
	arguments[count++] = name;
	arguments[count++] = name_option;
	arguments[count++] = unit;
	if (spawn->uid) {
		arguments[count++] = uid_option;
		arguments[count++] = uid;
		arguments[count++] = gid_option;
		arguments[count++] = gid;
	}
	if (spawn->cpu >= 0) {
		arguments[count++] = cpu_option;
		arguments[count++] = cpu;
	}
	if (spawn->nice) {
		arguments[count++] = nice_option;
		arguments[count++] = nice;
	}
	if (spawn->realtime)
		arguments[count++] = realtime_option;
	if (spawn->has_spin) {
		arguments[count++] = spin_option;
		arguments[count++] = spin;
	}
	pid = fork();
	if (pid == 0)
		become_endpoint(spawn, arguments);
	free(unit);
	if (pid < 0)
		return error_set(reterr, -errno, "starting %s: %s",
				 spawn->program, strerror(errno));
	/* Our child is not reaped before: the number is still its own. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		int ret = -errno;

		kill(pid, SIGKILL);
		return error_set(reterr, ret, "watching %s: %s", spawn->program,
				 strerror(-ret));
	}
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return 0;
}
