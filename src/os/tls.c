/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - see tls.h */
#include "os/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fd.h"

/* --- Files --------------------------------------------------------------- */

static int read_all(int fd, struct tls_text *text)
{
	struct stat status;
	ssize_t got = 1;
	size_t room;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (status.st_size > (off_t)TLS_FILE_MAX)
		return -EFBIG;
	room = (size_t)status.st_size;
	text->data = malloc(room + 1);
	if (!text->data)
		return -ENOMEM;
	while (text->length < room && got > 0) {
		got = read(fd, text->data + text->length, room - text->length);
		if (got < 0)
			return -errno;
		text->length += (size_t)got;
	}
	text->data[text->length] = '\0';
	return 0;
}

int tls_read(const char *path, struct tls_text *ret_text, struct error *reterr)
{
	struct tls_text text = {.path = path};
	fd_cleanup int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret = fd < 0 ? -errno : read_all(fd, &text);

	if (ret < 0) {
		tls_forget(&text);
		return error_set(reterr, ret, "%s: %s", path, strerror(-ret));
	}
	*ret_text = text;
	return 0;
}

void tls_forget(struct tls_text *text)
{
	if (text->data)
		gnutls_memset(text->data, 0, text->length);
	free(text->data);
	text->data = NULL;
	text->length = 0;
}

/* --- What they say ------------------------------------------------------- */

/* Of GnuTLS's arrays, for as long as they are looked at. */
struct lists {
	gnutls_x509_crt_t *cas;
	gnutls_x509_crl_t *crls;
	unsigned int ca_count, crl_count;
};

static gnutls_datum_t datum(const struct tls_text *text)
{
	return (gnutls_datum_t){(unsigned char *)text->data,
				(unsigned int)text->length};
}

static bool is_of_authority(const struct lists *lists, gnutls_x509_crl_t crl)
{
	unsigned int status = 0;

	return gnutls_x509_crl_verify(crl, lists->cas, lists->ca_count,
				      GNUTLS_VERIFY_DISABLE_TIME_CHECKS,
				      &status) == 0 &&
		status == 0;
}

static int check_lists(const struct tls_certificates *from, struct lists *lists,
		       struct error *reterr)
{
	const gnutls_datum_t ca = datum(&from->ca), crl = datum(&from->crl);
	int ret = gnutls_x509_crt_list_import2(&lists->cas, &lists->ca_count,
					       &ca, GNUTLS_X509_FMT_PEM, 0);

	if (ret < 0)
		return error_set(reterr, -EINVAL, "%s: %s", from->ca.path,
				 gnutls_strerror(ret));
	ret = gnutls_x509_crl_list_import2(&lists->crls, &lists->crl_count,
					   &crl, GNUTLS_X509_FMT_PEM, 0);
	if (ret < 0)
		return error_set(reterr, -EINVAL, "%s: %s", from->crl.path,
				 gnutls_strerror(ret));
	for (unsigned int i = 0; i < lists->crl_count; i++)
		if (!is_of_authority(lists, lists->crls[i]))
			return error_set(
				reterr, -EINVAL,
				"%s: list %u in it is not signed by an authority in %s",
				from->crl.path, i + 1, from->ca.path);
	return 0;
}

static void free_lists(struct lists *lists)
{
	for (unsigned int i = 0; i < lists->ca_count; i++)
		gnutls_x509_crt_deinit(lists->cas[i]);
	for (unsigned int i = 0; i < lists->crl_count; i++)
		gnutls_x509_crl_deinit(lists->crls[i]);
	gnutls_free(lists->cas);
	gnutls_free(lists->crls);
}

static int set_crl(gnutls_certificate_credentials_t credentials,
		   const struct tls_certificates *from, struct error *reterr)
{
	const gnutls_datum_t crl = datum(&from->crl);
	struct lists lists = {NULL, NULL, 0, 0};
	int ret;

	if (!from->crl.data)
		return 0;
	ret = check_lists(from, &lists, reterr);
	free_lists(&lists);
	if (ret < 0)
		return ret;
	ret = gnutls_certificate_set_x509_crl_mem(credentials, &crl,
						  GNUTLS_X509_FMT_PEM);
	if (ret > 0)
		return 0;
	return error_set(reterr, -EINVAL, "%s: %s", from->crl.path,
			 ret < 0 ? gnutls_strerror(ret) :
				   "has no list of revoked certificates in it");
}

static int fill(gnutls_certificate_credentials_t credentials,
		const struct tls_certificates *from, struct error *reterr)
{
	const gnutls_datum_t cert = datum(&from->cert), key = datum(&from->key),
			     ca = datum(&from->ca);
	int ret = gnutls_certificate_set_x509_key_mem(credentials, &cert, &key,
						      GNUTLS_X509_FMT_PEM);

	if (ret < 0)
		return error_set(reterr, -EINVAL, "%s and %s: %s",
				 from->cert.path, from->key.path,
				 gnutls_strerror(ret));
	ret = gnutls_certificate_set_x509_trust_mem(credentials, &ca,
						    GNUTLS_X509_FMT_PEM);
	if (ret <= 0)
		return error_set(reterr, -EINVAL, "%s: %s", from->ca.path,
				 ret < 0 ? gnutls_strerror(ret) :
					   "has no certificate in it");
	return set_crl(credentials, from, reterr);
}

int tls_credentials(const struct tls_certificates *from,
		    gnutls_certificate_credentials_t *ret_credentials,
		    struct error *reterr)
{
	gnutls_certificate_credentials_t credentials;
	int ret;

	if (gnutls_certificate_allocate_credentials(&credentials) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	ret = fill(credentials, from, reterr);
	if (ret < 0) {
		gnutls_certificate_free_credentials(credentials);
		return ret;
	}
	*ret_credentials = credentials;
	return 0;
}
