/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - a listening Unix socket that replaces a dead one
 */
#include "api/listen.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG		64
/* How long what a process that was killed had under way may outlive it. */
#define GHOST_MS	1000
#define GHOSTS_MAX	5U

static int make_parent(const char *path, struct error *reterr)
{
	char parent[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	if (mkdir(parent, 0755) == 0 || errno == EEXIST)
		return 0;
	return error_set(reterr, -errno,
			 "cannot make %s for the API's socket: %s", parent,
			 strerror(errno));
}

static int cannot_listen(const struct sockaddr_un *address, int error,
			 struct error *reterr)
{
	return error_set(reterr, error, "cannot listen at %s: %s",
			 address->sun_path, strerror(-error));
}

/* Returns 0 if somebody takes what is sent to the address, or -errno.  Who was
 * killed is waited for: its io_uring holds its socket for some milliseconds
 * more, which takes connections and then drops them. */
static int try_connect(const struct sockaddr_un *address)
{
	int error = -ECONNREFUSED;

	for (unsigned int i = 0; i < GHOSTS_MAX; i++) {
		struct pollfd poll_fd = {.events = POLLRDHUP};
		bool is_dropped;

		poll_fd.fd = socket(
			AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (poll_fd.fd < 0)
			return -errno;
		error = connect(poll_fd.fd, (const struct sockaddr *)address,
				sizeof(*address)) < 0 ?
			-errno :
			0;
		is_dropped = error == 0 && poll(&poll_fd, 1, GHOST_MS) > 0;
		close(poll_fd.fd);
		if (!is_dropped)
			break;
	}
	return error;
}

/* Returns 0 when nothing is at the address any more. */
static int clear_stale(const struct sockaddr_un *address, struct error *reterr)
{
	struct stat status;
	int error;

	if (lstat(address->sun_path, &status) < 0)
		return errno == ENOENT ? 0 :
					 cannot_listen(address, -errno, reterr);
	if (!S_ISSOCK(status.st_mode))
		return error_set(
			reterr, -EEXIST,
			"%s is there and is not a socket: remove it, or change api: unix:",
			address->sun_path);
	error = try_connect(address);
	if (error == 0 || error == -EAGAIN)
		return error_set(
			reterr, -EADDRINUSE,
			"somebody answers at %s already: is another penstockd running?",
			address->sun_path);
	if (error != -ECONNREFUSED && error != -ENOENT)
		return cannot_listen(address, error, reterr);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return cannot_listen(address, -errno, reterr);
	return 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address,
			   mode_t mode, struct api_listener *listener)
{
	/* Nobody may connect before the mode is what was asked for. */
	const mode_t before = umask(0777);
	const int result =
		bind(fd, (const struct sockaddr *)address, sizeof(*address));
	const int bind_errno = errno;
	struct stat status;

	umask(before);
	if (result < 0)
		return -bind_errno;
	if (chmod(address->sun_path, mode) < 0 || listen(fd, BACKLOG) < 0 ||
	    lstat(address->sun_path, &status) < 0) {
		const int error = -errno;

		unlink(address->sun_path);
		return error;
	}
	listener->fd = fd;
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	strcpy(listener->path, address->sun_path);
	return 0;
}

int api_listen(const char *path, mode_t mode, struct api_listener *ret_listener,
	       struct error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -ENAMETOOLONG,
				 "%s is too long for a socket (107 bytes)",
				 path);
	strcpy(address.sun_path, path);
	error = make_parent(path, reterr);
	if (error < 0)
		return error;
	error = clear_stale(&address, reterr);
	if (error < 0)
		return error;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cannot_listen(&address, -errno, reterr);
	error = bind_and_listen(fd, &address, mode, ret_listener);
	if (error < 0) {
		close(fd);
		return cannot_listen(&address, error, reterr);
	}
	return 0;
}

/* The name in API_LINK_DIRECTORY, or NULL: it lies elsewhere, or is the
 * link's own name. */
static const char *linkable_name(const struct api_listener *listener)
{
	const size_t length = strlen(API_LINK_DIRECTORY);
	const char *name = listener->path + length + 1;

	if (strncmp(listener->path, API_LINK_DIRECTORY "/", length + 1) != 0 ||
	    strchr(name, '/') || strcmp(name, API_LINK_NAME) == 0)
		return NULL;
	return name;
}

static bool answers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool yes;

	if (fd < 0)
		return false;
	strcpy(address.sun_path, path);
	yes = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
		errno == EAGAIN;
	close(fd);
	return yes;
}

void api_listen_link(const struct api_listener *listener)
{
	static const char path[] = API_LINK_DIRECTORY "/" API_LINK_NAME;
	const char *name = linkable_name(listener);
	struct stat status;

	/* Only a convenience: what cannot be done is left. */
	if (!name)
		return;
	if (lstat(path, &status) == 0) {
		if (!S_ISLNK(status.st_mode) || answers(path))
			return;
		unlink(path);
	}
	(void)!symlink(name, path);
}

void api_unlisten(struct api_listener *listener)
{
	static const char link[] = API_LINK_DIRECTORY "/" API_LINK_NAME;
	const char *name = linkable_name(listener);
	char target[sizeof(listener->path)];
	struct stat status;
	ssize_t length;

	if (name) {
		length = readlink(link, target, sizeof(target));
		if (length == (ssize_t)strlen(name) &&
		    memcmp(target, name, strlen(name)) == 0)
			unlink(link);
	}
	if (lstat(listener->path, &status) == 0 &&
	    status.st_dev == listener->device &&
	    status.st_ino == listener->inode)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}
