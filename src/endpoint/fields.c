/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c - see fields.h */
#include "endpoint/fields.h"

#include <errno.h>
#include <string.h>

#include "endpoint/endpoint.h"

int field_name(const json_t *request, const char *key, const char **ret_value,
	       struct error *reterr)
{
	const char *value = json_string_value(json_object_get(request, key));

	if (!value || !*value || strlen(value) > ENDPOINT_NAME_MAX)
		return error_set(reterr, -EINVAL,
				 "'%s' must be a name of 1 to %u characters",
				 key, ENDPOINT_NAME_MAX);
	*ret_value = value;
	return 0;
}

int field_u64(const json_t *request, const char *key, uint64_t max,
	      uint64_t *ret_value, struct error *reterr)
{
	const json_t *field = json_object_get(request, key);

	if (!field)
		return 0;
	if (!json_is_integer(field) || json_integer_value(field) < 0 ||
	    (uint64_t)json_integer_value(field) > max)
		return error_set(reterr, -EINVAL,
				 "'%s' must be a whole number up to %llu", key,
				 (unsigned long long)max);
	*ret_value = (uint64_t)json_integer_value(field);
	return 0;
}

int field_bool(const json_t *request, const char *key, bool *ret_value,
	       struct error *reterr)
{
	const json_t *field = json_object_get(request, key);

	if (!field)
		return 0;
	if (!json_is_boolean(field))
		return error_set(reterr, -EINVAL, "'%s' must be true or false",
				 key);
	*ret_value = json_is_true(field);
	return 0;
}

int field_on_error(const json_t *request, enum on_error *ret_value,
		   struct error *reterr)
{
	const json_t *field = json_object_get(request, "on_error");

	if (field && on_error_parse(json_string_value(field), ret_value) < 0)
		return error_set(reterr, -EINVAL,
				 "'on_error' must be report, stop or retry");
	return 0;
}

static int hex_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

int field_uuid(const json_t *request, const char *key,
	       struct format_uuid *ret_uuid, struct error *reterr)
{
	const char *text = json_string_value(json_object_get(request, key));
	struct format_uuid uuid = {{0}};

	if (!text || strlen(text) != 2 * sizeof(uuid.bytes))
		goto wrong;
	for (size_t i = 0; i < 2 * sizeof(uuid.bytes); i++) {
		const int digit = hex_of(text[i]);

		if (digit < 0)
			goto wrong;
		uuid.bytes[i / 2] =
			(uint8_t)(uuid.bytes[i / 2] << 4 | (uint8_t)digit);
	}
	if (format_uuid_is_zero(&uuid))
		goto wrong;
	*ret_uuid = uuid;
	return 0;

wrong:
	return error_set(reterr, -EINVAL, "'%s' must be 32 digits from 0 to f",
			 key);
}

json_t *field_from_uuid(const struct format_uuid *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * sizeof(uuid->bytes) + 1];

	for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
		text[2 * i] = digits[uuid->bytes[i] >> 4];
		text[2 * i + 1] = digits[uuid->bytes[i] & 15];
	}
	text[2 * sizeof(uuid->bytes)] = '\0';
	return json_string(text);
}

json_t *field_said(json_t *request)
{
	json_t *said = json_copy(request);

	json_object_del(said, "id");
	/* Keys are told to nobody, and may be others the next time. */
	json_object_del(said, "tls");
	return said;
}

bool field_same_request(json_t *said, json_t *request)
{
	json_t *again = field_said(request);
	const bool same = json_equal(said, again) != 0;

	json_decref(again);
	return same;
}
