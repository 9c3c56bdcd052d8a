/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - questions to penstockd, with errors said on standard error
 */
#include "cli/ask.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "api/client.h"

#define PATH_MAX_BYTES	512U

int cli_error(int status, const char *format, ...)
{
	struct error error;
	va_list args;

	va_start(args, format);
	error_vset(&error, 0, format, args);
	va_end(args);
	fprintf(stderr, "penstock: %s\n", error.text);
	return status;
}

/* An option, else what the environment says; NULL: neither. */
static const char *said_or(const char *option, const char *variable)
{
	const char *text = option ? option : getenv(variable);

	return text && (option || text[0]) ? text : NULL;
}

struct client *cli_client(struct cli *cli)
{
	const char *where = said_or(cli->api, "PENSTOCK_API");
	struct client_tls tls;
	struct error error;

	if (cli->client)
		return cli->client;
	if (!where)
		where = CLIENT_DEFAULT_API;
	tls.cert = said_or(cli->cert, "PENSTOCK_CERT");
	tls.key = said_or(cli->key, "PENSTOCK_KEY");
	tls.ca = said_or(cli->cacert, "PENSTOCK_CACERT");
	if (client_create(where, &tls, &cli->client, &error) < 0) {
		cli_error(CLI_USAGE, "%s", error.text);
		return NULL;
	}
	return cli->client;
}

/* "a", "a or b", "a, b or c" */
static void join_names(const json_t *names, char *buffer, size_t size)
{
	const size_t count = json_array_size(names);
	size_t length = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < count && length < size; i++) {
		const char *name = json_string_value(json_array_get(names, i));

		length +=
			(size_t)snprintf(buffer + length, size - length, "%s%s",
					 i == 0			? "" :
						 i + 1 == count ? " or " :
								  ", ",
					 name ? name : "?");
	}
}

/* Exit status 3: what was asked, how much is missing, where it could be had. */
static int say_refused(const json_t *value, const char *text)
{
	const json_t *names = json_object_get(value, "where");
	char where[256];

	if (!json_is_array(names))
		return cli_error(CLI_REFUSED, "refused: %s", text);
	join_names(names, where, sizeof(where));
	return cli_error(CLI_REFUSED, "refused: %s; %s%s", text,
			 where[0] ? "could be met on " :
				    "no device of this host could meet it",
			 where);
}

static int say_error(long status, const json_t *value)
{
	const char *text = json_string_value(json_object_get(value, "error"));
	const char *code = json_string_value(json_object_get(value, "code"));

	if (!text || !code)
		return cli_error(
			CLI_FAILED,
			"penstockd answered with HTTP status %ld and no reason",
			status);
	if (strcmp(code, "refused") == 0)
		return say_refused(value, text);
	return cli_error(strcmp(code, "usage") == 0 ? CLI_USAGE : CLI_FAILED,
			 "%s", text);
}

int cli_ask(struct cli *cli, const char *method, const char *path, json_t *body,
	    json_t **ret_value)
{
	struct client *client = cli_client(cli);
	struct error error;
	json_t *value;
	long status;
	int result = CLI_DONE;

	if (!client) {
		json_decref(body);
		return CLI_USAGE;
	}
	if (client_call(client, method, path, body, &status, &value, &error) <
	    0) {
		json_decref(body);
		return cli_error(CLI_FAILED, "%s", error.text);
	}
	json_decref(body);
	if (status == 200) {
		*ret_value = value;
	} else {
		result = say_error(status, value);
		json_decref(value);
	}
	return result;
}

void cli_set_text(json_t *body, const char *key, const char *text)
{
	if (text)
		json_object_set_new(body, key, json_string(text));
}

/* "/v1/KIND/NAME" and 'more', with NAME percent-encoded. */
static void make_path(char buffer[PATH_MAX_BYTES], const char *kind,
		      const char *name, const char *more)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789._-/";
	size_t length =
		(size_t)snprintf(buffer, PATH_MAX_BYTES, "/v1/%s/", kind);

	for (; *name && length + 4 < PATH_MAX_BYTES; name++)
		length += (size_t)snprintf(
			buffer + length, PATH_MAX_BYTES - length,
			strchr(plain, *name) ? "%c" : "%%%02X",
			(unsigned char)*name);
	snprintf(buffer + length, PATH_MAX_BYTES - length, "%s", more);
}

int cli_ask_one(struct cli *cli, const char *method, const char *kind,
		const char *name, const char *more, json_t *body,
		json_t **ret_value)
{
	char path[PATH_MAX_BYTES];

	make_path(path, kind, name, more);
	return cli_ask(cli, method, path, body, ret_value);
}
