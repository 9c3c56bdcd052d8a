/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint-record.c - which process is an endpoint, by our own record
 *
 * What answers at a control socket may have been broken into by a guest, and
 * its word for its process number could name anybody's process, which we
 * would watch and end.  So the number is written down when the process is
 * started, in STATE/NAME.pid, with its start time and the boot: these three
 * are never given twice.
 */
#include "host/endpoint-data.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BOOT_ID_FILE	"/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX	64U
#define START_FIELD	22	/* of /proc/PID/stat, counted from 1 */

/* The beginning of a small file, as text. */
static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t count;

	if (fd < 0)
		return -errno;
	count = read(fd, text, size - 1);
	close(fd);
	if (count < 0)
		return -EIO;
	text[count] = '\0';
	return 0;
}

static int read_boot(char *boot)
{
	int ret = read_text(BOOT_ID_FILE, boot, BOOT_ID_MAX);

	boot[ret < 0 ? 0 : strcspn(boot, "\n")] = '\0';
	return ret;
}

/* When 'pid' was started, in ticks since the boot. */
static int read_start(pid_t pid, unsigned long long *ret_start)
{
	char path[48], text[1024], *at;
	int field, ret;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	ret = read_text(path, text, sizeof(text));
	if (ret < 0)
		return ret;
	/* The name is in brackets and may have any character in it. */
	at = strrchr(text, ')');
	for (field = 2; at && field < START_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", ret_start) != 1)
		return -EBADMSG;
	return 0;
}

static int record_path(const struct endpoint *endpoint, char **ret_path)
{
	return asprintf(ret_path, "%s/%s.pid", endpoint->config.directory,
			endpoint->config.name) < 0 ?
		-ENOMEM :
		0;
}

static int write_record(const char *path, const char *text)
{
	size_t size = strlen(text);
	int fd, ret = 0;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, size) != (ssize_t)size)
		ret = -EIO;
	close(fd);
	if (ret < 0)
		unlink(path);
	return ret;
}

int endpoint_record(const struct endpoint *endpoint)
{
	char boot[BOOT_ID_MAX], text[BOOT_ID_MAX + 64], *path;
	unsigned long long start = 0;
	int ret;

	ret = read_boot(boot);
	if (ret == 0)
		ret = read_start(endpoint->pid, &start);
	if (ret < 0)
		return ret;
	ret = record_path(endpoint, &path);
	if (ret < 0)
		return ret;
	snprintf(text, sizeof(text), "%d %llu %s\n", (int)endpoint->pid, start,
		 boot);
	ret = write_record(path, text);
	free(path);
	return ret;
}

void endpoint_record_forget(const struct endpoint *endpoint)
{
	char *path;

	if (record_path(endpoint, &path) < 0)
		return;
	unlink(path);
	free(path);
}

/* The process that the record names, if it is of this boot. */
static int read_record(const struct endpoint *endpoint, pid_t *ret_pid,
		       unsigned long long *ret_start)
{
	char boot[BOOT_ID_MAX], recorded[BOOT_ID_MAX], text[256], *path;
	int pid, ret;

	ret = record_path(endpoint, &path);
	if (ret < 0)
		return ret;
	ret = read_text(path, text, sizeof(text));
	free(path);
	if (ret == 0)
		ret = read_boot(boot);
	if (ret < 0)
		return ret;
	if (sscanf(text, "%d %llu %63s", &pid, ret_start, recorded) != 3 ||
	    pid <= 1 || strcmp(boot, recorded) != 0)
		return -ESRCH;
	*ret_pid = pid;
	return 0;
}

int endpoint_record_open(const struct endpoint *endpoint, pid_t *ret_pid)
{
	unsigned long long recorded, start;
	struct pollfd ended = {.events = POLLIN};
	int ret;

	ret = read_record(endpoint, ret_pid, &recorded);
	if (ret < 0)
		return ret;
	ended.fd = (int)syscall(SYS_pidfd_open, *ret_pid, 0);
	if (ended.fd < 0)
		return -errno;
	/* The pidfd is held: if the number has the right start time now, it
	 * had it when the pidfd was opened. */
	if (read_start(*ret_pid, &start) < 0 || start != recorded ||
	    poll(&ended, 1, 0) != 0) {
		close(ended.fd);
		return -ESRCH;
	}
	return ended.fd;
}
