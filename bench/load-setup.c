/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-setup.c - memory and connections
 */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

/* Buffers for all jobs, page by page, in one region. */
static int make_arena(struct load_arena *arena, struct load_job *jobs,
		      unsigned int job_count)
{
	size_t at = 0;
	unsigned int i, k;

	for (i = 0; i < job_count; i++)
		arena->bytes += jobs[i].config.depth *
			(size_t)jobs[i].config.block_bytes;
	arena->bytes = (arena->bytes + 4095) & ~(size_t)4095;
	arena->fd = memfd_create("bench-load", MFD_CLOEXEC);
	if (arena->fd < 0 || ftruncate(arena->fd, (off_t)arena->bytes))
		return -errno;
	arena->memory = mmap(NULL, arena->bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, arena->fd, 0);
	if (arena->memory == MAP_FAILED) {
		arena->memory = NULL;
		return -errno;
	}
	for (i = 0; i < job_count; i++) {
		struct load_job *job = &jobs[i];

		job->ops = calloc(job->config.depth, sizeof(*job->ops));
		job->idle = calloc(job->config.depth, sizeof(*job->idle));
		if (!job->ops || !job->idle)
			return -ENOMEM;
		for (k = 0; k < job->config.depth; k++) {
			struct load_op *op = &job->ops[k];

			op->iov.iov_base = arena->memory + at;
			op->iov.iov_len = job->config.block_bytes;
			op->request.iov = &op->iov;
			op->request.iov_count = 1;
			op->request.ioprio = job->config.ioprio;
			job->idle[job->idle_count++] = op;
			at += job->config.block_bytes;
		}
	}
	return 0;
}

/* What the device allows the job, and its working set there. */
static int fit_job(struct load_job *job, const struct vhost_client_info *info,
		   struct error *reterr)
{
	struct load_job_config *config = &job->config;

	if (config->depth > info->slots)
		return error_set(
			reterr, -EINVAL,
			"%s: depth %u needs a larger ring than %u: say ring=",
			config->socket, config->depth, config->ring);
	if (config->span_bytes == 0)
		config->span_bytes = info->size_bytes -
			(info->size_bytes < config->offset_bytes ?
				 info->size_bytes :
				 config->offset_bytes);
	if (config->offset_bytes + config->span_bytes > info->size_bytes ||
	    config->span_bytes < config->block_bytes)
		return error_set(
			reterr, -EINVAL,
			"%s: the working set of job %s doesn't fit a device of %llu bytes",
			config->socket, config->name,
			(unsigned long long)info->size_bytes);
	job->blocks = (config->span_bytes - config->block_bytes) /
			config->stride_bytes +
		1;
	if (config->verify && load_data_init(&job->data, job->blocks) < 0)
		return error_set(
			reterr, -ENOMEM,
			"no memory to verify %llu blocks: choose a smaller span",
			(unsigned long long)job->blocks);
	return 0;
}

/* Jobs on the same socket are queues of one client. */
static int connect_socket(const struct load_arena *arena, struct load_job *jobs,
			  unsigned int job_count, unsigned int first,
			  struct error *reterr)
{
	const char *socket = jobs[first].config.socket;
	const struct vhost_client_region region = {
		.fd = arena->fd,
		.address = arena->memory,
		.size_bytes = arena->bytes,
	};
	struct vhost_client_config config = {
		.path = socket,
		.queue_size = jobs[first].config.ring,
		.event_index = jobs[first].config.event_index,
		.indirect = jobs[first].config.indirect,
		.timeout_ns = 5 * LOAD_SECOND_NS,
		.regions = &region,
		.region_count = 1,
	};
	struct vhost_client_info info;
	struct vhost_client *client;
	unsigned int i, queue = 0;
	int result;

	for (i = first; i < job_count; i++)
		if (strcmp(jobs[i].config.socket, socket) == 0)
			config.queues++;
	result = vhost_client_create(&config, &client, reterr);
	if (result < 0)
		return result;
	vhost_client_info(client, &info);
	for (i = first; i < job_count; i++) {
		struct load_job *job = &jobs[i];

		if (strcmp(job->config.socket, socket) != 0)
			continue;
		job->client = client;
		if (queue >= info.queues)
			return error_set(
				reterr, -EINVAL,
				"%s: only %u queues for its jobs: use fewer jobs on it",
				socket, info.queues);
		job->queue = vhost_client_queue(client, queue++);
		result = fit_job(job, &info, reterr);
		if (result < 0)
			return result;
	}
	return 0;
}

int load_setup(struct load_arena *arena, struct load_job *jobs,
	       unsigned int job_count, uint64_t seed, struct error *reterr)
{
	unsigned int i;
	int result;

	*arena = (struct load_arena){.fd = -1};
	result = make_arena(arena, jobs, job_count);
	if (result < 0)
		return error_set(reterr, result, "no memory for buffers: %s",
				 strerror(-result));
	for (i = 0; i < job_count; i++) {
		jobs[i].promised = jobs[i].config.promise_iops > 0 ||
			jobs[i].config.promise_latency_ns > 0;
		jobs[i].random = seed + i * UINT64_C(7919) + 1;
		if (!jobs[i].client)
			result = connect_socket(arena, jobs, job_count, i,
						reterr);
		if (result < 0)
			return result;
	}
	return 0;
}

void load_setup_undo(struct load_arena *arena, struct load_job *jobs,
		     unsigned int job_count)
{
	unsigned int i, k;

	for (i = 0; i < job_count; i++) {
		struct vhost_client *client = jobs[i].client;

		for (k = i; k < job_count; k++)
			if (jobs[k].client == client)
				jobs[k].client = NULL;
		vhost_client_destroy(client);
		load_data_finish(&jobs[i].data);
		free(jobs[i].ops);
		free(jobs[i].idle);
	}
	if (arena->memory)
		munmap(arena->memory, arena->bytes);
	if (arena->fd >= 0)
		close(arena->fd);
}
