/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - see keys.h */
#include "endpoint/keys.h"

#include <errno.h>
#include <stdint.h>

/* The request keeps it; nothing writes to it. */
static struct tls_text text_of(const json_t *tls, const char *name)
{
	const json_t *json = json_object_get(tls, name);

	return (struct tls_text){
		.path = name,
		.data = (char *)(uintptr_t)json_string_value(json),
		.length = json_string_length(json),
	};
}

int keys_of_request(const json_t *tls, enum keys_side side,
		    struct keys **ret_keys, struct error *reterr)
{
	const struct tls_text psk = text_of(tls, "psk");
	const struct tls_certificates from = {
		.cert = text_of(tls, "cert"),
		.key = text_of(tls, "key"),
		.ca = text_of(tls, "ca"),
		.crl = text_of(tls, "crl"),
	};
	const char *user = json_string_value(json_object_get(tls, "user"));
	struct error why;
	int result;

	if (psk.data && (side == KEYS_SERVER || user))
		result = keys_from_shared(&psk, side, user, ret_keys, &why);
	else if (from.cert.data && from.key.data && from.ca.data)
		result = keys_from_certificates(&from, side, ret_keys, &why);
	else
		result = error_set(&why, -EINVAL,
				   "needs cert, key and ca, or psk");
	return result < 0 ? error_set(reterr, result, "tls: %s", why.text) : 0;
}
