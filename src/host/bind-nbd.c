/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-nbd.c - the way in by NBD of each vdev that has one
 *
 * As with the other ways in (bind-vdev.c): the socket is ours and a copy is
 * handed over, so that a client that reconnects finds it, whichever endpoint
 * serves; what fails is tried again every second.
 */
#include "host/host-data.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "host/bind-keys.h"
#include "host/listen.h"

/* Once for each reason. */
static void complain(struct reg_vdev *vdev, const char *text)
{
	struct events *events = reg_vdev_endpoint(vdev)->host->events;
	struct event_subject subject = {.vdev = vdev->name};

	if (strcmp(vdev->nbd.error.text, text) == 0)
		return;
	error_set(&vdev->nbd.error, -EIO, "%s", text);
	events_add(events, "error", &subject, "vdev %s: nbd: %s", vdev->name,
		   text);
}

static void listening(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result >= 0) {
		vdev->nbd.error.text[0] = '\0';
		return;
	}
	vdev->nbd.is_listening = false;
	vdev->nbd.tls_mark[0] = '\0';
	/* The one before it is still drained. */
	if (reply->result != -EBUSY)
		complain(vdev, reply->text);
}

static void ask(struct bind_op *op, json_t *tls, int fd)
{
	struct reg_vdev *vdev = op->vdev;

	vdev->nbd.is_listening = true;
	if (tls) {
		json_object_set_new(tls, "required",
				    json_boolean(vdev->nbd.tls_required));
		strcpy(vdev->nbd.tls_mark,
		       json_string_value(json_object_get(tls, "mark")));
	}
	bind_ask(op,
		 json_pack("{s:s, s:s, s:s, s:i, s:o*}", "op", "listen", "kind",
			   "nbd", "vdev", vdev->name, "connections",
			   (int)vdev->nbd.connections, "tls", tls),
		 fd);
}

/* The files of TLS, if they are not those that the endpoint has.  Returns
 * false: they are no good. */
static bool read_tls(struct reg_vdev *vdev, json_t **ret_tls)
{
	char mark[KEYS_MARK_BYTES];
	struct error why;

	*ret_tls = NULL;
	if (!vdev->nbd.tls)
		return true;
	keys_mark(vdev->nbd.tls, mark);
	if (vdev->nbd.is_listening && strcmp(mark, vdev->nbd.tls_mark) == 0)
		return true;
	if (keys_texts(vdev->nbd.tls, KEYS_SERVER, ret_tls, &why) == 0)
		return true;
	complain(vdev, why.text);
	return false;
}

void bind_nbd(struct reg_vdev *vdev)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = listening,
	};
	const struct config_socket whose =
		config_socket_of(op.endpoint->host->config, vdev->name, 0);
	struct error why;
	json_t *tls;
	int fd;

	if (!vdev->nbd.at || !read_tls(vdev, &tls))
		return;
	if (vdev->nbd.is_listening) {
		if (tls)
			ask(&op, tls, -1);
		return;
	}
	if (vdev->nbd.listen_fd < 0 &&
	    listen_open_at(vdev->nbd.at, &whose, &vdev->nbd.listen_fd, &why) <
		    0) {
		complain(vdev, why.text);
		json_decref(tls);
		return;
	}
	fd = fcntl(vdev->nbd.listen_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		json_decref(tls);	/* tried again */
	else
		ask(&op, tls, fd);
}

void bind_nbd_unlisten(const struct bind_op *op)
{
	bind_ask(op,
		 json_pack("{s:s, s:s, s:s}", "op", "unlisten", "kind", "nbd",
			   "vdev", op->vdev->name),
		 -1);
}

void bind_nbd_close(struct reg_vdev *vdev)
{
	if (vdev->nbd.listen_fd < 0)
		return;
	listen_close_at(vdev->nbd.listen_fd, vdev->nbd.at);
	vdev->nbd.listen_fd = -1;
}

static void fetched(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;
	const struct config_socket whose =
		config_socket_of(op->endpoint->host->config, vdev->name, 0);
	struct bind_op unlisten = *op;
	struct error why;

	if (reply->result < 0 || vdev->nbd.listen_fd >= 0)
		return;
	if (listen_is_at(reply->fd, vdev->nbd.at)) {
		vdev->nbd.listen_fd = reply->fd;
		reply->fd = -1;
		/* The file may say by now that it is somebody else's. */
		if (listen_own_at(vdev->nbd.at, &whose, &why) < 0)
			complain(vdev, why.text);
		return;
	}
	/* The file names another address now: the old way in closes, and the
	 * new one is opened within a second. */
	vdev->nbd.is_listening = false;
	vdev->nbd.tls_mark[0] = '\0';
	unlisten.then = bind_ignore;
	bind_nbd_unlisten(&unlisten);
}

/* With the same TLS, or both without; which keys it has is looked at later. */
static bool is_same_tls(struct reg_vdev *vdev, const json_t *tls)
{
	const char *mark = json_string_value(json_object_get(tls, "mark"));

	if (!tls || !vdev->nbd.tls)
		return !tls && !vdev->nbd.tls;
	if (json_is_true(json_object_get(tls, "required")) !=
	    vdev->nbd.tls_required)
		return false;
	vdev->nbd.tls_mark[0] = '\0';
	if (mark && strlen(mark) < KEYS_MARK_BYTES)
		strcpy(vdev->nbd.tls_mark, mark);
	return true;
}

bool bind_nbd_found(struct reg_vdev *vdev, const json_t *item)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = fetched,
	};
	const json_int_t connections =
		json_integer_value(json_object_get(item, "connections"));

	if (!vdev->nbd.at || connections != (json_int_t)vdev->nbd.connections ||
	    !is_same_tls(vdev, json_object_get(item, "tls")))
		return false;
	vdev->nbd.is_listening = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:s}", "op", "descriptor", "kind",
			   "listener", "way", "nbd", "vdev", vdev->name),
		 -1);
	return true;
}
