/* SPDX-License-Identifier: Apache-2.0 */
/*
 * want.h - what is asked for of a process: texts made into values and checked,
 * for the verbs that add and change one
 *
 * Threads: the control thread's.
 */
#ifndef HOST_WANT_H
#define HOST_WANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/host.h"
#include "host/registry.h"

/* A request, checked: what it does not name is 0. */
struct wanted {
	struct sla sla;
	struct reg_derived derived;	/* which of it; none if a person asks */
	const char *source;		/* the request's */
	struct sched_limits limits;
	uint32_t weight;
	bool has_sla, has_limit, has_burst, has_match;
	struct match match;
};

/* The texts of a request made of an entry. */
struct want_words {
	char sla[SLA_TEXT_MAX], limit[512], burst[32];
	char match[CONFIG_MATCH_TEXT_MAX];
};

/* The request that asks for what an entry says; it points to both. */
void want_request(const struct config_process *entry, struct want_words *words,
		  struct host_process_request *ret_request);
/* Returns 0, or -EINVAL: it makes no sense. */
int want_parse(const struct host_process_request *request,
	       struct wanted *wanted, struct error *reterr);
/* Does nobody else go by the same priority (of this vdev), name or socket?
 * Returns 0 or -EEXIST. */
int want_check_alone(const struct host *host,
		     const struct host_process_request *request,
		     const struct wanted *wanted, const struct reg_vdev *vdev,
		     struct error *reterr);
/* Can somebody be bound to it now, or be promised something else?  Returns 0;
 * -EBUSY: not yet, or -EIO. */
int want_check_ready(const struct reg_vdev *vdev, struct error *reterr);
/* Is the promise possible under the limit?  Returns 0 or -EINVAL. */
int want_check_limits(const struct sla *sla, const struct sched_limits *limits,
		      struct error *reterr);

#endif
