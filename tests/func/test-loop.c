/* SPDX-License-Identifier: Apache-2.0 */
/* test-loop.c - the event loop: watches, timers, operations, pollers */
#include "os/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define MANY		1000U

struct watched {
	struct loop_watch watch;
	struct loop *loop;
	struct watched *other;
	int fd;
	unsigned int calls;
	bool take, remove_self, remove_other;
};

static void watched_ready(struct loop_watch *watch)
{
	struct watched *watched = (struct watched *)watch;
	uint64_t value;

	watched->calls++;
	if (watched->take)
		assert_int_equal(read(watched->fd, &value, sizeof(value)), 8);
	if (watched->remove_self)
		loop_watch_remove(watched->loop, watch);
	if (watched->remove_other)
		loop_watch_remove(watched->loop, &watched->other->watch);
}

static struct loop *make_loop(unsigned int entries)
{
	const struct loop_config config = {.entries = entries};
	struct loop *loop = NULL;
	struct error error;

	assert_int_equal(loop_create(&config, &loop, &error), 0);
	return loop;
}

static void watched_add(struct loop *loop, struct watched *watched)
{
	watched->loop = loop;
	watched->watch = (struct loop_watch){.ready = watched_ready};
	watched->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(watched->fd >= 0);
	assert_int_equal(loop_watch_add(loop, &watched->watch, watched->fd), 0);
}

static void watched_drop(struct watched *watched)
{
	loop_watch_remove(watched->loop, &watched->watch);
	close(watched->fd);
}

static void kick(const struct watched *watched)
{
	const uint64_t one = 1;

	assert_int_equal(write(watched->fd, &one, sizeof(one)), 8);
}

static void turns(struct loop *loop, unsigned int count)
{
	while (count-- > 0)
		assert_int_equal(loop_run_once(loop, 0), 0);
}

static void test_loop_refuses_odd_sizes(void **state)
{
	struct loop_config config = {.entries = 48};
	struct loop *loop = NULL;
	struct error error;

	(void)state;
	assert_int_equal(loop_create(&config, &loop, &error), -EINVAL);
	assert_non_null(strstr(error.text, "power of two"));
	config.entries = 0;
	assert_int_equal(loop_create(&config, &loop, NULL), -EINVAL);
	assert_null(loop);
	loop_destroy(NULL);
}

static void test_loop_watch_is_level_triggered(void **state)
{
	struct loop *loop = make_loop(8);
	struct watched watched = {0};

	(void)state;
	watched_add(loop, &watched);
	turns(loop, 3);
	assert_int_equal(watched.calls, 0);
	kick(&watched);
	while (watched.calls < 5)	/* nothing reads it: called again */
		turns(loop, 1);
	watched.take = true;
	turns(loop, 3);
	watched.calls = 0;
	turns(loop, 5);
	assert_int_equal(watched.calls, 0);
	watched_drop(&watched);
	loop_destroy(loop);
}

static void test_loop_watch_wakes_a_sleeper_and_sees_hang_up(void **state)
{
	struct loop *loop = make_loop(8);
	struct watched watched = {.remove_self = true};
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	watched.loop = loop;
	watched.watch.ready = watched_ready;
	assert_int_equal(loop_watch_add(loop, &watched.watch, ends[0]), 0);
	turns(loop, 2);
	close(ends[1]);
	assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(watched.calls, 1);
	turns(loop, 3);
	assert_int_equal(watched.calls, 1);
	close(ends[0]);
	loop_destroy(loop);
}

static void test_loop_watch_removed_is_not_called(void **state)
{
	struct loop *loop = make_loop(8);
	struct watched first = {0}, second = {0};

	(void)state;
	watched_add(loop, &first);
	watched_add(loop, &second);
	turns(loop, 2);
	/* Both are ready; whichever is called takes the other away. */
	first.remove_other = second.remove_other = true;
	first.other = &second;
	second.other = &first;
	first.take = second.take = true;
	kick(&first);
	kick(&second);
	turns(loop, 5);
	assert_int_equal(first.calls + second.calls, 1);
	/* Removed before it was ever armed, removed twice, never added. */
	watched_drop(&first);
	loop_watch_remove(loop, &first.watch);
	watched_drop(&second);
	watched_add(loop, &first);
	kick(&first);
	first.calls = 0;
	watched_drop(&first);
	turns(loop, 3);
	assert_int_equal(first.calls, 0);
	loop_destroy(loop);
}

static void test_loop_watch_slot_is_not_reused_early(void **state)
{
	struct loop *loop = make_loop(8);
	struct watched old = {0}, new = {0};

	(void)state;
	watched_add(loop, &old);
	turns(loop, 2);
	kick(&old);			/* its completion is on the way */
	loop_watch_remove(loop, &old.watch);
	watched_add(loop, &new);
	turns(loop, 5);
	assert_int_equal(old.calls, 0);
	assert_int_equal(new.calls, 0);
	kick(&new);
	new.take = true;
	while (new.calls == 0)
		assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(new.calls, 1);
	watched_drop(&new);
	close(old.fd);
	loop_destroy(loop);
}

static void test_loop_many_watches(void **state)
{
	struct loop *loop = make_loop(64);
	struct watched *all = calloc(MANY, sizeof(*all));
	struct rlimit limit;
	unsigned int calls = 0;

	(void)state;
	assert_non_null(all);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < MANY; i++) {
			all[i] = (struct watched){.take = true};
			watched_add(loop, &all[i]);
		}
		for (unsigned int i = 0; i < MANY; i++)
			kick(&all[i]);
		for (calls = 0; calls < MANY;) {
			assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
			calls = 0;
			for (unsigned int i = 0; i < MANY; i++)
				calls += all[i].calls;
		}
		for (unsigned int i = 0; i < MANY; i++) {
			assert_int_equal(all[i].calls, 1);
			watched_drop(&all[i]);
		}
	}
	turns(loop, 50);
	free(all);
	loop_destroy(loop);
}

struct timed {
	struct loop_timer timer;
	struct loop *loop;
	struct timed *victim;
	uint64_t *last_ns;
	unsigned int calls, again;
};

static void timed_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct timed *timed = (struct timed *)timer;

	timed->calls++;
	assert_true(now_ns >= timer->due_ns);
	if (timed->last_ns) {
		assert_true(timer->due_ns >= *timed->last_ns);
		*timed->last_ns = timer->due_ns;
	}
	if (timed->again > 0) {
		timed->again--;
		loop_timer_set(timed->loop, timer, now_ns);
	}
	if (timed->victim)
		loop_timer_cancel(timed->loop, &timed->victim->timer);
}

static void test_loop_timers_expire_in_order(void **state)
{
	struct loop *loop = make_loop(8);
	struct timed *all = calloc(MANY, sizeof(*all));
	const uint64_t start_ns = loop_clock_ns();
	uint64_t last_ns = 0;
	unsigned int expected = 0, calls = 0;

	(void)state;
	assert_non_null(all);
	srandom(7);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(
			loop_timer_init(loop, &all[i].timer, timed_expired), 0);
		all[i].last_ns = &last_ns;
		loop_timer_set(loop, &all[i].timer,
			       start_ns + (uint64_t)(random() % 3000000));
	}
	for (unsigned int i = 0; i < MANY; i++) {
		if (i % 3 == 0)		/* moved */
			loop_timer_set(loop, &all[i].timer,
				       start_ns +
					       (uint64_t)(random() % 3000000));
		if (i % 5 == 0)
			loop_timer_cancel(loop, &all[i].timer);
		else
			expected++;
	}
	while (calls < expected) {
		assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
		calls = 0;
		for (unsigned int i = 0; i < MANY; i++)
			calls += all[i].calls;
	}
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(all[i].calls, i % 5 == 0 ? 0 : 1);
		loop_timer_finish(loop, &all[i].timer);
	}
	free(all);
	loop_destroy(loop);
}

static void test_loop_timer_callbacks_may_set_and_cancel(void **state)
{
	struct loop *loop = make_loop(8);
	struct timed first = {.loop = loop, .again = 3};
	struct timed second = {.loop = loop};

	(void)state;
	assert_int_equal(loop_timer_init(loop, &first.timer, timed_expired), 0);
	assert_int_equal(loop_timer_init(loop, &second.timer, timed_expired),
			 0);
	first.loop = second.loop = loop;
	first.again = 3;
	first.victim = &second;
	loop_timer_set(loop, &second.timer, 2);
	loop_timer_set(loop, &first.timer, 1);
	while (first.calls < 4)
		turns(loop, 1);
	turns(loop, 3);
	assert_int_equal(first.calls, 4);
	assert_int_equal(second.calls, 0);
	loop_timer_finish(loop, &first.timer);
	loop_timer_finish(loop, &first.timer);
	loop_timer_finish(loop, &second.timer);
	loop_destroy(loop);
}

struct operation {
	struct loop_op op;
	unsigned int calls;
	int result;
};

static void operation_done(struct loop_op *op, int result)
{
	struct operation *operation = (struct operation *)op;

	operation->calls++;
	operation->result = result;
}

static void test_loop_operations_complete_with_their_result(void **state)
{
	struct loop *loop = make_loop(8);
	struct operation ops[100];
	unsigned int sent = 0, done = 0;

	(void)state;
	turns(loop, 1);
	/* Far more than the ring holds: it submits when it is full. */
	while (sent < 100) {
		struct io_uring_sqe *sqe;

		ops[sent] = (struct operation){.op.done = operation_done};
		sqe = loop_sqe(loop, &ops[sent].op);
		assert_non_null(sqe);
		if (sent % 2 == 0)
			io_uring_prep_nop(sqe);
		else
			io_uring_prep_read(sqe, -1, NULL, 0, 0);
		sent++;
	}
	while (done < 100) {
		assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
		done = 0;
		for (unsigned int i = 0; i < 100; i++)
			done += ops[i].calls;
	}
	for (unsigned int i = 0; i < 100; i++) {
		assert_int_equal(ops[i].calls, 1);
		assert_int_equal(ops[i].result, i % 2 == 0 ? 0 : -EBADF);
	}
	loop_destroy(loop);
}

struct polled {
	struct loop_poller poller;
	struct loop *loop;
	struct polled *remove;
	unsigned int polls, arms, order, find;
	uint64_t due_ns;
};

static unsigned int polls_so_far;

static unsigned int polled_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct polled *polled = (struct polled *)poller;

	(void)now_ns;
	polled->polls++;
	polled->order = ++polls_so_far;
	if (polled->remove)
		loop_poller_remove(polled->loop, &polled->remove->poller);
	if (polled->find == 0)
		return 0;
	polled->find--;
	return 1;
}

static uint64_t polled_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct polled *polled = (struct polled *)poller;

	(void)now_ns;
	polled->arms++;
	return polled->due_ns;
}

static void polled_add(struct loop *loop, struct polled *polled)
{
	*polled = (struct polled){
		.poller = {.poll = polled_poll, .arm = polled_arm},
		.loop = loop,
		.due_ns = UINT64_MAX,
	};
	loop_poller_add(loop, &polled->poller);
}

static void test_loop_pollers_run_in_order_and_may_be_removed(void **state)
{
	struct loop *loop = make_loop(8);
	struct polled all[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		polled_add(loop, &all[i]);
	turns(loop, 1);
	for (unsigned int i = 1; i < 4; i++)
		assert_true(all[i].order > all[i - 1].order);
	all[0].remove = &all[1];	/* the next */
	all[2].remove = &all[2];	/* itself */
	all[3].remove = &all[0];	/* one before, also the first */
	turns(loop, 2);
	assert_int_equal(all[0].polls, 2);
	assert_int_equal(all[1].polls, 1);
	assert_int_equal(all[2].polls, 2);
	assert_int_equal(all[3].polls, 3);
	all[1].remove = NULL;
	loop_poller_add(loop, &all[1].poller);
	all[3].remove = &all[3];
	turns(loop, 2);
	assert_int_equal(all[1].polls, 3);
	assert_int_equal(all[3].polls, 4);
	loop_destroy(loop);
}

static void test_loop_arms_before_it_sleeps_and_honours_the_answer(void **state)
{
	struct loop *loop = make_loop(8);
	struct polled polled;
	struct loop_times times;
	uint64_t due_ns;

	(void)state;
	polled_add(loop, &polled);
	polled.find = 1;
	assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(polled.arms, 0);	/* there was work */
	polled.due_ns = 0;
	assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(polled.arms, 1);
	loop_times(loop, &times);
	assert_int_equal(times.sleeps, 0);	/* "work is there" */
	due_ns = loop_clock_ns() + 2000000;
	polled.due_ns = due_ns;
	assert_int_equal(loop_run_once(loop, UINT64_MAX), 0);
	assert_true(loop_now_ns(loop) >= due_ns);
	loop_times(loop, &times);
	assert_int_equal(times.sleeps, 1);
	/* Its deadline ended it: it is in one class of lateness. */
	assert_int_equal(times.late[0] + times.late[1] + times.late[2] +
				 times.late[3],
			 1);
	loop_poller_remove(loop, &polled.poller);
	loop_poller_remove(loop, &polled.poller);
	loop_destroy(loop);
}

/* A loop made here and run by another thread; it stops when told. */

struct runner {
	struct loop *loop;
	struct watched watched;
	struct timed ticks;
	int result;
};

static void runner_stop(struct loop_watch *watch)
{
	struct watched *watched = (struct watched *)watch;

	loop_stop(watched->loop);
}

static void *runner_main(void *data)
{
	struct runner *runner = data;

	runner->result = loop_run(runner->loop);
	return NULL;
}

static void test_loop_runs_on_another_thread_with_deadlines(void **state)
{
	const struct loop_config config = {
		.entries = 64,
		.spin_max_ns = 30000,
	};
	struct runner runner = {.result = 1};
	struct polled polled;
	struct error error;
	pthread_t thread;

	(void)state;
	assert_int_equal(loop_create(&config, &runner.loop, &error), 0);
	watched_add(runner.loop, &runner.watched);
	runner.watched.watch.ready = runner_stop;
	assert_int_equal(loop_timer_init(runner.loop, &runner.ticks.timer,
					 timed_expired),
			 0);
	runner.ticks.loop = runner.loop;
	runner.ticks.again = 200;
	loop_timer_set(runner.loop, &runner.ticks.timer, 1);
	polled_add(runner.loop, &polled);
	polled.find = 1000;
	assert_int_equal(pthread_create(&thread, NULL, runner_main, &runner),
			 0);
	kick(&runner.watched);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(runner.result, 0);
	assert_true(polled.polls > 0);
	watched_drop(&runner.watched);
	loop_timer_finish(runner.loop, &runner.ticks.timer);
	loop_destroy(runner.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop_refuses_odd_sizes),
		cmocka_unit_test(test_loop_watch_is_level_triggered),
		cmocka_unit_test(
			test_loop_watch_wakes_a_sleeper_and_sees_hang_up),
		cmocka_unit_test(test_loop_watch_removed_is_not_called),
		cmocka_unit_test(test_loop_watch_slot_is_not_reused_early),
		cmocka_unit_test(test_loop_many_watches),
		cmocka_unit_test(test_loop_timers_expire_in_order),
		cmocka_unit_test(test_loop_timer_callbacks_may_set_and_cancel),
		cmocka_unit_test(
			test_loop_operations_complete_with_their_result),
		cmocka_unit_test(
			test_loop_pollers_run_in_order_and_may_be_removed),
		cmocka_unit_test(
			test_loop_arms_before_it_sleeps_and_honours_the_answer),
		cmocka_unit_test(
			test_loop_runs_on_another_thread_with_deadlines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
