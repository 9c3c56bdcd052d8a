/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c - how many requests may be inside the device
 *
 * Once a request is inside the device nothing can be put before it, so what
 * latency a promise can have is decided by how many are inside.  Counted in
 * rounds of some hundred completions:
 *
 *   time inside device
 *   ^            .  .            '.'  one completion
 *   |----------.---.---.-----    target: 3/4 of the strictest promise (the
 *   |     . .    .   .  . .      rest is for waiting in front of the device)
 *   |  .  . .. . .  ..  . .
 *   +--------------------------> share beyond the target
 *          > 1/256:  shrink the window, by more if it is much
 *          < 1/512:  grow it by 1/16, if it was what held requests back
 *
 * Below some depth the device has idle parts, and shrinking costs throughput:
 * after one or more steps down less is done (88 %) than before, both saturated.
 * Then the least window that did nearly all is the floor for some seconds (if
 * it does more indeed: else it was the device that became slower), each time
 * for longer.  But if the promise itself was broken there, it comes first, and
 * steps down go on, until it is in time, or the time inside does not become
 * shorter by them any more: a promise that no window can keep does not make
 * everybody slow.
 *
 * Without any promise the window is as large as it may be.
 *
 * The same completions tell what the device can do: while something waited
 * all the time, calibrated cost done by time passed is its capacity.
 *
 * While the caller is away the device runs dry and completions are seen late:
 * neither is the device's.  What was inside then is not measured.  An absence
 * of which nobody told shows in that a window of some size was all done when
 * it was looked at: then at least the capacity is not judged.
 */
#include "sched/window.h"

#include <errno.h>
#include <stdlib.h>

#include "sched/lane.h"
#include "sched/shortage.h"

#define ROUND_SAMPLES 512U
#define ROUND_NS UINT64_C(200000000) /* a slow device: fewer do */
#define ROUND_SLOW 128U
#define ROUND_DEEP 64U /* far too deep: no need to count on */
#define FLOOR_NS UINT64_C(4000000000)
#define FLOOR_DOUBLINGS 2U
#define BUSY_NS UINT64_C(20000000)
#define BUSY_COUNT 64U
#define DRY_DEPTH 4U

int window_init(struct sched *sched)
{
	struct window *window = &sched->measured;

	for (unsigned int d = 0; d < 2; d++) {
		window->bound_places[d] =
			calloc(SCHED_CLIENTS_MAX, sizeof(uint32_t));
		window->bounds[d].place = window->bound_places[d];
		if (!window->bound_places[d] ||
		    heap_reserve(&window->bounds[d], SCHED_CLIENTS_MAX) < 0)
			return -ENOMEM;
	}
	window->capacity_milli = 1000;
	return 0;
}

void window_finish(struct sched *sched)
{
	struct window *window = &sched->measured;

	for (unsigned int d = 0; d < 2; d++) {
		heap_finish(&window->bounds[d]);
		free(window->bound_places[d]);
	}
}

void window_set_gate(struct sched *sched)
{
	const struct window *window = &sched->measured;
	const bool open = sched->immediate || !sched->enforcing;

	sched->window = open ? UINT32_MAX : window->depth;
	sched->watching =
		!open && (window->target_ns[0] | window->target_ns[1]) != 0;
	sched_set_gate(sched);
}

static void set_depth(struct sched *sched, uint32_t depth)
{
	struct window *window = &sched->measured;

	if (depth < sched->config.window_min)
		depth = sched->config.window_min;
	if (depth > sched->config.window_max)
		depth = sched->config.window_max;
	/* Those that are inside now came in under the old depth. */
	if (depth < window->depth)
		window->skip = sched->in_flight;
	window->depth = depth;
	window_set_gate(sched);
}

static void begin_round(struct sched *sched, uint64_t now_ns)
{
	struct window *window = &sched->measured;

	window->began_ns = now_ns;
	window->samples = 0;
	window->late = 0;
	window->broken = 0;
	window->round_cost_ns = 0;
	window->round_inside_ns = 0;
	window->hungry = 0;
	window->limiting = false;
}

/* Where to begin, from the calibrated figures: a request that finds the
 * device full waits for about depth * request_ns. */
static uint32_t depth_guess(const struct sched *sched)
{
	uint64_t depth = sched->config.window_max;

	for (unsigned int d = 0; d < 2; d++) {
		const uint64_t target_ns = sched->measured.target_ns[d];
		uint64_t fit;

		if (target_ns == 0)
			continue;
		fit = target_ns / sched->request_ns[d];
		depth = fit < depth ? fit : depth;
	}
	return (uint32_t)depth;
}

void window_configure(struct sched *sched)
{
	sched->measured.floor = 0;
	sched->measured.testing = false;
	set_depth(sched, depth_guess(sched));
	begin_round(sched, 0);
}

void window_promise(struct sched *sched, uint32_t index, unsigned int direction,
		    uint64_t latency_ns)
{
	struct window *window = &sched->measured;
	struct heap *bounds = &window->bounds[direction];
	const uint64_t before_ns = window->target_ns[direction];
	uint64_t target_ns;

	if (heap_contains(bounds, index))
		heap_remove(bounds, index);
	if (latency_ns > 0)
		heap_insert(bounds, index,
			    latency_ns < LATENCY_MAX_NS ? latency_ns :
							  LATENCY_MAX_NS);
	target_ns = bounds->count ? heap_key(bounds) / 4 * 3 : 0;
	if (bounds->count && target_ns == 0)
		target_ns = 1;
	if (target_ns == before_ns)
		return;
	window->target_ns[direction] = target_ns;
	window->floor = 0;
	window->testing = false;
	if (before_ns == 0 || (target_ns != 0 && target_ns < before_ns)) {
		const uint32_t guess = depth_guess(sched);

		set_depth(sched, guess < window->depth ? guess : window->depth);
	} else {
		set_depth(sched, depth_guess(sched));
	}
}

void sched_away(struct sched *sched, uint64_t now_ns)
{
	sched->measured.back_ns = now_ns;
}

static void begin_busy(struct window *window, uint64_t now_ns)
{
	window->busy_ns = now_ns;
	window->busy_cost_ns = 0;
	window->busy_count = 0;
}

static __attribute__((noinline)) void learn_capacity(struct window *window,
						     uint64_t now_ns)
{
	const uint64_t elapsed_ns = now_ns - window->busy_ns;
	uint64_t milli;

	milli = (uint64_t)((unsigned __int128)window->busy_cost_ns * 1000 /
			   elapsed_ns);
	if (milli > 1000000)
		milli = 1000000;
	window->capacity_milli =
		(uint32_t)((3 * (uint64_t)window->capacity_milli + milli + 2) /
			   4);
	begin_busy(window, now_ns);
	window->busy_count = 1;
}

/* What was done in this round, as calibrated; 0: the device could have done
 * more. */
static uint64_t round_milli(const struct window *window, uint64_t now_ns)
{
	const uint64_t elapsed_ns = now_ns - window->began_ns;

	if (window->hungry * 16 > window->samples || elapsed_ns == 0)
		return 0;
	return (uint64_t)((unsigned __int128)window->round_cost_ns * 1000 /
			  elapsed_ns);
}

/* Take note of what a window did before a smaller one is tried. */
static void note_full(struct window *window, uint64_t milli)
{
	window->inside_before_ns = window->round_inside_ns / window->samples;
	if (!window->testing || milli > window->full_milli)
		window->full_milli = milli;
	if (!window->testing || milli * 20 >= window->full_milli * 19) {
		window->full_depth = window->depth;
		window->full_broken = window->broken * 200 > window->samples;
	}
	window->testing = window->full_milli > 0;
}

static void shrink(struct sched *sched, uint64_t milli)
{
	struct window *window = &sched->measured;
	uint32_t smaller = window->depth - (window->depth + 3) / 4;

	if (smaller < window->floor)
		smaller = window->floor;
	if (smaller >= window->depth)
		return;
	note_full(window, milli);
	set_depth(sched, smaller);
}

static bool is_late(const struct window *window)
{
	return window->late * 256 > window->samples;
}

/* The last step down cost throughput; was it needed, and of use? */
static bool is_in_vain(const struct sched *sched)
{
	const struct window *window = &sched->measured;
	const uint64_t inside_ns = window->round_inside_ns / window->samples;

	if (!window->full_broken)
		return true;
	return is_late(window) &&
		(inside_ns * 100 > window->inside_before_ns * 97 ||
		 window->depth <= sched->config.window_min);
}

static void set_floor(struct sched *sched, uint64_t milli, uint64_t now_ns)
{
	struct window *window = &sched->measured;

	window->testing = false;
	window->less_milli = milli;
	window->floor = window->full_depth;
	window->floor_until_ns = now_ns + (FLOOR_NS << window->floors);
	if (window->floors < FLOOR_DOUBLINGS)
		window->floors++;
	set_depth(sched, window->floor);
}

static void adjust(struct sched *sched, uint64_t now_ns)
{
	struct window *window = &sched->measured;
	const uint64_t milli = round_milli(window, now_ns);
	const uint32_t depth = window->depth;

	if (now_ns >= window->floor_until_ns ||
	    (window->less_milli > 0 && milli > 0 &&
	     milli * 100 < window->less_milli * 106))
		window->floor = 0;
	window->less_milli = 0;
	if (window->testing && milli > 0 &&
	    milli * 100 < window->full_milli * 88 && is_in_vain(sched)) {
		set_floor(sched, milli, now_ns);
	} else if (is_late(window)) {
		shrink(sched, milli);
	} else {
		window->testing = false;
		window->floors = 0;
		if (window->late * 512 <= window->samples && window->limiting)
			set_depth(sched, depth + (depth + 15) / 16);
	}
}

/* More than half are late, and not because the promise is too strict. */
static bool far_too_deep(const struct sched *sched)
{
	const struct window *window = &sched->measured;

	return window->samples >= ROUND_DEEP &&
		window->late * 2 > window->samples &&
		window->depth / 2 > depth_guess(sched) &&
		window->depth / 2 >= window->floor;
}

static bool round_is_over(const struct window *window, uint64_t now_ns)
{
	return window->samples >= ROUND_SAMPLES ||
		(window->samples >= ROUND_SLOW &&
		 now_ns - window->began_ns >= ROUND_NS);
}

/* The device was busy for some time: enough to learn from? */
static inline void sum_busy(struct sched *sched,
			    const struct sched_request *request,
			    uint64_t now_ns)
{
	struct window *window = &sched->measured;

	window->busy_cost_ns +=
		sched_cost_ns(sched, request->direction, request->bytes);
	if (++window->busy_count >= BUSY_COUNT &&
	    now_ns - window->busy_ns >= BUSY_NS)
		learn_capacity(window, now_ns);
}

static __attribute__((noinline)) void measure_round(
	struct sched *sched, const struct sched_request *request, bool busy,
	uint64_t now_ns)
{
	struct window *window = &sched->measured;
	const uint64_t target_ns = window->target_ns[request->direction];

	if (window->skip > 0) {
		if (--window->skip == 0)
			begin_round(sched, now_ns);
		return;
	}
	if (window->samples == 0)
		window->began_ns = now_ns;
	else
		window->round_cost_ns += sched_cost_ns(
			sched, request->direction, request->bytes);
	window->samples++;
	window->round_inside_ns += now_ns - request->start_ns;
	if (busy)
		window->limiting = true;
	else
		window->hungry++;
	if (target_ns > 0 && now_ns - request->start_ns > target_ns) {
		window->late++;
		window->broken +=
			now_ns - request->start_ns > target_ns + target_ns / 3;
	}
	if (far_too_deep(sched))
		set_depth(sched, window->depth / 2);
	else if (round_is_over(window, now_ns))
		adjust(sched, now_ns);
	else
		return;
	begin_round(sched, now_ns);
}

/* It was inside while the caller was away: begin anew. */
static __attribute__((noinline)) void was_away(struct sched *sched,
					       uint64_t now_ns)
{
	begin_busy(&sched->measured, now_ns);
	begin_round(sched, now_ns);
	if (sched->measured.skip > 0)
		sched->measured.skip--;
}

/* A completion of the device's, with something waiting or not. */
ALWAYS_INLINE void measure_busy(struct sched *sched,
				const struct sched_request *request, bool busy,
				uint64_t now_ns)
{
	struct window *window = &sched->measured;
	const bool saturated =
		busy && (sched->in_flight > 0 || window->depth < DRY_DEPTH);

	if (saturated && window->busy_count > 0) {
		sum_busy(sched, request, now_ns);
	} else {
		begin_busy(window, now_ns);
		window->busy_count = saturated;
	}
}

/* Somebody was promised a latency or is served too late, or the caller was
 * away. */
static __attribute__((noinline)) void measure_all(
	struct sched *sched, const struct sched_request *request,
	uint64_t now_ns)
{
	const bool busy = sched_has_ready(sched);

	/* Others may have to be placed anew. */
	if (sched->shortage.watching && shortage_round(sched, now_ns))
		lane_replace_all(sched, now_ns);
	if (request->start_ns < sched->measured.back_ns) {
		was_away(sched, now_ns);
		return;
	}
	measure_busy(sched, request, busy, now_ns);
	if (sched->watching)
		measure_round(sched, request, busy, now_ns);
}

void window_measure(struct sched *sched, const struct sched_request *request,
		    uint64_t now_ns)
{
	if (sched->immediate)
		return;
	if (sched->shortage.watching || sched->watching ||
	    request->start_ns < sched->measured.back_ns)
		measure_all(sched, request, now_ns);
	else
		measure_busy(sched, request, sched_has_ready(sched), now_ns);
}
