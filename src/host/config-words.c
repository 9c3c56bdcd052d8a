/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-words.c - words that the file and the API share: names, socket
 * paths, sizes, bursts, I/O priorities, who connects
 */
#include "host/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/units.h"
#include "os/users.h"
#include "sla/limit.h"

int config_check_name(const char *text, struct error *reterr)
{
	size_t length = strlen(text);
	size_t i;

	if (length == 0 || length > CONFIG_NAME_MAX)
		return error_set(reterr, -EINVAL,
				 "a name has 1 to %u characters",
				 CONFIG_NAME_MAX);
	for (i = 0; i < length; i++) {
		bool first = isalnum((unsigned char)text[i]);

		if (first || (i > 0 && strchr("-_.", text[i])))
			continue;
		return error_set(
			reterr, -EINVAL,
			"'%s' is not a name (letters, digits, '-', '_', '.'; the first a letter or digit)",
			text);
	}
	return 0;
}

int config_check_socket(const char *text, struct error *reterr)
{
	const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (text[0] != '/')
		return error_set(reterr, -EINVAL,
				 "'%s' is not an absolute path", text);
	for (size_t i = 0; text[i]; i++)
		if (iscntrl((unsigned char)text[i]))
			return error_set(reterr, -EINVAL,
					 "'%s' has a control character", text);
	if (strlen(text) > most)
		return error_set(
			reterr, -EINVAL,
			"the path of a socket has at most %zu characters, '%s' has %zu",
			most, text, strlen(text));
	if (text[strlen(text) - 1] == '/')
		return error_set(reterr, -EINVAL, "'%s' is a directory", text);
	return 0;
}

bool config_is_address(const char *text)
{
	const char *port = strrchr(text, ':');
	unsigned long number;
	char *end;

	if (!port || port == text || !isdigit((unsigned char)port[1]))
		return false;
	number = strtoul(port + 1, &end, 10);
	return *end == '\0' && number >= 1 && number <= 65535;
}

int config_parse_size(const char *text, uint64_t *ret_bytes,
		      struct error *reterr)
{
	uint64_t bytes;
	int ret = units_parse_size(text, &bytes, reterr);

	if (ret < 0)
		return ret;
	if (bytes == 0 || bytes % 512 || bytes > CONFIG_SIZE_MAX)
		return error_set(
			reterr, -EINVAL,
			"'%s' is not a size from 512 B to 65536 TiB in whole blocks of 512 B",
			text);
	*ret_bytes = bytes;
	return 0;
}

int config_parse_burst(const char *text, uint64_t *ret_burst_ns,
		       struct error *reterr)
{
	uint64_t burst_ns;
	struct error why;
	int ret = units_parse_duration(text, &burst_ns, &why);

	if (ret < 0)
		return error_set(reterr, ret, "burst: %s", why.text);
	if (burst_ns > LIMIT_BURST_MAX_NS)
		return error_set(reterr, -EINVAL, "burst: more than 10 s");
	*ret_burst_ns = burst_ns;
	return 0;
}

/* As Linux has it: class << 13 | level. */
static const struct {
	const char *word;
	uint16_t class;
} ioprio_classes[] = {
	{"rt", 1},
	{"be", 2},
};

int config_parse_ioprio(const char *text, uint16_t *ret_ioprio,
			struct error *reterr)
{
	unsigned int i;

	if (strcmp(text, "idle") == 0) {
		*ret_ioprio = 3U << 13;
		return 0;
	}
	for (i = 0; i < 2; i++) {
		size_t length = strlen(ioprio_classes[i].word);

		if (strncmp(text, ioprio_classes[i].word, length) == 0 &&
		    text[length] == '/' && text[length + 1] >= '0' &&
		    text[length + 1] <= '7' && text[length + 2] == '\0') {
			*ret_ioprio = (uint16_t)(ioprio_classes[i].class << 13 |
						 (text[length + 1] - '0'));
			return 0;
		}
	}
	return error_set(
		reterr, -EINVAL,
		"'%s' is not an I/O priority (be/0 to be/7, rt/0 to rt/7, idle)",
		text);
}

static int parse_of_peer(enum match_kind kind, const char *text,
			 struct match *ret_match, struct error *reterr)
{
	const size_t digits = strspn(text, "0123456789");
	uint32_t number = 0;
	unsigned long long value;

	if (text[digits] == '\0' && digits > 0 && digits <= 10) {
		value = strtoull(text, NULL, 10);
		/* The last one is nobody's. */
		if (value >= UINT32_MAX || (kind == MATCH_PID && value == 0))
			return error_set(reterr, -EINVAL, "'%s' is no %s", text,
					 match_word(kind));
		number = (uint32_t)value;
	} else {
		return error_set(
			reterr, -EINVAL, "'%.60s' is no %s: a number%s", text,
			match_word(kind),
			kind == MATCH_PID ? "" : ", as id(1) tells it");
	}
	*ret_match = (struct match){kind, number};
	return 0;
}

int config_parse_match(const char *text, struct match *ret_match,
		       struct error *reterr)
{
	uint16_t ioprio;
	int ret;

	for (enum match_kind kind = MATCH_IOPRIO; kind < MATCH_KINDS; kind++) {
		const char *word = match_word(kind);
		const size_t length = strlen(word);

		if (strncmp(text, word, length) != 0 || text[length] != '=')
			continue;
		if (kind != MATCH_IOPRIO)
			return parse_of_peer(kind, text + length + 1, ret_match,
					     reterr);
		text += length + 1;
	}
	ret = config_parse_ioprio(text, &ioprio, reterr);
	if (ret == 0)
		*ret_match = (struct match){MATCH_IOPRIO, ioprio};
	return ret;
}

int config_find_match(const char *text, struct match *ret_match,
		      struct error *reterr)
{
	const char *name = strchr(text, '=');
	const bool is_user = strncmp(text, "uid=", 4) == 0;
	uint32_t number;
	int ret;

	if ((!is_user && strncmp(text, "gid=", 4) != 0) ||
	    isdigit((unsigned char)name[1]))
		return config_parse_match(text, ret_match, reterr);
	ret = is_user ? users_find(name + 1, &number) :
			users_find_group(name + 1, &number);
	if (ret < 0)
		return error_set(reterr, -EINVAL,
				 "'%.60s' is no %s of this host: %s", name + 1,
				 is_user ? "user" : "group", strerror(-ret));
	*ret_match = (struct match){is_user ? MATCH_UID : MATCH_GID, number};
	return 0;
}

static char *format_ioprio(uint32_t ioprio, char *buffer, size_t size)
{
	unsigned int class = ioprio >> 13;

	if (class == 3)
		snprintf(buffer, size, "idle");
	else if (class == 1 || class == 2)
		snprintf(buffer, size, "%s/%u", class == 1 ? "rt" : "be",
			 ioprio & 7U);
	else
		snprintf(buffer, size, "none");
	return buffer;
}

char *config_format_match(const struct match *match, char *buffer, size_t size)
{
	if (!match_is_of_peer(match))
		return format_ioprio(match->number, buffer, size);
	snprintf(buffer, size, "%s=%u", match_word(match->kind), match->number);
	return buffer;
}
