/* SPDX-License-Identifier: Apache-2.0 */
/* credentials.c - see credentials.h */
#include "api/credentials.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES	3U

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
	const char *const paths[FILES] = {files->cert, files->key, files->ca};
	struct stat status;

	memset(stamps, 0, FILES * sizeof(*stamps));
	for (unsigned int i = 0; i < FILES; i++) {
		if (stat(paths[i], &status) < 0)
			continue;
		stamps[i].device = status.st_dev;
		stamps[i].inode = status.st_ino;
		stamps[i].size = (uint64_t)status.st_size;
		stamps[i].changed = status.st_mtim;
	}
}

/* GnuTLS does not say which of its files it could not open, nor why. */
static int check_readable(const struct api_tls_files *files,
			  struct error *reterr)
{
	const char *const paths[FILES] = {files->cert, files->key, files->ca};

	for (unsigned int i = 0; i < FILES; i++)
		if (access(paths[i], R_OK) < 0)
			return error_set(reterr, -errno, "api: tls: %s: %s",
					 paths[i], strerror(errno));
	return 0;
}

static int load(gnutls_certificate_credentials_t tls,
		const struct api_tls_files *files, struct error *reterr)
{
	int ret = gnutls_certificate_set_x509_key_file(
		tls, files->cert, files->key, GNUTLS_X509_FMT_PEM);

	if (ret < 0)
		return error_set(reterr, -EINVAL, "api: tls: %s and %s: %s",
				 files->cert, files->key, gnutls_strerror(ret));
	ret = gnutls_certificate_set_x509_trust_file(tls, files->ca,
						     GNUTLS_X509_FMT_PEM);
	if (ret <= 0)
		return error_set(reterr, -EINVAL, "api: tls: %s: %s", files->ca,
				 ret < 0 ? gnutls_strerror(ret) :
					   "has no certificate in it");
	return 0;
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
	ret = check_readable(files, reterr);
	if (ret == 0 &&
	    gnutls_certificate_allocate_credentials(&credentials->tls) < 0)
		ret = error_set(reterr, -ENOMEM, "out of memory");
	if (ret == 0)
		ret = load(credentials->tls, files, reterr);
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
