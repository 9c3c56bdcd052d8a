/* SPDX-License-Identifier: Apache-2.0 */
/* uri.c - see uri.h */
#include "host/uri.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define TCP		"://"
#define UNIX		"+unix://"
#define SOCKET		"socket="
#define SHOWN "nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=/PATH"

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 'length' bytes of the text, with %XX as the bytes they stand for.  Returns
 * false: too long, or no such byte. */
static bool decode(const char *from, size_t length, char *to, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)from[i];

		if (c == '%') {
			if (length - i < 3 || digit_of(from[i + 1]) < 0 ||
			    digit_of(from[i + 2]) < 0)
				return false;
			c = digit_of(from[i + 1]) * 16 + digit_of(from[i + 2]);
			i += 2;
		}
		if (c < ' ' || used + 1 >= size)
			return false;
		to[used++] = (char)c;
	}
	to[used] = '\0';
	return true;
}

/* "HOST", "HOST:PORT", "[ADDRESS]:PORT". */
static bool get_host(const char *from, size_t length, struct uri *uri)
{
	const char *end = from + length, *host_end, *port;
	char *rest;
	long number;

	if (length > 0 && *from == '[') {
		from++;
		host_end = memchr(from, ']', length - 1);
		if (!host_end)
			return false;
		port = host_end + 1;
	} else {
		host_end = memchr(from, ':', length);
		if (!host_end)
			host_end = end;
		port = host_end;
	}
	if (host_end == from ||
	    !decode(from, (size_t)(host_end - from), uri->host,
		    sizeof(uri->host)))
		return false;
	memcpy(uri->port, URI_PORT_DEFAULT, sizeof(URI_PORT_DEFAULT));
	if (port == end)
		return true;
	if (*port != ':' || port[1] < '0' || port[1] > '9' ||
	    !decode(port + 1, (size_t)(end - port) - 1, uri->port,
		    sizeof(uri->port)))
		return false;
	number = strtol(uri->port, &rest, 10);
	return *rest == '\0' && number > 0 && number <= 65535;
}

int uri_parse(const char *text, struct uri *ret_uri, struct error *reterr)
{
	const bool has_tls = strncmp(text, "nbds", 4) == 0;
	const bool is_nbd = strncmp(text, "nbd", 3) == 0;
	const char *rest = is_nbd ? text + 3 + has_tls : text;
	const bool is_unix = strncmp(rest, UNIX, strlen(UNIX)) == 0;
	struct uri uri = {.tls = has_tls};
	const char *host, *path, *query;

	if (!is_nbd || (!is_unix && strncmp(rest, TCP, strlen(TCP)) != 0))
		return error_set(reterr, -EINVAL, "'%s' is not %s", text,
				 SHOWN);
	host = rest + strlen(is_unix ? UNIX : TCP);
	path = host + strcspn(host, "/?");
	query = path + strcspn(path, "?");
	if (*path == '/' &&
	    !decode(path + 1, (size_t)(query - path) - 1, uri.export,
		    sizeof(uri.export)))
		return error_set(reterr, -EINVAL,
				 "'%s': the export's name has %u bytes at most",
				 text, URI_EXPORT_MAX);
	if (!is_unix) {
		if (*query || !get_host(host, (size_t)(path - host), &uri))
			return error_set(reterr, -EINVAL, "'%s' is not %s",
					 text, SHOWN);
	} else if (path != host || *query != '?' ||
		   strncmp(query + 1, SOCKET, strlen(SOCKET)) != 0 ||
		   query[1 + strlen(SOCKET)] != '/' ||
		   !decode(query + 1 + strlen(SOCKET),
			   strlen(query + 1 + strlen(SOCKET)), uri.socket,
			   sizeof(uri.socket))) {
		return error_set(reterr, -EINVAL,
				 "'%s' is not %s (a path of at most %zu bytes)",
				 text, SHOWN, sizeof(uri.socket) - 1);
	}
	*ret_uri = uri;
	return 0;
}
