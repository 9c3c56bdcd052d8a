/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - HTTP by hand over a Unix socket, to say what no library would
 */
#ifndef TESTS_HTTP_H
#define TESTS_HTTP_H

#include <jansson.h>
#include <stddef.h>

struct http_answer {
	int status;		/* 0: the connection ended without one */
	char *text;		/* everything that came, with the headers */
	char *body;		/* within 'text' */
	json_t *json;		/* of the body, or NULL */
};

int http_connect(const char *path);
/* Send everything; a peer that has closed is not an error. */
void http_send(int fd, const char *data, size_t length);
void http_say(int fd, const char *text);
/* Read until the other end closes. */
void http_receive(int fd, struct http_answer *ret_answer);
void http_forget(struct http_answer *answer);
/* One request with "Connection: close"; 'body' may be NULL. */
void http_ask(const char *path, const char *method, const char *target,
	      const char *body, struct http_answer *ret_answer);
/* Read until 'wanted' has come (it is fatal if the connection ends before);
 * returns all that was read, NUL-terminated, in 'buffer'. */
void http_wait(int fd, const char *wanted, char *buffer, size_t size);

#endif
