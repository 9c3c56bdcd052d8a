/* SPDX-License-Identifier: Apache-2.0 */
/* credentials.c - see credentials.h */
#include "api/credentials.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "os/tls.h"

#define FILES 4U

/* Which file it was, and in what state. */
struct stamp {
	uint64_t device, inode, size;
	struct timespec changed;
};

struct api_credentials {
	unsigned int users;
	gnutls_certificate_credentials_t tls;
	struct stamp stamps[FILES];
};

static void read_stamps(const struct api_tls_files *files,
			struct stamp stamps[FILES])
{
	const char *const paths[FILES] = {files->cert, files->key, files->ca,
					  files->crl};
	struct stat status;

	memset(stamps, 0, FILES * sizeof(*stamps));
	for (unsigned int i = 0; i < FILES; i++) {
		if (!paths[i] || stat(paths[i], &status) < 0)
			continue;
		stamps[i].device = status.st_dev;
		stamps[i].inode = status.st_ino;
		stamps[i].size = (uint64_t)status.st_size;
		stamps[i].changed = status.st_mtim;
	}
}

static int read_files(const struct api_tls_files *files,
		      struct tls_certificates *from, struct error *reterr)
{
	int ret = tls_read(files->cert, &from->cert, reterr);

	if (ret == 0)
		ret = tls_read(files->key, &from->key, reterr);
	if (ret == 0)
		ret = tls_read(files->ca, &from->ca, reterr);
	if (ret == 0 && files->crl)
		ret = tls_read(files->crl, &from->crl, reterr);
	return ret;
}

static int load(const struct api_tls_files *files,
		gnutls_certificate_credentials_t *ret_tls, struct error *reterr)
{
	struct tls_certificates from = {.crl = {NULL, NULL, 0}};
	struct error why;
	int ret = read_files(files, &from, &why);

	if (ret == 0)
		ret = tls_credentials(&from, ret_tls, &why);
	tls_forget(&from.cert);
	tls_forget(&from.key);
	tls_forget(&from.ca);
	tls_forget(&from.crl);
	return ret < 0 ? error_set(reterr, ret, "api: tls: %s", why.text) : 0;
}

int api_credentials_load(const struct api_tls_files *files,
			 struct api_credentials **ret_credentials,
			 struct error *reterr)
{
	struct api_credentials *credentials = calloc(1, sizeof(*credentials));
	int ret;

	if (!credentials)
		return error_set(reterr, -ENOMEM, "out of memory");
	credentials->users = 1;
	/* Before they are read: what changes meanwhile is read again. */
	read_stamps(files, credentials->stamps);
	ret = load(files, &credentials->tls, reterr);
	if (ret < 0) {
		api_credentials_drop(credentials);
		return ret;
	}
	*ret_credentials = credentials;
	return 0;
}

struct api_credentials *api_credentials_keep(
	struct api_credentials *credentials)
{
	credentials->users++;
	return credentials;
}

void api_credentials_drop(struct api_credentials *credentials)
{
	if (!credentials)
		return;
	assert(credentials->users > 0);
	if (--credentials->users > 0)
		return;
	if (credentials->tls)
		gnutls_certificate_free_credentials(credentials->tls);
	free(credentials);
}

gnutls_certificate_credentials_t api_credentials_tls(
	const struct api_credentials *credentials)
{
	return credentials->tls;
}

bool api_credentials_changed(const struct api_credentials *credentials,
			     const struct api_tls_files *files)
{
	struct stamp now[FILES];

	read_stamps(files, now);
	return memcmp(now, credentials->stamps, sizeof(now)) != 0;
}
