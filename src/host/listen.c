/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - listening sockets at paths that people name; see listen.h */
#include "host/listen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG		16
#define MODE_DEFAULT	0660U

/* --- Whose it is --------------------------------------------------------- */

struct owner {
	uid_t uid;			/* -1: stays */
	gid_t gid;
	mode_t mode;
};

/* "1000"; names cannot begin with a digit, so that this is no name. */
static bool is_number(const char *text, uint32_t *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno ||
	    number >= UINT32_MAX)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

static int find_owner(const struct config_socket *whose,
		      struct owner *ret_owner, struct error *reterr)
{
	struct owner owner = {(uid_t)-1, (gid_t)-1, MODE_DEFAULT};
	const struct passwd *user;
	const struct group *group;

	if (whose->mode)
		owner.mode = whose->mode;
	if (whose->user && !is_number(whose->user, &owner.uid)) {
		user = getpwnam(whose->user);
		if (!user)
			return error_set(
				reterr, -EINVAL,
				"socket: there is no user '%s' on this host",
				whose->user);
		owner.uid = user->pw_uid;
	}
	if (whose->group && !is_number(whose->group, &owner.gid)) {
		group = getgrnam(whose->group);
		if (!group)
			return error_set(
				reterr, -EINVAL,
				"socket: there is no group '%s' on this host",
				whose->group);
		owner.gid = group->gr_gid;
	}
	*ret_owner = owner;
	return 0;
}

int listen_check_owner(const struct config_socket *whose, struct error *reterr)
{
	struct owner owner;

	return find_owner(whose, &owner, reterr);
}

static int cannot_own(const char *path, const struct config_socket *whose,
		      int error, struct error *reterr)
{
	if (error != -EPERM)
		return error_set(reterr, error, "%s: %s", path,
				 strerror(-error));
	return error_set(
		reterr, error,
		"%s cannot become %s%s%s's (socket:): penstockd has to be root or to have CAP_CHOWN",
		path, whose->user ? whose->user : "",
		whose->user && whose->group ? ":" : "",
		whose->group ? whose->group : "");
}

/* Of what lies at the path only a socket is touched: who may write to its
 * directory could put another thing there. */
static int set_owner(const char *path, const struct owner *owner)
{
	char self[40];
	struct stat status;
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fstat(fd, &status) < 0)
		ret = -errno;
	else if (!S_ISSOCK(status.st_mode))
		ret = -ENOTSOCK;
	else if ((owner->uid != (uid_t)-1 || owner->gid != (gid_t)-1) &&
		 fchownat(fd, "", owner->uid, owner->gid, AT_EMPTY_PATH) < 0)
		ret = -errno;
	else if (chmod(self, owner->mode) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int listen_own(const char *path, const struct config_socket *whose,
	       struct error *reterr)
{
	struct owner owner;
	int ret = find_owner(whose, &owner, reterr);

	if (ret < 0)
		return ret;
	ret = set_owner(path, &owner);
	return ret < 0 ? cannot_own(path, whose, ret, reterr) : 0;
}

/* --- Opening ------------------------------------------------------------- */

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

int listen_open(const char *path, const struct config_socket *whose,
		int *ret_fd, struct error *reterr)
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
	/* Closed to others from the first moment, then opened to those whose
	 * it is. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = error_set(reterr, -errno, "%s: %s", path,
				strerror(errno));
		close(fd);
		return ret;
	}
	ret = listen_own(path, whose, reterr);
	if (ret == 0 && listen(fd, BACKLOG) < 0)
		ret = error_set(reterr, -errno, "%s: %s", path,
				strerror(errno));
	if (ret < 0) {
		close(fd);
		unlink(path);
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

/* ---- addresses ---- */

#define UNIX		"unix:"
#define TCP		"tcp:"
#define BACKLOG_MANY	1024

/* The path of "unix:/PATH"; NULL: it is another kind. */
static const char *path_of(const char *at)
{
	return strncmp(at, UNIX, strlen(UNIX)) == 0 ? at + strlen(UNIX) : NULL;
}

/* "tcp:ADDRESS:PORT", the address perhaps in brackets. */
static int resolve(const char *at, struct addrinfo **ret_found,
		   struct error *reterr)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	char host[256];
	const char *from = at + strlen(TCP);
	const char *colon = strrchr(from, ':');
	size_t length = colon ? (size_t)(colon - from) : 0;
	int rc;

	if (length >= 2 && from[0] == '[' && from[length - 1] == ']') {
		from++;
		length -= 2;
	}
	if (!colon || length >= sizeof(host))
		return error_set(reterr, -EINVAL, "%s: no address", at);
	memcpy(host, from, length);
	host[length] = '\0';
	rc = getaddrinfo(host, colon + 1, &hints, ret_found);
	if (rc != 0)
		return error_set(reterr, -EINVAL, "%s: %s", at,
				 gai_strerror(rc));
	return 0;
}

static int open_tcp(const char *at, int *ret_fd, struct error *reterr)
{
	struct addrinfo *found = NULL;
	const int on = 1;
	int fd, ret = resolve(at, &found, reterr);

	if (ret < 0)
		return ret;
	assert(found);
	fd = socket(found->ai_family,
		    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG_MANY) < 0) {
		ret = error_set(reterr, -errno, "%s: %s", at, strerror(errno));
		if (fd >= 0)
			close(fd);
	} else {
		*ret_fd = fd;
	}
	freeaddrinfo(found);
	return ret;
}

int listen_open_at(const char *at, const struct config_socket *whose,
		   int *ret_fd, struct error *reterr)
{
	const char *path = path_of(at);
	int ret;

	if (!path)
		return open_tcp(at, ret_fd, reterr);
	ret = listen_open(path, whose, ret_fd, reterr);
	if (ret == 0)
		(void)listen(*ret_fd, BACKLOG_MANY);
	return ret;
}

int listen_own_at(const char *at, const struct config_socket *whose,
		  struct error *reterr)
{
	const char *path = path_of(at);

	return path ? listen_own(path, whose, reterr) : 0;
}

bool listen_is_at(int fd, const char *at)
{
	const char *path = path_of(at);
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char old[LISTEN_PATH_MAX];
	struct addrinfo *found = NULL;
	bool same;

	if (path)
		return listen_path(fd, old) && strcmp(old, path) == 0;
	memset(&address, 0, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    resolve(at, &found, NULL) < 0)
		return false;
	assert(found);
	same = length == found->ai_addrlen &&
		memcmp(&address, found->ai_addr, length) == 0;
	freeaddrinfo(found);
	return same;
}

void listen_close_at(int fd, const char *at)
{
	const char *path = path_of(at);

	if (path)
		listen_close(fd, path);
	else if (fd >= 0)
		close(fd);
}
