/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - listening sockets at paths that people name; see listen.h */
#include "host/listen.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	16

/* Take away what a dead one left.  Returns 0 or why it stays. */
static int replace_stale(const char *path, const struct sockaddr_un *address,
			 struct error *reterr)
{
	struct stat status;
	int fd, ret = 0;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 :
					 error_set(reterr, -errno, "%s: %s",
						   path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_set(reterr, -EEXIST,
				 "%s exists and is no socket: move it away",
				 path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "a socket: %s",
				 strerror(errno));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
		    0 ||
	    errno != ECONNREFUSED)
		ret = error_set(reterr, -EADDRINUSE,
				"somebody listens at %s already", path);
	close(fd);
	if (ret == 0 && unlink(path) < 0 && errno != ENOENT)
		ret = error_set(reterr, -errno, "%s: %s", path,
				strerror(errno));
	return ret;
}

/* /run is empty after each boot: the socket's own directory is made.  That it
 * could not be made is what bind will say. */
static void make_parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return;
	*slash = '\0';
	mkdir(path, 0755);
	*slash = '/';
}

int listen_open(const char *path, int *ret_fd, struct error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -ENAMETOOLONG,
				 "%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	make_parent(address.sun_path);
	ret = replace_stale(path, &address, reterr);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "a socket: %s",
				 strerror(errno));
	/* Closed to others from the first moment, then opened to the group. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0) {
		ret = error_set(reterr, -errno, "%s: %s", path,
				strerror(errno));
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

bool listen_path(int fd, char path[LISTEN_PATH_MAX])
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	static_assert(LISTEN_PATH_MAX > sizeof(address.sun_path),
		      "room for its end");
	memset(&address, 0, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    length > sizeof(address) || address.sun_family != AF_UNIX)
		return false;
	memset(path, 0, LISTEN_PATH_MAX);
	memcpy(path, address.sun_path, sizeof(address.sun_path));
	return true;
}

void listen_remove(const char *path)
{
	struct stat status;

	if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(path);
}

void listen_close(int fd, const char *path)
{
	if (fd < 0)
		return;
	close(fd);
	unlink(path);
}
