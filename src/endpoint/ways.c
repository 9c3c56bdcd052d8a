/* SPDX-License-Identifier: Apache-2.0 */
/* ways.c - ways in: what vdevs of an endpoint are reached by */
#include "endpoint/endpoint.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/fields.h"
#include "endpoint/keys.h"

#define TROUBLES_NS	UINT64_C(1000000000)
#define TROUBLES_MAX	10U
/* As penstockd says: no device has been owned by anybody else. */
#define GENERATION	1U

static const char *const kinds[] = {
	[ENDPOINT_VHOST_USER] = "vhost-user",
	[ENDPOINT_NBD] = "nbd",
	[ENDPOINT_TRANSFER] = "transfer",
};

static struct endpoint_front *find(struct endpoint *endpoint,
				   enum endpoint_kind kind, const char *vdev,
				   uint64_t pasid)
{
	struct endpoint_front *f = endpoint->fronts;

	while (f &&
	       (f->kind != kind || strcmp(f->vdev->name, vdev) ||
		(f->process ? f->process->pasid : 0) != pasid))
		f = f->next;
	return f;
}

/* 'key' of a request. */
static int read_kind(const json_t *request, const char *key,
		     enum endpoint_kind *ret_kind)
{
	const char *text = json_string_value(json_object_get(request, key));

	for (size_t i = 0; text && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(text, kinds[i]) != 0)
			continue;
		*ret_kind = (enum endpoint_kind)i;
		return 0;
	}
	return -EINVAL;
}

struct endpoint_front *endpoint_find_front(struct endpoint *endpoint,
					   const json_t *request)
{
	const char *vdev = json_string_value(json_object_get(request, "vdev"));
	const json_int_t pasid =
		json_integer_value(json_object_get(request, "pasid"));
	enum endpoint_kind kind;

	if (!vdev || read_kind(request, "way", &kind) < 0)
		return NULL;
	return find(endpoint, kind, vdev, (uint64_t)pasid);
}

struct front_status endpoint_front_status(const struct endpoint_front *f)
{
	struct front_status status = {0};
	struct server_status nbd;

	switch (f->kind) {
	case ENDPOINT_VHOST_USER:
		front_status(f->front, &status);
		break;
	case ENDPOINT_NBD:
		server_status(f->server, &nbd);
		status.sessions = nbd.unnamed;
		status.epoch = nbd.epoch;
		status.attached = nbd.attached;
		break;
	case ENDPOINT_TRANSFER:
		server_status(f->server, &nbd);
		status.sessions = nbd.sessions;
		status.epoch = nbd.epoch;
		status.attached = nbd.attached;
		break;
	}
	return status;
}

int endpoint_front_listen_fd(const struct endpoint_front *f)
{
	return f->server ? server_listen_fd(f->server) :
			   front_listen_fd(f->front);
}

const char *endpoint_front_kind(const struct endpoint_front *f)
{
	return kinds[f->kind];
}

unsigned int endpoint_nbd_sessions(const struct endpoint_process *process)
{
	const struct endpoint_front *f = process->vdev->nbd;

	return f ? server_sessions_of(f->server, process->process) : 0;
}

void endpoint_nbd_forget(const struct endpoint_process *process)
{
	const struct endpoint_vdev *vdev = process->vdev;

	if (vdev->nbd)
		server_forget(vdev->nbd->server, process->process);
	if (vdev->transfer)
		server_forget(vdev->transfer->server, process->process);
}

void endpoint_nbd_rebind(const struct endpoint_vdev *vdev)
{
	if (vdev->nbd)
		server_rebind(vdev->nbd->server);
}

/* What a request says of a way in, into 'ret_front'. */
static int read_front(struct endpoint *endpoint, const json_t *request,
		      struct endpoint_front *ret_front, struct error *reterr)
{
	uint64_t pasid = 0, connections = SERVER_CONNECTIONS;
	struct endpoint_front f = {.endpoint = endpoint};
	int result =
		endpoint_named_vdev(endpoint, request, "vdev", &f.vdev, reterr);

	if (result == 0)
		result =
			field_u64(request, "pasid", UINT32_MAX, &pasid, reterr);
	if (result == 0)
		result =
			field_u64(request, "connections",
				  SERVER_CONNECTIONS_MAX, &connections, reterr);
	if (result < 0)
		return result;
	assert(f.vdev);
	if (read_kind(request, "kind", &f.kind) < 0)
		return error_set(reterr, -EINVAL,
				 "'kind' must be vhost-user, nbd or transfer");
	f.process = pasid ? endpoint_find_process(endpoint, pasid) : NULL;
	f.connections = (unsigned int)connections;
	f.read_only = json_is_true(json_object_get(request, "read_only"));
	if (pasid && (!f.process || f.process->vdev != f.vdev))
		return error_set(reterr, -ENOENT,
				 "process %llu is not bound to vdev %s",
				 (unsigned long long)pasid, f.vdev->name);
	*ret_front = f;
	return 0;
}

/* 'tls' of a request, into 'f' and 'ret_keys' (NULL: there is none). */
static int read_tls(const json_t *request, struct endpoint_front *f,
		    struct keys **ret_keys, struct error *reterr)
{
	const json_t *tls = json_object_get(request, "tls");
	const char *mark = json_string_value(json_object_get(tls, "mark"));

	*ret_keys = NULL;
	if (!tls)
		return 0;
	if (f->kind != ENDPOINT_NBD || !mark ||
	    strlen(mark) > ENDPOINT_MARK_MAX)
		return error_set(reterr, -EINVAL,
				 "'tls' is of nbd, and has a 'mark'");
	f->has_tls = true;
	f->tls_required = !json_is_false(json_object_get(tls, "required"));
	strcpy(f->tls_mark, mark);
	return keys_of_request(tls, KEYS_SERVER, ret_keys, reterr);
}

/* It is there: its keys may be others by now. */
static int renew(struct endpoint_front *f, const struct endpoint_front *wanted,
		 struct keys *keys, struct error *reterr)
{
	if (f->draining)
		return error_set(
			reterr, -EBUSY,
			"vdev %s: the way in is being drained: ask again",
			f->vdev->name);
	if (f->has_tls != wanted->has_tls ||
	    f->tls_required != wanted->tls_required)
		return error_set(reterr, -EEXIST,
				 "vdev %s: the way in has another kind of TLS",
				 f->vdev->name);
	if (!f->has_tls)
		return 0;
	server_set_keys(f->server, keys);
	memcpy(f->tls_mark, wanted->tls_mark, sizeof(f->tls_mark));
	return 0;
}

static struct endpoint_front *find_same(const struct endpoint_front *f)
{
	assert(f->vdev);
	return find(f->endpoint, f->kind, f->vdev->name,
		    f->process ? f->process->pasid : 0);
}

/* A stranger's fault, said once: it may come back at once and do it again,
 * so no more than some a second. */
static void front_trouble(void *arg, const struct error *error)
{
	struct endpoint_front *f = arg;
	struct endpoint *endpoint = f->endpoint;
	const uint64_t now_ns = loop_now_ns(endpoint->loop);

	if (now_ns - endpoint->troubles_since_ns > TROUBLES_NS) {
		endpoint->troubles_since_ns = now_ns;
		endpoint->troubles = 0;
	}
	if (endpoint->troubles++ >= TROUBLES_MAX)
		return;
	fprintf(stderr, "penstock-endpoint %s: vdev %s: %s\n", endpoint->name,
		f->vdev->name, error->text);
}

static int create(struct endpoint_front *f, int fd, struct keys *keys,
		  struct error *reterr)
{
	const struct front_config vhost = {
		.loop = f->endpoint->loop,
		.vdev = f->vdev->vdev,
		.process = f->process ? f->process->process : NULL,
		.listen_fd = fd,
		.queues = f->vdev->queues,
		.id = f->vdev->name,
		.report = front_trouble,
		.arg = f,
	};
	const struct server_config nbd = {
		.loop = f->endpoint->loop,
		.vdev = f->vdev->vdev,
		.name = f->vdev->name,
		.listen_fd = fd,
		.connections = f->connections,
		.generation = GENERATION,
		.read_only = f->kind == ENDPOINT_TRANSFER && f->read_only,
		.unpromised = f->kind == ENDPOINT_TRANSFER,
		.keys = keys,
		.tls_required = f->tls_required,
		.report = front_trouble,
		.arg = f,
	};

	if (f->kind == ENDPOINT_VHOST_USER)
		return front_create(&vhost, &f->front, reterr);
	if (f->process)
		return error_set(
			reterr, -EINVAL,
			"vdev %s: nbd has one way in; a process is named in the export",
			f->vdev->name);
	return server_create(&nbd, &f->server, reterr);
}

static int listen_at(const struct endpoint_front *wanted, int *fd,
		     struct keys *keys, struct error *reterr)
{
	struct endpoint *endpoint = wanted->endpoint;
	struct endpoint_front *f;
	int result;

	if (*fd < 0)
		return error_set(reterr, -EINVAL,
				 "no listening socket came along");
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(reterr, -ENOMEM, "no memory for a front");
	*f = *wanted;
	result = create(f, *fd, keys, reterr);
	if (result < 0) {
		free(f);
		return result;
	}
	*fd = -1;
	f->vdev->fronts++;
	if (f->process)
		f->process->has_front = true;
	if (f->kind == ENDPOINT_NBD)
		f->vdev->nbd = f;
	if (f->kind == ENDPOINT_TRANSFER)
		f->vdev->transfer = f;
	f->next = endpoint->fronts;
	endpoint->fronts = f;
	return 0;
}

int endpoint_listen(struct endpoint *endpoint, json_t *request, int *fd,
		    json_t *reply, struct error *reterr)
{
	struct endpoint_front wanted = {0}, *f;
	struct keys *keys = NULL;
	int result = read_front(endpoint, request, &wanted, reterr);

	(void)reply;
	if (result == 0)
		result = read_tls(request, &wanted, &keys, reterr);
	if (result < 0)
		return result;
	f = find_same(&wanted);
	result = f ? renew(f, &wanted, keys, reterr) :
		     listen_at(&wanted, fd, keys, reterr);
	keys_drop(keys);
	return result;
}

static void front_free(struct endpoint_front *f)
{
	struct endpoint_front **link = &f->endpoint->fronts;

	while (*link != f)
		link = &(*link)->next;
	*link = f->next;
	f->vdev->fronts--;
	if (f->kind == ENDPOINT_NBD)
		f->vdev->nbd = NULL;
	if (f->kind == ENDPOINT_TRANSFER)
		f->vdev->transfer = NULL;
	if (f->process)
		f->process->has_front = false;
	front_destroy(f->front);
	server_destroy(f->server);
	free(f);
}

static void front_drained(void *arg)
{
	struct endpoint_front *f = arg;
	struct endpoint *endpoint = f->endpoint;
	const struct endpoint_later later = f->drain_answer;

	front_free(f);
	if (later.connection)
		endpoint_answer(endpoint, &later, 0, NULL, NULL);
	if (endpoint->draining && !endpoint->fronts) {
		endpoint_answer(endpoint, &endpoint->drain_answer, 0, NULL,
				NULL);
		loop_stop(endpoint->loop);
	}
}

static void drain_front(struct endpoint_front *f)
{
	if (f->draining)
		return;
	f->draining = true;
	if (f->server)
		server_drain(f->server, front_drained, f);
	else
		front_drain(f->front, front_drained, f);
}

int endpoint_unlisten(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr)
{
	struct endpoint_front wanted = {0}, *f;
	int result = read_front(endpoint, request, &wanted, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	f = find_same(&wanted);
	if (!f)
		return 0;
	f->drain_answer = endpoint_answer_later(endpoint, request);
	drain_front(f);
	return ENDPOINT_LATER;
}

int endpoint_drain(struct endpoint *endpoint, json_t *request, int *fd,
		   json_t *reply, struct error *reterr)
{
	struct endpoint_front *f = endpoint->fronts;

	(void)fd;
	(void)reply;
	(void)reterr;
	endpoint->drain_answer = endpoint_answer_later(endpoint, request);
	if (!f) {
		loop_stop(endpoint->loop);
		return 0;
	}
	endpoint->draining = true;
	while (f) {
		/* 'f' may be gone when drain_front returns. */
		struct endpoint_front *next = f->next;

		drain_front(f);
		f = next;
	}
	return ENDPOINT_LATER;
}
