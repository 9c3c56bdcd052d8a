/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - libmicrohttpd inside the control thread's loop
 *
 * Theory of operation.  Connections are accepted by door.c and handed to MHD,
 * which runs without threads: its epoll descriptor is watched by the loop,
 * MHD_run does what is ready, and its next time-out is a timer of the loop.  A
 * call begins when MHD has a request's headers; its body is gathered up to
 * API_BODY_MAX; then role, route and body are checked and the handler runs.  A
 * handler that cannot answer at once leaves the connection suspended; its
 * answer resumes it, and MHD asks again.  Followers of events are suspended
 * whenever they have been told everything.
 *
 * MHD_run is never entered from inside itself: whatever resumes a connection
 * only sets the timer to now.
 */
#include "api/server.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/call-data.h"
#include "api/stream.h"

/* Of a body that is too large and did not say so; then it is cut off. */
#define DISCARD_MAX	(16U * API_BODY_MAX)

static void run(struct api_server *server)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	server->run_again = false;
	MHD_run(server->daemon);
	if (server->run_again)
		loop_timer_set(server->loop, &server->run_timer,
			       loop_clock_ns());
	else if (MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES)
		loop_timer_set(server->loop, &server->run_timer,
			       loop_clock_ns() + timeout_ms * 1000000U);
	else
		loop_timer_cancel(server->loop, &server->run_timer);
}

static void on_ready(struct loop_watch *watch)
{
	run(container_of(watch, struct api_server, watch));
}

static void on_timer(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	run(container_of(timer, struct api_server, run_timer));
}

/* --- Connections -------------------------------------------------------- */

static enum api_role peer_role(struct api_door *door,
			       const struct api_peer *peer)
{
	const struct api_server *server =
		container_of(door, struct api_server, door);

	return api_server_role(server, peer);
}

static void enter(struct api_door *door, int fd, struct api_door_place *place)
{
	struct api_server *server = container_of(door, struct api_server, door);
	const struct sockaddr address = {.sa_family = AF_UNIX};

	server->arriving = place;
	/* MHD closes it, come what may. */
	(void)MHD_add_connection(server->daemon, fd, &address, sizeof(address));
	api_door_leave(door, server->arriving);
	server->arriving = NULL;
	loop_timer_set(server->loop, &server->run_timer, loop_clock_ns());
}

/* One who was not let in, and may be a stranger: said, but not without end. */
static void turned_away(const struct api_server *server,
			const struct api_who *who, const char *why)
{
	const struct audit_request request = {.who = who};
	char name[API_WHO_TEXT_MAX];
	struct error line;

	if (!audit_refused(server->audit, &request, 0, why) || !server->say)
		return;
	error_set(&line, 0, "refused: %s: %s", api_who_text(who, name), why);
	server->say(line.text);
}

static void door_refused(struct api_door *door, const struct api_who *who,
			 const char *why)
{
	turned_away(container_of(door, struct api_server, door), who, why);
}

static bool gate_enter(void *arg, int fd, const struct api_who *who,
		       char reterr_answer[GATE_ANSWER_MAX])
{
	struct api_server *server = arg;
	const char *why = api_door_come_in(&server->door, fd, who);

	static_assert(GATE_ANSWER_MAX >= API_DOOR_ANSWER_MAX, "it fits");
	if (why)
		api_door_answer(why, reterr_answer);
	return !why;
}

static void gate_refused(void *arg, const struct api_who *who, const char *why)
{
	turned_away(arg, who, why);
}

static void gate_say(void *arg, const char *text)
{
	const struct api_server *server = arg;

	if (server->say)
		server->say(text);
}

static void on_connection(void *arg, struct MHD_Connection *connection,
			  void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct api_server *server = arg;

	(void)connection;
	switch (what) {
	case MHD_CONNECTION_NOTIFY_STARTED:
		*socket_context = server->arriving;
		server->arriving = NULL;
		return;
	case MHD_CONNECTION_NOTIFY_CLOSED:
		api_door_leave(&server->door, *socket_context);
		*socket_context = NULL;
		return;
	}
}

/* --- Requests ----------------------------------------------------------- */

/* A certificate may expire while its connection lasts. */
static bool has_expired(const struct api_who *who)
{
	return who->is_remote && time(NULL) > (time_t)who->expires_s;
}

/* GET and HEAD ask; what is a question with a body any reader may. */
static bool changes(const struct api_route *route)
{
	return strcmp(route->method, "GET") != 0 && route->role > API_ROLE_READ;
}

static void refuse(struct api_call *call, const char *method, const char *path,
		   unsigned int status, const char *why)
{
	const struct audit_request request = {&call->who, method, path};

	audit_refused(call->audit, &request, status, why);
}

/* Everything that can be said before the body is there. */
static void check_head(struct api_call *call, const char *method,
		       const char *path)
{
	const enum api_role role = call->who.role;
	struct error why;
	int error;

	if (has_expired(&call->who)) {
		refuse(call, method, path, MHD_HTTP_UNAUTHORIZED,
		       "its certificate has expired");
		api_answer_error(
			call, API_UNAUTHORIZED,
			"your certificate has expired: connect again with a new one");
		return;
	}
	if (role == API_ROLE_NONE) {
		refuse(call, method, path, MHD_HTTP_FORBIDDEN, "no role");
		api_answer_error(
			call, API_FORBIDDEN,
			"you have no role here: ask for one in the configuration under api: roles:");
		return;
	}
	error = api_route_find(api_routes, api_route_count, method, path,
			       &call->route, &call->params);
	if (error == -EOPNOTSUPP) {
		api_call_respond_error(
			call, API_USAGE, MHD_HTTP_METHOD_NOT_ALLOWED,
			"this path does not take that method: see docs/openapi.yaml",
			NULL);
	} else if (error < 0) {
		api_answer_error(
			call, API_NOT_FOUND,
			"there is no %.200s: see docs/openapi.yaml for the paths",
			path);
	} else if (role < call->route->role) {
		error_set(&why, 0, "%s %s needs the role %s, and you have %s",
			  call->route->method, call->route->pattern,
			  api_role_name(call->route->role),
			  api_role_name(role));
		refuse(call, method, path, MHD_HTTP_FORBIDDEN, why.text);
		api_answer_error(call, API_FORBIDDEN, "%s", why.text);
	} else if (changes(call->route)) {
		call->asked = strdup(path);
	}
}

static struct api_call *begin(struct api_server *server,
			      struct MHD_Connection *connection,
			      const char *method, const char *path)
{
	struct api_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->server = server;
	call->connection = connection;
	call->next = server->calls;
	call->link = &server->calls;
	if (call->next)
		call->next->link = &call->next;
	server->calls = call;
	call->audit = server->audit;
	api_server_who(call);
	check_head(call, method, path);
	return call;
}

/* True: the client says that it will send more than is taken. */
static bool announces_too_much(const struct api_call *call)
{
	const char *length =
		api_call_header(call, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return length && strtoull(length, NULL, 10) > API_BODY_MAX;
}

static void respond_too_much(struct api_call *call)
{
	api_call_respond_error(call, API_USAGE, MHD_HTTP_CONTENT_TOO_LARGE,
			       "a body may have 1 MiB", NULL);
}

static int gather(struct api_call *call, const char *data, size_t size)
{
	char *text;
	size_t room = call->room;

	if (call->answered) {	/* read on, so that the answer is read too */
		call->length += size;
		return call->length > DISCARD_MAX ? -EMSGSIZE : 0;
	}
	if (size > API_BODY_MAX - call->length) {
		respond_too_much(call);
		return 0;
	}
	while (room < call->length + size)
		room = room ? room * 2 : 1024;
	if (room != call->room) {
		text = realloc(call->text, room);
		if (!text)
			return -ENOMEM;
		call->text = text;
		call->room = room;
	}
	memcpy(call->text + call->length, data, size);
	call->length += size;
	return 0;
}

/* What is to be changed, before it is. */
static void record(struct api_call *call)
{
	const struct audit_request request = {&call->who, call->route->method,
					      call->asked};
	json_t *body;

	if (!call->asked)
		return;
	body = json_loadb(call->text ? call->text : "", call->length, 0, NULL);
	call->audit_number = audit_asked(call->audit, &request, body);
	json_decref(body);
}

static void dispatch(struct api_call *call)
{
	struct error error;
	int result;

	call->dispatched = true;
	if (call->answered)
		return;
	record(call);
	result = api_body_parse(call->text, call->length, call->route->may,
				call->route->must, &call->body, &error);
	free(call->text);
	call->text = NULL;
	if (result == -EINVAL)
		api_answer_error(call, API_USAGE, "%s", error.text);
	else if (result < 0)
		api_answer_error(call, API_FAILED, "out of memory");
	else
		call->route->handle(call);
	/* A handler answers, or keeps a verb. */
	assert(call->answered || call->verb_pending);
}

static enum MHD_Result finish(struct api_call *call)
{
	struct MHD_Response *response = call->response;
	enum MHD_Result result;

	if (!call->answered) {
		api_call_suspend(call);
		return MHD_YES;
	}
	if (!response)
		return MHD_NO;
	call->response = NULL;
	result = MHD_queue_response(call->connection, call->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
				  const char *url, const char *method,
				  const char *version, const char *data,
				  size_t *size, void **connection_arg)
{
	struct api_call *call = *connection_arg;

	(void)version;
	if (!call) {
		call = begin(arg, connection, method, url);
		if (!call)
			return MHD_NO;
		*connection_arg = call;
		if (!announces_too_much(call))
			return MHD_YES;
		if (!call->answered)
			respond_too_much(call);
		return finish(call);
	}
	if (*size > 0) {
		if (gather(call, data, *size) < 0)
			return MHD_NO;
		*size = 0;
		return MHD_YES;
	}
	if (!call->dispatched)
		dispatch(call);
	return finish(call);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
			 void **connection_arg,
			 enum MHD_RequestTerminationCode why)
{
	struct api_call *call = *connection_arg;

	(void)arg;
	(void)connection;
	(void)why;
	if (!call)
		return;
	*connection_arg = NULL;
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	if (call->response)
		MHD_destroy_response(call->response);
	free(call->text);
	api_stream_end(call);
	if (call->verb_pending) {
		call->connection = NULL;
		call->server = NULL;
		call->text = NULL;
	} else {
		free(call->asked);
		free(call);
	}
}

/* --- Life --------------------------------------------------------------- */

static int start_daemon(struct api_server *server)
{
	const union MHD_DaemonInfo *info;
	int ret;

	errno = 0;
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_NO_LISTEN_SOCKET,
		0, NULL, NULL, on_request, server, MHD_OPTION_CONNECTION_LIMIT,
		API_CONNECTIONS_MAX, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, server, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)API_HEADERS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		API_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_END);
	if (!server->daemon)
		return errno ? -errno : -ENOMEM;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	ret = loop_watch_add(server->loop, &server->watch, info->epoll_fd);
	if (ret < 0)
		return ret;
	server->door.loop = server->loop;
	server->door.role = peer_role;
	server->door.everyone = server->everyone;
	server->door.enter = enter;
	server->door.refused = door_refused;
	ret = api_door_open(&server->door,
			    server->has_listener ? server->listener.fd : -1);
	if (ret < 0)
		loop_watch_remove(server->loop, &server->watch);
	return ret;
}

static int start_gate(struct api_server *server,
		      const struct api_server_config *config,
		      struct error *reterr)
{
	const struct api_gate_config gate = {
		.loop = server->loop,
		.address = config->tcp,
		.files = config->tls,
		.grants = server->grants,
		.grant_count = server->grant_count,
		.enter = gate_enter,
		.refused = gate_refused,
		.say = gate_say,
		.arg = server,
	};

	if (!config->tcp)
		return 0;
	return api_gate_create(&gate, &server->gate, reterr);
}

static int start_listener(struct api_server *server,
			  const struct api_server_config *config,
			  struct error *reterr)
{
	int ret;

	if (!config->unix_path)
		return 0;
	ret = api_listen(config->unix_path, config->mode ? config->mode : 0666,
			 &server->listener, reterr);
	server->has_listener = ret == 0;
	return ret;
}

int api_server_create(const struct api_server_config *config, struct loop *loop,
		      struct host *host, struct api_server **ret_server,
		      struct error *reterr)
{
	struct api_server *server = calloc(1, sizeof(*server));
	int error = -ENOMEM;

	if (!server)
		return error_set(reterr, -ENOMEM, "out of memory");
	server->loop = loop;
	server->host = host;
	server->watch.ready = on_ready;
	server->audit = config->audit;
	server->say = config->say;
	if (api_server_copy_roles(server, config) < 0 ||
	    loop_timer_init(loop, &server->run_timer, on_timer) < 0) {
		error_set(reterr, error, "out of memory");
		goto err_after_calloc;
	}
	error = api_streams_start(server);
	if (error < 0) {
		error_set(reterr, error, "out of memory");
		goto err_after_timer;
	}
	error = start_listener(server, config, reterr);
	if (error < 0)
		goto err_after_streams;
	error = start_daemon(server);
	if (error < 0) {
		error_set(reterr, error, "the API cannot be served: %s",
			  strerror(-error));
		goto err_after_listen;
	}
	error = start_gate(server, config, reterr);
	if (error < 0)
		goto err_after_daemon;
	if (server->has_listener)
		api_listen_link(&server->listener);
	*ret_server = server;
	return 0;

err_after_daemon:
	loop_watch_remove(server->loop, &server->watch);
	api_door_close(&server->door);
err_after_listen:
	if (server->daemon)
		MHD_stop_daemon(server->daemon);
	if (server->has_listener)
		api_unlisten(&server->listener);
err_after_streams:
	api_streams_stop(server);
err_after_timer:
	loop_timer_finish(loop, &server->run_timer);
err_after_calloc:
	free(server->grants);
	free(server);
	return error;
}

void api_server_destroy(struct api_server *server)
{
	if (!server)
		return;
	loop_watch_remove(server->loop, &server->watch);
	api_gate_destroy(server->gate);
	api_streams_stop(server);
	/* MHD_stop_daemon wants nobody suspended; what it then asks again finds
	 * the connection shut down. */
	for (struct api_call *call = server->calls; call; call = call->next)
		api_call_resume(call);
	MHD_stop_daemon(server->daemon);
	api_door_close(&server->door);
	if (server->has_listener)
		api_unlisten(&server->listener);
	loop_timer_finish(server->loop, &server->run_timer);
	free(server->grants);
	free(server);
}

void api_server_reload(struct api_server *server)
{
	if (server && server->gate)
		api_gate_reload(server->gate);
}

unsigned int api_server_port(const struct api_server *server)
{
	return server->gate ? api_gate_port(server->gate) : 0;
}
