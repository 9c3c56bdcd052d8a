/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - see keys.h */
#include "os/keys.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of one flight of a handshake: certificates. */
#define HANDSHAKE_MAX_BYTES	(64U * 1024U)

/* AES first: processors have it.  By shared keys TLS 1.3 knows the 256 bits of
 * AES not, and GnuTLS then takes ChaCha20, at a sixth of the speed. */
#define VERSIONS \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL" \
	":+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

struct shared {
	char name[KEYS_NAME_MAX + 1];
	unsigned int bytes;
	unsigned char key[KEYS_BYTES_MAX];
};

struct keys {
	unsigned int users;
	enum keys_side side;
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t certificates;	/* or NULL: shared */
	gnutls_psk_server_credentials_t server;
	gnutls_psk_client_credentials_t client;
	unsigned int count;
	struct shared *shared;		/* a server's */
};

/* --- Life ---------------------------------------------------------------- */

static struct keys *create(enum keys_side side, const char *priority)
{
	struct keys *keys = calloc(1, sizeof(*keys));

	if (!keys)
		return NULL;
	keys->users = 1;
	keys->side = side;
	if (gnutls_priority_init(&keys->priority, priority, NULL) < 0) {
		free(keys);
		return NULL;
	}
	return keys;
}

struct keys *keys_keep(struct keys *keys)
{
	keys->users++;
	return keys;
}

/* All of them: one that could not be read may have left half a key. */
static void forget_shared(struct shared *shared)
{
	if (shared)
		gnutls_memset(shared, 0, KEYS_USERS_MAX * sizeof(*shared));
	free(shared);
}

void keys_drop(struct keys *keys)
{
	if (!keys)
		return;
	assert(keys->users > 0);
	if (--keys->users > 0)
		return;
	if (keys->certificates)
		gnutls_certificate_free_credentials(keys->certificates);
	if (keys->server)
		gnutls_psk_free_server_credentials(keys->server);
	if (keys->client)
		gnutls_psk_free_client_credentials(keys->client);
	gnutls_priority_deinit(keys->priority);
	forget_shared(keys->shared);
	free(keys);
}

int keys_from_certificates(const struct tls_certificates *from,
			   enum keys_side side, struct keys **ret_keys,
			   struct error *reterr)
{
	struct keys *keys = create(side, VERSIONS);
	int ret;

	if (!keys)
		return error_set(reterr, -ENOMEM, "out of memory");
	ret = tls_credentials(from, &keys->certificates, reterr);
	if (ret < 0) {
		keys_drop(keys);
		return ret;
	}
	*ret_keys = keys;
	return 0;
}

/* --- Shared keys --------------------------------------------------------- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "NAME:HEX" between 'at' and 'end'. */
static bool read_line(const char *at, const char *end, struct shared *shared)
{
	const char *colon = memchr(at, ':', (size_t)(end - at));
	const size_t length = colon ? (size_t)(colon - at) : 0;
	size_t digits;

	if (!colon || length == 0 || length > KEYS_NAME_MAX ||
	    memchr(at, '\0', length))
		return false;
	memset(shared, 0, sizeof(*shared));
	memcpy(shared->name, at, length);
	at = colon + 1;
	digits = (size_t)(end - at);
	if (digits == 0 || digits % 2 > 0 || digits / 2 > KEYS_BYTES_MAX)
		return false;
	for (size_t i = 0; i < digits; i += 2) {
		const int high = digit(at[i]), low = digit(at[i + 1]);

		if (high < 0 || low < 0)
			return false;
		shared->key[i / 2] = (unsigned char)(high * 16 + low);
	}
	shared->bytes = (unsigned int)(digits / 2);
	return true;
}

static const struct shared *find(const struct keys *keys, const char *name)
{
	for (unsigned int i = 0; i < keys->count; i++)
		if (strcmp(keys->shared[i].name, name) == 0)
			return &keys->shared[i];
	return NULL;
}

static int read_lines(struct keys *keys, const struct tls_text *from,
		      struct error *reterr)
{
	const char *at = from->data, *end = from->data + from->length;

	keys->shared = calloc(KEYS_USERS_MAX, sizeof(*keys->shared));
	if (!keys->shared)
		return error_set(reterr, -ENOMEM, "out of memory");
	for (unsigned int line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		struct shared *shared = &keys->shared[keys->count];

		if (!stop)
			stop = end;
		if (stop > at && *at != '#') {
			if (keys->count == KEYS_USERS_MAX)
				return error_set(reterr, -EINVAL,
						 "%s: more than %u keys",
						 from->path, KEYS_USERS_MAX);
			if (!read_line(at, stop, shared) ||
			    find(keys, shared->name))
				return error_set(
					reterr, -EINVAL,
					"%s: line %u must be NAME:KEY, the key of at most %u bytes in hexadecimal digits, each name once",
					from->path, line, KEYS_BYTES_MAX);
			keys->count++;
		}
		at = stop + 1;
	}
	if (keys->count == 0)
		return error_set(reterr, -EINVAL, "%s: has no key in it",
				 from->path);
	return 0;
}

/* GnuTLS asks for the key of 'name'; what is unknown is refused. */
static int give_key(gnutls_session_t session, const char *name,
		    gnutls_datum_t *key)
{
	const struct keys *keys = gnutls_session_get_ptr(session);
	const struct shared *shared = find(keys, name);

	if (!shared)
		return -1;
	key->data = gnutls_malloc(shared->bytes);
	if (!key->data)
		return -1;
	memcpy(key->data, shared->key, shared->bytes);
	key->size = shared->bytes;
	return 0;
}

static int fill_client(struct keys *keys, const struct tls_text *from,
		       const char *user, struct error *reterr)
{
	const struct shared *shared = find(keys, user);
	gnutls_datum_t key;

	if (!shared)
		return error_set(reterr, -EINVAL, "%s: has no key of '%s'",
				 from->path, user);
	key = (gnutls_datum_t){(unsigned char *)(uintptr_t)shared->key,
			       shared->bytes};
	if (gnutls_psk_allocate_client_credentials(&keys->client) < 0 ||
	    gnutls_psk_set_client_credentials(keys->client, shared->name, &key,
					      GNUTLS_PSK_KEY_RAW) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	/* It has a copy of the only one that it needs. */
	forget_shared(keys->shared);
	keys->shared = NULL;
	keys->count = 0;
	return 0;
}

static int fill_server(struct keys *keys, struct error *reterr)
{
	if (gnutls_psk_allocate_server_credentials(&keys->server) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	gnutls_psk_set_server_credentials_function(keys->server, give_key);
	return 0;
}

int keys_from_shared(const struct tls_text *from, enum keys_side side,
		     const char *user, struct keys **ret_keys,
		     struct error *reterr)
{
	/* Those by which what was said stays secret when the key is known. */
	struct keys *keys = create(side, VERSIONS ":+ECDHE-PSK:+DHE-PSK");
	int ret;

	if (!keys)
		return error_set(reterr, -ENOMEM, "out of memory");
	ret = read_lines(keys, from, reterr);
	if (ret == 0)
		ret = side == KEYS_CLIENT ?
			fill_client(keys, from, user, reterr) :
			fill_server(keys, reterr);
	if (ret < 0) {
		keys_drop(keys);
		return ret;
	}
	*ret_keys = keys;
	return 0;
}

/* --- Sessions ------------------------------------------------------------ */

static void expect_certificate(const struct keys *keys, const char *host,
			       gnutls_session_t session)
{
	static unsigned char client[] = GNUTLS_KP_TLS_WWW_CLIENT;
	static gnutls_typed_vdata_st of_client[] = {
		{GNUTLS_DT_KEY_PURPOSE_OID, client, 0},
	};

	if (keys->side == KEYS_CLIENT) {
		gnutls_session_set_verify_cert(session, host, 0);
		return;
	}
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert2(session, of_client, 1, 0);
}

static int set_credentials(const struct keys *keys, gnutls_session_t session)
{
	if (keys->certificates)
		return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
					      keys->certificates);
	return gnutls_credentials_set(session, GNUTLS_CRD_PSK,
				      keys->client ? (void *)keys->client :
						     (void *)keys->server);
}

int keys_session(struct keys *keys, const char *host,
		 gnutls_session_t *ret_session)
{
	const bool is_server = keys->side == KEYS_SERVER;
	gnutls_session_t session;

	/* No session is resumed: each shows who it is. */
	if (gnutls_init(&session,
			(is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) |
				GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS |
				GNUTLS_NO_SIGNAL) < 0)
		return -ENOMEM;
	if (gnutls_priority_set(session, keys->priority) < 0 ||
	    set_credentials(keys, session) < 0) {
		gnutls_deinit(session);
		return -ENOMEM;
	}
	gnutls_handshake_set_max_packet_length(session, HANDSHAKE_MAX_BYTES);
	gnutls_session_set_ptr(session, keys);
	if (keys->certificates)
		expect_certificate(keys, host, session);
	*ret_session = session;
	return 0;
}

const char *keys_status_text(unsigned int status)
{
	static const struct {
		unsigned int flag;
		const char *text;
	} reasons[] = {
		{GNUTLS_CERT_SIGNER_NOT_FOUND,
		 "is not of the authority that is believed here"},
		{GNUTLS_CERT_REVOKED, "is revoked"},
		{GNUTLS_CERT_EXPIRED, "has expired"},
		{GNUTLS_CERT_NOT_ACTIVATED, "is not valid yet"},
		{GNUTLS_CERT_PURPOSE_MISMATCH, "is for another purpose"},
		{GNUTLS_CERT_UNEXPECTED_OWNER, "is somebody else's"},
		{GNUTLS_CERT_INSECURE_ALGORITHM, "is signed too weakly"},
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (status & reasons[i].flag)
			return reasons[i].text;
	return "cannot be believed";
}

void keys_explain(gnutls_session_t session, int code, struct error *reterr)
{
	if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		error_set(
			reterr, -EACCES, "TLS: its certificate %s",
			keys_status_text(gnutls_session_get_verify_cert_status(
				session)));
	else if (code == GNUTLS_E_CERTIFICATE_REQUIRED ||
		 code == GNUTLS_E_NO_CERTIFICATE_FOUND)
		error_set(reterr, -EACCES, "TLS: it shows no certificate");
	else if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
		error_set(reterr, -EACCES, "TLS: it does not believe us: %s",
			  gnutls_alert_get_name(gnutls_alert_get(session)));
	else
		error_set(reterr, -EPROTO, "TLS: %s", gnutls_strerror(code));
}
