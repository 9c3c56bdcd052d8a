/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.h - the one place where what a client sends in a body is checked
 *
 * A body is one JSON object.  Its fields have the words of the configuration
 * file, numbers may carry units as there ("size": "4GiB").  Each route says
 * which fields it takes and which it needs; everything else is refused with
 * the field's name.  What comes out is checked, bounded and copied.
 * Threads: the caller's.  No I/O.
 */
#ifndef API_BODY_H
#define API_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sla/sla.h"

#define API_BODY_MAX		(1024U * 1024U)
#define API_NAME_MAX		64U	/* with its NUL */
#define API_DEVICE_MAX		128U	/* "ENDPOINT/DEVICE" */
#define API_SOCKET_PATH_MAX	108U	/* with its NUL: sun_path */
#define API_QUEUES_MAX		64U
#define API_PASID_MAX		1048575U
#define API_WEIGHT_MAX		10000U
#define API_WORD_MAX		64U	/* a size, a burst, a priority */
#define API_LIMIT_MAX		256U

enum api_field {
	API_NAME,
	API_PASID,
	API_VDEV,
	API_SLA,
	API_LIMIT,
	API_BURST,
	API_WEIGHT,
	API_MATCH,
	API_VHOST_USER,
	API_SESSION,
	API_BEST_EFFORT,
	API_SIZE,
	API_POOL,
	API_QUEUES,
	API_READ_ONLY,
	API_ON,
	API_DURATION,
	API_WINDOW,
	API_PERCENTILE,
	API_HEADROOM,
	API_SPLIT,
	API_KEEP_UP,
	API_FORCE,
	API_ON_ERROR,
	API_BANDWIDTH,
	API_WITH,
	API_FIELDS
};
#define API_FIELD(field)	(UINT32_C(1) << (field))

/* Texts are valid by the parsers of base, sla and host, and empty when the
 * field was not sent. */
struct api_body {
	uint32_t present;		/* API_FIELD() of what was sent */
	uint32_t pasid, weight, queues;
	bool session, best_effort, read_only, on, split, keep_up, force;
	uint64_t duration_ns;
	uint64_t bandwidth_bytes_per_s;
	char name[API_NAME_MAX], vdev[API_NAME_MAX], pool[API_NAME_MAX];
	char size[API_WORD_MAX], burst[API_WORD_MAX], match[API_WORD_MAX];
	char window[API_WORD_MAX], percentile[API_WORD_MAX];
	char headroom[API_WORD_MAX], on_error[API_WORD_MAX];
	char limit[API_LIMIT_MAX];
	char with[API_DEVICE_MAX];
	char vhost_user[API_SOCKET_PATH_MAX];
	char sla[SLA_TEXT_MAX];
};

static inline bool api_body_has(const struct api_body *body,
				enum api_field field)
{
	return (body->present & API_FIELD(field)) != 0;
}

/* Check 'length' bytes at 'text'.  'may' and 'must' are sets of API_FIELD
 * ('must' within 'may').  No text at all is an empty object.
 * Returns 0, -EINVAL with the reason, or -ENOMEM. */
int api_body_parse(const char *text, size_t length, uint32_t may, uint32_t must,
		   struct api_body *ret_body, struct error *reterr);

/* Decimal, 1 .. API_PASID_MAX.  Returns 0 or -EINVAL. */
int api_parse_pasid(const char *text, uint32_t *ret_pasid);

#endif
