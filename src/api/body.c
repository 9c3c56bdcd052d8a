/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.c - request bodies: a table of fields, one reader for each kind
 *
 * A reader gets the value and the place in 'struct api_body' to write to.
 */
#include "api/body.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "host/config.h"
#include "host/host.h"
#include "sched/sched.h"
#include "sla/choose.h"
#include "sla/derive.h"
#include "sla/limit.h"

static_assert(API_FIELDS <= 32, "a set of fields is a uint32_t");
static_assert(API_WEIGHT_MAX == CONFIG_WEIGHT_MAX, "the configuration's");
static_assert(API_PASID_MAX == CONFIG_PASID_MAX, "as in the configuration");
static_assert(API_QUEUES_MAX == CONFIG_QUEUES_MAX, "as in the configuration");
static_assert(API_NAME_MAX == CONFIG_NAME_MAX + 1U, "as in the configuration");

struct field {
	const char *name;
	int (*read)(const struct field *field, const json_t *value, void *to,
		    struct error *reterr);
	size_t offset;			/* in struct api_body */
	uint32_t max;			/* numbers: largest; text: with NUL */
};

static int wrong(const struct field *field, const char *what,
		 struct error *reterr)
{
	return error_set(reterr, -EINVAL, "%s: %s", field->name, what);
}

/* Text, or a whole number, into 'to' as text. */
static int copy_text(const struct field *field, const json_t *value, char *to,
		     struct error *reterr)
{
	const char *text = json_string_value(value);
	char number[24];

	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(value));
		text = number;
	}
	if (!text)
		return wrong(field, "must be text", reterr);
	if (strlen(text) >= field->max)
		return wrong(field, "is too long", reterr);
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

static int read_name(const struct field *field, const json_t *value, void *to,
		     struct error *reterr)
{
	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return config_check_name(to, reterr);
}

/* "d0" or "ep0/d0". */
static int read_device(const struct field *field, const json_t *value, void *to,
		       struct error *reterr)
{
	char *name = to, *slash;
	int result;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	slash = strchr(name, '/');
	if (!slash)
		return config_check_name(name, reterr);
	*slash = '\0';
	result = config_check_name(name, reterr);
	*slash = '/';
	return result < 0 ? result : config_check_name(slash + 1, reterr);
}

/* A name, or "auto[:POLICY]". */
static int read_vdev(const struct field *field, const json_t *value, void *to,
		     struct error *reterr)
{
	enum choose_policy policy;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return choose_is_asked(to) ? choose_parse(to, &policy, reterr) :
				     config_check_name(to, reterr);
}

static int read_socket(const struct field *field, const json_t *value, void *to,
		       struct error *reterr)
{
	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return config_check_socket(to, reterr);
}

static int read_number(const struct field *field, const json_t *value, void *to,
		       struct error *reterr)
{
	const json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 1 || number > field->max)
		return error_set(reterr, -EINVAL,
				 "%s: must be a whole number from 1 to %u",
				 field->name, field->max);
	*(uint32_t *)to = (uint32_t)number;
	return 0;
}

static int read_bool(const struct field *field, const json_t *value, void *to,
		     struct error *reterr)
{
	if (!json_is_boolean(value))
		return wrong(field, "must be true or false", reterr);
	*(bool *)to = json_is_true(value);
	return 0;
}

static int read_size(const struct field *field, const json_t *value, void *to,
		     struct error *reterr)
{
	uint64_t bytes;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return config_parse_size(to, &bytes, reterr);
}

static int read_rate(const struct field *field, const json_t *value, void *to,
		     struct error *reterr)
{
	char text[API_WORD_MAX];
	uint64_t rate;

	if (copy_text(field, value, text, reterr) < 0 ||
	    units_parse_rate(text, &rate, reterr) < 0)
		return -EINVAL;
	if (rate == 0 || rate > HOST_EVACUATE_MAX)
		return wrong(field, "must be from 1 B/s to 100 GiB/s", reterr);
	*(uint64_t *)to = rate;
	return 0;
}

static int read_duration(const struct field *field, const json_t *value,
			 void *to, struct error *reterr)
{
	char text[API_WORD_MAX];
	uint64_t ns;

	if (copy_text(field, value, text, reterr) < 0)
		return -EINVAL;
	if (units_parse_duration(text, &ns, reterr) < 0)
		return -EINVAL;
	if (ns < HOST_CALIBRATION_MIN_NS || ns > HOST_CALIBRATION_MAX_NS)
		return wrong(field, "must be from 100 ms to 10 min", reterr);
	*(uint64_t *)to = ns;
	return 0;
}

static int read_burst(const struct field *field, const json_t *value, void *to,
		      struct error *reterr)
{
	uint64_t ns;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return config_parse_burst(to, &ns, reterr);
}

/* "iops >= 500, latency <= 2 ms", or {"iops": ">= 500", ...}, or "none" */
static int read_sla(const struct field *field, const json_t *value, void *to,
		    struct error *reterr)
{
	struct sla sla = {0};
	const char *key;
	json_t *entry;

	if (json_is_string(value)) {
		if (copy_text(field, value, to, reterr) < 0)
			return -EINVAL;
		if (strcmp(to, "none") == 0)
			return 0;
		return sla_parse(to, &sla, reterr);
	}
	if (!json_is_object(value) || json_object_size(value) == 0)
		return wrong(field,
			     "must be text as \"iops >= 500, latency <= 2 ms\"",
			     reterr);
	json_object_foreach((json_t *)(uintptr_t)value, key, entry)
	{
		if (!json_is_string(entry))
			return error_set(
				reterr, -EINVAL,
				"sla: %.40s must be text as \">= 500\"", key);
		if (sla_parse_entry(key, json_string_value(entry), &sla,
				    reterr) < 0)
			return -EINVAL;
	}
	sla_format(&sla, to, SLA_TEXT_MAX);
	return 0;
}

/* "iops 2000", or {"iops": 2000, "write bandwidth": "10 MB/s"}, or "none" */
static int read_limit(const struct field *field, const json_t *value, void *to,
		      struct error *reterr)
{
	struct sched_limits limits = {0};
	char *text = to, word[API_LIMIT_MAX];
	size_t length = 0;
	const char *key;
	json_t *entry;

	if (!json_is_object(value)) {
		if (copy_text(field, value, text, reterr) < 0)
			return -EINVAL;
		return sla_parse_limit(text, &limits, reterr);
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, entry)
	{
		if (copy_text(field, entry, word, reterr) < 0)
			return -EINVAL;
		length += (size_t)snprintf(text + length,
					   API_LIMIT_MAX - length, "%s%s %s",
					   length ? ", " : "", key, word);
		if (length >= API_LIMIT_MAX)
			return wrong(field, "is too long", reterr);
	}
	if (length == 0)
		strcpy(text, "none");
	return sla_parse_limit(text, &limits, reterr);
}

/* {"ioprio": "be/4"}, {"uid": 1000}, or "none"; as "be/4", "uid=1000". */
static int read_match(const struct field *field, const json_t *value, void *to,
		      struct error *reterr)
{
	struct match match;
	const char *word;
	json_t *which;
	int length = 0;

	if (json_is_string(value) &&
	    strcmp(json_string_value(value), "none") == 0)
		return copy_text(field, value, to, reterr);
	json_object_foreach((json_t *)(uintptr_t)value, word, which)
	{
		const bool is_ioprio = strcmp(word, "ioprio") == 0;
		const char *name = is_ioprio ? "" : word;
		const char *equals = is_ioprio ? "" : "=";

		if (json_is_string(which))
			length = snprintf(to, field->max, "%s%s%s", name,
					  equals, json_string_value(which));
		else if (json_is_integer(which))
			length = snprintf(to, field->max,
					  "%s%s%" JSON_INTEGER_FORMAT, name,
					  equals, json_integer_value(which));
	}
	if (length <= 0 || length >= (int)field->max ||
	    json_object_size(value) != 1)
		return wrong(
			field,
			"must be \"none\" or an object as {\"ioprio\": \"be/4\"} or {\"uid\": 1000}",
			reterr);
	return config_parse_match(to, &match, reterr);
}

static int read_window(const struct field *field, const json_t *value, void *to,
		       struct error *reterr)
{
	uint32_t window_s;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return derive_parse_window(to, &window_s, reterr);
}

/* "99.9" or 99.9 */
static int read_percentile(const struct field *field, const json_t *value,
			   void *to, struct error *reterr)
{
	uint32_t milli;

	if (json_is_real(value))
		snprintf(to, field->max, "%.3f", json_real_value(value));
	else if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return derive_parse_percentile(to, &milli, reterr);
}

static int read_headroom(const struct field *field, const json_t *value,
			 void *to, struct error *reterr)
{
	uint32_t milli;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	return derive_parse_headroom(to, &milli, reterr);
}

static int read_on_error(const struct field *field, const json_t *value,
			 void *to, struct error *reterr)
{
	enum on_error on_error;

	if (copy_text(field, value, to, reterr) < 0)
		return -EINVAL;
	if (on_error_parse(to, &on_error) < 0)
		return wrong(field, "must be report, stop or retry", reterr);
	return 0;
}

#define AT(member)	offsetof(struct api_body, member)

static const struct field fields[API_FIELDS] = {
	[API_NAME] = {"name", read_name, AT(name), API_NAME_MAX},
	[API_PASID] = {"pasid", read_number, AT(pasid), API_PASID_MAX},
	[API_VDEV] = {"vdev", read_vdev, AT(vdev), API_NAME_MAX},
	[API_SLA] = {"sla", read_sla, AT(sla), SLA_TEXT_MAX},
	[API_LIMIT] = {"limit", read_limit, AT(limit), API_LIMIT_MAX},
	[API_BURST] = {"burst", read_burst, AT(burst), API_WORD_MAX},
	[API_WEIGHT] = {"weight", read_number, AT(weight), API_WEIGHT_MAX},
	[API_MATCH] = {"match", read_match, AT(match), API_WORD_MAX},
	[API_VHOST_USER] = {"vhost-user", read_socket, AT(vhost_user),
			    API_SOCKET_PATH_MAX},
	[API_SESSION] = {"session", read_bool, AT(session), 0},
	[API_BEST_EFFORT] = {"best-effort", read_bool, AT(best_effort), 0},
	[API_SIZE] = {"size", read_size, AT(size), API_WORD_MAX},
	[API_POOL] = {"pool", read_name, AT(pool), API_NAME_MAX},
	[API_QUEUES] = {"queues", read_number, AT(queues), API_QUEUES_MAX},
	[API_READ_ONLY] = {"read-only", read_bool, AT(read_only), 0},
	[API_ON] = {"on", read_bool, AT(on), 0},
	[API_DURATION] = {"duration", read_duration, AT(duration_ns),
			  API_WORD_MAX},
	[API_WINDOW] = {"window", read_window, AT(window), API_WORD_MAX},
	[API_PERCENTILE] = {"percentile", read_percentile, AT(percentile),
			    API_WORD_MAX},
	[API_HEADROOM] = {"headroom", read_headroom, AT(headroom),
			  API_WORD_MAX},
	[API_SPLIT] = {"split", read_bool, AT(split), 0},
	[API_KEEP_UP] = {"keep-up", read_bool, AT(keep_up), 0},
	[API_FORCE] = {"force", read_bool, AT(force), 0},
	[API_ON_ERROR] = {"on-error", read_on_error, AT(on_error),
			  API_WORD_MAX},
	[API_BANDWIDTH] = {"bandwidth", read_rate, AT(bandwidth_bytes_per_s),
			   API_WORD_MAX},
	[API_WITH] = {"with", read_device, AT(with), API_DEVICE_MAX},
};

static int read_field(const char *key, const json_t *value, uint32_t may,
		      struct api_body *body, struct error *reterr)
{
	for (unsigned int i = 0; i < API_FIELDS; i++) {
		if (strcmp(key, fields[i].name) != 0)
			continue;
		if (!(may & API_FIELD(i)))
			break;
		body->present |= API_FIELD(i);
		return fields[i].read(&fields[i], value,
				      (char *)body + fields[i].offset, reterr);
	}
	return error_set(reterr, -EINVAL, "unknown field '%.60s'", key);
}

static int check_fields(const json_t *object, uint32_t may, uint32_t must,
			struct api_body *body, struct error *reterr)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (read_field(key, value, may, body, reterr) < 0)
			return -EINVAL;
	}
	for (unsigned int i = 0; i < API_FIELDS; i++)
		if ((must & API_FIELD(i)) && !(body->present & API_FIELD(i)))
			return error_set(reterr, -EINVAL,
					 "field '%s' is missing",
					 fields[i].name);
	return 0;
}

int api_body_parse(const char *text, size_t length, uint32_t may, uint32_t must,
		   struct api_body *ret_body, struct error *reterr)
{
	struct api_body body = {0};
	json_error_t where;
	json_t *object;
	int error;

	assert((must & ~may) == 0);

	if (length == 0) {
		text = "{}";
		length = 2;
	}
	object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
	if (!object)
		return error_set(
			reterr, -EINVAL,
			"the body is not JSON: %.120s (line %d, column %d)",
			where.text, where.line, where.column);
	if (json_is_object(object))
		error = check_fields(object, may, must, &body, reterr);
	else
		error = error_set(reterr, -EINVAL,
				  "the body must be a JSON object");
	json_decref(object);
	if (error == 0)
		*ret_body = body;
	return error;
}

int api_parse_pasid(const char *text, uint32_t *ret_pasid)
{
	uint64_t number = 0;

	if (text[0] == '\0' || strlen(text) > 10)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		number = number * 10 + (uint64_t)(*text - '0');
	}
	if (number == 0 || number > API_PASID_MAX)
		return -EINVAL;
	*ret_pasid = (uint32_t)number;
	return 0;
}
