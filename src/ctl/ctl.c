/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.c - see ctl.h */
#include "ctl/ctl.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control_buffer {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void wipe(void *memory)
{
	if (memory)
		explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

void ctl_init(void)
{
	json_set_alloc_funcs(malloc, wipe);
}

int ctl_send(int socket, const json_t *message, int fd)
{
	union control_buffer control = {0};
	struct iovec iov;
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;
	int result = 0;
	char *text = json_dumps(message, JSON_COMPACT);

	if (!text)
		return -ENOMEM;
	iov.iov_base = text;
	iov.iov_len = strlen(text);
	if (iov.iov_len > CTL_MESSAGE_MAX) {
		wipe(text);
		return -EMSGSIZE;
	}
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	do
		sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		result = -errno;
	wipe(text);
	return result;
}

/* The one descriptor of a message; surplus ones can't come: there is no room
 * for them, and the kernel closes what it can't deliver. */
static int take_descriptor(struct msghdr *header)
{
	int fd = -1;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg;
	     cmsg = CMSG_NXTHDR(header, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET &&
		    cmsg->cmsg_type == SCM_RIGHTS &&
		    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

int ctl_receive(int socket, json_t **ret_message, int *ret_fd)
{
	union control_buffer control;
	struct iovec iov = {.iov_len = CTL_MESSAGE_MAX};
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	json_t *message;
	ssize_t got;
	int result, fd;

	iov.iov_base = malloc(CTL_MESSAGE_MAX);
	if (!iov.iov_base)
		return -ENOMEM;
	do
		got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		result = got == 0 ? -ECONNRESET : -errno;
		goto out;
	}
	fd = take_descriptor(&header);
	message = header.msg_flags & MSG_TRUNC ?
		NULL :
		json_loadb(iov.iov_base, (size_t)got, JSON_REJECT_DUPLICATES,
			   NULL);
	if (!json_is_object(message)) {
		json_decref(message);
		if (fd >= 0)
			close(fd);
		result = -EBADMSG;
		goto out;
	}
	*ret_message = message;
	*ret_fd = fd;
	result = 0;
out:
	if (got > 0)
		explicit_bzero(iov.iov_base, (size_t)got);
	free(iov.iov_base);
	return result;
}

static int get_u64(const json_t *json, const char *key, uint64_t max,
		   uint64_t *value)
{
	const json_t *field = json_object_get(json, key);

	if (!field)
		return 0;
	if (!json_is_integer(field) || json_integer_value(field) < 0 ||
	    (uint64_t)json_integer_value(field) > max)
		return -EBADMSG;
	*value = (uint64_t)json_integer_value(field);
	return 0;
}

static json_t *from_rates(const uint64_t *rates, unsigned int count)
{
	json_t *array = json_array();

	for (unsigned int i = 0; i < count; i++)
		json_array_append_new(array,
				      json_integer((json_int_t)rates[i]));
	return array;
}

static int to_rates(const json_t *json, const char *key, uint64_t *rates,
		    unsigned int count)
{
	const json_t *array = json_object_get(json, key);

	if (!array)
		return 0;
	if (!json_is_array(array) || json_array_size(array) != count)
		return -EBADMSG;
	for (unsigned int i = 0; i < count; i++) {
		const json_t *value = json_array_get(array, i);

		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return -EBADMSG;
		rates[i] = (uint64_t)json_integer_value(value);
	}
	return 0;
}

json_t *ctl_from_sched_params(const struct sched_params *params)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:o}", "reservation",
			 from_rates(params->reservation_per_s, SCHED_AXES),
			 "limit", from_rates(params->limit_per_s, SCHED_AXES),
			 "burst_ns", (json_int_t)params->burst_ns, "weight",
			 (json_int_t)params->weight, "latency_ns",
			 from_rates(params->latency_ns, 2));
}

int ctl_to_sched_params(const json_t *json, struct sched_params *ret_params)
{
	struct sched_params params = {0};
	uint64_t weight = 0;

	if (!json_is_object(json) ||
	    to_rates(json, "reservation", params.reservation_per_s,
		     SCHED_AXES) < 0 ||
	    to_rates(json, "limit", params.limit_per_s, SCHED_AXES) < 0 ||
	    to_rates(json, "latency_ns", params.latency_ns, 2) < 0 ||
	    get_u64(json, "burst_ns", INT64_MAX, &params.burst_ns) < 0 ||
	    get_u64(json, "weight", SCHED_WEIGHT_MAX, &weight) < 0)
		return -EBADMSG;
	params.weight = (uint32_t)weight;
	*ret_params = params;
	return 0;
}

json_t *ctl_from_sched_limits(const struct sched_limits *limits)
{
	return json_pack("{s:o, s:I}", "limit",
			 from_rates(limits->limit_per_s, SCHED_AXES),
			 "burst_ns", (json_int_t)limits->burst_ns);
}

int ctl_to_sched_limits(const json_t *json, struct sched_limits *ret_limits)
{
	struct sched_limits limits = {0};

	if (!json_is_object(json) ||
	    to_rates(json, "limit", limits.limit_per_s, SCHED_AXES) < 0 ||
	    get_u64(json, "burst_ns", INT64_MAX, &limits.burst_ns) < 0)
		return -EBADMSG;
	*ret_limits = limits;
	return 0;
}

json_t *ctl_from_sla(const struct sla *sla)
{
	json_t *array = json_array();

	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];

		json_array_append_new(
			array,
			json_pack("{s:i, s:i, s:i, s:i, s:I}", "metric",
				  spec->metric, "direction", spec->direction,
				  "relation", spec->relation, "percentile",
				  spec->percentile, "value",
				  (json_int_t)spec->value));
	}
	return array;
}

static int to_spec(const json_t *json, struct sla_spec *spec)
{
	uint64_t metric = SLA_METRICS, direction = 0, relation = 0;
	uint64_t percentile = 0;

	if (get_u64(json, "metric", SLA_METRICS - 1, &metric) < 0 ||
	    metric == SLA_METRICS ||
	    get_u64(json, "direction", SLA_DIRECTIONS - 1, &direction) < 0 ||
	    get_u64(json, "relation", SLA_AT_MOST, &relation) < 0 ||
	    get_u64(json, "percentile", SLA_PERCENTILE_MAX, &percentile) < 0 ||
	    get_u64(json, "value", INT64_MAX, &spec->value) < 0)
		return -EBADMSG;
	spec->metric = (uint8_t)metric;
	spec->direction = (uint8_t)direction;
	spec->relation = (uint8_t)relation;
	spec->percentile = (uint16_t)percentile;
	return 0;
}

int ctl_to_sla(const json_t *json, struct sla *ret_sla)
{
	struct sla sla = {0};

	if (!json_is_array(json) || json_array_size(json) > SLA_SPECS_MAX)
		return -EBADMSG;
	for (; sla.count < json_array_size(json); sla.count++)
		if (to_spec(json_array_get(json, sla.count),
			    &sla.specs[sla.count]) < 0)
			return -EBADMSG;
	*ret_sla = sla;
	return 0;
}

json_t *ctl_from_capacity(const struct capacity *capacity)
{
	static const char *const names[2] = {"read", "write"};
	json_t *json = json_pack(
		"{s:I, s:I, s:b, s:b, s:b}", "read_bytes_per_s",
		(json_int_t)capacity->direction[0].bytes_per_s,
		"write_bytes_per_s",
		(json_int_t)capacity->direction[1].bytes_per_s, "short",
		capacity->is_short, "read_measured", capacity->read_measured,
		"write_measured", capacity->write_measured);

	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve = &capacity->direction[d];
		json_t *points = json_array();

		for (unsigned int i = 0; i < curve->count; i++) {
			const struct capacity_point *p = &curve->points[i];

			json_array_append_new(
				points,
				json_pack("{s:I, s:I, s:I, s:I}", "depth",
					  (json_int_t)p->depth, "iops",
					  (json_int_t)p->iops, "p95_ns",
					  (json_int_t)p->p95_ns, "p99_ns",
					  (json_int_t)p->p99_ns));
		}
		json_object_set_new(json, names[d], points);
	}
	return json;
}

static int to_curve(const json_t *array, struct capacity_curve *curve)
{
	if (!json_is_array(array) || json_array_size(array) > CAPACITY_POINTS)
		return -EBADMSG;
	for (; curve->count < json_array_size(array); curve->count++) {
		const json_t *json = json_array_get(array, curve->count);
		struct capacity_point *p = &curve->points[curve->count];
		uint64_t depth = 0;

		if (!json_is_object(json) ||
		    get_u64(json, "depth", UINT32_MAX, &depth) < 0 ||
		    get_u64(json, "iops", INT64_MAX, &p->iops) < 0 ||
		    get_u64(json, "p95_ns", INT64_MAX, &p->p95_ns) < 0 ||
		    get_u64(json, "p99_ns", INT64_MAX, &p->p99_ns) < 0)
			return -EBADMSG;
		p->depth = (uint32_t)depth;
	}
	return 0;
}

int ctl_to_capacity(const json_t *json, struct capacity *ret_capacity)
{
	struct capacity capacity = {0};

	if (!json_is_object(json) ||
	    to_curve(json_object_get(json, "read"), &capacity.direction[0]) <
		    0 ||
	    to_curve(json_object_get(json, "write"), &capacity.direction[1]) <
		    0 ||
	    get_u64(json, "read_bytes_per_s", INT64_MAX,
		    &capacity.direction[0].bytes_per_s) < 0 ||
	    get_u64(json, "write_bytes_per_s", INT64_MAX,
		    &capacity.direction[1].bytes_per_s) < 0)
		return -EBADMSG;
	capacity.is_short = json_is_true(json_object_get(json, "short"));
	capacity.read_measured =
		json_is_true(json_object_get(json, "read_measured"));
	capacity.write_measured =
		json_is_true(json_object_get(json, "write_measured"));
	*ret_capacity = capacity;
	return 0;
}
