/* SPDX-License-Identifier: Apache-2.0 */
/* limit.c - see limit.h */
#include "sla/limit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define ENTRY_MAX	80U
#define BLANKS		" \t"

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

static bool is_bytes(unsigned int axis)
{
	return axis == SCHED_READ_BYTES || axis == SCHED_WRITE_BYTES ||
		axis == SCHED_TOTAL_BYTES;
}

/* Whether 'key' is the words of 'name', whatever blanks are around them. */
static bool is_key(const char *key, const char *name)
{
	key += strspn(key, BLANKS);
	for (; *name != '\0'; name++) {
		const size_t blanks = strspn(key, BLANKS);

		if (*name == ' ' && blanks > 0)
			key += blanks;
		else if (*key++ != *name)
			return false;
	}
	return key[strspn(key, BLANKS)] == '\0';
}

static int parse_burst(const char *text, struct sched_limits *limits,
		       struct error *reterr)
{
	struct error reason;
	uint64_t burst_ns;

	if (units_parse_duration(text, &burst_ns, &reason) < 0)
		return error_set(reterr, -EINVAL, "burst: %s", reason.text);
	if (burst_ns > LIMIT_BURST_MAX_NS)
		return error_set(reterr, -EINVAL, "burst: at most 10 s, not %s",
				 text);
	limits->burst_ns = burst_ns;
	return 0;
}

int sla_parse_limit_entry(const char *key, const char *text,
			  struct sched_limits *limits, struct error *reterr)
{
	unsigned int axis = 0;
	struct error reason;
	uint64_t value;
	int r;

	text += strspn(text, BLANKS);
	if (strncmp(text, "<=", 2) == 0)
		text += 2;
	if (is_key(key, "burst"))
		return parse_burst(text, limits, reterr);
	while (axis < SCHED_AXES && !is_key(key, names[axis]))
		axis++;
	if (axis == SCHED_AXES)
		return error_set(reterr, -EINVAL,
				 "'%.40s' can't be limited: "
				 "use [read|write] iops or bandwidth, or burst",
				 key);
	r = is_bytes(axis) ? units_parse_rate(text, &value, &reason) :
			     units_parse_count(text, &value, &reason);
	if (r < 0)
		return error_set(reterr, r, "%s: %s", names[axis], reason.text);
	if (value == 0 || value > SCHED_RATE_MAX)
		return error_set(reterr, -EINVAL,
				 "%s: a limit of %.40s can't "
				 "be kept; leave it out for none",
				 names[axis], text);
	if (limits->limit_per_s[axis] > 0)
		return error_set(reterr, -EINVAL, "%s is limited twice",
				 names[axis]);
	limits->limit_per_s[axis] = value;
	return 0;
}

/* One entry of the text: words, then a relation or the value's first digit. */
static int parse_entry(const char *text, size_t length,
		       struct sched_limits *limits, struct error *reterr)
{
	char entry[ENTRY_MAX], key[ENTRY_MAX];
	size_t key_length;

	if (length >= sizeof(entry))
		return error_set(reterr, -EINVAL,
				 "'%.40s...' is too long for one limit", text);
	memcpy(entry, text, length);
	entry[length] = '\0';
	key_length = strcspn(entry, "<:=.0123456789");
	memcpy(key, entry, key_length);
	key[key_length] = '\0';
	text = entry + key_length;
	if (*text == ':' || *text == '=')
		text++;
	return sla_parse_limit_entry(key, text, limits, reterr);
}

int sla_parse_limit(const char *text, struct sched_limits *limits,
		    struct error *reterr)
{
	struct sched_limits parsed = {.burst_ns = limits->burst_ns};

	if (text[strspn(text, BLANKS)] == '\0') {
		*limits = parsed;
		return 0;
	}
	for (;;) {
		const size_t length = strcspn(text, ",");
		int r = parse_entry(text, length, &parsed, reterr);

		if (r < 0)
			return r;
		if (text[length] == '\0')
			break;
		text += length + 1;
	}
	*limits = parsed;
	return 0;
}

char *sla_format_limit(const struct sched_limits *limits, char *buffer,
		       size_t size)
{
	char value[UNITS_TEXT_MAX];
	size_t used = 0;

	assert(size > 0);
	buffer[0] = '\0';
	for (unsigned int axis = 0; axis < SCHED_AXES && used < size; axis++) {
		const uint64_t limit = limits->limit_per_s[axis];

		if (limit == 0)
			continue;
		if (is_bytes(axis))
			units_format_rate(value, sizeof(value), limit);
		else
			units_format_count(value, sizeof(value), limit);
		used += (size_t)snprintf(buffer + used, size - used,
					 "%s%s <= %s", used > 0 ? ", " : "",
					 names[axis], value);
	}
	if (used > 0 && used < size && limits->burst_ns > 0)
		snprintf(buffer + used, size - used, ", burst %s",
			 units_format_duration(value, sizeof(value),
					       limits->burst_ns));
	return buffer;
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
