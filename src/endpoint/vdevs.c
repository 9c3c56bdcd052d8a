/* SPDX-License-Identifier: Apache-2.0 */
/* vdevs.c - virtual devices of an endpoint and their processes */
#include "endpoint/endpoint.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/fields.h"

#define QUEUES_DEFAULT 4U
#define QUEUES_MAX 64U
#define MATCH_FIELD_MAX 16U

static struct endpoint_vdev *find_vdev(struct endpoint *endpoint,
				       const char *name)
{
	struct endpoint_vdev *vdev = endpoint->vdevs;

	while (vdev && (!name || strcmp(vdev->name, name)))
		vdev = vdev->next;
	return vdev;
}

struct endpoint_process *endpoint_find_process(struct endpoint *endpoint,
					       uint64_t pasid)
{
	struct endpoint_process *process = endpoint->processes;

	while (process && process->pasid != pasid)
		process = process->next;
	return process;
}

int endpoint_named_vdev(struct endpoint *endpoint, const json_t *request,
			const char *key, struct endpoint_vdev **ret_vdev,
			struct error *reterr)
{
	const char *name;
	int result = field_name(request, key, &name, reterr);

	if (result < 0)
		return result;
	*ret_vdev = find_vdev(endpoint, name);
	if (!*ret_vdev)
		return error_set(reterr, -ENOENT, "no vdev %s", name);
	return 0;
}

static int read_limits(const json_t *request, struct sched_limits *ret_limits,
		       struct error *reterr)
{
	const json_t *limits = json_object_get(request, "limits");

	if (limits && ctl_to_sched_limits(limits, ret_limits) < 0)
		return error_set(reterr, -EINVAL, "'limits' are not rates");
	return 0;
}

static int read_vdev(struct endpoint *endpoint, const json_t *request,
		     struct vdev_config *config, struct endpoint_vdev *vdev,
		     struct error *reterr)
{
	uint64_t slot = 0, queues = QUEUES_DEFAULT;
	int result = endpoint_find_volume(endpoint, request, vdev,
					  &config->volume, reterr);

	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &config->size_bytes, reterr);
	if (result == 0)
		result = field_u64(request, "queues", QUEUES_MAX, &queues,
				   reterr);
	if (result == 0)
		result = field_bool(request, "read_only", &config->read_only,
				    reterr);
	if (result == 0)
		result = field_u64(request, "slot", STATS_PROCESSES - 1, &slot,
				   reterr);
	if (result == 0)
		result = read_limits(request, &config->limits, reterr);
	if (result == 0)
		result = field_on_error(request, &config->on_error, reterr);
	if (result < 0)
		return result;
	vdev->on_error = config->on_error;
	vdev->queues = queues ? (unsigned int)queues : QUEUES_DEFAULT;
	config->device = endpoint_pool_home(vdev->pool)->device->device;
	vdev->stats = &endpoint->stats->processes[slot];
	config->default_stats = vdev->stats;
	config->gate = endpoint->gate;
	return 0;
}

void endpoint_vdev_free(struct endpoint_vdev *vdev)
{
	json_decref(vdev->said);
	free(vdev->name);
	free(vdev);
}

void endpoint_vdev_put(struct endpoint *endpoint, struct endpoint_vdev *vdev)
{
	vdev->pool->vdevs++;
	vdev->told_no_space = stats_get(&vdev->stats->no_space);
	vdev->next = endpoint->vdevs;
	endpoint->vdevs = vdev;
}

/* What it stands on is known, or is to be made. */
static int make(struct endpoint_vdev *vdev, struct vdev_config *config,
		json_t *request, struct error *reterr)
{
	int result;

	if (!config->volume)
		return endpoint_make_volume(vdev, config, request, reterr);
	result = endpoint_check_volume(vdev, config->volume, request, reterr);
	return result < 0 ? result : vdev_create(config, &vdev->vdev, reterr);
}

int endpoint_vdev_add(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr)
{
	struct vdev_config config = {0};
	struct endpoint_vdev *vdev;
	int result = field_name(request, "name", &config.name, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	vdev = find_vdev(endpoint, config.name);
	if (vdev)
		return field_same_request(vdev->said, request) ?
			0 :
			error_set(reterr, -EEXIST, "vdev %s exists",
				  config.name);
	if (endpoint_is_making(endpoint, config.name))
		return error_set(reterr, -EBUSY, "vdev %s is being made",
				 config.name);
	vdev = calloc(1, sizeof(*vdev));
	if (!vdev)
		return error_set(reterr, -ENOMEM, "no memory for vdev %s",
				 config.name);
	vdev->said = field_said(request);
	vdev->name = strdup(config.name);
	result = read_vdev(endpoint, request, &config, vdev, reterr);
	if (result == 0 && !vdev->name)
		result = error_set(reterr, -ENOMEM, "no memory");
	if (result == 0)
		result = make(vdev, &config, request, reterr);
	if (result < 0)
		endpoint_vdev_free(vdev);
	else if (result == 0)
		endpoint_vdev_put(endpoint, vdev);
	return result;
}

static bool is_anybody_there(struct front_status status)
{
	return status.sessions > 0 || status.attached;
}

/* Whoever is there may have requests under way anywhere in it. */
static bool is_in_use(const struct endpoint *endpoint,
		      const struct endpoint_vdev *vdev)
{
	for (struct endpoint_front *f = endpoint->fronts; f; f = f->next)
		if (f->vdev == vdev &&
		    is_anybody_there(endpoint_front_status(f)))
			return true;
	return false;
}

int endpoint_vdev_resize(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct endpoint_vdev *vdev;
	bool only_empty = false;
	uint64_t size_bytes = 0;
	int result =
		endpoint_named_vdev(endpoint, request, "name", &vdev, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &size_bytes, reterr);
	if (result == 0)
		result = field_bool(request, "only_empty", &only_empty, reterr);
	if (result < 0)
		return result;
	if (size_bytes < vdev_size_bytes(vdev->vdev) &&
	    is_in_use(endpoint, vdev))
		return error_set(reterr, -EBUSY,
				 "vdev %s is in use: it can only grow",
				 vdev->name);
	if (size_bytes < vdev_size_bytes(vdev->vdev) && only_empty &&
	    vdev_volume(vdev->vdev)->table.mapped > 0)
		return error_set(reterr, -EBUSY,
				 "vdev %s holds data: it can only grow",
				 vdev->name);
	if (size_bytes == vdev_size_bytes(vdev->vdev))
		return 0;
	return endpoint_resize_volume(vdev, size_bytes, request, reterr);
}

int endpoint_vdev_limits(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct sched_limits limits = {0};
	struct endpoint_vdev *vdev;
	enum on_error on_error;
	int result =
		endpoint_named_vdev(endpoint, request, "name", &vdev, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	on_error = vdev->on_error;
	result = read_limits(request, &limits, reterr);
	if (result == 0)
		result = field_on_error(request, &on_error, reterr);
	if (result == 0)
		result = vdev_limits(vdev->vdev, &limits, reterr);
	if (result < 0)
		return result;
	json_object_set_new(vdev->said, "limits",
			    ctl_from_sched_limits(&limits));
	if (on_error != vdev->on_error)
		json_object_set_new(vdev->said, "on_error",
				    json_string(on_error_name(on_error)));
	vdev->on_error = on_error;
	vdev_set_on_error(vdev->vdev, on_error);
	return 0;
}

int endpoint_vdev_resume(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct endpoint_vdev *vdev;
	int result =
		endpoint_named_vdev(endpoint, request, "name", &vdev, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		vdev_resume(vdev->vdev);
	return result;
}

int endpoint_vdev_remove(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct endpoint_vdev **link = &endpoint->vdevs;
	struct endpoint_vdev *vdev;
	int result =
		endpoint_named_vdev(endpoint, request, "name", &vdev, reterr);

	(void)fd;
	(void)reply;
	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return result;
	if (vdev->fronts || vdev->processes || endpoint_is_resizing(vdev) ||
	    vdev_destroy(vdev->vdev) < 0)
		return error_set(reterr, -EBUSY, "vdev %s is in use",
				 vdev->name);
	while (*link != vdev)
		link = &(*link)->next;
	*link = vdev->next;
	vdev->pool->vdevs--;
	stats_set(&vdev->stats->mapped, 0);
	stats_set(&vdev->stats->mapped_on, 0);
	endpoint_vdev_free(vdev);
	return 0;
}

/* The field of a match: "match_uid". */
static const char *match_field(enum match_kind kind,
			       char field[MATCH_FIELD_MAX])
{
	snprintf(field, MATCH_FIELD_MAX, "match_%s", match_word(kind));
	return field;
}

static int read_match(const json_t *request, struct match *match,
		      struct error *reterr)
{
	char field[MATCH_FIELD_MAX];

	for (enum match_kind kind = MATCH_IOPRIO; kind < MATCH_KINDS; kind++) {
		uint64_t number = 0;
		int result = field_u64(request, match_field(kind, field),
				       kind == MATCH_IOPRIO ? UINT16_MAX :
							      UINT32_MAX,
				       &number, reterr);

		if (result < 0)
			return result;
		if (json_object_get(request, field))
			*match = (struct match){kind, (uint32_t)number};
	}
	return 0;
}

/* What process-add and process-update have in common. */
static int read_process(struct endpoint *endpoint, const json_t *request,
			struct vdev_process_config *config,
			struct error *reterr)
{
	const json_t *params = json_object_get(request, "params");
	const json_t *sla = json_object_get(request, "sla");
	uint64_t pasid = 0, slot = 0;
	int result = field_u64(request, "pasid", UINT32_MAX, &pasid, reterr);

	if (result == 0)
		result = field_u64(request, "slot", STATS_PROCESSES - 1, &slot,
				   reterr);
	if (result == 0)
		result = read_match(request, &config->match, reterr);
	if (result == 0)
		result = field_bool(request, "own_socket", &config->own_socket,
				    reterr);
	if (result < 0)
		return result;
	if (pasid == 0)
		return error_set(reterr, -EINVAL, "'pasid' must be at least 1");
	if (params && ctl_to_sched_params(params, &config->sched) < 0)
		return error_set(reterr, -EINVAL, "'params' are not rates");
	if (sla && ctl_to_sla(sla, &config->sla) < 0)
		return error_set(reterr, -EINVAL, "'sla' is not an SLA");
	config->pasid = (uint32_t)pasid;
	config->stats = &endpoint->stats->processes[slot];
	return 0;
}

int endpoint_process_add(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct vdev_process_config config = {0};
	struct endpoint_process *process, **end = &endpoint->processes;
	struct endpoint_vdev *vdev;
	int result =
		endpoint_named_vdev(endpoint, request, "vdev", &vdev, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		result = read_process(endpoint, request, &config, reterr);
	if (result == 0)
		result = endpoint_members_named(vdev->pool, request,
						&config.members, reterr);
	if (result < 0)
		return result;
	process = endpoint_find_process(endpoint, config.pasid);
	if (process)
		return field_same_request(process->said, request) ?
			0 :
			error_set(reterr, -EEXIST, "process %u exists",
				  config.pasid);
	process = calloc(1, sizeof(*process));
	if (!process)
		return error_set(reterr, -ENOMEM, "no memory for process %u",
				 config.pasid);
	result = vdev_process_add(vdev->vdev, &config, &process->process,
				  reterr);
	if (result < 0) {
		free(process);
		return result;
	}
	process->said = field_said(request);
	process->pasid = config.pasid;
	process->vdev = vdev;
	vdev->processes++;
	/* In the order of adding: so they are listed, and so they bind. */
	while (*end)
		end = &(*end)->next;
	*end = process;
	endpoint_nbd_rebind(vdev);
	return 0;
}

int endpoint_process_update(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr)
{
	struct vdev_process_config config = {0};
	struct endpoint_process *process;
	int result = read_process(endpoint, request, &config, reterr);
	char field[MATCH_FIELD_MAX];
	json_t *said;

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	process = endpoint_find_process(endpoint, config.pasid);
	if (!process)
		return error_set(reterr, -ENOENT, "no process %u",
				 config.pasid);
	result = endpoint_members_named(process->vdev->pool, request,
					&config.members, reterr);
	if (result < 0)
		return result;
	result = vdev_process_update(process->process, &config, reterr);
	if (result < 0)
		return result;
	/* What it would be added as from now on. */
	said = field_said(request);
	json_object_del(said, "op");
	for (enum match_kind kind = MATCH_IOPRIO; kind < MATCH_KINDS; kind++)
		json_object_del(process->said, match_field(kind, field));
	json_object_del(process->said, "devices");
	json_object_update(process->said, said);
	json_decref(said);
	endpoint_nbd_rebind(process->vdev);
	return 0;
}

int endpoint_process_remove(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr)
{
	struct endpoint_process **link = &endpoint->processes;
	struct endpoint_process *process;
	uint64_t pasid = 0;
	int result = field_u64(request, "pasid", UINT32_MAX, &pasid, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	process = endpoint_find_process(endpoint, pasid);
	if (!process)
		return 0;
	if (process->has_front)
		return error_set(
			reterr, -EBUSY,
			"process %u has a socket of its own: unlisten first",
			process->pasid);
	endpoint_nbd_forget(process);
	while (*link != process)
		link = &(*link)->next;
	*link = process->next;
	process->vdev->processes--;
	vdev_process_remove(process->process);
	endpoint_nbd_rebind(process->vdev);
	json_decref(process->said);
	free(process);
	return 0;
}
