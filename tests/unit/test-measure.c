/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-measure.c - a device in invented time, and a machine that is away: the
 * table is that of the device (E8)
 */
#include "block/measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "os/absence.h"
#include "sla/capacity.h"

#define US		UINT64_C(1000)
#define MS		UINT64_C(1000000)
#define DEPTH_MAX	128U
#define SERVERS		4U
#define ROUND_NS	UINT64_C(2000)

/* Four servers of 150 to 250 us; requests wait in order. */
struct device {
	uint64_t free_ns[SERVERS];
	uint64_t sent_ns[DEPTH_MAX], due_ns[DEPTH_MAX];	/* 0: not inside */
	uint64_t random;
};

/* Away for 'away_ns' after every 'present_ns' (0: never), more or less. */
struct machine {
	uint64_t present_ns, away_ns;
	uint64_t now_ns, leaves_ns;
	uint64_t random;
};

static uint64_t random_below(uint64_t *random, uint64_t limit)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % limit;
}

static void send(struct device *device, unsigned int slot, uint64_t now_ns)
{
	uint64_t *first = &device->free_ns[0];

	for (unsigned int i = 1; i < SERVERS; i++)
		if (device->free_ns[i] < *first)
			first = &device->free_ns[i];
	if (*first < now_ns)
		*first = now_ns;
	*first += 150 * US + random_below(&device->random, 100 * US);
	device->sent_ns[slot] = now_ns;
	device->due_ns[slot] = *first;
}

static void pass(struct machine *machine)
{
	machine->now_ns += ROUND_NS;
	if (machine->present_ns == 0 || machine->now_ns < machine->leaves_ns)
		return;
	machine->now_ns += machine->away_ns / 2 +
		random_below(&machine->random, machine->away_ns);
	machine->leaves_ns = machine->now_ns + machine->present_ns / 2 +
		random_below(&machine->random, machine->present_ns);
}

/* As calibrate.c does it.  Returns how long it took. */
static uint64_t phase(struct machine *machine, struct absence *absence,
		      unsigned int depth, struct measure_result *ret_result)
{
	const uint64_t start_ns = machine->now_ns;
	struct device device = {.random = 88172645463325252};
	struct measure *measure = test_malloc(sizeof(*measure));
	unsigned int inside = 0;
	uint64_t took_ns;

	measure_begin(measure, start_ns, 60 * MS, 200 * MS);
	for (;;) {
		const uint64_t away_ns = absence->away_ns;
		bool over;

		if (absence_round(absence, machine->now_ns))
			measure_away(measure, absence->away_ns - away_ns,
				     machine->now_ns);
		for (unsigned int i = 0; i < depth; i++) {
			if (device.due_ns[i] == 0 ||
			    device.due_ns[i] > machine->now_ns)
				continue;
			device.due_ns[i] = 0;
			inside--;
			measure_done(measure, device.sent_ns[i],
				     machine->now_ns);
		}
		over = measure_is_over(measure, machine->now_ns);
		for (unsigned int i = 0; i < depth && !over; i++) {
			if (device.due_ns[i] != 0)
				continue;
			send(&device, i, machine->now_ns);
			inside++;
		}
		if (over && inside == 0)
			break;
		pass(machine);
	}
	took_ns = measure->end_ns - start_ns;
	measure_result(measure, ret_result);
	test_free(measure);
	return took_ns;
}

static void curve(uint64_t present_ns, uint64_t away_ns,
		  struct capacity_curve *ret_curve)
{
	static const uint32_t depths[] = {1, 8, 32, 128};
	struct machine machine = {
		.present_ns = present_ns,
		.away_ns = away_ns,
		.now_ns = MS,
		.random = 1181783497276652981,
	};
	struct absence absence = {0};

	memset(ret_curve, 0, sizeof(*ret_curve));
	for (unsigned int i = 0; i < 4; i++) {
		struct measure_result result;

		phase(&machine, &absence, depths[i], &result);
		ret_curve->points[ret_curve->count++] = (struct capacity_point){
			.depth = depths[i],
			.iops = (uint64_t)result.per_s,
			.p95_ns = result.p95_ns,
			.p99_ns = result.p99_ns,
		};
	}
	capacity_straighten(ret_curve);
}

static void assert_near(const char *what, uint32_t depth, uint64_t is,
			uint64_t should_be, unsigned int percent)
{
	if (is * 100 < should_be * (100 - percent) ||
	    is * 100 > should_be * (100 + percent))
		fail_msg("%s at depth %u: %ju, not %ju", what, depth,
			 (uintmax_t)is, (uintmax_t)should_be);
}

static void compare(const struct capacity_curve *noisy,
		    const struct capacity_curve *calm, unsigned int points)
{
	for (unsigned int i = 0; i < points; i++) {
		const struct capacity_point *is = &noisy->points[i];
		const struct capacity_point *should_be = &calm->points[i];

		assert_near("rate", is->depth, is->iops, should_be->iops, 6);
		assert_near("p95", is->depth, is->p95_ns, should_be->p95_ns, 8);
		assert_near("p99", is->depth, is->p99_ns, should_be->p99_ns, 8);
	}
}

static void test_measure_a_calm_machine(void **state)
{
	struct capacity_curve calm;

	(void)state;
	curve(0, 0, &calm);
	assert_near("rate", 1, calm.points[0].iops, 5000, 3);
	assert_near("rate", 8, calm.points[1].iops, 20000, 3);
	assert_near("rate", 128, calm.points[3].iops, 20000, 5);
	assert_near("p99", 1, calm.points[0].p99_ns, 250 * US, 5);
}

/* 3 ms away every 20: the table is that of a calm machine, all of it. */
static void test_measure_without_absences(void **state)
{
	struct capacity_curve calm, noisy;

	(void)state;
	curve(0, 0, &calm);
	curve(20 * MS, 3 * MS, &noisy);
	compare(&noisy, &calm, 4);
	assert_near("knee", 0, capacity_depth(&noisy, 950),
		    capacity_depth(&calm, 950), 15);
}

/* Away half of the time, 3 ms in 6: so it is where requests are short; and
 * nowhere is the device said to be better than it is. */
static void test_measure_on_shared_cores(void **state)
{
	struct capacity_curve calm, noisy;

	(void)state;
	curve(0, 0, &calm);
	curve(3 * MS, 3 * MS, &noisy);
	compare(&noisy, &calm, 2);
	for (unsigned int i = 2; i < 4; i++) {
		assert_true(noisy.points[i].iops <=
			    calm.points[i].iops * 105 / 100);
		assert_true(noisy.points[i].p99_ns >=
			    calm.points[i].p99_ns * 95 / 100);
	}
}

/* Prolonged for absences, and no longer than it may be. */
static void test_measure_takes_its_time(void **state)
{
	struct machine machine = {.now_ns = MS, .random = 5};
	struct absence absence = {0};
	struct measure_result result;

	(void)state;
	assert_in_range(phase(&machine, &absence, 8, &result), 60 * MS,
			61 * MS);
	machine.present_ns = 4 * MS;
	machine.away_ns = 2 * MS;
	assert_in_range(phase(&machine, &absence, 8, &result), 75 * MS,
			130 * MS);
	machine.away_ns = 40 * MS;
	assert_in_range(phase(&machine, &absence, 8, &result), 190 * MS,
			270 * MS);
	assert_near("rate", 8, (uint64_t)result.per_s, 20000, 10);
}

/* It was there before the phase: none of its time is the phase's. */
static void test_measure_absence_that_began_before(void **state)
{
	struct measure_result result;
	struct measure *measure = test_malloc(sizeof(*measure));
	uint64_t now_ns = 100 * MS;

	(void)state;
	measure_begin(measure, now_ns, 10 * MS, 50 * MS);
	measure_away(measure, 30 * MS, now_ns + 1 * MS);
	now_ns += 1 * MS;
	for (unsigned int i = 0; i < 2000; i++) {
		measure_done(measure, now_ns + 1, now_ns + 10 * US);
		now_ns += 10 * US;
		if (measure_is_over(measure, now_ns))
			break;
	}
	assert_int_equal(measure->end_ns, 111 * MS);
	measure_result(measure, &result);
	assert_near("rate", 1, (uint64_t)result.per_s, 100000, 1);
	test_free(measure);
}

/* Nothing was done in time: what came afterwards is all there is. */
static void test_measure_a_slow_device(void **state)
{
	struct measure_result result;
	struct measure *measure = test_malloc(sizeof(*measure));

	(void)state;
	measure_begin(measure, MS, 10 * MS, 20 * MS);
	assert_false(measure_is_over(measure, 20 * MS));
	assert_true(measure_is_over(measure, 21 * MS));
	measure_done(measure, MS, 501 * MS);
	measure_result(measure, &result);
	assert_near("rate", 1, (uint64_t)result.per_s, 2, 1);
	assert_true(result.p99_ns >= 500 * MS);
	test_free(measure);
}

static void test_capacity_is_straightened(void **state)
{
	struct capacity_curve curve = {
		.points = {{1, 5000, 200 * US, 2290 * US},
			   {8, 20000, 500 * US, 600 * US},
			   {32, 19000, 1800 * US, 2000 * US},
			   {128, 20500, 7000 * US, 8000 * US}},
		.count = 4,
	};

	(void)state;
	capacity_straighten(&curve);
	assert_int_equal(curve.points[0].p99_ns, 600 * US);
	assert_int_equal(curve.points[0].p95_ns, 200 * US);
	assert_int_equal(curve.points[2].iops, 20000);
	assert_int_equal(curve.points[3].iops, 20500);
	assert_int_equal(curve.points[3].p99_ns, 8000 * US);
	curve.count = 0;
	capacity_straighten(&curve);
}

/* What a ring and a scheduler cost is not promised to anybody. */
static void test_capacity_behind_a_path(void **state)
{
	struct capacity_curve memory = {
		.points = {{1, 2500000, 400, 500}, {8, 10000000, 400, 500}},
		.count = 2,
	};
	struct capacity_curve disk = {
		.points = {{1, 5000, 200 * US, 300 * US},
			   {128, 4000000, 200 * US, 300 * US}},
		.count = 2,
	};

	(void)state;
	capacity_behind(&memory, 400, true);
	assert_int_equal(memory.points[0].iops, 1250000);
	assert_int_equal(memory.points[1].iops, 2000000);
	assert_int_equal(memory.points[1].p99_ns, 900);
	capacity_behind(&disk, 400, false);
	assert_int_equal(disk.points[0].iops, 5000);
	assert_int_equal(disk.points[1].iops, 2500000);
}

/* A few percent of noise move the knee a little, not to the next point. */
static void test_capacity_depth_is_interpolated(void **state)
{
	struct capacity_curve curve = {
		.points = {{1, 5000, 0, 0},
			   {8, 19000, 0, 0},
			   {128, 20200, 0, 0}},
		.count = 3,
	};

	(void)state;
	assert_int_equal(capacity_depth(&curve, 950), 8 + 120 * 190 / 1200);
	assert_int_equal(capacity_depth(&curve, 1000), 128);
	assert_int_equal(capacity_depth(&curve, 100), 1);
	curve.points[1].iops = 20000;
	assert_in_range(capacity_depth(&curve, 950), 6, 8);
	curve.count = 0;
	assert_int_equal(capacity_depth(&curve, 950), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_measure_a_calm_machine),
		cmocka_unit_test(test_measure_without_absences),
		cmocka_unit_test(test_measure_on_shared_cores),
		cmocka_unit_test(test_measure_takes_its_time),
		cmocka_unit_test(test_measure_absence_that_began_before),
		cmocka_unit_test(test_measure_a_slow_device),
		cmocka_unit_test(test_capacity_is_straightened),
		cmocka_unit_test(test_capacity_behind_a_path),
		cmocka_unit_test(test_capacity_depth_is_interpolated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
