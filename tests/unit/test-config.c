/* SPDX-License-Identifier: Apache-2.0 */
/* test-config.c - the configuration: what is read, and each way to be wrong */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/config.h"

static struct config *parse(const char *text)
{
	struct error why = {""};
	struct config *config;

	if (config_parse("f", text, strlen(text), &config, &why) < 0)
		fail_msg("%s", why.text);
	return config;
}

/* The contract's own example, whole. */
static const char contract[] =
	"host: alpha\n"
	"state: /var/lib/penstock/alpha\n"
	"api:\n"
	"  unix: /run/penstock/alpha.sock\n"
	"endpoints:\n"
	"  - name: ep0\n"
	"    cpu: 0\n"
	"    devices:\n"
	"      - {name: d0, kind: file,   path: /srv/d0.img, size: 10GiB}\n"
	"      - {name: m0, kind: memory, size: 1GiB}\n"
	"      - {name: n0, kind: nullio, size: 64GiB}\n"
	"pools:\n"
	"  - {name: main, devices: [ep0/d0, ep0/m0], provisioning: thin}\n"
	"vdevs:\n"
	"  - name: vd0\n"
	"    endpoint: ep0\n"
	"    pool: main\n"
	"    size: 4GiB\n"
	"    queues: 4\n"
	"    vhost-user: /run/penstock/vd0.sock\n"
	"    nbd: unix:/run/penstock/vd0.nbd\n"
	"processes:\n"
	"  - {pasid: 1, name: db,  vdev: vd0, sla: {iops: \">= 500\", latency: \"<= 2 ms\"}}\n"
	"  - {pasid: 2, name: web, vdev: vd0, match: {ioprio: be/4}, sla: {iops: \">= 400\", latency: \"p99 <= 1 ms\"}, limit: {iops: 2000}, weight: 2}\n"
	"  - {pasid: 3, name: own, vdev: vd0, vhost-user: /run/penstock/vd0-own.sock, sla: {read iops: \">= 300\"}, best-effort: true}\n"
	"hosts: [{name: beta, api: \"https://beta:7780\"}]\n"
	"uplinks: [{name: up0, dev: eth0, queues: 4}]\n";

static void test_config_export_of_another_server(void **state)
{
	struct config *config = parse(
		"host: a\nstate: /s\nendpoints:\n  - name: e\n    devices:\n"
		"      - {name: r0, kind: nbd, uri: \"nbd+unix:///a%2Fb?socket=/run/x\", reconnect: 0 s, unflushed: kept}\n"
		"      - {name: r1, kind: nbd, uri: \"nbd://[::1]:7/x\", size: 1GiB, connections: 1}\n"
		"      - {name: r2, kind: nbd, uri: \"nbd://b\"}\n");
	const struct config_device *devices = config->endpoints[0].devices;

	(void)state;
	assert_string_equal(devices[0].export->uri.export, "a/b");
	assert_string_equal(devices[0].export->uri.socket, "/run/x");
	assert_int_equal(devices[0].export->reconnect_ns, 0);
	assert_int_equal(devices[0].export->unflushed, CONFIG_UNFLUSHED_KEPT);
	assert_int_equal(devices[0].export->connections, 2);
	assert_string_equal(devices[1].export->uri.host, "::1");
	assert_string_equal(devices[1].export->uri.port, "7");
	assert_string_equal(devices[1].export->uri.export, "x");
	assert_int_equal(devices[1].export->connections, 1);
	assert_int_equal(devices[1].export->reconnect_ns,
			 CONFIG_RECONNECT_DEFAULT_NS);
	assert_string_equal(devices[2].export->uri.port, "10809");
	assert_string_equal(devices[2].export->uri.export, "");
	assert_int_equal(devices[2].export->unflushed, CONFIG_UNFLUSHED_NONE);
	config_free(config);
}

#define PORTS(of_a, of_b) \
	"host: a\nstate: /s\nendpoints:\n" \
	"  - name: a\n    devices: [{name: m, kind: memory, size: 1GiB}, " of_a \
	"]\n" \
	"  - name: b\n    devices: [{name: m, kind: memory, size: 1GiB}" of_b \
	"]\n" \
	"pools:\n" \
	"  - {name: pa, devices: [a/m]}\n" \
	"  - {name: pb, devices: [b/m]}\n" \
	"vdevs:\n" \
	"  - {name: va, pool: pa, size: 64MiB}\n" \
	"  - {name: vb, pool: pb, size: 64MiB}\n" \
	"  - {name: vn, pool: pb, size: 64MiB, nbd: 'unix:/n'}\n"

/* E1, E2: a vdev of another endpoint, and one that is made for this. */
static void test_config_ports(void **state)
{
	struct config *config = parse(PORTS(
		"{name: p, kind: port, vdev: vb}, {name: q, kind: port, pool: pb, size: equal, pasid: 7, sla: {iops: '>= 500'}}",
		""));
	const struct config_device *devices = config->endpoints[0].devices;
	const struct config_vdev *made = &config->vdevs[3];

	(void)state;
	assert_string_equal(devices[1].port->vdev, "vb");
	assert_ptr_equal(config->vdevs[1].port, &devices[1]);
	assert_string_equal(config->vdevs[1].vhost_user, "/s/vb.port");
	assert_int_equal(config->vdev_count, 4);
	assert_string_equal(made->name, "port-a-q");
	assert_string_equal(made->pool, "pb");
	assert_true(made->size_bytes == CONFIG_SIZE_EQUAL);
	assert_ptr_equal(made->port, &devices[2]);
	assert_int_equal(devices[2].size_bytes, 0);
	assert_int_equal(config->process_count, 1);
	assert_int_equal(config->processes[0].pasid, 7);
	assert_string_equal(config->processes[0].vdev, "port-a-q");
	assert_int_equal(config->processes[0].sla.count, 1);
	config_free(config);
}

static void test_config_ports_that_cannot_be(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{PORTS("{name: p, kind: port}", ""),
		 "name the 'vdev' of another endpoint, or the 'pool'"},
		{PORTS("{name: p, kind: port, vdev: vb, pool: pb}", ""),
		 "name the 'vdev' of another endpoint, or the 'pool'"},
		{PORTS("{name: p, kind: port, vdev: vb, size: 1GiB}", ""),
		 "say size, pasid and sla"},
		{PORTS("{name: p, kind: port, pool: pb, size: 1GiB}", ""),
		 "say 'size' (bytes, or equal) and 'pasid'"},
		{PORTS("{name: p, kind: port, vdev: vb, path: /x}", ""),
		 "kind port has no path or uri"},
		{PORTS("{name: p, kind: file, path: /x, vdev: vb}", ""),
		 "only kind port has vdev"},
		{PORTS("{name: p, kind: port, vdev: vx}", ""),
		 "there is no vdev 'vx'"},
		{PORTS("{name: p, kind: port, vdev: va}", ""),
		 "is of its own endpoint 'a'"},
		{PORTS("{name: p, kind: port, vdev: vb}",
		       ", {name: p, kind: port, vdev: va}"),
		 "endpoint 'b' of its vdev 'vb' has ports that lead back to 'a'"},
		{PORTS("{name: p, kind: port, vdev: vb}, {name: q, kind: port, vdev: vb}",
		       ""),
		 "vdev 'vb' is behind another port already"},
		{PORTS("{name: p, kind: port, vdev: vn}", ""),
		 "may have no other way in ('nbd')"},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error why = {""};
		struct config *config;

		assert_int_equal(config_parse("f", cases[i].text,
					      strlen(cases[i].text), &config,
					      &why),
				 -EINVAL);
		if (!strstr(why.text, cases[i].why))
			fail_msg("%u: %s", i, why.text);
	}
}

static void test_config_nbd_with_tls(void **state)
{
	struct config *config = parse(
		"host: alpha\n"
		"state: /s\n"
		"endpoints: [{name: ep0, devices: [{name: d0, kind: memory, size: 1GiB}]}]\n"
		"pools: [{name: main, devices: [ep0/d0]}]\n"
		"vdevs:\n"
		"  - {name: v0, pool: main, size: 1MiB, nbd: {listen: 'tcp:[::]:1', tls: {cert: /c, key: /k, ca: /a}}}\n"
		"  - {name: v1, pool: main, size: 1MiB, nbd: {listen: 'unix:/s', tls: {psk: /p}, require: false}}\n"
		"  - {name: v2, pool: main, size: 1MiB, nbd: {listen: 'unix:/t'}}\n");
	const struct config_vdev *vdevs = config->vdevs;

	(void)state;
	assert_string_equal(vdevs[0].nbd, "tcp:[::]:1");
	assert_true(vdevs[0].has_tls && vdevs[0].tls_required);
	assert_string_equal(vdevs[0].tls.cert, "/c");
	assert_string_equal(vdevs[0].tls.key, "/k");
	assert_string_equal(vdevs[0].tls.ca, "/a");
	assert_null(vdevs[0].tls.crl);
	assert_true(vdevs[1].has_tls && !vdevs[1].tls_required);
	assert_string_equal(vdevs[1].tls.psk, "/p");
	assert_string_equal(vdevs[2].nbd, "unix:/t");
	assert_false(vdevs[2].has_tls || vdevs[2].tls_required);
	config_free(config);
}

/* Names are looked up for the file, whose reader may wait for them, and not
 * for what is asked over the API. */
static void test_config_match_by_name(void **state)
{
	struct match match;
	struct error why;

	(void)state;
	assert_int_equal(config_find_match("gid=root", &match, &why), 0);
	assert_int_equal(match.kind, MATCH_GID);
	assert_int_equal(match.number, 0);
	assert_int_equal(config_find_match("uid=no-such", &match, &why),
			 -EINVAL);
	assert_non_null(strstr(why.text, "'no-such' is no user of this host"));
	assert_int_equal(config_find_match("pid=root", &match, &why), -EINVAL);
	assert_int_equal(config_find_match("be/4", &match, &why), 0);
	assert_int_equal(config_parse_match("uid=root", &match, &why), -EINVAL);
	assert_non_null(strstr(why.text, "'root' is no uid: a number"));
}

static void test_config_match_by_who_connects(void **state)
{
	struct config *config = parse(
		"host: alpha\n"
		"state: /s\n"
		"endpoints: [{name: ep0, devices: [{name: d0, kind: memory, size: 1GiB}]}]\n"
		"pools: [{name: main, devices: [ep0/d0]}]\n"
		"vdevs: [{name: v0, pool: main, size: 1MiB, nbd: 'unix:/s'}]\n"
		"processes:\n"
		"  - {pasid: 1, vdev: v0, match: {uid: 1000}}\n"
		"  - {pasid: 2, vdev: v0, match: {uid: root}}\n"
		"  - {pasid: 3, vdev: v0, match: {gid: 0}}\n"
		"  - {pasid: 4, vdev: v0, match: {pid: 77}}\n");
	const struct config_process *processes = config->processes;
	char text[CONFIG_MATCH_TEXT_MAX];

	(void)state;
	assert_string_equal(
		config_format_match(&processes[0].match, text, sizeof(text)),
		"uid=1000");
	assert_string_equal(
		config_format_match(&processes[1].match, text, sizeof(text)),
		"uid=0");
	assert_string_equal(
		config_format_match(&processes[2].match, text, sizeof(text)),
		"gid=0");
	assert_string_equal(
		config_format_match(&processes[3].match, text, sizeof(text)),
		"pid=77");
	config_free(config);
}

static void test_config_nbd_with_wrong_tls(void **state)
{
	static const char *const wrong[] = {
		"{tls: {psk: /p}}",
		"{listen: 'unix:/s', tls: {}}",
		"{listen: 'unix:/s', tls: {cert: /c, key: /k}}",
		"{listen: 'unix:/s', tls: {cert: /c, psk: /p}}",
		"{listen: 'unix:/s', tls: {psk: /p, other: /o}}",
		"{listen: 'unix:/s', require: false}",
		"{listen: '/s', tls: {psk: /p}}",
	};
	char text[512];

	(void)state;
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct config *config = NULL;
		struct error why;

		snprintf(
			text, sizeof(text),
			"host: alpha\n"
			"state: /s\n"
			"endpoints: [{name: ep0, devices: [{name: d0, kind: memory, size: 1GiB}]}]\n"
			"pools: [{name: main, devices: [ep0/d0]}]\n"
			"vdevs: [{name: v0, pool: main, size: 1MiB, nbd: %s}]\n",
			wrong[i]);
		if (config_parse("x", text, strlen(text), &config, &why) == 0)
			fail_msg("'%s' is taken", wrong[i]);
		assert_null(strstr(why.text, "state"));
	}
}

static void test_uri_refuses(void **state)
{
	static const char *const wrong[] = {
		"",
		"nbd:",
		"nbd://",
		"nbd:///x",
		"nbd://:7/x",
		"nbd://b:/x",
		"nbd://b:0/x",
		"nbd://b:70000/x",
		"nbd://b:7y/x",
		"nbd://b/x?socket=/s",
		"nbd://[::1/x",
		"nbd://[::1]7/x",
		"nbd://b/%",
		"nbd://b/%4",
		"nbd://b/%zz",
		"nbd://b/%00",
		"nbd+unix:///x",
		"nbd+unix:///x?socket=",
		"nbd+unix:///x?socket=s",
		"nbd+unix://b/x?socket=/s",
		"nbd+unix:///x?other=/s",
	};
	char text[512];
	struct error why;
	struct uri uri;

	(void)state;
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (uri_parse(wrong[i], &uri, &why) != -EINVAL)
			fail_msg("'%s' is taken", wrong[i]);
	memset(text, 'x', sizeof(text));
	memcpy(text, "nbd://b/", 8);
	text[8 + URI_EXPORT_MAX] = '\0';
	assert_int_equal(uri_parse(text, &uri, &why), 0);
	text[8 + URI_EXPORT_MAX] = 'x';
	text[9 + URI_EXPORT_MAX] = '\0';
	assert_int_equal(uri_parse(text, &uri, &why), -EINVAL);
}

static void test_config_contract_is_read(void **state)
{
	struct config *config = parse(contract);

	(void)state;
	assert_string_equal(config->host, "alpha");
	assert_string_equal(config->api.unix_path, "/run/penstock/alpha.sock");
	assert_int_equal(config->endpoints[0].device_count, 3);
	assert_int_equal(config->endpoints[0].devices[0].size_bytes,
			 UINT64_C(10) << 30);
	assert_int_equal(config->pools[0].device_count, 2);
	assert_true(config->pools[0].thin);
	assert_int_equal(config->vdevs[0].size_bytes, UINT64_C(4) << 30);
	assert_int_equal(config->processes[1].weight, 2);
	assert_int_equal(config->processes[1].match.number, 2U << 13 | 4);
	assert_int_equal(
		config->processes[1].limits.limit_per_s[SCHED_TOTAL_IOPS],
		2000);
	assert_int_equal(config->processes[0].sla.count, 2);
	assert_true(config->processes[2].best_effort);
	assert_int_equal(config->processes[2].sla.specs[0].direction, SLA_READ);
	assert_string_equal(config->peers[0].name, "beta");
	assert_int_equal(config->uplinks[0].queues, 4);
	config_free(config);
}

struct note {
	unsigned int line;
	const char *text;
};

static void expect_notes(const struct config *config, const struct note *notes,
			 unsigned int count)
{
	unsigned int found = 0;

	assert_int_equal(config->note_count, count);
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; j < config->note_count; j++)
			found += notes[i].line == config->notes[j].line &&
				strcmp(notes[i].text, config->notes[j].text) ==
					0;
	assert_int_equal(found, count);
}

/* What cannot be served is reported, never refused. */
static void test_config_contract_notes(void **state)
{
	static const struct note notes[] = {
		{26, "host 'beta'"},
		{27, "uplink 'up0'"},
	};
	struct config *config = parse(contract);

	(void)state;
	expect_notes(config, notes, 2);
	assert_true(config->pools[0].served);
	assert_true(config->vdevs[0].served);
	assert_true(config->processes[0].served);
	config_free(config);
}

static void test_config_several_endpoints_notes(void **state)
{
	static const struct note notes[] = {
		{9, "pool 'p': devices of several endpoints"},
		{10, "vdev 'v': its pool 'p' is not served"},
		{11, "process 1: its vdev 'v' is not served"},
	};
	struct config *config =
		parse("host: a\n"
		      "state: /s\n"
		      "endpoints:\n"
		      "  - name: e0\n"
		      "    devices: [{name: m, kind: memory, size: 1GiB}]\n"
		      "  - name: e1\n"
		      "    devices: [{name: m, kind: memory, size: 1GiB}]\n"
		      "pools:\n"
		      "  - {name: p, devices: [e0/m, e1/m]}\n"
		      "vdevs: [{name: v, pool: p, size: 1GiB}]\n"
		      "processes: [{pasid: 1, vdev: v}]\n");

	(void)state;
	expect_notes(config, notes, 3);
	assert_false(config->vdevs[0].served);
	assert_false(config->processes[0].served);
	config_free(config);
}

/* 'count' devices of one endpoint, all in one pool. */
static char *pool_of(unsigned int count)
{
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	fputs("host: a\nstate: /s\nendpoints:\n  - name: e\n    devices:\n",
	      out);
	for (unsigned int i = 0; i < count; i++)
		fprintf(out, "      - {name: m%u, kind: memory, size: 1GiB}\n",
			i);
	fputs("pools:\n  - {name: p, devices: [", out);
	for (unsigned int i = 0; i < count; i++)
		fprintf(out, "%se/m%u", i ? ", " : "", i);
	fputs("]}\nvdevs: [{name: v, pool: p, size: 16GiB}]\n", out);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* E2: devices of one endpoint; a vdev may be larger than any of them. */
static void test_config_pool_of_many(void **state)
{
	char *text = pool_of(CONFIG_POOL_DEVICES_MAX);
	struct config *config = parse(text);
	struct error why;

	(void)state;
	assert_int_equal(config->note_count, 0);
	assert_true(config->pools[0].served);
	config_free(config);
	free(text);

	text = pool_of(CONFIG_POOL_DEVICES_MAX + 1);
	assert_int_equal(config_parse("f", text, strlen(text), &config, &why),
			 -EINVAL);
	assert_string_equal(
		why.text, "f:24: pool 'p': 17 devices: at most 16 in one pool");
	free(text);
}

#define HEAD "host: a\nstate: /s\n" /* 1-2 */
#define DEVICES \
	HEAD "endpoints:\n" /* 3 */ \
	     "  - name: ep0\n" /* 4 */ \
	     "    devices:\n" /* 5 */ \
	     "      - {name: m0, kind: memory, size: 1GiB}\n" /* 6 */ \
	     "      - {name: d0, kind: file, path: /d0, size: 8GiB}\n" /* 7 */
#define POOLS \
	DEVICES \
	"pools:\n" /* 8 */ \
	"  - {name: p0, devices: [ep0/m0]}\n" /* 9 */ \
	"  - {name: p1, devices: [ep0/d0]}\n" /* 10 */
#define VDEVS \
	POOLS \
	"vdevs:\n" /* 11 */ \
	"  - {name: vd0, pool: p0, size: 512MiB, vhost-user: /v0}\n" /* 12 */
#define PROCESSES \
	VDEVS \
	"processes:\n" /* 13 */ \
	"  - {pasid: 1, vdev: vd0, match: {ioprio: be/4}}\n" /* 14 */

/* No exact error where the words are those of units.h or sla.h. */
static const struct wrong {
	const char *text;
	const char *error;
} wrongs[] = {
	{"", "f:1: the file is empty"},
	{"- a\n",
	 "f:1: the configuration must be a mapping (key: value), not a list"},
	{"host: a\nstate: /s\nhost: b\n",
	 "f:3: the configuration has the key 'host' twice (first in line 1)"},
	{"host: a\n", "f:1: the configuration has no 'state'"},
	{"state: /s\n", "f:1: the configuration has no 'host'"},
	{"host: a\nstate: s\n", "f:2: state: 's' is not an absolute path"},
	{"host: -a\nstate: /s\n",
	 "f:1: host: '-a' is not a name (letters, digits, '-', '_', '.'; the first a letter or digit)"},
	{"host: [a]\nstate: /s\n",
	 "f:1: host must be a single value, not a list"},
	{"host: \"a\\0b\"\nstate: /s\n", "f:1: host contains a NUL character"},
	{"host:\nstate: /s\n", "f:1: host is empty"},
	{HEAD "hosst: b\n",
	 "f:3: the configuration has no key 'hosst'; there are: host, state, headroom, session-hold, api, audit, socket, endpoints, pools, vdevs, processes, slas, hosts, uplinks"},
	{HEAD "---\nhost: b\n",
	 "f:3: a second document begins here; only one is read"},
	{HEAD "api: {unix: /a\n",
	 "f:4: not YAML: did not find expected ',' or '}' while parsing a flow mapping"},
	{HEAD "headroom: 10\n",
	 "f:3: headroom must be from 0% to 90%, not '10'"},
	{HEAD "headroom: 95%\n",
	 "f:3: headroom must be from 0% to 90%, not '95%'"},
	/* api */
	{HEAD "api: {unix: a.sock}\n",
	 "f:3: unix: 'a.sock' is not an absolute path"},
	{HEAD "api: {tcp: 0.0.0.0:7780}\n",
	 "f:3: api: 'tcp' needs 'tls: {cert, key, ca}': both sides show a certificate"},
	{HEAD "api: {tcp: 0.0.0.0, tls: {cert: c, key: k, ca: a}}\n",
	 "f:3: tcp must be ADDRESS:PORT, not '0.0.0.0'"},
	{HEAD "api: {unix: \"/a\\nb\"}\n",
	 "f:3: unix contains a control character"},
	{HEAD "api: {tls: {cert: c, key: k}}\n", "f:3: tls has no 'ca'"},
	{HEAD "api: {roles: {operate: adm}}\n",
	 "f:3: users, groups and certificates must be a list, not a single value"},
	{HEAD "api: {roles: {rule: [adm]}}\n",
	 "f:3: roles has no key 'rule'; there are: read, operate, administer, host-to-host"},
	{HEAD "api: {roles: {read: ['cert:']}}\n",
	 "f:3: 'cert:' names no certificate: its name as it stands there, of 1 to 255 visible characters"},
	{HEAD "api: {roles: {host-to-host: [adm]}}\n",
	 "f:3: host-to-host is for certificates (cert:NAME), not 'adm'"},
	{HEAD "audit: here.log\n",
	 "f:3: audit: 'here.log' is not an absolute path"},
	{HEAD "audit: {size: 4KiB}\n",
	 "f:3: audit: size must be at least 64KiB"},
	{HEAD "audit: {keep: 0}\n", "f:3: keep must be from 1 to 1000, not 0"},
	{HEAD "socket: {mode: 0770}\n",
	 "f:3: socket: mode must be like 0660 (octal; read and write), not '0770'"},
	{HEAD "socket: {group: '@kvm'}\n",
	 "f:3: socket: '@kvm' is not the name of a group"},
	/* endpoints */
	{HEAD "endpoints: {name: a}\n",
	 "f:3: endpoints must be a list, not a mapping"},
	{HEAD "endpoints:\n  - cpu: 0\n", "f:4: endpoint has no 'name'"},
	{HEAD "endpoints:\n  - {name: e, cpu: x}\n",
	 "f:4: cpu must be a whole number, not 'x'"},
	{HEAD "endpoints:\n  - {name: e, cpu: -1}\n",
	 "f:4: cpu must be from 0 to 4095, not -1"},
	{HEAD "endpoints:\n  - {name: e, nice: 20}\n",
	 "f:4: nice must be from -20 to 19, not 20"},
	{HEAD "endpoints:\n  - {name: e, poll: 2 s}\n",
	 "f:4: poll: more than a second"},
	{HEAD "endpoints:\n  - name: e\n  - name: e\n",
	 "f:5: endpoint 'e' twice (first in line 4)"},
	/* devices */
	{HEAD "endpoints:\n  - name: e\n    devices: [{kind: memory}]\n",
	 "f:5: device has no 'name'"},
	{HEAD "endpoints:\n  - name: e\n    devices: [{name: d, kind: tape}]\n",
	 "f:5: 'tape' is not a kind of device: file, memory, nullio, nbd, port (later: vhost-user, nic, crypto)"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory}]\n",
	 "f:5: device 'd' of kind memory has no 'size'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: file, size: 1GiB}]\n",
	 "f:5: device 'd' of kind file has no 'path'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: file, path: d.img}]\n",
	 "f:5: device 'd': path 'd.img' is not absolute"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory, path: /d, size: 1GiB}]\n",
	 "f:5: device 'd': kind memory has no path"},
	{HEAD "endpoints:\n  - name: e\n    devices: [{name: d, kind: nbd}]\n",
	 "f:5: device 'd' of kind nbd has no 'uri'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: file, uri: \"nbd://b/x\"}]\n",
	 "f:5: device 'd': only kind nbd has uri, tls, reconnect, unflushed, connections"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nbd, path: /d, uri: \"nbd://b/x\"}]\n",
	 "f:5: a device has a path or a uri, not both"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nbd, uri: \"http://b/x\"}]\n",
	 "f:5: 'http://b/x' is not nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=/PATH"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nbd, uri: \"nbd://b/x\", unflushed: maybe}]\n",
	 "f:5: unflushed must be lost, kept or none, not 'maybe'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nbd, uri: \"nbd://b/x\", reconnect: 4000 s}]\n",
	 "f:5: reconnect: more than an hour"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory, size: 1000}]\n",
	 "f:5: size: '1000' is not a size from 512 B to 65536 TiB in whole blocks of 512 B"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory, size: 0}]\n",
	 "f:5: size: '0' is not a size from 512 B to 65536 TiB in whole blocks of 512 B"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory, size: 1GiB, read-only: maybe}]\n",
	 "f:5: read-only must be true or false, not 'maybe'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: memory, size: 1GiB, model: {error: 1%}}]\n",
	 "f:5: device 'd': only nullio has a model, and memory one with a latency"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nullio, size: 1GiB, model: {latency: {sigma: 9}}}]\n",
	 "f:5: sigma must be from 0 to 3, not '9'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nullio, size: 1GiB, model: {latency: {servers: 4}}}]\n",
	 "f:5: latency names no time (read, write, per-kib)"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nullio, size: 1GiB, model: {error: 5}}]\n",
	 "f:5: error must be a share such as '10ppm' or '0.1%', not '5'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nullio, size: 1GiB, model: {stall: {every: 1s, for: 2s}}}]\n",
	 "f:5: stall: 'for' must be more than nothing and less than 'every'"},
	{HEAD
	 "endpoints:\n  - name: e\n    devices: [{name: d, kind: nullio, size: 1GiB, model: {stall: {every: 1s}}}]\n",
	 "f:5: stall has no 'for'"},
	{DEVICES "      - {name: m0, kind: nullio, size: 1GiB}\n",
	 "f:8: device 'm0' twice in endpoint 'ep0' (first in line 6)"},
	{DEVICES "      - {name: d1, kind: file, path: /d0}\n",
	 "f:8: device 'd1': path /d0 is device 'd0' already (line 7)"},
	/* pools */
	{DEVICES "pools: [{name: p}]\n",
	 "f:8: pool 'p' has no devices (nor 'from: POOL')"},
	{DEVICES "pools: [{name: p, devices: [m0]}]\n",
	 "f:8: a pool's device is ENDPOINT/DEVICE or HOST:ENDPOINT/DEVICE, not 'm0'"},
	{DEVICES "pools: [{name: p, devices: [ep0/x]}]\n",
	 "f:8: pool 'p': there is no device ep0/x"},
	{DEVICES "pools: [{name: p, devices: [ep1/m0]}]\n",
	 "f:8: pool 'p': there is no device ep1/m0"},
	{DEVICES "pools: [{name: p, devices: [ep0/m0, ep0/m0]}]\n",
	 "f:8: device ep0/m0 is in pool 'p' already (line 8)"},
	{POOLS "  - {name: p2, devices: [ep0/d0]}\n",
	 "f:11: device ep0/d0 is in pool 'p1' already (line 10)"},
	{POOLS "  - {name: p0, devices: [ep0/d0]}\n",
	 "f:11: pool 'p0' twice (first in line 9)"},
	{POOLS "  - {name: p2, from: p9}\n",
	 "f:11: pool 'p2': there is no pool 'p9' to split it from"},
	{POOLS "  - {name: p2, from: p0, size: 900GiB}\n",
	 "f:11: pool 'p2' of 900 GiB does not fit: pool 'p0' has 1 GiB left"},
	{POOLS "  - {name: p2, from: p2}\n",
	 "f:11: pool 'p2' is split from itself"},
	{POOLS "  - {name: p2, from: p0, devices: [ep0/d0]}\n",
	 "f:11: pool 'p2' has both 'from' and 'devices'"},
	{DEVICES "pools: [{name: p, devices: [ep0/m0], provisioning: fat}]\n",
	 "f:8: provisioning must be thin or thick, not 'fat'"},
	/* vdevs */
	{POOLS "vdevs: [{name: v, pool: p9, size: 1MiB}]\n",
	 "f:11: vdev 'v': there is no pool 'p9'"},
	{POOLS "vdevs: [{name: auto, pool: p0, size: 1MiB}]\n",
	 "f:11: vdev 'auto': a process would have one chosen by this name: call it otherwise"},
	{POOLS "vdevs: [{name: v, pool: p0}]\n",
	 "f:11: vdev 'v' has no 'size' (bytes, or equal)"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 2GiB}]\n",
	 "f:11: vdev 'v' of 2 GiB does not fit: pool 'p0' has 1 GiB left"},
	{VDEVS "  - {name: vd1, pool: p0, size: 513MiB}\n",
	 "f:13: vdev 'vd1' of 513 MiB does not fit: pool 'p0' has 512 MiB left"},
	{VDEVS "  - {name: vd0, pool: p1, size: 1MiB}\n",
	 "f:13: vdev 'vd0' twice (first in line 12)"},
	{VDEVS "  - {name: vd1, pool: p1, size: 1MiB, vhost-user: /v0}\n",
	 "f:13: socket /v0 of 'vd1' is that of vd0 already (line 12)"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, endpoint: ep9}]\n",
	 "f:11: vdev 'v': there is no endpoint 'ep9'"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, queues: 0}]\n",
	 "f:11: queues must be from 1 to 64, not 0"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, nbd: /v.nbd}]\n",
	 "f:11: nbd must be unix:/PATH or tcp:ADDRESS:PORT, not '/v.nbd'"},
	{POOLS
	 "vdevs: [{name: v, pool: p0, size: 1MiB, nbd: \"tcp:1.2.3.4:99999\"}]\n",
	 "f:11: nbd must be unix:/PATH or tcp:ADDRESS:PORT, not 'tcp:1.2.3.4:99999'"},
	{POOLS
	 "vdevs: [{name: v, pool: p0, size: 1MiB, nbd: \"tcp:1.2.3.4:1o\"}]\n",
	 "f:11: nbd must be unix:/PATH or tcp:ADDRESS:PORT, not 'tcp:1.2.3.4:1o'"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, connections: 4}]\n",
	 "f:11: vdev 'v': 'connections' without 'nbd'"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, limit: {iop: 5}}]\n",
	 "f:11: limit: a limit is '[read|write] iops|bandwidth VALUE', not 'iop'"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, limit: {iops: 0}}]\n",
	 "f:11: limit: a limit of '0' cannot be kept; leave it out for none"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, burst: 1 min}]\n",
	 NULL},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, on-error: halt}]\n",
	 "f:11: on-error must be report, stop or retry, not 'halt'"},
	{POOLS "vdevs: [{name: v, pool: p0, size: 1MiB, burst: 11 s}]\n",
	 "f:11: burst: more than 10 s"},
	/* processes */
	{VDEVS "processes: [{vdev: vd0}]\n", "f:13: process has no 'pasid'"},
	{VDEVS "processes: [{pasid: 0, vdev: vd0}]\n",
	 "f:13: pasid must be from 1 to 1048575, not 0"},
	{VDEVS "processes: [{pasid: 1, vdev: vd9}]\n",
	 "f:13: process 1: there is no vdev 'vd9'"},
	{PROCESSES "  - {pasid: 1, vdev: vd0}\n",
	 "f:15: pasid 1 twice (first in line 14)"},
	{PROCESSES "  - {pasid: 2, name: process-1, vdev: vd0}\n",
	 "f:15: process 'process-1' twice (first in line 14)"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, match: {ioprio: be/4}}\n",
	 "f:15: processes 1 and 2 of vdev 'vd0' match the same I/O priority"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, match: {ioprio: be/8}}\n",
	 "f:15: ioprio: 'be/8' is not an I/O priority (be/0 to be/7, rt/0 to rt/7, idle)"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, match: {}}\n",
	 "f:15: match: one of ioprio, uid, gid and pid"},
	{PROCESSES
	 "  - {pasid: 2, vdev: vd0, match: {ioprio: idle}, vhost-user: /x}\n",
	 "f:15: process 2 has both 'match' and a socket of its own: one way to tell it apart is enough"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, vhost-user: /v0}\n",
	 "f:15: socket /v0 of 'process-2' is that of vd0 already (line 12)"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, weight: 0}\n",
	 "f:15: weight must be from 1 to 10000, not 0"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, sla: {}}\n",
	 "f:15: sla: it promises nothing; leave it out"},
	{PROCESSES "  - {pasid: 2, vdev: vd0, sla: {speed: \">= 5\"}}\n", NULL},
	{PROCESSES
	 "  - {pasid: 2, vdev: vd0, limit: {iops: 5, write iops: x}}\n",
	 NULL},
	{PROCESSES
	 "  - {pasid: 2, vdev: vd0, sla: {iops: \">= 500\"}, limit: {iops: 400}}\n",
	 "f:15: process 2: iops: the limit is below what is promised; raise it to 500 or promise less"},
	/* others */
	{HEAD "hosts: [{name: b, api: x}]\n",
	 "f:3: api must be https://HOST:PORT, not 'x'"},
	{HEAD "hosts: [{name: b, api: /x}, {name: b, api: /y}]\n",
	 "f:3: host 'b' twice (first in line 3)"},
	{HEAD "slas: {}\n",
	 "f:3: slas: one of 'file', 'sqlite' and 'postgresql'"},
	{HEAD "slas: {file: /a, sqlite: /b}\n",
	 "f:3: slas: one of 'file', 'sqlite' and 'postgresql'"},
	{HEAD "slas: {file: a}\n", "f:3: file: 'a' is not an absolute path"},
	{HEAD "slas: {file: /a, every: 10 ms}\n",
	 "f:3: slas: every: from 1 s to an hour"},
	{HEAD "processes: [{pasid: 1, vdev: v, match: {uid: 1, gid: 1}}]\n",
	 "f:3: match: one of ioprio, uid, gid and pid"},
	{HEAD "processes: [{pasid: 1, vdev: v, match: {}}]\n",
	 "f:3: match: one of ioprio, uid, gid and pid"},
	{HEAD "processes: [{pasid: 1, vdev: v, match: {uid: 4294967295}}]\n",
	 NULL},
	{HEAD "uplinks: [{name: u}]\n", "f:3: uplink has no 'dev'"},
	{HEAD "uplinks: [{name: u, dev: e, queues: 0}]\n",
	 "f:3: queues must be from 1 to 4096, not 0"},
};

static void test_config_refuses(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct error why = {""};
		struct config *config;

		assert_int_equal(config_parse("f", wrongs[i].text,
					      strlen(wrongs[i].text), &config,
					      &why),
				 -EINVAL);
		assert_int_equal(strncmp(why.text, "f:", 2), 0);
		if (wrongs[i].error)
			assert_string_equal(why.text, wrongs[i].error);
	}
}

/* Every beginning of a good file is either good or an error with a line. */
static void test_config_cut_anywhere(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(contract) - 1; i++) {
		struct error why = {""};
		struct config *config;

		if (config_parse("f", contract, i, &config, &why) == 0)
			config_free(config);
		else
			assert_int_equal(strncmp(why.text, "f:", 2), 0);
	}
}

static void test_config_options(void **state)
{
	struct config *config = parse(
		HEAD
		"headroom: 12.5%\n"
		"session-hold: 5 s\n"
		"api: {unix: /a, roles: {operate: [adm, '@disk'], read: ['@users']}}\n"
		"endpoints:\n"
		"  - name: ep0\n"
		"    nice: -5\n"
		"    poll: 20 us\n"
		"    devices:\n"
		"      - name: n0\n"
		"        kind: nullio\n"
		"        size: 1GiB\n"
		"        read-only: true\n"
		"        model: {latency: {read: 200us, write: 1ms, sigma: 0.3, servers: 4, per-kib: 50ns}, error: 10ppm, stall: {every: 10s, for: 200ms}, seed: 7}\n"
		"pools: [{name: p0, devices: [ep0/n0]}]\n"
		"vdevs: [{name: v0, pool: p0, size: equal, read-only: true, on-error: retry, limit: \"iops 500, write bandwidth <= 10 MB/s\", burst: 50 ms}]\n"
		"processes: [{pasid: 5, vdev: v0, limit: {read iops: 9, burst: 2 ms}, sla: \"iops >= 5\"}]\n");
	const struct block_model *model =
		&config->endpoints[0].devices[0].model;

	(void)state;
	assert_int_equal(config->headroom_milli, 125);
	assert_int_equal(config->session_hold_ns, 5000000000);
	assert_int_equal(config->api.role_count, 3);
	assert_true(config->api.roles[1].is_group);
	assert_string_equal(config->api.roles[1].who, "disk");
	assert_int_equal(config->api.roles[1].role, CONFIG_ROLE_OPERATE);
	assert_int_equal(config->api.roles[2].role, CONFIG_ROLE_READ);
	assert_int_equal(config->endpoints[0].nice, -5);
	assert_int_equal(config->endpoints[0].spin_ns, 20000);
	assert_int_equal(config->endpoints[0].cpu, -1);
	assert_true(config->endpoints[0].devices[0].read_only);
	assert_int_equal(model->servers, 4);
	assert_int_equal(model->read_median_ns, 200000);
	assert_int_equal(model->write_median_ns, 1000000);
	assert_int_equal(model->sigma_milli, 300);
	assert_int_equal(model->per_kib_ns, 50);
	assert_int_equal(model->error_ppm, 10);
	assert_int_equal(model->stall_every_ns, 10000000000);
	assert_int_equal(model->stall_ns, 200000000);
	assert_int_equal(model->seed, 7);
	assert_int_equal(config->vdevs[0].size_bytes, CONFIG_SIZE_EQUAL);
	assert_true(config->vdevs[0].read_only);
	assert_int_equal(config->vdevs[0].limits.limit_per_s[SCHED_WRITE_BYTES],
			 10000000);
	assert_int_equal(config->vdevs[0].limits.burst_ns, 50000000);
	assert_int_equal(config->vdevs[0].on_error, ON_ERROR_RETRY);
	assert_int_equal(config->processes[0].limits.burst_ns, 2000000);
	assert_string_equal(config->processes[0].name, "process-5");
	config_free(config);
}

/* A thin vdev may be larger than its pool (E3). */
static void test_config_thin_may_exceed(void **state)
{
	struct config *config = parse(
		DEVICES
		"pools: [{name: p, devices: [ep0/m0], provisioning: thin}]\n"
		"vdevs: [{name: v, pool: p, size: 4GiB}]\n");

	(void)state;
	assert_true(config->vdevs[0].served);
	assert_int_equal(config->note_count, 0);
	config_free(config);
}

static void test_config_later_kinds_are_noted(void **state)
{
	struct config *config = parse(
		HEAD
		"endpoints:\n"
		"  - name: ep0\n"
		"    devices: [{name: a0, kind: crypto}, {name: m0, kind: memory, size: 1GiB}]\n"
		"pools:\n"
		"  - {name: p0, devices: [ep0/a0]}\n"
		"  - {name: p1, devices: [beta:ep0/d0]}\n"
		"  - {name: p2, devices: [ep0/m0]}\n"
		"  - {name: p3, from: p2, size: 64MiB}\n"
		"  - {name: p4, from: p2, provisioning: thin}\n"
		"vdevs:\n"
		"  - {name: v0, pool: p0, crypto: /c}\n"
		"  - {name: v1, pool: p2, size: 1MiB}\n"
		"processes: [{pasid: 1, vdev: \"auto:least-loaded\", sla: \"ops >= 5\"}]\n");
	unsigned int i;

	(void)state;
	assert_false(config->pools[0].served);
	assert_false(config->pools[1].served);
	assert_true(config->pools[2].served);
	assert_true(config->pools[3].served);
	assert_false(config->pools[4].served);
	assert_true(config->vdevs[1].served);
	assert_true(config->processes[0].served);
	assert_null(config->processes[0].vdev);
	assert_string_equal(config->processes[0].policy, "auto:least-loaded");
	assert_int_equal(config->note_count, 4);
	for (i = 1; i < config->note_count; i++)
		assert_true(config->notes[i - 1].line <= config->notes[i].line);
	config_free(config);
}

/* Aliases are YAML; a file that multiplies itself by them is refused. */
static void test_config_bounds_aliases(void **state)
{
	static const char bomb[] = HEAD
		"endpoints:\n"
		"  - &e {name: e, devices: [&d {name: d, kind: memory, size: 1GiB}, *d]}\n";
	struct error why = {""};
	struct config *config;

	(void)state;
	assert_int_equal(
		config_parse("f", bomb, sizeof(bomb) - 1, &config, &why),
		-EINVAL);
	assert_string_equal(
		why.text,
		"f:4: device 'd' twice in endpoint 'e' (first in line 4)");
}

static void test_config_bounds_size(void **state)
{
	char *text = malloc(CONFIG_FILE_MAX + 1U);
	struct error why = {""};
	struct config *config;

	(void)state;
	assert_non_null(text);
	memset(text, '#', CONFIG_FILE_MAX + 1U);
	assert_int_equal(
		config_parse("f", text, CONFIG_FILE_MAX + 1U, &config, &why),
		-EINVAL);
	assert_string_equal(why.text, "f:1: larger than 1048576 bytes");
	free(text);
}

static void test_config_no_such_file(void **state)
{
	struct error why = {""};
	struct config *config;

	(void)state;
	assert_int_equal(config_load("/nonexistent/x.yaml", &config, &why),
			 -ENOENT);
	assert_string_equal(why.text,
			    "/nonexistent/x.yaml: No such file or directory");
}

static void test_config_ioprio_words(void **state)
{
	static const char *const words[] = {"be/0", "be/7", "rt/3", "idle"};
	char text[CONFIG_MATCH_TEXT_MAX];
	struct match match;
	uint16_t ioprio;
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		assert_int_equal(config_parse_match(words[i], &match, NULL), 0);
		assert_int_equal(match.kind, MATCH_IOPRIO);
		assert_string_equal(
			config_format_match(&match, text, sizeof(text)),
			words[i]);
	}
	assert_int_equal(config_parse_ioprio("be/", &ioprio, NULL), -EINVAL);
	assert_int_equal(config_parse_ioprio("be/10", &ioprio, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_contract_is_read),
		cmocka_unit_test(test_config_export_of_another_server),
		cmocka_unit_test(test_config_ports),
		cmocka_unit_test(test_config_ports_that_cannot_be),
		cmocka_unit_test(test_config_nbd_with_tls),
		cmocka_unit_test(test_config_nbd_with_wrong_tls),
		cmocka_unit_test(test_config_match_by_name),
		cmocka_unit_test(test_config_match_by_who_connects),
		cmocka_unit_test(test_uri_refuses),
		cmocka_unit_test(test_config_contract_notes),
		cmocka_unit_test(test_config_several_endpoints_notes),
		cmocka_unit_test(test_config_pool_of_many),
		cmocka_unit_test(test_config_refuses),
		cmocka_unit_test(test_config_cut_anywhere),
		cmocka_unit_test(test_config_options),
		cmocka_unit_test(test_config_thin_may_exceed),
		cmocka_unit_test(test_config_later_kinds_are_noted),
		cmocka_unit_test(test_config_bounds_aliases),
		cmocka_unit_test(test_config_bounds_size),
		cmocka_unit_test(test_config_no_such_file),
		cmocka_unit_test(test_config_ioprio_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
