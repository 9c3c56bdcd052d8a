/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration file as plain data
 *
 * architecture.md, "Contract: configuration".  The whole contract is parsed
 * and checked; what this version can't serve is listed in 'notes' and
 * otherwise left alone.  Every error reads "FILE:LINE: reason".
 * Pure but for reading the file.  Threads: the caller's.
 */
#ifndef HOST_CONFIG_H
#define HOST_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/match.h"
#include "block/block.h"
#include "ctl/on-error.h"
#include "host/uri.h"
#include "sched/sched.h"
#include "sla/sla.h"

#define CONFIG_FILE_MAX		(1024U * 1024U)
#define CONFIG_DEPTH_MAX	16U
#define CONFIG_ITEMS_MAX	4096U	/* of any list */
#define CONFIG_NAME_MAX		63U
#define CONFIG_ENDPOINTS_MAX	64U
#define CONFIG_DEVICES_MAX	64U	/* of one endpoint; = STATS_DEVICES */
#define CONFIG_POOL_DEVICES_MAX 16U
#define CONFIG_PASID_MAX	((1U << 20) - 1U)
#define CONFIG_QUEUES_DEFAULT	4U
#define CONFIG_CONNECTIONS_DEFAULT 256U
#define CONFIG_WEIGHT_MAX	10000U /* its greatest, in default weights */
#define CONFIG_QUEUES_MAX	64U
#define CONFIG_SIZE_EQUAL	UINT64_MAX	/* "size: equal" (E3) */
#define CONFIG_SIZE_MAX		(UINT64_C(1) << 56)
#define CONFIG_BURST_DEFAULT_NS	UINT64_C(10000000)
#define CONFIG_HEADROOM_DEFAULT	100U	/* thousandths */
#define CONFIG_HOLD_DEFAULT_NS	UINT64_C(30000000000)
#define CONFIG_RECONNECT_DEFAULT_NS UINT64_C(30000000000)
#define CONFIG_RECONNECT_MAX_NS	UINT64_C(3600000000000)
#define CONFIG_AUDIT_SIZE_DEFAULT (UINT64_C(16) << 20)
#define CONFIG_AUDIT_SIZE_MIN	(UINT64_C(1) << 16)
#define CONFIG_AUDIT_KEEP_DEFAULT 8U
#define CONFIG_AUDIT_KEEP_MAX	1000U
#define CONFIG_CERTIFICATE_NAME_MAX 255U

struct config_device {
	char *name;
	char *kind;			/* "file", "memory", "nullio", ... */
	char *path;			/* file; nbd: its URI; else NULL */
	uint64_t size_bytes;		/* 0: take the file's own */
	bool read_only;
	bool served;			/* false: a kind of a later version */
	struct block_model model;	/* nullio */
	struct config_export *export;	/* nbd; else NULL */
	struct config_port *port;	/* port; else NULL */
	unsigned int line;
};

/* A vdev that another endpoint serves. */
struct config_port {
	char *vdev;			/* its name */
	char *pool;			/* it is made of this one; or NULL: */
	uint32_t pasid;			/* with a process that has this ... */
	struct sla sla;			/* ... and that */
};

/* As enum client_unflushed. */
enum config_unflushed {
	CONFIG_UNFLUSHED_LOST,
	CONFIG_UNFLUSHED_KEPT,
	CONFIG_UNFLUSHED_NONE,
};

/* Files of TLS: cert, key, ca and perhaps crl, or psk, of a client with the
 * name that it has there. */
struct config_tls {
	char *cert, *key, *ca, *crl;
	char *psk, *user;
};

/* Of another server (E15): see docs/architecture.md, "A device that is an
 * export". */
struct config_export {
	struct uri uri;
	struct config_tls tls;		/* with "nbds" */
	uint64_t reconnect_ns;
	enum config_unflushed unflushed;
	unsigned int connections;
};

struct config_endpoint {
	char *name;
	int cpu;			/* -1: wherever */
	int nice;			/* -20 .. 19, 0 */
	bool realtime;			/* before all ordinary threads */
	bool has_spin;
	uint64_t spin_ns;		/* poll budget */
	struct config_device *devices;
	unsigned int device_count;
	unsigned int line;
};

struct config_pool_device {
	char *host;			/* NULL: this one */
	char *endpoint, *device;
	unsigned int line;
};

struct config_pool {
	char *name;
	struct config_pool_device *devices;
	unsigned int device_count;
	char *from;			/* NULL, or the pool it is split from */
	uint64_t size_bytes;		/* with 'from'; 0 or ..._EQUAL: equal */
	bool thin;
	bool served;
	unsigned int line;
};

/* Whose a listening socket is; what is not said: NULL, mode 0. */
struct config_socket {
	char *user, *group;		/* names, or numbers as text */
	unsigned int mode;		/* permission bits */
	unsigned int line;
};

struct config_vdev {
	char *name;
	char *endpoint;			/* NULL: its pool's */
	char *pool;
	uint64_t size_bytes;		/* or CONFIG_SIZE_EQUAL */
	unsigned int queues;
	bool read_only;
	char *vhost_user;		/* path or NULL */
	char *nbd;			/* "unix:/PATH", "tcp:ADDRESS:PORT" */
	char *tap, *crypto;		/* not served by this version */
	struct config_tls tls;		/* of nbd; or all NULL */
	bool has_tls, tls_required;
	unsigned int connections;	/* of nbd */
	struct config_socket socket;	/* of vhost-user and nbd */
	struct sched_limits limits;
	enum on_error on_error;
	const struct config_device *port;	/* that is this; or NULL */
	bool served;
	unsigned int line;
};

struct config_process {
	uint32_t pasid;
	char *name;			/* never NULL: "process-PASID" if not given */
	char *vdev;			/* NULL: chosen by a policy */
	char *policy;			/* "auto[:POLICY]", or NULL */
	char *vhost_user;		/* a socket of its own, or NULL */
	struct config_socket socket;
	struct match match;
	struct sla sla;
	struct sched_limits limits;
	uint32_t weight;		/* 0: the default */
	bool best_effort;
	bool served;
	unsigned int line;
};

struct config_peer {			/* another host */
	char *name;
	char *api;
	unsigned int line;
};

struct config_uplink {
	char *name;
	char *dev;
	unsigned int queues;		/* 0: the device's own */
	unsigned int line;
};

enum config_role {
	CONFIG_ROLE_NONE,
	CONFIG_ROLE_READ,
	CONFIG_ROLE_OPERATE,
	CONFIG_ROLE_ADMINISTER,
	CONFIG_ROLE_HOST_TO_HOST	/* certificates; of a later version */
};

/* Who may do what.  On the unix socket root and penstockd's own user always
 * administer; everybody else who can connect reads, unless it is said who
 * does.  Over TLS only who is named may anything. */
struct config_role_entry {
	enum config_role role;
	bool is_group;			/* "@GROUP" */
	bool is_certificate;		/* "cert:NAME" */
	char *who;			/* a name, or a number as text */
	unsigned int line;
};

struct config_api {
	char *unix_path;
	char *tcp;			/* "ADDRESS:PORT" */
	char *tls_cert, *tls_key, *tls_ca;
	char *tls_crl;			/* or NULL */
	struct config_role_entry *roles;
	unsigned int role_count;
	unsigned int line;
};

/* Who changed what, in a file. */
struct config_audit {
	char *path;			/* NULL: audit.log in 'state' */
	uint64_t size_bytes;		/* of one file, then it is rotated */
	unsigned int keep;		/* older ones */
};

/* SLAs from elsewhere (E7): all of one place. */
struct config_slas {
	char *file;			/* watched, or NULL */
	char *sqlite;			/* a database with the view, or NULL */
	char *postgresql;		/* connection string, or NULL; secret */
	uint64_t every_ns;		/* how often it is asked */
	unsigned int line;
};

struct config_note {			/* parsed, not served */
	unsigned int line;
	char *text;
};

struct config {
	char *file;			/* as given */
	char *host;
	char *state;			/* directory */
	uint32_t headroom_milli;	/* of capacity that stays free */
	uint64_t session_hold_ns;	/* --session: kept without one */
	struct config_api api;
	struct config_audit audit;
	struct config_socket socket;	/* where no vdev says another */
	struct config_endpoint *endpoints;
	unsigned int endpoint_count;
	struct config_pool *pools;
	unsigned int pool_count;
	struct config_vdev *vdevs;
	unsigned int vdev_count;
	struct config_process *processes;
	unsigned int process_count;
	struct config_peer *peers;
	unsigned int peer_count;
	struct config_uplink *uplinks;
	unsigned int uplink_count;
	struct config_slas slas;
	struct config_note *notes;
	unsigned int note_count;
};

/* Read and check 'file'.  Returns 0; -errno of reading; -EINVAL with
 * "FILE:LINE: reason"; -ENOMEM. */
int config_load(const char *file, struct config **ret_config,
		struct error *reterr);
/* The same from memory; 'file' is for the messages. */
int config_parse(const char *file, const char *text, size_t length,
		 struct config **ret_config, struct error *reterr);
/* A file of SLAs: {processes: [...]}, in the same words.  Of the result only
 * the processes are filled; whether their vdevs exist is not looked at. */
int config_load_slas(const char *file, struct config **ret_config,
		     struct error *reterr);
int config_parse_slas(const char *file, const char *text, size_t length,
		      struct config **ret_config, struct error *reterr);
void config_free(struct config *config);	/* NULL is allowed */
/* Whose a vdev's sockets, or a process's own ('pasid' not 0), are: what the
 * process's entry says, else the vdev's, else the default.  The texts stay the
 * configuration's. */
struct config_socket config_socket_of(const struct config *config,
				      const char *vdev, uint32_t pasid);

/* What the words of the file and of the API mean, in one place; limits:
 * sla/limit.h. */

/* "4GiB": from 512 B to CONFIG_SIZE_MAX, in blocks of 512 B. */
int config_parse_size(const char *text, uint64_t *ret_bytes,
		      struct error *reterr);
/* "50 ms"; at most LIMIT_BURST_MAX_NS. */
int config_parse_burst(const char *text, uint64_t *ret_burst_ns,
		       struct error *reterr);
/* "be/4", "rt/0", "idle": as in virtio-blk's ioprio field. */
int config_parse_ioprio(const char *text, uint16_t *ret_ioprio,
			struct error *reterr);
/* The same, or "uid=1000", "gid=...", "pid=...". */
int config_parse_match(const char *text, struct match *ret_match,
		       struct error *reterr);
/* Or by name, "uid=NAME" or "gid=NAME", looked up on this host.  May block. */
int config_find_match(const char *text, struct match *ret_match,
		      struct error *reterr);
#define CONFIG_MATCH_TEXT_MAX	16U
char *config_format_match(const struct match *match, char *buffer, size_t size);
/* Letters, digits, '-', '_', '.'; starts with a letter or digit; at most
 * CONFIG_NAME_MAX. */
int config_check_name(const char *text, struct error *reterr);
/* "ADDRESS:PORT". */
bool config_is_address(const char *text);
/* A path that fits into struct sockaddr_un. */
int config_check_socket(const char *text, struct error *reterr);

#endif
