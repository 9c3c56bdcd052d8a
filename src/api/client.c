/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - REST over libcurl, to a Unix socket or a URL
 */
#include "api/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_S	5L
#define ANSWER_S	600L	/* a calibration takes its time */

struct client {
	CURL *curl;
	char *where;		/* for messages */
	char *base;		/* scheme and host */
	char detail[CURL_ERROR_SIZE];	/* of the last call over TLS */
	char *cert, *key, *ca;	/* NULL: not said */
	bool is_unix, is_tls;
};

struct text {			/* what has come, bounded */
	char *data;
	size_t length;
};

static int copy(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return text && !*ret_copy ? -ENOMEM : 0;
}

int client_create(const char *where, const struct client_tls *tls,
		  struct client **ret_client, struct error *reterr)
{
	static const struct client_tls none;
	struct client *client;

	if (where[0] == '\0' || strlen(where) > 1024)
		return error_set(
			reterr, -EINVAL,
			"the API's address must be the path of a socket or a URL");
	client = calloc(1, sizeof(*client));
	if (!client)
		return error_set(reterr, -ENOMEM, "out of memory");
	client->is_unix = strncmp(where, "http://", 7) != 0 &&
		strncmp(where, "https://", 8) != 0;
	client->is_tls = strncmp(where, "https://", 8) == 0;
	if (!tls)
		tls = &none;
	client->where = strdup(where);
	client->base = strdup(client->is_unix ? "http://localhost" : where);
	client->curl = curl_easy_init();
	if (!client->where || !client->base || !client->curl ||
	    copy(tls->cert, &client->cert) < 0 ||
	    copy(tls->key ? tls->key : tls->cert, &client->key) < 0 ||
	    copy(tls->ca, &client->ca) < 0) {
		client_destroy(client);
		return error_set(reterr, -ENOMEM, "out of memory");
	}
	for (size_t end = strlen(client->base);
	     end > 0 && client->base[end - 1] == '/'; end--)
		client->base[end - 1] = '\0';
	*ret_client = client;
	return 0;
}

void client_destroy(struct client *client)
{
	if (!client)
		return;
	if (client->curl)
		curl_easy_cleanup(client->curl);
	free(client->where);
	free(client->base);
	free(client->cert);
	free(client->key);
	free(client->ca);
	free(client);
}

static size_t gather(char *data, size_t size, size_t count, void *arg)
{
	struct text *text = arg;
	char *grown;

	size *= count;
	if (size > CLIENT_ANSWER_MAX - text->length)
		return 0;
	grown = realloc(text->data, text->length + size + 1);
	if (!grown)
		return 0;
	memcpy(grown + text->length, data, size);
	text->data = grown;
	text->length += size;
	return size;
}

/* penstockd's certificate is checked, and is of the host in the URL: both are
 * what libcurl does unless told otherwise. */
static void prepare_tls(struct client *client)
{
	curl_easy_setopt(client->curl, CURLOPT_SSLVERSION,
			 CURL_SSLVERSION_TLSv1_2);
	if (client->cert) {
		curl_easy_setopt(client->curl, CURLOPT_SSLCERT, client->cert);
		curl_easy_setopt(client->curl, CURLOPT_SSLKEY, client->key);
	}
	if (client->ca) {
		curl_easy_setopt(client->curl, CURLOPT_CAINFO, client->ca);
		curl_easy_setopt(client->curl, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->detail);
	client->detail[0] = '\0';
}

/* What every request has; the caller adds method, body and what to do with
 * the answer. */
static int prepare(struct client *client, const char *path,
		   struct error *reterr)
{
	char *url;

	curl_easy_reset(client->curl);
	if (asprintf(&url, "%s%s", client->base, path) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	curl_easy_setopt(client->curl, CURLOPT_URL, url);
	free(url);
	/* A name with ".." in it stays one, for penstockd to refuse. */
	curl_easy_setopt(client->curl, CURLOPT_PATH_AS_IS, 1L);
	if (client->is_unix)
		curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH,
				 client->where);
	else
		curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR,
				 "http,https");
	if (client->is_tls)
		prepare_tls(client);
	curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(client->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(client->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	return 0;
}

/* What only TLS can do wrong.  Returns whether it was that. */
static bool explain_tls(const struct client *client, CURLcode code,
			struct error *reterr)
{
	const char *detail =
		client->detail[0] ? client->detail : curl_easy_strerror(code);

	if (!client->is_tls)
		return false;
	if (code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE)
		error_set(reterr, -EIO,
			  "%s: %s: look at --cert, --key and --cacert",
			  client->where, detail);
	else if (code == CURLE_PEER_FAILED_VERIFICATION)
		error_set(
			reterr, -EIO,
			"%s is not believed: %s: say whom to believe with --cacert or $PENSTOCK_CACERT",
			client->where, detail);
	else if (strstr(detail, " alert "))
		/* It said why, in the words of TLS. */
		error_set(reterr, -EIO, "penstockd at %s refuses %s: %s: %s",
			  client->where,
			  client->cert ? "the certificate" :
					 "without a certificate",
			  detail,
			  client->cert ? "its log says why" :
					 "show one with --cert and --key");
	else if (code == CURLE_SSL_CONNECT_ERROR)
		error_set(reterr, -EIO, "%s: %s", client->where, detail);
	else
		return false;
	return true;
}

/* Say what went wrong so that a person knows what to do. */
static int explain(struct client *client, CURLcode code, struct error *reterr)
{
	long os_errno = 0;

	if (explain_tls(client, code, reterr))
		return -EIO;

	curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
	if (code == CURLE_COULDNT_CONNECT && os_errno == EACCES)
		return error_set(
			reterr, -EIO,
			"you may not connect to %s: ask for it in the configuration (api: roles:), or be root",
			client->where);
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
		return error_set(
			reterr, -EIO,
			"no penstockd answers at %s: start it with 'penstockd --config FILE', or say where it is with --api or $PENSTOCK_API",
			client->where);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(
			reterr, -EIO,
			"penstockd at %s does not answer in time: look at its log",
			client->where);
	if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR ||
	    code == CURLE_PARTIAL_FILE)
		return error_set(
			reterr, -EIO,
			"penstockd at %s ended the connection: look at its log, then try again",
			client->where);
	return error_set(reterr, -EIO, "%s: %s", client->where,
			 curl_easy_strerror(code));
}

static CURLcode perform(struct client *client, const char *method,
			const json_t *body, struct text *answer)
{
	struct curl_slist *headers = NULL;
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	CURLcode code;

	/* No "Expect: 100-continue": a body is small, and the wait is not. */
	headers = curl_slist_append(headers, "Expect:");
	headers = curl_slist_append(headers, "Content-Type: application/json");
	curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
	if (text)
		curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, text);
	curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, ANSWER_S);
	curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, gather);
	curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, answer);
	code = curl_easy_perform(client->curl);
	curl_slist_free_all(headers);
	free(text);
	return code;
}

int client_call(struct client *client, const char *method, const char *path,
		const json_t *body, long *ret_status, json_t **ret_value,
		struct error *reterr)
{
	struct text answer = {0};
	json_error_t where;
	json_t *value;
	CURLcode code;

	if (prepare(client, path, reterr) < 0)
		return -EIO;
	code = perform(client, method, body, &answer);
	if (code != CURLE_OK) {
		free(answer.data);
		return explain(client, code, reterr);
	}
	value = json_loadb(answer.data ? answer.data : "", answer.length,
			   JSON_DECODE_ANY, &where);
	free(answer.data);
	if (!value)
		return error_set(
			reterr, -EIO,
			"what answers at %s is no penstockd: its answer is not JSON",
			client->where);
	curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, ret_status);
	*ret_value = value;
	return 0;
}

/* --- Events ------------------------------------------------------------- */

struct stream {
	struct client *client;
	struct client_follower *follower;
	struct text line;	/* the line that is not whole yet */
	bool stopped;		/* by the follower */
};

static void take_line(struct stream *stream, const char *line)
{
	static const char word[] = "data: ";
	json_t *event;

	if (strncmp(line, word, sizeof(word) - 1) != 0)
		return;
	event = json_loads(line + sizeof(word) - 1, 0, NULL);
	if (event && !stream->follower->event(stream->follower, event))
		stream->stopped = true;
	json_decref(event);
}

static size_t take_stream(char *data, size_t size, size_t count, void *arg)
{
	struct stream *stream = arg;
	long status = 0;
	char *start, *end;

	curl_easy_getinfo(stream->client->curl, CURLINFO_RESPONSE_CODE,
			  &status);
	if (gather(data, size, count, &stream->line) != size * count)
		return 0;
	if (status != 200)	/* an error's text: for the caller */
		return size * count;
	stream->line.data[stream->line.length] = '\0';
	start = stream->line.data;
	while (!stream->stopped && (end = strchr(start, '\n'))) {
		*end = '\0';
		take_line(stream, start);
		start = end + 1;
	}
	stream->line.length -= (size_t)(start - stream->line.data);
	memmove(stream->line.data, start, stream->line.length);
	return stream->stopped ? 0 : size * count;
}

/* The stream ended, not by the follower's wish. */
static int stream_ended(struct stream *stream, CURLcode code,
			struct error *reterr)
{
	json_t *value = NULL;
	const char *text;
	long status = 0;

	if (code != CURLE_OK && code != CURLE_PARTIAL_FILE)
		return explain(stream->client, code, reterr);
	curl_easy_getinfo(stream->client->curl, CURLINFO_RESPONSE_CODE,
			  &status);
	if (status != 200 && stream->line.data)
		value = json_loadb(stream->line.data, stream->line.length, 0,
				   NULL);
	text = json_string_value(json_object_get(value, "error"));
	error_set(
		reterr, -EIO, "%s",
		text ? text :
		       "penstockd ended: start it again to follow its events");
	json_decref(value);
	return -EIO;
}

int client_follow(struct client *client, uint64_t after,
		  struct client_follower *follower, struct error *reterr)
{
	struct stream stream = {.client = client, .follower = follower};
	char path[64] = "/v1/events";
	CURLcode code;
	int error = 0;

	if (after != UINT64_MAX)
		snprintf(path, sizeof(path), "/v1/events?after=%llu",
			 (unsigned long long)after);
	if (prepare(client, path, reterr) < 0)
		return -EIO;
	curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take_stream);
	curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &stream);
	code = curl_easy_perform(client->curl);
	if (!stream.stopped)
		error = stream_ended(&stream, code, reterr);
	free(stream.line.data);
	return error;
}
