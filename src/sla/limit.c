/* SPDX-License-Identifier: Apache-2.0 */
/* limit.c - see limit.h */
#include "sla/limit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define TEXT_MAX	1024U

static const char *const names[] = {
	[SCHED_READ_IOPS] = "read iops",
	[SCHED_WRITE_IOPS] = "write iops",
	[SCHED_TOTAL_IOPS] = "iops",
	[SCHED_READ_BYTES] = "read bandwidth",
	[SCHED_WRITE_BYTES] = "write bandwidth",
	[SCHED_TOTAL_BYTES] = "bandwidth",
};
static_assert(sizeof(names) / sizeof(names[0]) == SCHED_AXES,
	      "every axis has its words");
static_assert(SLA_RATE_MAX - 1 < SCHED_RATE_MAX,
	      "what can be promised can be scheduled");

/* Cut the next word off '*rest', or NULL. */
static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");
	size_t length = strcspn(word, " \t");

	if (length == 0)
		return NULL;
	*rest = word + length;
	if (**rest)
		*(*rest)++ = '\0';
	return word;
}

/* One limit: "[read|write] iops|bandwidth [<=] VALUE". */
static int parse_one_limit(char *text, struct sched_limits *limits,
			   struct error *reterr)
{
	unsigned int axis = SCHED_TOTAL_IOPS;
	bool bytes = false;
	uint64_t value;
	char *word;
	int ret;

	word = next_word(&text);
	if (word && (strcmp(word, "read") == 0 || strcmp(word, "write") == 0)) {
		axis = word[0] == 'r' ? SCHED_READ_IOPS : SCHED_WRITE_IOPS;
		word = next_word(&text);
	}
	if (word && strcmp(word, "bandwidth") == 0)
		bytes = true;
	else if (!word || strcmp(word, "iops") != 0)
		return error_set(
			reterr, -EINVAL,
			"a limit is '[read|write] iops|bandwidth VALUE', not '%s'",
			word ? word : "");
	text += strspn(text, " \t");
	if (strncmp(text, "<=", 2) == 0)
		text += 2;
	text += strspn(text, " \t");
	ret = bytes ? units_parse_rate(text, &value, reterr) :
		      units_parse_count(text, &value, reterr);
	if (ret < 0)
		return ret;
	if (value == 0 || value > SCHED_RATE_MAX)
		return error_set(
			reterr, -EINVAL,
			"a limit of '%s' cannot be kept; leave it out for none",
			text);
	if (bytes)
		axis += SCHED_READ_BYTES - SCHED_READ_IOPS;
	if (limits->limit_per_s[axis])
		return error_set(reterr, -EINVAL, "the same limit twice");
	limits->limit_per_s[axis] = value;
	return 0;
}

int sla_parse_limit(const char *text, struct sched_limits *limits,
		    struct error *reterr)
{
	struct sched_limits parsed = {.burst_ns = limits->burst_ns};
	char copy[TEXT_MAX];
	char *rest = copy;
	char *one;
	int ret;

	if (strlen(text) >= sizeof(copy))
		return error_set(reterr, -EINVAL, "the limit is too long");
	strcpy(copy, text);
	if (strcmp(text, "none") == 0) {
		*limits = parsed;
		return 0;
	}
	while ((one = strsep(&rest, ",")) != NULL) {
		ret = parse_one_limit(one, &parsed, reterr);
		if (ret < 0)
			return ret;
	}
	*limits = parsed;
	return 0;
}

/* Every promise must be possible under every limit over it. */
static int check_limits(const struct sched_params *params, struct error *reterr)
{
	static const struct {
		enum sched_axis read, write, total;
	} units[] = {
		{SCHED_READ_IOPS, SCHED_WRITE_IOPS, SCHED_TOTAL_IOPS},
		{SCHED_READ_BYTES, SCHED_WRITE_BYTES, SCHED_TOTAL_BYTES},
	};
	const uint64_t *promised = params->reservation_per_s;

	for (unsigned int i = 0; i < 2; i++) {
		const uint64_t sum =
			promised[units[i].read] + promised[units[i].write];
		const uint64_t total = promised[units[i].total];
		const uint64_t least[][2] = {
			{units[i].read, promised[units[i].read]},
			{units[i].write, promised[units[i].write]},
			{units[i].total, sum > total ? sum : total},
		};

		for (unsigned int j = 0; j < 3; j++) {
			const uint64_t limit = params->limit_per_s[least[j][0]];

			if (limit > 0 && limit < least[j][1])
				return error_set(
					reterr, -EINVAL,
					"%s: the "
					"limit is below what is promised; "
					"raise it to %llu%s or promise less",
					names[least[j][0]],
					(unsigned long long)least[j][1],
					i > 0 ? " B/s" : "");
		}
	}
	return 0;
}

int sla_to_sched(const struct sla *sla, const struct sched_limits *limits,
		 uint32_t weight, bool is_reserved,
		 struct sched_params *ret_params, struct error *reterr)
{
	static const uint8_t iops_axes[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = SCHED_TOTAL_IOPS,
		[SLA_READ] = SCHED_READ_IOPS,
		[SLA_WRITE] = SCHED_WRITE_IOPS,
	};
	static const uint8_t byte_axes[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = SCHED_TOTAL_BYTES,
		[SLA_READ] = SCHED_READ_BYTES,
		[SLA_WRITE] = SCHED_WRITE_BYTES,
	};
	struct sched_params params = {.weight = weight};
	int r;

	if (limits) {
		memcpy(params.limit_per_s, limits->limit_per_s,
		       sizeof(params.limit_per_s));
		params.burst_ns = limits->burst_ns;
	}
	for (unsigned int i = 0; is_reserved && i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];

		if (spec->metric == SLA_IOPS)
			params.reservation_per_s[iops_axes[spec->direction]] =
				spec->value;
		else if (spec->metric == SLA_BANDWIDTH)
			params.reservation_per_s[byte_axes[spec->direction]] =
				spec->value;
		for (unsigned int d = 0; spec->metric == SLA_LATENCY && d < 2;
		     d++) {
			const uint64_t least_ns = params.latency_ns[d];

			if (spec->direction ==
			    (d == SCHED_READ ? SLA_WRITE : SLA_READ))
				continue;
			if (least_ns == 0 || spec->value < least_ns)
				params.latency_ns[d] = spec->value;
		}
	}
	r = check_limits(&params, reterr);
	if (r < 0)
		return r;
	*ret_params = params;
	return 0;
}
