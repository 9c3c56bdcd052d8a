/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - HTTP by hand over a Unix socket, to say what no library would
 */
#include "http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "http: %s: %s\n", what, strerror(errno));
	abort();
}

int http_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	return fd;
}

void http_send(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		if (sent < 0)
			die("send");
		data += sent;
		length -= (size_t)sent;
	}
}

void http_say(int fd, const char *text)
{
	http_send(fd, text, strlen(text));
}

void http_receive(int fd, struct http_answer *ret_answer)
{
	struct http_answer answer = {0};
	size_t length = 0, room = 65536;
	ssize_t got;

	answer.text = calloc(1, room);
	while ((got = recv(fd, answer.text + length, room - length - 1, 0)) >
	       0) {
		length += (size_t)got;
		if (length + 1 == room) {
			room *= 2;
			answer.text = realloc(answer.text, room);
		}
	}
	if (got < 0 && errno != ECONNRESET)
		die("recv");
	answer.text[length] = '\0';
	answer.body = strstr(answer.text, "\r\n\r\n");
	if (answer.body) {
		answer.body += 4;
		sscanf(answer.text, "HTTP/1.%*d %d", &answer.status);
		answer.json = json_loads(answer.body, JSON_DECODE_ANY, NULL);
	}
	*ret_answer = answer;
}

void http_forget(struct http_answer *answer)
{
	free(answer->text);
	json_decref(answer->json);
}

void http_ask(const char *path, const char *method, const char *target,
	      const char *body, struct http_answer *ret_answer)
{
	int fd = http_connect(path), length;
	char *request;

	length = asprintf(&request,
			  "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			  "Content-Length: %zu\r\n\r\n%s",
			  method, target, body ? strlen(body) : 0,
			  body ? body : "");
	http_send(fd, request, (size_t)length);
	free(request);
	http_receive(fd, ret_answer);
	close(fd);
}

void http_wait(int fd, const char *wanted, char *buffer, size_t size)
{
	size_t length = 0;
	ssize_t got;

	buffer[0] = '\0';
	while (!strstr(buffer, wanted)) {
		if (length + 1 == size)
			die("too much came");
		got = recv(fd, buffer + length, size - length - 1, 0);
		if (got <= 0)
			die("the connection ended");
		length += (size_t)got;
		buffer[length] = '\0';
	}
}
