/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - the fields of a control request, each checked where it is read
 *
 * All return 0 or -EINVAL with '*reterr' naming the field; '*ret_value' is
 * untouched on failure and when an optional field is absent.
 */
#ifndef ENDPOINT_FIELDS_H
#define ENDPOINT_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ctl/on-error.h"
#include "pool/format.h"

/* Required; 1 to ENDPOINT_NAME_MAX bytes; belongs to 'request'. */
int field_name(const json_t *request, const char *key, const char **ret_value,
	       struct error *reterr);
int field_u64(const json_t *request, const char *key, uint64_t max,
	      uint64_t *ret_value, struct error *reterr);
int field_bool(const json_t *request, const char *key, bool *ret_value,
	       struct error *reterr);
/* Required: 32 digits, not all of them zero. */
/* Absent: as it is. */
int field_on_error(const json_t *request, enum on_error *ret_value,
		   struct error *reterr);
int field_uuid(const json_t *request, const char *key,
	       struct format_uuid *ret_uuid, struct error *reterr);
json_t *field_from_uuid(const struct format_uuid *uuid);
/* What was asked for is here already, in the very same words ("id" aside). */
bool field_same_request(json_t *said, json_t *request);
/* 'request' without "id", as a new reference. */
json_t *field_said(json_t *request);

#endif
