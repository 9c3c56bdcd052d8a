/* SPDX-License-Identifier: Apache-2.0 */
/* want.c - what is asked for of a process, checked; see want.h */
#include "host/want.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/host-data.h"
#include "sla/limit.h"

/* As the words that they were read from. */
static void limits_text(const struct sched_limits *limits, char *text,
			size_t size)
{
	static const char *const names[SCHED_AXES] = {
		[SCHED_READ_IOPS] = "read iops",
		[SCHED_WRITE_IOPS] = "write iops",
		[SCHED_TOTAL_IOPS] = "iops",
		[SCHED_READ_BYTES] = "read bandwidth",
		[SCHED_WRITE_BYTES] = "write bandwidth",
		[SCHED_TOTAL_BYTES] = "bandwidth",
	};
	size_t length = 0;

	snprintf(text, size, "none");
	for (unsigned int i = 0; i < SCHED_AXES; i++) {
		if (!limits->limit_per_s[i])
			continue;
		length += (size_t)snprintf(
			text + length, size - length, "%s%s %" PRIu64 "%s",
			length ? ", " : "", names[i], limits->limit_per_s[i],
			i >= SCHED_READ_BYTES ? " B/s" : "");
	}
}

void want_request(const struct config_process *entry, struct want_words *words,
		  struct host_process_request *ret_request)
{
	snprintf(words->sla, sizeof(words->sla), "none");
	if (entry->sla.count)
		sla_format(&entry->sla, words->sla, sizeof(words->sla));
	limits_text(&entry->limits, words->limit, sizeof(words->limit));
	snprintf(words->burst, sizeof(words->burst), "%" PRIu64 " ns",
		 entry->limits.burst_ns);
	snprintf(words->match, sizeof(words->match), "none");
	if (entry->match.kind != MATCH_NONE)
		config_format_match(&entry->match, words->match,
				    sizeof(words->match));
	*ret_request = (struct host_process_request){
		.pasid = entry->pasid,
		.name = entry->name,
		.vdev = entry->vdev ? entry->vdev : entry->policy,
		.sla = words->sla,
		.limit = words->limit,
		.burst = words->burst,
		.match = entry->match.kind ? words->match : NULL,
		.vhost_user = entry->vhost_user,
		.weight = entry->weight ? entry->weight : 1,
		.best_effort = entry->best_effort,
	};
}

static int want_limits(const struct host_process_request *request,
		       struct wanted *wanted, struct error *reterr)
{
	int ret = 0;

	if (request->limit) {
		wanted->has_limit = true;
		ret = sla_parse_limit(request->limit, &wanted->limits, reterr);
	}
	if (ret == 0 && request->burst) {
		wanted->has_burst = true;
		ret = config_parse_burst(request->burst,
					 &wanted->limits.burst_ns, reterr);
	}
	return ret;
}

int want_parse(const struct host_process_request *request,
	       struct wanted *wanted, struct error *reterr)
{
	int ret;

	memset(wanted, 0, sizeof(*wanted));
	wanted->weight = request->weight;
	wanted->source = request->source;
	if (request->weight > CONFIG_WEIGHT_MAX)
		return error_set(reterr, -EINVAL, "weight: from 1 to %u",
				 CONFIG_WEIGHT_MAX);
	if (request->name) {
		ret = config_check_name(request->name, reterr);
		if (ret < 0)
			return ret;
	}
	if (request->sla) {
		wanted->has_sla = true;
		ret = strcmp(request->sla, "none") == 0 ?
			0 :
			sla_parse(request->sla, &wanted->sla, reterr);
		if (ret < 0)
			return ret;
	}
	if (request->match) {
		wanted->has_match = true;
		ret = strcmp(request->match, "none") != 0 ?
			config_parse_match(request->match, &wanted->match,
					   reterr) :
			0;
		if (ret < 0)
			return ret;
	}
	if (request->vhost_user) {
		ret = config_check_socket(request->vhost_user, reterr);
		if (ret < 0)
			return ret;
	}
	return want_limits(request, wanted, reterr);
}

int want_check_alone(const struct host *host,
		     const struct host_process_request *request,
		     const struct wanted *wanted, const struct reg_vdev *vdev,
		     struct error *reterr)
{
	const char *vhost_user = request->vhost_user;
	const struct reg_process *other;
	const struct reg_vdev *at;

	for (other = host->registry->processes; other; other = other->next) {
		if (other->pasid == request->pasid)
			continue;
		if (request->name && strcmp(other->name, request->name) == 0)
			return error_set(reterr, -EEXIST,
					 "process %u has the name '%s' already",
					 other->pasid, request->name);
		if (other->vdev == vdev &&
		    match_is_same(&other->match, &wanted->match))
			return error_set(
				reterr, -EEXIST,
				"process %u of vdev '%s' matches this %s already",
				other->pasid, vdev->name,
				match_kind_text(wanted->match.kind));
		if (vhost_user && other->vhost_user &&
		    strcmp(other->vhost_user, vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "process %u has the socket %s already",
					 other->pasid, vhost_user);
	}
	for (at = host->registry->vdevs; vhost_user && at; at = at->next)
		if (at->vhost_user && strcmp(at->vhost_user, vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "vdev '%s' has the socket %s already",
					 at->name, vhost_user);
	return 0;
}

int want_check_limits(const struct sla *sla, const struct sched_limits *limits,
		      struct error *reterr)
{
	struct sched_params params;

	return sla_to_sched(sla, limits, 1, true, &params, reterr);
}

int want_check_ready(const struct reg_vdev *vdev, struct error *reterr)
{
	const struct reg_device *device = reg_pool_unjudged(vdev->pool);

	if (vdev->state == REG_VDEV_FAILED)
		return error_set(reterr, -EIO, "vdev '%s' is not served: %s",
				 vdev->name, vdev->error.text);
	if (vdev->is_new)
		return error_set(
			reterr, -EBUSY,
			"vdev '%s' is being made: ask again in a second",
			vdev->name);
	if (device)
		return error_set(
			reterr, -EBUSY,
			"device %s is not measured yet: ask again in a second",
			device->name);
	return 0;
}
