/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate-link.c - one connection from another machine: handshake, then a pump
 *
 * Theory of operation.  Two descriptors, the socket and one end of a socket
 * pair; two buffers, each of one TLS record.  A buffer is filled from one side
 * only when it is empty, and emptied to the other before: so who does not read
 * stops what is written for him, and nothing grows.  A step goes on until
 * neither side gives or takes any more; what a side may do then depends on the
 * buffers, and that is what it is watched for.  A step ends: what is in the
 * sockets' buffers is bounded, and nobody refills them while it runs.
 *
 * Who is refused has said more by then (in TLS 1.3 a client is through with its
 * handshake before its certificate was seen): closing at once would take the
 * alert away from it, so that what it sends is read and thrown away for a
 * moment.
 */
#include "api/gate-data.h"

#include <ctype.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/keys.h"
#include "os/loop.h"

#define LEAVE_NS	UINT64_C(2000000000)	/* to hear why */
#define FLUSH_NS	UINT64_C(10000000000)	/* to read the last answer */
#define THROWN_MAX	(1U << 20)
#define NAMES_MAX	16U		/* of a certificate, looked at */

/* --- Watching ------------------------------------------------------------ */

static void watch(struct gate_link *link, struct link_end *end, int fd,
		  uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = end};

	if (end->is_watched && end->events == events)
		return;
	/* One that cannot be watched ends by its deadline. */
	if (epoll_ctl(link->epoll_fd,
		      end->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
		      &event) < 0)
		link->deadline_ns = 0;
	end->is_watched = true;
	end->events = events;
}

static void unwatch(struct gate_link *link, struct link_end *end, int fd)
{
	if (end->is_watched)
		epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	end->is_watched = false;
}

static void end_plain(struct gate_link *link)
{
	if (link->plain_fd >= 0)
		unwatch(link, &link->plain, link->plain_fd);
	fd_close(&link->plain_fd);
}

static void die(struct gate_link *link)
{
	end_plain(link);
	if (link->fd >= 0)
		unwatch(link, &link->net, link->fd);
	fd_close(&link->fd);
	link->phase = LINK_DEAD;
}

/* Nothing more is said to it; it may still be talking. */
static void leave(struct gate_link *link)
{
	end_plain(link);
	shutdown(link->fd, SHUT_WR);
	link->phase = LINK_LEAVING;
	link->deadline_ns = loop_clock_ns() + LEAVE_NS;
	watch(link, &link->net, link->fd, EPOLLIN);
}

void link_leave(struct gate_link *link)
{
	if (link->phase == LINK_OPEN) {
		(void)gnutls_bye(link->tls, GNUTLS_SHUT_WR);
		leave(link);
	} else if (link->phase == LINK_HANDSHAKE) {
		die(link);
	}
}

static void throw_away(struct gate_link *link)
{
	char buffer[4096];
	ssize_t got;

	while ((got = recv(link->fd, buffer, sizeof(buffer), 0)) > 0) {
		link->thrown_bytes += (size_t)got;
		if (link->thrown_bytes > THROWN_MAX)
			break;
	}
	if (got >= 0 || errno != EAGAIN)
		die(link);
}

/* --- Who is it? ---------------------------------------------------------- */

/* A name as the configuration can have it, or it is passed over. */
static bool take_name(struct gate_link *link, const char *name, size_t size,
		      enum api_role *best)
{
	const struct api_gate_config *config = link->config;
	enum api_role role;

	if (size == 0 || size >= sizeof(link->who.name) ||
	    strnlen(name, size) != size)
		return false;
	for (size_t i = 0; i < size; i++)
		if (!isgraph((unsigned char)name[i]))
			return false;
	role = api_role_of_name(name, config->grants, config->grant_count);
	if (link->who.name[0] && role <= *best)
		return true;
	memcpy(link->who.name, name, size + 1);
	*best = role;
	return true;
}

/* The names of hosts, users and services; a certificate that has none of them
 * is of its common name. */
static void read_names(struct gate_link *link, gnutls_x509_crt_t certificate)
{
	enum api_role role = API_ROLE_NONE;
	char name[API_CERTIFICATE_NAME_MAX];
	bool has_names = false;
	unsigned int type;
	size_t size;
	int ret;

	for (unsigned int i = 0; i < NAMES_MAX; i++) {
		size = sizeof(name) - 1;
		ret = gnutls_x509_crt_get_subject_alt_name2(
			certificate, i, name, &size, &type, NULL);
		if (ret == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (ret < 0 ||
		    (type != GNUTLS_SAN_DNSNAME &&
		     type != GNUTLS_SAN_RFC822NAME && type != GNUTLS_SAN_URI))
			continue;
		has_names = true;
		name[size] = '\0';
		take_name(link, name, size, &role);
	}
	size = sizeof(name);
	if (!has_names &&
	    gnutls_x509_crt_get_dn_by_oid(certificate,
					  GNUTLS_OID_X520_COMMON_NAME, 0, 0,
					  name, &size) == 0)
		take_name(link, name, size, &role);
	link->who.role = role;
	link->who.expires_s =
		(int64_t)gnutls_x509_crt_get_expiration_time(certificate);
}

static const char *explain_status(unsigned int status)
{
	return status & GNUTLS_CERT_SIGNER_NOT_FOUND ?
		"is not of the authority in api: tls: ca:" :
		keys_status_text(status);
}

/* GnuTLS calls it within the handshake: not 0 refuses. */
static int verify(gnutls_session_t tls)
{
	struct gate_link *link = gnutls_session_get_ptr(tls);
	unsigned char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st data = {GNUTLS_DT_KEY_PURPOSE_OID, purpose, 0};
	unsigned int status = 0, count = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(tls, &count);
	gnutls_x509_crt_t certificate;
	int ret;

	if (!chain || count == 0) {
		error_set(&link->why, 0, "it shows no certificate");
		return -1;
	}
	if (gnutls_x509_crt_init(&certificate) < 0)
		return -1;
	ret = gnutls_x509_crt_import(certificate, &chain[0],
				     GNUTLS_X509_FMT_DER);
	if (ret == 0)
		read_names(link, certificate);
	gnutls_x509_crt_deinit(certificate);
	if (ret == 0)
		ret = gnutls_certificate_verify_peers(tls, &data, 1, &status);
	if (ret == 0 && status == 0)
		return 0;
	if (ret < 0)
		error_set(&link->why, 0, "its certificate: %s",
			  gnutls_strerror(ret));
	else
		error_set(&link->why, 0, "its certificate ('%s') %s",
			  link->who.name, explain_status(status));
	/* It only says so. */
	link->who.name[0] = '\0';
	link->who.role = API_ROLE_NONE;
	return -1;
}

/* --- Handshake ----------------------------------------------------------- */

static void refuse(struct gate_link *link, int error)
{
	/* Who goes away is not refused. */
	if (error == GNUTLS_E_PREMATURE_TERMINATION ||
	    error == GNUTLS_E_PULL_ERROR || error == GNUTLS_E_PUSH_ERROR) {
		die(link);
		return;
	}
	if (error == GNUTLS_E_CERTIFICATE_REQUIRED ||
	    error == GNUTLS_E_NO_CERTIFICATE_FOUND)
		error_set(&link->why, 0, "it shows no certificate");
	else if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
		error_set(&link->why, 0, "it does not believe us: %s",
			  gnutls_alert_get_name(gnutls_alert_get(link->tls)));
	else if (!link->why.text[0])
		error_set(&link->why, 0, "no TLS: %s", gnutls_strerror(error));
	link->config->refused(link->config->arg, &link->who, link->why.text);
	(void)gnutls_alert_send_appropriate(link->tls, error);
	leave(link);
}

static void step(struct gate_link *link);

static void become_known(struct gate_link *link)
{
	const struct api_gate_config *config = link->config;
	int pair[2];

	link->deadline_ns = UINT64_MAX;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       pair) < 0) {
		leave(link);
		return;
	}
	link->phase = LINK_OPEN;
	if (config->enter(config->arg, pair[1], &link->who, link->out.data)) {
		link->plain_fd = pair[0];
	} else {
		link->out.to = strlen(link->out.data);
		link->is_plain_over = true;
		link->deadline_ns = loop_clock_ns() + FLUSH_NS;
		close(pair[0]);
		close(pair[1]);
	}
	step(link);
}

static void handshake(struct gate_link *link)
{
	int ret;

	do
		ret = gnutls_handshake(link->tls);
	while (ret == GNUTLS_E_INTERRUPTED ||
	       (ret < 0 && ret != GNUTLS_E_AGAIN &&
		!gnutls_error_is_fatal(ret)));
	if (ret == GNUTLS_E_AGAIN)
		watch(link, &link->net, link->fd,
		      gnutls_record_get_direction(link->tls) ? EPOLLOUT :
							       EPOLLIN);
	else if (ret < 0)
		refuse(link, ret);
	else
		become_known(link);
}

/* --- The pump ------------------------------------------------------------ */

static bool is_empty(const struct link_buffer *buffer)
{
	return buffer->from == buffer->to;
}

/* Each returns whether anything went on; on an error the link dies. */

static bool take_from_net(struct gate_link *link)
{
	ssize_t got;

	if (link->is_net_over || !is_empty(&link->in))
		return false;
	got = gnutls_record_recv(link->tls, link->in.data, LINK_BUFFER_BYTES);
	if (got > 0) {
		link->in.from = 0;
		link->in.to = (size_t)got;
		return true;
	}
	if (got == 0) {
		link->is_net_over = true;
		return true;
	}
	if (got == GNUTLS_E_AGAIN)
		return false;
	/* An alert that is only a warning, say; a client may not begin anew. */
	if (got != GNUTLS_E_REHANDSHAKE && !gnutls_error_is_fatal((int)got))
		return true;
	die(link);
	return false;
}

static bool give_to_plain(struct gate_link *link)
{
	ssize_t gave;

	if (link->plain_fd < 0) {	/* nobody listens */
		link->in.from = link->in.to;
		return false;
	}
	if (is_empty(&link->in)) {
		if (!link->is_net_over || link->is_plain_told)
			return false;
		shutdown(link->plain_fd, SHUT_WR);
		link->is_plain_told = true;
		return true;
	}
	gave = send(link->plain_fd, link->in.data + link->in.from,
		    link->in.to - link->in.from, MSG_NOSIGNAL);
	if (gave > 0)
		link->in.from += (size_t)gave;
	else if (errno != EAGAIN)	/* it is being closed: its last words */
		link->in.from = link->in.to;
	return gave > 0;
}

static bool take_from_plain(struct gate_link *link)
{
	ssize_t got;

	if (link->is_plain_over || !is_empty(&link->out))
		return false;
	got = recv(link->plain_fd, link->out.data, LINK_BUFFER_BYTES, 0);
	if (got < 0 && errno == EAGAIN)
		return false;
	if (got > 0) {
		link->out.from = 0;
		link->out.to = (size_t)got;
		return true;
	}
	link->is_plain_over = true;
	return true;
}

static bool give_to_net(struct gate_link *link)
{
	ssize_t gave;

	if (is_empty(&link->out))
		return false;
	/* After "again" the same words are to be said: they are. */
	gave = gnutls_record_send(link->tls, link->out.data + link->out.from,
				  link->out.to - link->out.from);
	if (gave > 0)
		link->out.from += (size_t)gave;
	else if (gave != GNUTLS_E_AGAIN && gave != GNUTLS_E_INTERRUPTED)
		die(link);
	return gave > 0;
}

static void watch_both(struct gate_link *link)
{
	uint32_t net = 0, plain = 0;

	if (is_empty(&link->in) && !link->is_net_over)
		net |= EPOLLIN;
	if (!is_empty(&link->out))
		net |= EPOLLOUT;
	if (is_empty(&link->out) && !link->is_plain_over)
		plain |= EPOLLIN;
	if (!is_empty(&link->in))
		plain |= EPOLLOUT;
	watch(link, &link->net, link->fd, net);
	if (link->plain_fd >= 0 && link->deadline_ns == UINT64_MAX)
		watch(link, &link->plain, link->plain_fd, plain);
}

static void step(struct gate_link *link)
{
	bool goes_on = true;

	while (goes_on && link->phase == LINK_OPEN) {
		goes_on = take_from_net(link);
		if (link->phase == LINK_OPEN)
			goes_on |= give_to_plain(link);
		if (link->phase == LINK_OPEN)
			goes_on |= take_from_plain(link);
		if (link->phase == LINK_OPEN)
			goes_on |= give_to_net(link);
	}
	if (link->phase != LINK_OPEN)
		return;
	if (link->is_plain_over && is_empty(&link->out))
		link_leave(link);
	else
		watch_both(link);
}

/* The server has closed: it is not watched any more, which would say so again
 * and again; what it said last goes out as the other machine takes it. */
static void plain_hung_up(struct gate_link *link)
{
	unwatch(link, &link->plain, link->plain_fd);
	link->deadline_ns = loop_clock_ns() + FLUSH_NS;
}

void link_event(struct link_end *end, uint32_t events)
{
	struct gate_link *link = end->link;

	switch (link->phase) {
	case LINK_HANDSHAKE:
		handshake(link);
		return;
	case LINK_OPEN:
		if (end == &link->net && (events & (EPOLLHUP | EPOLLERR))) {
			die(link);
			return;
		}
		if (end == &link->plain && (events & (EPOLLHUP | EPOLLERR)))
			plain_hung_up(link);
		step(link);
		return;
	case LINK_LEAVING:
		throw_away(link);
		return;
	case LINK_DEAD:
		return;
	}
}

void link_expired(struct gate_link *link)
{
	if (link->phase == LINK_HANDSHAKE)
		link->config->refused(
			link->config->arg, &link->who,
			"it has not come through its handshake in 10 s");
	die(link);
}

/* --- Life ---------------------------------------------------------------- */

int link_create(const struct api_gate_config *config, int epoll_fd, int fd,
		struct api_credentials *credentials, const struct api_who *who,
		struct gate_link **ret_link)
{
	static const char versions[] =
		"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";
	struct gate_link *link = calloc(1, sizeof(*link));

	if (!link) {
		close(fd);
		return -ENOMEM;
	}
	link->config = config;
	link->epoll_fd = epoll_fd;
	link->fd = fd;
	link->plain_fd = -1;
	link->net.link = link;
	link->plain.link = link;
	link->who = *who;
	link->since_ns = loop_clock_ns();
	link->deadline_ns = link->since_ns + GATE_HANDSHAKE_NS;
	link->credentials = api_credentials_keep(credentials);
	/* No session is resumed: each shows its certificate. */
	if (gnutls_init(&link->tls,
			GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
				GNUTLS_NO_TICKETS) < 0) {
		link->tls = NULL;
		link_destroy(link);
		return -ENOMEM;
	}
	if (gnutls_priority_set_direct(link->tls, versions, NULL) < 0 ||
	    gnutls_credentials_set(link->tls, GNUTLS_CRD_CERTIFICATE,
				   api_credentials_tls(credentials)) < 0) {
		link_destroy(link);
		return -EINVAL;
	}
	gnutls_certificate_server_set_request(link->tls, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_function(link->tls, verify);
	gnutls_session_set_ptr(link->tls, link);
	gnutls_transport_set_int(link->tls, fd);
	watch(link, &link->net, fd, EPOLLIN);
	*ret_link = link;
	return 0;
}

void link_destroy(struct gate_link *link)
{
	if (link->phase != LINK_DEAD)
		die(link);
	if (link->tls)
		gnutls_deinit(link->tls);
	api_credentials_drop(link->credentials);
	free(link);
}
