/* SPDX-License-Identifier: Apache-2.0 */
/* test-combine.c - combined specifications (E5, E6) */
#include "sla/combine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asking.h"
#include "base/counted.h"

static void expect(const struct combine *set, const char *text)
{
	struct sla_combined combined;
	char buffer[SLA_TEXT_MAX];

	combine_get(set, &combined);
	assert_string_equal(combine_format(&combined, buffer, sizeof(buffer)),
			    text);
}

/* E5, word for word. */
static void test_combine_worked_example(void **state)
{
	struct sla process1 = asking_sla("iops >= 500, latency <= 2 ms");
	struct sla process2 = asking_sla("iops >= 400, latency <= 1 ms");
	struct sla process3 = asking_sla(
		"iops >= 300, latency <= 3 ms, bandwidth >= 500 Mbps");
	struct combine *set;

	(void)state;
	assert_int_equal(combine_create(&set), 0);
	expect(set, "");
	assert_int_equal(combine_add(set, &process1), 0);
	assert_int_equal(combine_add(set, &process2), 0);
	assert_int_equal(combine_add(set, &process3), 0);
	expect(set,
	       "iops >= 1200, bandwidth >= 62.5 MB/s, latency p99 <= 1 ms");
	combine_remove(set, &process2);
	expect(set, "iops >= 800, bandwidth >= 62.5 MB/s, latency p99 <= 2 ms");
	combine_remove(set, &process3);
	expect(set, "iops >= 500, latency p99 <= 2 ms");
	combine_remove(set, &process1);
	expect(set, "");
	combine_destroy(set);
}

static void test_combine_each_kind_by_its_own(void **state)
{
	struct sla a =
		asking_sla("read iops >= 1, write iops >= 10, iops >= 100, "
			   "latency p50 <= 3 ms, read latency <= 5 ms");
	struct sla b = asking_sla("read iops >= 2, latency p50 <= 2 ms, "
				  "latency <= 9 ms, capacity >= 1 GiB");
	struct sla c = asking_sla("ops >= 7, jitter <= 2 ms, loss <= 0.1 %");
	struct sla d = asking_sla("ops >= 3, jitter <= 1 ms, loss <= 0.01 %, "
				  "capacity >= 1 GiB");
	struct combine *set;

	(void)state;
	assert_int_equal(combine_create(&set), 0);
	assert_int_equal(combine_add(set, &a), 0);
	assert_int_equal(combine_add(set, &b), 0);
	expect(set,
	       "iops >= 100, read iops >= 3, write iops >= 10, "
	       "latency p50 <= 2 ms, latency p99 <= 9 ms, "
	       "read latency p99 <= 5 ms, capacity >= 1 GiB");
	assert_int_equal(combine_add(set, &c), 0);
	assert_int_equal(combine_add(set, &d), 0);
	combine_remove(set, &a);
	expect(set,
	       "read iops >= 2, latency p50 <= 2 ms, latency p99 <= 9 ms, "
	       "jitter <= 1 ms, loss <= 0.01 %, capacity >= 2 GiB, ops >= 10");
	combine_remove(set, &d);
	expect(set,
	       "read iops >= 2, latency p50 <= 2 ms, latency p99 <= 9 ms, "
	       "jitter <= 2 ms, loss <= 0.1 %, capacity >= 1 GiB, ops >= 7");
	combine_destroy(set);
}

static void test_combine_update_is_one_step(void **state)
{
	struct sla a = asking_sla("iops >= 500, latency <= 2 ms");
	struct sla b = asking_sla("iops >= 400, latency <= 2 ms");
	struct sla c = asking_sla("iops >= 100, read latency <= 1 ms");
	struct sla_combined combined;
	struct combine *set;

	(void)state;
	assert_int_equal(combine_create(&set), 0);
	assert_int_equal(combine_add(set, &a), 0);
	assert_int_equal(combine_add(set, &b), 0);
	combine_get_without(set, &a, &combined);
	assert_int_equal(combined.count, 2);
	assert_int_equal(combined.specs[0].value, 400);
	assert_int_equal(combined.processes[0], 1);
	assert_int_equal(combine_update(set, &a, &c), 0);
	expect(set,
	       "iops >= 500, latency p99 <= 2 ms, read latency p99 <= 1 ms");
	combine_get_without(set, &b, &combined);
	assert_int_equal(combined.count, 2);
	assert_int_equal(combined.specs[1].direction, SLA_READ);
	combine_destroy(set);
}

static void test_combine_overflow_is_refused(void **state)
{
	struct sla most = asking_sla("capacity >= 4194304 TiB");	/* 2^62 */
	struct sla one = asking_sla("capacity >= 1 B, latency <= 1 ms");
	struct sla_combined combined;
	struct combine *set;

	(void)state;
	assert_int_equal(combine_create(&set), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(combine_add(set, &most), 0);
	assert_int_equal(combine_add(set, &most), -EOVERFLOW);
	assert_int_equal(combine_add(set, &one), 0);
	assert_int_equal(combine_update(set, &one, &most), -EOVERFLOW);
	assert_int_equal(combine_update(set, &most, &most), 0);
	combine_get(set, &combined);
	assert_true(combined.specs[1].value == 3 * (UINT64_C(1) << 62) + 1);
	assert_int_equal(combined.count, 2);
	combine_destroy(set);
}

static void test_combine_many_percentiles_are_refused(void **state)
{
	struct sla sla = asking_sla("latency p50 <= 1 ms");
	struct sla_combined combined;
	struct combine *set;

	(void)state;
	assert_int_equal(combine_create(&set), 0);
	for (unsigned int i = 1; i <= COMBINE_SPECS_MAX; i++) {
		sla.specs[0].percentile = (uint16_t)i;
		assert_int_equal(combine_add(set, &sla), 0);
	}
	sla.specs[0].percentile = 1000;
	assert_int_equal(combine_add(set, &sla), -EOVERFLOW);
	{
		struct sla old = sla;

		old.specs[0].percentile = 1;
		assert_int_equal(combine_update(set, &old, &sla), 0);
	}
	combine_get(set, &combined);
	assert_int_equal(combined.count, COMBINE_SPECS_MAX);
	combine_destroy(set);
}

static void random_sla(struct sla *sla)
{
	static const char *const keys[] = {
		"iops",
		"read iops",
		"write iops",
		"bandwidth",
		"read bandwidth",
		"latency p50",
		"latency p99",
		"latency max",
		"read latency p99",
		"write latency p95",
		"jitter",
		"loss",
		"capacity",
		"ops",
	};

	sla->count = 0;
	for (unsigned int i = 0; i < 14; i++) {
		static struct sla templates[14];
		struct sla_spec *spec;

		if (templates[i].count == 0) {
			const char *value = strstr(keys[i], "bandwidth") ?
				">= 1 B/s" :
				strstr(keys[i], "capacity") ? ">= 1 B" :
				strstr(keys[i], "loss")	    ? "<= 1 ppb" :
				strstr(keys[i], "ops")	    ? ">= 1" :
							      "<= 1 ns";

			assert_int_equal(sla_parse_entry(keys[i], value,
							 &templates[i], NULL),
					 0);
		}
		if (random() % 4)
			continue;
		spec = &sla->specs[sla->count++];
		*spec = templates[i].specs[0];
		spec->value = 1 + (uint64_t)random() % 1000;
	}
}

static void from_scratch(const struct sla *slas, const bool *used,
			 unsigned int count, uint64_t values[14 * 16],
			 uint64_t *ret_check)
{
	uint64_t check = 0;

	memset(values, 0, 14 * 16 * sizeof(values[0]));
	for (unsigned int i = 0; i < count; i++) {
		for (unsigned int j = 0; used[i] && j < slas[i].count; j++) {
			const struct sla_spec *spec = &slas[i].specs[j];
			uint64_t *value =
				&values[spec->metric * 16U +
					spec->direction * 5U +
					(spec->percentile ?
						 spec->percentile / 250U :
						 0)];

			if (spec->relation == SLA_AT_LEAST)
				*value += spec->value;
			else if (*value == 0 || spec->value < *value)
				*value = spec->value;
		}
	}
	for (unsigned int i = 0; i < 14 * 16; i++)
		check += values[i];
	*ret_check = check;
}

static void compare(const struct combine *set, const struct sla *slas,
		    const bool *used, unsigned int count)
{
	struct sla_combined combined;
	uint64_t values[14 * 16], check, sum = 0;

	from_scratch(slas, used, count, values, &check);
	combine_get(set, &combined);
	for (unsigned int i = 0; i < combined.count; i++) {
		const struct sla_spec *spec = &combined.specs[i];

		assert_int_equal(
			spec->value,
			values[spec->metric * 16U + spec->direction * 5U +
			       (spec->percentile ? spec->percentile / 250U :
						   0)]);
		sum += spec->value;
	}
	assert_int_equal(sum, check);	/* nothing is missing */
}

static void random_changes(unsigned int count, unsigned int changes,
			   unsigned int compare_each)
{
	struct sla *slas = calloc(count, sizeof(*slas));
	bool *used = calloc(count, sizeof(*used));
	struct combine *set;

	assert_int_equal(combine_create(&set), 0);
	for (unsigned int n = 0; n < changes; n++) {
		const unsigned int i = (unsigned int)random() % count;
		struct sla sla;

		random_sla(&sla);
		if (!used[i]) {
			assert_int_equal(combine_add(set, &sla), 0);
			slas[i] = sla;
			used[i] = true;
		} else if (random() % 2) {
			assert_int_equal(combine_update(set, &slas[i], &sla),
					 0);
			slas[i] = sla;
		} else {
			combine_remove(set, &slas[i]);
			used[i] = false;
		}
		if (n % compare_each == 0)
			compare(set, slas, used, count);
	}
	compare(set, slas, used, count);
	for (unsigned int i = 0; i < count; i++)
		if (used[i])
			combine_remove(set, &slas[i]);
	expect(set, "");
	combine_destroy(set);
	free(slas);
	free(used);
}

/* E5, E6: exact after a million changes. */
static void test_combine_a_million_random_changes(void **state)
{
	(void)state;
	srandom(42);
	random_changes(3, 200000, 1);
	random_changes(40, 300000, 10);
	random_changes(5000, 500000, 5000);
}

static void test_counted_is_ordered(void **state)
{
	struct counted set = {NULL};
	uint64_t times[512] = {0}, value;

	(void)state;
	srandom(3);
	assert_false(counted_find(&set, 0, &value));
	assert_false(counted_remove(&set, 5));
	for (unsigned int n = 0; n < 300000; n++) {
		/* In order, in reverse, and at random. */
		const unsigned int i = n < 1000 ? n % 512 :
			n < 2000		? 511 - n % 512 :
						  (unsigned int)random() % 512;
		unsigned int least = (unsigned int)random() % 512;

		if (random() % 2 || n < 2000) {
			assert_int_equal(counted_add(&set, i), 0);
			times[i]++;
		} else {
			assert_int_equal(counted_remove(&set, i), times[i] > 0);
			times[i] -= times[i] > 0;
		}
		assert_int_equal(counted_times(&set, i), times[i]);
		value = 512;
		counted_find(&set, least, &value);
		while (least < 512 && times[least] == 0)
			least++;
		assert_int_equal(value, least);
	}
	counted_finish(&set);
	assert_false(counted_find(&set, 0, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_combine_worked_example),
		cmocka_unit_test(test_combine_each_kind_by_its_own),
		cmocka_unit_test(test_combine_update_is_one_step),
		cmocka_unit_test(test_combine_overflow_is_refused),
		cmocka_unit_test(test_combine_many_percentiles_are_refused),
		cmocka_unit_test(test_combine_a_million_random_changes),
		cmocka_unit_test(test_counted_is_ordered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
