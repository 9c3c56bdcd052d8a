/* SPDX-License-Identifier: Apache-2.0 */
/* changes.c - see changes.h */
#include "host/changes.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/records.h"
#include "os/fd.h"

/* --- What it says -------------------------------------------------------- */

/* {"process 1": {"line": 7, "is": {...}}, ...}; takes 'is'. */
static void put(json_t *entries, unsigned int line, json_t *is,
		const char *format, ...) __attribute__((format(printf, 4, 5)));
static void put(json_t *entries, unsigned int line, json_t *is,
		const char *format, ...)
{
	struct error key;
	va_list args;

	va_start(args, format);
	error_vset(&key, 0, format, args);
	va_end(args);
	json_object_set_new(
		entries, key.text,
		json_pack("{s:i, s:o}", "line", (int)line, "is", is));
}

static const char *role_word(enum config_role role)
{
	switch (role) {
	case CONFIG_ROLE_NONE:
		return "none";
	case CONFIG_ROLE_READ:
		return "read";
	case CONFIG_ROLE_OPERATE:
		return "operate";
	case CONFIG_ROLE_ADMINISTER:
		return "administer";
	case CONFIG_ROLE_HOST_TO_HOST:
		return "host-to-host";
	}
	abort();
}

/* As people have it: the records count blocks. */
static json_t *vdev_json(const struct config_vdev *entry)
{
	json_t *is = records_vdev_json(entry);

	json_object_del(is, "size");
	json_object_set_new(
		is, "size_bytes",
		entry->size_bytes == CONFIG_SIZE_EQUAL ?
			json_string("equal") :
			json_integer((json_int_t)entry->size_bytes));
	if (entry->nbd)
		json_object_set_new(is, "nbd", json_string(entry->nbd));
	if (entry->has_tls)
		json_object_set_new(
			is, "nbd tls",
			json_pack("{s:s?, s:s?, s:s?, s:s?, s:b}", "cert",
				  entry->tls.cert, "ca", entry->tls.ca, "crl",
				  entry->tls.crl, "psk", entry->tls.psk,
				  "require", entry->tls_required));
	return is;
}

#define ROLE "role "			/* begins their keys */

static void put_roles(json_t *entries, const struct config_api *api)
{
	for (unsigned int i = 0; i < api->role_count; i++) {
		const struct config_role_entry *entry = &api->roles[i];

		put(entries, entry->line, json_true(), ROLE "%s of %s%s",
		    role_word(entry->role),
		    entry->is_group		  ? "@" :
			    entry->is_certificate ? "cert:" :
						    "",
		    entry->who);
	}
}

static json_t *read_entries(const struct config *config)
{
	const struct config_api *api = &config->api;
	json_t *entries = json_object();
	unsigned int i;

	put(entries, api->line,
	    json_pack("{s:s?, s:s?, s:s?, s:s?, s:s?}", "unix", api->unix_path,
		      "tcp", api->tcp, "cert", api->tls_cert, "ca", api->tls_ca,
		      "crl", api->tls_crl),
	    "api");
	put_roles(entries, api);
	for (i = 0; i < config->vdev_count; i++)
		if (config->vdevs[i].served)
			put(entries, config->vdevs[i].line,
			    vdev_json(&config->vdevs[i]), "vdev %s",
			    config->vdevs[i].name);
	for (i = 0; i < config->process_count; i++)
		if (config->processes[i].served)
			put(entries, config->processes[i].line,
			    records_process_json(&config->processes[i]),
			    "process %u", config->processes[i].pasid);
	return entries;
}

/* --- What it said -------------------------------------------------------- */

static char *path_of(const char *state, const char *suffix)
{
	char *path;

	if (asprintf(&path, "%s/" CHANGES_FILE "%s", state, suffix) < 0)
		return NULL;
	return path;
}

/* Nothing, where it is not there or was damaged: then everything is new. */
static json_t *load_before(const char *state)
{
	char *path = path_of(state, "");
	json_t *entries = path ? json_load_file(path, 0, NULL) : NULL;

	free(path);
	if (json_is_object(entries))
		return entries;
	json_decref(entries);
	return json_object();
}

static int write_file(const char *path, const json_t *entries)
{
	fd_cleanup int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	errno = EIO;
	if (json_dumpfd(entries, fd, JSON_COMPACT | JSON_SORT_KEYS) < 0 ||
	    fsync(fd) < 0)
		return -errno;
	return 0;
}

static int save(const char *state, const json_t *entries, struct error *reterr)
{
	char *path = path_of(state, ""), *next = path_of(state, ".new");
	int ret = -ENOMEM;

	if (path && next) {
		ret = write_file(next, entries);
		if (ret == 0 && rename(next, path) < 0)
			ret = -errno;
	}
	if (ret < 0)
		error_set(reterr, ret, "%s: %s", path ? path : CHANGES_FILE,
			  strerror(-ret));
	free(path);
	free(next);
	return ret;
}

/* --- The difference ------------------------------------------------------ */

static char *words(const json_t *is)
{
	return json_dumps(
		is, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static json_t *what(const json_t *entries, const char *key)
{
	return json_object_get(json_object_get(entries, key), "is");
}

/* Takes both. */
static int tell_all(const struct config *config, const char *state, json_t *now,
		    json_t *before,
		    void (*tell)(void *arg, const char *by, const char *text),
		    void *arg, struct error *reterr)
{
	json_t *entry;
	const char *key;
	int ret = 0;

	json_object_foreach(now, key, entry)
	{
		const json_t *old = what(before, key), *new = what(now, key);
		char *was = words(old), *is = words(new);
		char *by = NULL, *text = NULL;

		if (!json_equal(old, new) &&
		    asprintf(&by, "%s:%lld", config->file,
			     (long long)json_integer_value(
				     json_object_get(entry, "line"))) >= 0 &&
		    asprintf(&text, old ? "%s: %s instead of %s" : "%s: %s",
			     key, is ? is : "?", was ? was : "?") >= 0)
			tell(arg, by, text);
		free(was);
		free(is);
		free(by);
		free(text);
	}
	json_object_foreach(before, key, entry)
	{
		struct error gone;

		if (what(now, key))
			continue;
		error_set(&gone, 0, "%s is not there any more", key);
		tell(arg, config->file, gone.text);
	}
	if (!json_equal(now, before))
		ret = save(state, now, reterr);
	json_decref(now);
	json_decref(before);
	return ret;
}

int changes_tell(const struct config *config,
		 void (*tell)(void *arg, const char *by, const char *text),
		 void *arg, struct error *reterr)
{
	return tell_all(config, config->state, read_entries(config),
			load_before(config->state), tell, arg, reterr);
}

int changes_tell_roles(const struct config *config, const char *state,
		       void (*tell)(void *arg, const char *by,
				    const char *text),
		       void *arg, struct error *reterr)
{
	json_t *before = load_before(state), *now = json_copy(before);
	const char *key;
	json_t *entry;
	void *next;

	json_object_foreach_safe(now, next, key,
				 entry) if (strncmp(key, ROLE, strlen(ROLE)) ==
					    0) json_object_del(now, key);
	put_roles(now, &config->api);
	return tell_all(config, state, now, before, tell, arg, reterr);
}
