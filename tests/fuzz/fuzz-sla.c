/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-sla.c - SLAs, limits and numbers as anybody may write them, and what
 * an endpoint may have written into shared memory
 *
 * The first byte chooses.  What is taken must come back from its own text.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/units.h"
#include "sla/keep.h"
#include "sla/limit.h"
#include "sla/sla.h"

#define TEXT_MAX	2048U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_sla(const char *text)
{
	char buffer[SLA_TEXT_MAX];
	struct error error = {""};
	struct sla sla, back;

	if (sla_parse(text, &sla, &error) < 0) {
		assert(error.text[0] != '\0');
		return;
	}
	assert(sla_check(&sla, NULL) == 0);
	sla_format(&sla, buffer, sizeof(buffer));
	assert(sla_parse(buffer, &back, NULL) == 0);
	assert(sla_equal(&sla, &back));
}

static void try_limit(const char *text)
{
	struct sched_limits limits = {.burst_ns = 5};
	struct error error = {""};

	if (sla_parse_limit(text, &limits, &error) < 0)
		assert(error.text[0] != '\0');
	assert(limits.burst_ns == 5);
	for (unsigned int axis = 0; axis < SCHED_AXES; axis++)
		assert(limits.limit_per_s[axis] <= SCHED_RATE_MAX);
}

static void try_units(const char *text)
{
	static const struct {
		int (*parse)(const char *text, uint64_t *ret_value,
			     struct error *reterr);
		char *(*format)(char *buffer, size_t size, uint64_t value);
	} kinds[] = {
		{units_parse_count, units_format_count},
		{units_parse_size, units_format_size},
		{units_parse_rate, units_format_rate},
		{units_parse_duration, units_format_duration},
		{units_parse_share, units_format_share},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char buffer[UNITS_TEXT_MAX];
		struct error error;
		uint64_t value, back;

		if (kinds[i].parse(text, &value, &error) < 0)
			continue;
		kinds[i].format(buffer, sizeof(buffer), value);
		assert(kinds[i].parse(buffer, &back, NULL) == 0);
		assert(back == value);
	}
}

static void try_keep(const uint8_t *data, size_t size)
{
	static struct keep keep;
	struct keep_judgement judgement;

	memset(&keep, 0, sizeof(keep));
	memcpy(&keep, data, size < sizeof(keep) ? size : sizeof(keep));
	keep.is_promised = 1;
	keep_judge(&keep, UINT64_C(5000000000000), &judgement);
	assert(judgement.window_s <= KEEP_SECONDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TEXT_MAX];

	if (size == 0)
		return 0;
	if (data[0] % 4 == 3) {
		try_keep(data + 1, size - 1);
		return 0;
	}
	if (size > sizeof(text))
		size = sizeof(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 4) {
	case 0:
		try_sla(text);
		break;
	case 1:
		try_limit(text);
		break;
	case 2:
		try_units(text);
		break;
	}
	return 0;
}
