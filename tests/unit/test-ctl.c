/* SPDX-License-Identifier: Apache-2.0 */
/* test-ctl.c - messages between penstockd and its endpoints */
#include "ctl/ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	static int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	int *pair = *state;

	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void test_ctl_message_arrives_with_its_descriptor(void **state)
{
	int *pair = *state;
	int pipes[2], fd;
	struct stat sent, got;
	json_t *message = json_pack("{s:s, s:i}", "op", "hello", "id", 7);
	json_t *received;

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(ctl_send(pair[0], message, pipes[0]), 0);
	assert_int_equal(ctl_receive(pair[1], &received, &fd), 0);
	assert_true(json_equal(message, received));
	assert_int_equal(fstat(pipes[0], &sent), 0);
	assert_int_equal(fstat(fd, &got), 0);
	assert_int_equal(sent.st_ino, got.st_ino);
	json_decref(received);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);

	assert_int_equal(ctl_send(pair[0], message, -1), 0);
	assert_int_equal(ctl_receive(pair[1], &received, &fd), 0);
	assert_int_equal(fd, -1);
	json_decref(received);
	json_decref(message);
}

static void test_ctl_says_what_is_wrong(void **state)
{
	int *pair = *state;
	json_t *received, *large;
	int fd;
	char *text;

	assert_int_equal(ctl_receive(pair[1], &received, &fd), -EAGAIN);
	assert_int_equal(send(pair[0], "[1]", 3, 0), 3);
	assert_int_equal(ctl_receive(pair[1], &received, &fd), -EBADMSG);
	assert_int_equal(send(pair[0], "{\"a\":", 5, 0), 5);
	assert_int_equal(ctl_receive(pair[1], &received, &fd), -EBADMSG);

	text = malloc(CTL_MESSAGE_MAX + 1);
	memset(text, 'x', CTL_MESSAGE_MAX);
	text[CTL_MESSAGE_MAX] = '\0';
	large = json_pack("{s:s}", "op", text);
	assert_int_equal(ctl_send(pair[0], large, -1), -EMSGSIZE);
	json_decref(large);
	free(text);

	shutdown(pair[0], SHUT_RDWR);
	assert_int_equal(ctl_receive(pair[1], &received, &fd), -ECONNRESET);
}

static void test_ctl_parameters_come_back_as_they_were(void **state)
{
	struct sched_params params = {
		.burst_ns = 5, .weight = 200, .latency_ns = {1000, 2000}};
	struct sched_params params_back;
	struct sla sla = {.count = 2}, sla_back;
	struct capacity capacity = {.is_short = true, .read_measured = true};
	struct capacity capacity_back;
	json_t *json;

	(void)state;
	for (unsigned int i = 0; i < SCHED_AXES; i++) {
		params.reservation_per_s[i] = i + 1;
		params.limit_per_s[i] = SCHED_RATE_MAX - i;
	}
	json = ctl_from_sched_params(&params);
	assert_int_equal(ctl_to_sched_params(json, &params_back), 0);
	assert_memory_equal(&params, &params_back, sizeof(params));
	json_object_set_new(json, "weight", json_integer(-1));
	assert_int_equal(ctl_to_sched_params(json, &params_back), -EBADMSG);
	json_decref(json);

	sla.specs[0] = (struct sla_spec){.metric = SLA_IOPS, .value = 500};
	sla.specs[1] = (struct sla_spec){.metric = SLA_LATENCY,
					 .direction = SLA_READ,
					 .relation = SLA_AT_MOST,
					 .percentile = 999,
					 .value = 2000000};
	json = ctl_from_sla(&sla);
	assert_int_equal(ctl_to_sla(json, &sla_back), 0);
	assert_int_equal(sla_back.count, 2);
	assert_int_equal(sla_back.specs[1].percentile, 999);
	assert_int_equal(sla_back.specs[1].value, 2000000);
	json_decref(json);

	capacity.direction[1].count = 2;
	capacity.direction[1].points[1] = (struct capacity_point){
		.depth = 8, .iops = 70000, .p95_ns = 90000, .p99_ns = 120000};
	capacity.direction[0].bytes_per_s = 5000000000;
	json = ctl_from_capacity(&capacity);
	assert_int_equal(ctl_to_capacity(json, &capacity_back), 0);
	assert_int_equal(capacity_back.direction[1].points[1].p99_ns, 120000);
	assert_int_equal(capacity_back.direction[0].bytes_per_s, 5000000000);
	assert_true(capacity_back.is_short);
	assert_true(capacity_back.read_measured);
	assert_false(capacity_back.write_measured);
	json_decref(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_ctl_message_arrives_with_its_descriptor),
		TEST(test_ctl_says_what_is_wrong),
		TEST(test_ctl_parameters_come_back_as_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
