/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-read.h - walking a YAML document by tables of keys
 *
 * Each mapping of the configuration is a table: key, reader, where the value
 * goes.  reader_mapping refuses unknown, repeated and missing keys, so that
 * no other place has to.
 * Private to config*.c.  Threads: the caller's.
 */
#ifndef HOST_CONFIG_READ_H
#define HOST_CONFIG_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "base/error.h"
#include "host/config.h"

struct reader {
	yaml_document_t *document;
	const char *file;
	struct config *config;
	struct error *error;
	unsigned int visited;	/* nodes; an alias counts each time */
};

struct reader_key {
	const char *name;
	/* Read 'node' into 'field' (= object + offset). */
	int (*read)(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field);
	size_t offset;
	bool required;
};

unsigned int reader_line(const yaml_node_t *node);
/* Fill the error with "FILE:LINE: ..." and return -EINVAL. */
int reader_fail(struct reader *reader, unsigned int line, const char *format,
		...) __attribute__((format(printf, 3, 4)));
/* Remember that something at 'line' is not served.  Returns 0 or -ENOMEM. */
int reader_note(struct reader *reader, unsigned int line, const char *format,
		...) __attribute__((format(printf, 3, 4)));

/* A mapping with the keys of a table that ends with a NULL name; 'what' is
 * what the messages call it. */
int reader_mapping(struct reader *reader, yaml_node_t *node, const char *what,
		   const struct reader_key *keys, void *object);
/* The pairs of a mapping whose keys are free, at most 'most' of them. */
int reader_pairs(struct reader *reader, yaml_node_t *node, const char *what,
		 unsigned int most,
		 int (*read)(struct reader *reader, yaml_node_t *key,
			     const char *name, yaml_node_t *value, void *arg),
		 void *arg);
/* A list; elements are zeroed, appended to '*array' and read one by one;
 * '*count' covers each as soon as its reading begins. */
struct reader_list {
	const char *what;
	unsigned int most;
	size_t element_size;
	int (*read)(struct reader *reader, yaml_node_t *node, void *element);
};
int reader_list(struct reader *reader, yaml_node_t *node,
		const struct reader_list *list, void **array,
		unsigned int *count);

/* The text of a scalar, without NUL inside; belongs to the document. */
int reader_text(struct reader *reader, const char *what, yaml_node_t *node,
		const char **ret_text);
/* A whole number within bounds. */
int reader_number(struct reader *reader, const char *what, yaml_node_t *node,
		  long long least, long long most, long long *ret_value);

/* Readers for tables. */
int reader_string(struct reader *reader, const struct reader_key *key,
		  yaml_node_t *node, void *field);	/* char * */
int reader_name(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field);	/* char * */
int reader_socket(struct reader *reader, const struct reader_key *key,
		  yaml_node_t *node, void *field);	/* char * */
int reader_size(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field);	/* uint64_t, > 0 */
int reader_duration(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field);	/* uint64_t */
int reader_bool(struct reader *reader, const struct reader_key *key,
		yaml_node_t *node, void *field);	/* bool */

/* Sections, each in a file of its own. */
int config_read_api(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *api);
int config_read_audit(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *audit);
int config_read_socket(struct reader *reader, const struct reader_key *key,
		       yaml_node_t *node, void *socket);
/* {cert, key, ca, crl} or {psk}, of a client with its user: complete. */
int config_read_tls(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, bool is_client, struct config_tls *tls);
int config_read_nbd(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *vdev);
int config_read_endpoints(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *config);
int config_read_pools(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *config);
int config_read_vdevs(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *config);
int config_read_processes(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *config);
int config_read_slas(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *config);
/* Keys of a process that others have, too. */
int config_read_pasid(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field);	/* uint32_t */
int config_read_sla(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field);	/* struct sla */
/* Keys of a device of kind port, and the size of any. */
int config_read_port_vdev(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *device);
int config_read_port_pool(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *device);
int config_read_port_pasid(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *device);
int config_read_port_sla(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *device);
int config_read_device_size(struct reader *reader, const struct reader_key *key,
			    yaml_node_t *node, void *device);
/* What they say together. */
int config_check_port(struct reader *reader, struct config_device *device);
/* Vdevs and processes of ports that only name a pool; and then, when all else
 * is known, whether each port can be. */
int config_make_ports(struct reader *reader);
int config_check_ports(struct reader *reader);
/* Of a vdev that is served; NULL: of none of this host. */
const struct config_endpoint *config_vdev_endpoint(
	const struct config *config, const struct config_vdev *vdev);
/* Parse 'text' and have 'read' look at its root (NULL: there is none). */
int config_parse_with(const char *file, const char *text, size_t length,
		      int (*read)(struct reader *reader, yaml_node_t *root),
		      struct config **ret_config, struct error *reterr);
/* Of processes without vdevs: what differs, and what can be kept. */
int config_check_processes(struct reader *reader);
/* What no single section can see: names that must exist or differ, room. */
int config_check(struct reader *reader);

#endif
