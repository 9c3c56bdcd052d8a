/* SPDX-License-Identifier: Apache-2.0 */
/* dial.c - see dial.h */
#include "host/dial.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/errand.h"

/* For each address; a connection that is accepted later is of no use. */
#define CONNECT_S	5

struct dial {
	struct dial_config config;
	struct errand *errand;
	int fd;				/* or -errno; the thread's, then ours */
	struct error why;
};

static void dial_free(void *arg)
{
	struct dial *dial = arg;

	if (dial->fd >= 0)
		close(dial->fd);
	free(dial);
}

static int connect_to(int domain, const struct sockaddr *address,
		      socklen_t length)
{
	const struct timeval patience = {.tv_sec = CONNECT_S};
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
			 sizeof(patience));
	if (connect(fd, address, length) == 0)
		return fd;
	ret = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	close(fd);
	return ret;
}

static int connect_unix(const struct uri *uri)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, uri->socket, sizeof(address.sun_path));
	return connect_to(AF_UNIX, (const struct sockaddr *)&address,
			  sizeof(address));
}

static int connect_tcp(struct dial *dial, struct errand *errand)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int fd = -ENOENT;
	const int rc = getaddrinfo(dial->config.uri.host, dial->config.uri.port,
				   &hints, &found);

	if (rc != 0)
		return error_set(&dial->why, -ENOENT, "%s: %s",
				 dial->config.uri.host, gai_strerror(rc));
	for (const struct addrinfo *a = found;
	     a && fd < 0 && !errand_is_abandoned(errand); a = a->ai_next)
		fd = connect_to(a->ai_family, a->ai_addr, a->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

static void dial_run(void *arg, struct errand *errand)
{
	struct dial *dial = arg;
	const struct uri *uri = &dial->config.uri;

	dial->fd =
		uri->socket[0] ? connect_unix(uri) : connect_tcp(dial, errand);
	if (dial->fd >= 0 || dial->why.text[0])
		return;
	if (uri->socket[0])
		error_set(&dial->why, dial->fd, "%s: %s", uri->socket,
			  strerror(-dial->fd));
	else
		error_set(&dial->why, dial->fd, "%s:%s: %s", uri->host,
			  uri->port, strerror(-dial->fd));
}

static void dial_done(void *arg)
{
	struct dial *dial = arg;
	const int fd = dial->fd;

	dial->fd = -1;
	dial->config.done(dial->config.arg, fd, &dial->why);
}

int dial_start(const struct dial_config *config, struct dial **ret_dial)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	const struct errand_config errand = {
		.loop = config->loop,
		.run = dial_run,
		.done = dial_done,
		.free = dial_free,
		.arg = dial,
	};
	int ret;

	if (!dial)
		return -ENOMEM;
	dial->config = *config;
	dial->fd = -1;
	ret = errand_start(&errand, &dial->errand);
	if (ret < 0) {
		free(dial);
		return ret;
	}
	*ret_dial = dial;
	return 0;
}

void dial_abandon(struct dial *dial)
{
	if (dial)
		errand_abandon(dial->errand);
}
