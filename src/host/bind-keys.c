/* SPDX-License-Identifier: Apache-2.0 */
/* bind-keys.c - see bind-keys.h */
#include "host/bind-keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILES 5U

/* ---- which ---- */

static uint64_t mix(uint64_t sum, const void *from, size_t bytes)
{
	const unsigned char *at = from;

	while (bytes-- > 0)
		sum = (sum ^ *at++) * UINT64_C(0x100000001b3);	/* FNV-1a */
	return sum;
}

static uint64_t mix_number(uint64_t sum, uint64_t number)
{
	return mix(sum, &number, sizeof(number));
}

void keys_mark(const struct config_tls *files, char ret_mark[KEYS_MARK_BYTES])
{
	const char *const paths[FILES] = {files->cert, files->key, files->ca,
					  files->crl, files->psk};
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	struct stat status;

	for (unsigned int i = 0; i < FILES; i++) {
		sum = mix_number(sum, paths[i] != NULL);
		if (!paths[i] || stat(paths[i], &status) < 0)
			continue;
		sum = mix_number(sum, status.st_dev);
		sum = mix_number(sum, status.st_ino);
		sum = mix_number(sum, (uint64_t)status.st_size);
		sum = mix_number(sum, (uint64_t)status.st_mtim.tv_sec);
		sum = mix_number(sum, (uint64_t)status.st_mtim.tv_nsec);
	}
	if (files->user)
		sum = mix(sum, files->user, strlen(files->user));
	snprintf(ret_mark, KEYS_MARK_BYTES, "%016" PRIx64, sum);
}

/* ---- what is in them ---- */

struct texts {
	struct tls_certificates certificates;
	struct tls_text psk;
};

static void forget(struct texts *texts)
{
	tls_forget(&texts->certificates.cert);
	tls_forget(&texts->certificates.key);
	tls_forget(&texts->certificates.ca);
	tls_forget(&texts->certificates.crl);
	tls_forget(&texts->psk);
}

static int read_one(const char *path, struct tls_text *text,
		    struct error *reterr)
{
	int ret = path ? tls_read(path, text, reterr) : 0;
	json_t *string;

	if (ret < 0 || !path)
		return ret;
	/* As it is sent: what is not UTF-8 would be as if it was not there. */
	string = json_stringn(text->data, text->length);
	if (!string || strlen(text->data) != text->length)
		ret = error_set(reterr, -EINVAL, "%s: is no text in UTF-8",
				path);
	json_decref(string);
	return ret;
}

static int read_all(const struct config_tls *files, struct texts *texts,
		    struct error *reterr)
{
	struct tls_certificates *certificates = &texts->certificates;
	int ret = read_one(files->cert, &certificates->cert, reterr);

	if (ret == 0)
		ret = read_one(files->key, &certificates->key, reterr);
	if (ret == 0)
		ret = read_one(files->ca, &certificates->ca, reterr);
	if (ret == 0)
		ret = read_one(files->crl, &certificates->crl, reterr);
	if (ret == 0)
		ret = read_one(files->psk, &texts->psk, reterr);
	return ret;
}

/* By the same words as the endpoint will, but with the names of the files. */
static int check(const struct config_tls *files, const struct texts *texts,
		 enum keys_side side, struct error *reterr)
{
	const struct tls_certificates *from = &texts->certificates;
	const size_t bytes = from->cert.length + from->key.length +
		from->ca.length + from->crl.length + texts->psk.length;
	struct keys *keys = NULL;
	int ret;

	if (bytes > KEYS_TEXTS_MAX)
		return error_set(reterr, -EFBIG,
				 "%s and what belongs to it: more than %u KiB",
				 files->psk ? files->psk : files->cert,
				 KEYS_TEXTS_MAX / 1024);
	ret = files->psk ? keys_from_shared(&texts->psk, side, files->user,
					    &keys, reterr) :
			   keys_from_certificates(from, side, &keys, reterr);
	keys_drop(keys);
	return ret;
}

static void add(json_t *tls, const char *name, const char *text)
{
	if (text)
		json_object_set_new(tls, name, json_string(text));
}

int keys_texts(const struct config_tls *files, enum keys_side side,
	       json_t **ret_tls, struct error *reterr)
{
	struct texts texts;
	char mark[KEYS_MARK_BYTES];
	struct error why;
	json_t *tls;
	int ret;

	memset(&texts, 0, sizeof(texts));
	/* Before they are read: what changes meanwhile is read again. */
	keys_mark(files, mark);
	ret = read_all(files, &texts, &why);
	if (ret == 0)
		ret = check(files, &texts, side, &why);
	if (ret < 0) {
		forget(&texts);
		return error_set(reterr, ret, "tls: %s", why.text);
	}
	tls = json_pack("{s:s}", "mark", mark);
	add(tls, "cert", texts.certificates.cert.data);
	add(tls, "key", texts.certificates.key.data);
	add(tls, "ca", texts.certificates.ca.data);
	add(tls, "crl", texts.certificates.crl.data);
	add(tls, "psk", texts.psk.data);
	add(tls, "user", files->user);
	forget(&texts);
	*ret_tls = tls;
	return 0;
}
