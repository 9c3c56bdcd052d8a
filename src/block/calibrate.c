/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.c - see calibrate.h
 *
 * Phases, one after another; each keeps 'depth' requests in the device for
 * its share of the duration and until it has enough of them, or for its share
 * of all the time that there is; lets them end, and notes the rate and the
 * latencies (measure.c).  Where writes are measured they come first, and the
 * first of them writes the free region from its start, until there is enough
 * of it for the reads that follow: they hit data and not holes.  Where there
 * is not enough in time they go to what other data there is, or are derived.
 * What was written is discarded at the end.
 *
 * A device may complete inside submit, so 'done' only notes and the poller
 * submits; it does little in each round, because others use the loop too.
 */
#include "block/calibrate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "block/measure.h"
#include "os/absence.h"

#define RANDOM_BYTES		UINT64_C(4096)
#define SEQUENTIAL_BYTES	RANGES_BYTES
#define SEQUENTIAL_DEPTH	8U
#define DEPTH_MAX		128U
#define BUFFER_BYTES		(SEQUENTIAL_DEPTH * SEQUENTIAL_BYTES)
#define DURATION_NS		UINT64_C(10000000000)	/* when none is given */
#define WRITTEN_MAX_BYTES	(UINT64_C(1) << 30)
/* Reads need so much data, or half of all: less may be in a cache. */
#define ENOUGH_BYTES	(UINT64_C(16) << 20)
#define SUBMITS_PER_ROUND	32U
/* Asleep it looks up so often, and knows then whether it was away. */
#define LOOK_NS			UINT64_C(200000)
#define PHASES_MAX		(2 * (CAPACITY_POINTS + 1))
/* A phase fails when more than one in so many requests did. */
#define FAILURES_SHARE		10U
/* What is left of a direction for the other, see calibrate.h. */
#define DERIVED_SHARE		10U

static const uint32_t depths[] = {1, 2, 4, 8, 16, 32, 64, 128};
static const uint32_t depths_short[] = {1, 8, 32, 128};

enum calibration_state {
	CALIBRATION_RUNNING,
	CALIBRATION_DRAINING,
	CALIBRATION_DISCARDING,
};

struct phase {
	enum block_op op;
	uint32_t depth;
	bool sequential;
};

struct slot {
	struct block_request request;	/* the first: a request is its slot */
	struct calibration *calibration;
	struct slot *next_free;
	struct iovec iov;
	uint64_t sent_ns;
};

struct calibration {
	struct calibration_config config;
	struct loop_poller poller;
	struct capacity capacity;
	uint64_t end_ns;		/* of all phases, whatever happens */
	uint64_t write_until_ns;	/* for enough to be read */

	struct phase phases[PHASES_MAX];
	unsigned int phase_count, phase;
	enum calibration_state state;
	int result;			/* why it ends early */

	struct absence absence;
	struct measure measure;
	uint64_t failures;		/* in this phase */
	int failure;

	struct ranges data;		/* that was there before */
	struct ranges where;		/* this phase's requests may go */
	uint64_t written_bytes;		/* from the free region's start */
	uint64_t random;
	uint32_t in_flight;
	struct slot *free;
	struct slot slots[DEPTH_MAX];
	unsigned char *buffer;
};

/* ---- one phase ---- */

static const struct phase *phase_of(const struct calibration *calibration)
{
	return &calibration->phases[calibration->phase];
}

static uint64_t random_below(struct calibration *calibration, uint64_t limit)
{
	uint64_t x = calibration->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	calibration->random = x;
	return x % limit;
}

static uint64_t enough_bytes(const struct calibration_config *config)
{
	const uint64_t half = config->device->size_bytes / 2;

	return half < ENOUGH_BYTES ? half : ENOUGH_BYTES;
}

/* What the first phase may write. */
static uint64_t writable_bytes(const struct calibration_config *config)
{
	const uint64_t most = config->free_size_bytes < WRITTEN_MAX_BYTES ?
		config->free_size_bytes :
		WRITTEN_MAX_BYTES;

	return most - most % SEQUENTIAL_BYTES;
}

/* Where may the phase's requests go?  Returns false if there is too little to
 * be read. */
static bool find_where(struct calibration *calibration)
{
	const struct calibration_config *config = &calibration->config;
	const struct phase *phase = phase_of(calibration);
	const struct range written = {
		config->free_offset_bytes,
		phase->op == BLOCK_WRITE && phase->sequential ?
			writable_bytes(config) :
			calibration->written_bytes,
	};

	ranges_set(&calibration->where, &written, 1);
	if (phase->op == BLOCK_WRITE ||
	    calibration->written_bytes >= enough_bytes(config))
		return true;
	calibration->where = calibration->data;
	return ranges_sum(&calibration->data) >= enough_bytes(config);
}

static uint64_t find_offset(struct calibration *calibration)
{
	struct ranges *where = &calibration->where;

	if (phase_of(calibration)->sequential)
		return ranges_next(where, SEQUENTIAL_BYTES);
	return ranges_offset(
		where,
		RANDOM_BYTES *
			random_below(calibration,
				     ranges_sum(where) / RANDOM_BYTES));
}

/* Every reading of the clock may show that the thread was away. */
static uint64_t look(struct calibration *calibration)
{
	const uint64_t now_ns = loop_clock_ns();
	const uint64_t before_ns = calibration->absence.away_ns;

	if (absence_look(&calibration->absence, now_ns))
		measure_away(&calibration->measure,
			     calibration->absence.away_ns - before_ns, now_ns);
	return now_ns;
}

static void note_done(struct block_request *request)
{
	struct slot *slot = (struct slot *)request;
	struct calibration *calibration = slot->calibration;
	const uint64_t now_ns = look(calibration);

	calibration->in_flight--;
	slot->next_free = calibration->free;
	calibration->free = slot;
	if (request->result < 0) {
		calibration->failures++;
		calibration->failure = request->result;
		return;
	}
	measure_done(&calibration->measure, slot->sent_ns, now_ns);
}

static void send_one(struct calibration *calibration, struct slot *slot)
{
	const struct phase *phase = phase_of(calibration);
	const uint64_t length =
		phase->sequential ? SEQUENTIAL_BYTES : RANDOM_BYTES;
	const uint64_t at = find_offset(calibration);

	if (phase->op == BLOCK_WRITE && phase->sequential &&
	    calibration->where.next_bytes > calibration->written_bytes)
		calibration->written_bytes = calibration->where.next_bytes;
	slot->iov.iov_base = calibration->buffer +
		(size_t)(slot - calibration->slots) * length % BUFFER_BYTES;
	slot->iov.iov_len = length;
	slot->request.op = (uint8_t)phase->op;
	slot->request.offset_bytes = at;
	slot->request.length_bytes = length;
	slot->request.iov = &slot->iov;
	slot->request.iov_count = 1;
	slot->request.done = note_done;
	slot->sent_ns = look(calibration);
	calibration->in_flight++;
	block_submit(calibration->config.device, &slot->request);
}

static unsigned int send_some(struct calibration *calibration)
{
	const uint32_t depth = phase_of(calibration)->depth;
	unsigned int sent = 0;

	while (sent < SUBMITS_PER_ROUND && calibration->in_flight < depth) {
		struct slot *slot = calibration->free;

		calibration->free = slot->next_free;
		send_one(calibration, slot);
		sent++;
	}
	return sent;
}

static void phase_begin(struct calibration *calibration, uint64_t now_ns)
{
	const uint64_t left_ns =
		calibration->end_ns > now_ns ? calibration->end_ns - now_ns : 0;
	const unsigned int phases_left =
		calibration->phase_count - calibration->phase;

	calibration->state = CALIBRATION_RUNNING;
	calibration->failures = 0;
	measure_begin(&calibration->measure, now_ns,
		      calibration->config.duration_ns /
			      calibration->phase_count,
		      left_ns / phases_left);
}

/* Nothing is in flight: what did it come to? */
static void phase_note(struct calibration *calibration)
{
	const struct phase *phase = phase_of(calibration);
	struct capacity_curve *curve =
		&calibration->capacity.direction[phase->op == BLOCK_WRITE];
	struct measure_result result;

	if (calibration->failures * FAILURES_SHARE >
	    calibration->measure.done) {
		calibration->result = calibration->failure;
		return;
	}
	measure_result(&calibration->measure, &result);
	if (phase->sequential) {
		curve->bytes_per_s =
			(uint64_t)(result.per_s * (double)SEQUENTIAL_BYTES);
		return;
	}
	curve->points[curve->count++] = (struct capacity_point){
		.depth = phase->depth,
		.iops = (uint64_t)result.per_s,
		.p95_ns = result.p95_ns,
		.p99_ns = result.p99_ns,
	};
}

/* ---- the whole ---- */

/* A tenth of the other direction, at the same depths. */
static void derive(struct capacity_curve *curve,
		   const struct capacity_curve *other)
{
	*curve = *other;
	curve->bytes_per_s = other->bytes_per_s / DERIVED_SHARE;
	curve->bytes_per_s += curve->bytes_per_s == 0;
	for (unsigned int i = 0; i < curve->count; i++) {
		struct capacity_point *point = &curve->points[i];

		point->iops /= DERIVED_SHARE;
		point->iops += point->iops == 0;
		point->p95_ns *= DERIVED_SHARE;
		point->p99_ns *= DERIVED_SHARE;
	}
}

static void finish(struct calibration *calibration)
{
	struct capacity *capacity = &calibration->capacity;

	loop_poller_remove(calibration->config.loop, &calibration->poller);
	capacity_straighten(&capacity->direction[0]);
	capacity_straighten(&capacity->direction[1]);
	if (!capacity->write_measured)
		derive(&capacity->direction[1], &capacity->direction[0]);
	if (!capacity->read_measured)
		derive(&capacity->direction[0], &capacity->direction[1]);
	/* It may destroy us. */
	calibration->config.done(calibration->config.arg, calibration->result,
				 calibration->result < 0 ? NULL : capacity);
}

/* The free region is as free as before; whether that works is not ours. */
static void give_back(struct calibration *calibration)
{
	struct slot *slot = calibration->free;

	calibration->state = CALIBRATION_DISCARDING;
	if (calibration->written_bytes == 0)
		return;
	calibration->free = slot->next_free;
	slot->request.op = BLOCK_DISCARD;
	slot->request.offset_bytes = calibration->config.free_offset_bytes;
	slot->request.length_bytes = calibration->written_bytes;
	slot->request.iov_count = 0;
	slot->request.done = note_done;
	calibration->in_flight++;
	block_submit(calibration->config.device, &slot->request);
}

/* Nothing is in flight. */
static void go_on(struct calibration *calibration)
{
	if (calibration->state == CALIBRATION_DISCARDING) {
		finish(calibration);
		return;
	}
	if (calibration->result == 0)
		phase_note(calibration);
	calibration->phase++;
	if (calibration->result < 0 ||
	    calibration->phase == calibration->phase_count) {
		give_back(calibration);
	} else if (find_where(calibration)) {
		phase_begin(calibration, loop_clock_ns());
	} else {
		/* Reads come last. */
		calibration->capacity.read_measured = false;
		give_back(calibration);
	}
}

/* Does it write on, for there to be enough to be read? */
static bool writes_on(const struct calibration *calibration, uint64_t now_ns)
{
	const struct calibration_config *config = &calibration->config;
	const struct phase *phase = phase_of(calibration);
	const uint64_t most = writable_bytes(config);
	const uint64_t enough = enough_bytes(config);

	return phase->op == BLOCK_WRITE && phase->sequential &&
		now_ns < calibration->write_until_ns &&
		calibration->written_bytes < (enough < most ? enough : most);
}

/* Has the phase sent all that it should?  At least one, however short. */
static bool phase_is_over(struct calibration *calibration, uint64_t now_ns)
{
	if (calibration->result < 0)
		return true;
	if (writes_on(calibration, now_ns))
		return false;
	return calibration->measure.done + calibration->failures +
			calibration->in_flight >
		0 &&
		measure_is_over(&calibration->measure, now_ns);
}

static unsigned int work(struct calibration *calibration, uint64_t now_ns)
{
	if (calibration->state == CALIBRATION_RUNNING) {
		if (!phase_is_over(calibration, now_ns))
			return send_some(calibration);
		calibration->state = CALIBRATION_DRAINING;
	}
	if (calibration->in_flight > 0)
		return 0;
	go_on(calibration);
	return 1;
}

static unsigned int calibration_poll(struct loop_poller *poller,
				     uint64_t now_ns)
{
	struct calibration *calibration =
		container_of(poller, struct calibration, poller);
	/* Not afterwards: the end may be the end of us. */
	const bool keep_awake = calibration->config.keep_awake;
	const uint64_t before_ns = calibration->absence.away_ns;

	if (absence_round(&calibration->absence, now_ns))
		measure_away(&calibration->measure,
			     calibration->absence.away_ns - before_ns, now_ns);
	return work(calibration, now_ns) + keep_awake;
}

static uint64_t calibration_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct calibration *calibration =
		container_of(poller, struct calibration, poller);

	if (calibration->in_flight == 0)
		return 0;
	if (calibration->state == CALIBRATION_RUNNING &&
	    calibration->in_flight < phase_of(calibration)->depth)
		return 0;
	now_ns = look(calibration);
	absence_sleep(&calibration->absence, now_ns, now_ns + LOOK_NS);
	return now_ns + LOOK_NS;
}

static void add_phase(struct calibration *calibration, enum block_op op,
		      uint32_t depth, bool sequential)
{
	calibration->phases[calibration->phase_count++] = (struct phase){
		.op = op,
		.depth = depth,
		.sequential = sequential,
	};
}

static void add_phases(struct calibration *calibration)
{
	const bool is_short = calibration->capacity.is_short;
	const uint32_t *all = is_short ? depths_short : depths;
	const size_t count = is_short ?
		sizeof(depths_short) / sizeof(depths_short[0]) :
		sizeof(depths) / sizeof(depths[0]);

	if (calibration->capacity.write_measured) {
		add_phase(calibration, BLOCK_WRITE, SEQUENTIAL_DEPTH, true);
		for (size_t i = 0; i < count; i++)
			add_phase(calibration, BLOCK_WRITE, all[i], false);
	}
	for (size_t i = 0; i < count; i++)
		add_phase(calibration, BLOCK_READ, all[i], false);
	add_phase(calibration, BLOCK_READ, SEQUENTIAL_DEPTH, true);
}

static int check(const struct calibration_config *config, struct error *reterr)
{
	const uint64_t size_bytes = config->device->size_bytes;

	if (size_bytes < SEQUENTIAL_BYTES)
		return error_set(reterr, -EINVAL,
				 "calibration: the device has %" PRIu64
				 " bytes: too small to measure",
				 size_bytes);
	if (config->free_offset_bytes > size_bytes ||
	    config->free_size_bytes > size_bytes - config->free_offset_bytes ||
	    config->free_offset_bytes % RANDOM_BYTES != 0)
		return error_set(
			reterr, -EINVAL,
			"calibration: the free region is not one of the device's");
	return ranges_check(config->data, config->data_count, size_bytes,
			    reterr);
}

/* What was there before, to be read? */
static void set_data(struct calibration *calibration)
{
	const struct calibration_config *config = &calibration->config;
	const uint64_t size_bytes = config->device->size_bytes;
	const struct range all = {0, size_bytes - size_bytes % RANDOM_BYTES};

	if (config->data)
		ranges_set(&calibration->data, config->data,
			   config->data_count);
	else
		ranges_set(&calibration->data, &all, 1);
	calibration->config.data = NULL;	/* the caller's */
}

static void fill_buffer(struct calibration *calibration)
{
	/* Not zeroes: some devices write those without writing. */
	for (size_t i = 0; i < BUFFER_BYTES; i++)
		calibration->buffer[i] =
			(unsigned char)random_below(calibration, 256);
	for (size_t i = 0; i < DEPTH_MAX; i++) {
		calibration->slots[i].calibration = calibration;
		calibration->slots[i].next_free = calibration->free;
		calibration->free = &calibration->slots[i];
	}
}

int calibration_start(const struct calibration_config *config,
		      struct calibration **ret_calibration,
		      struct error *reterr)
{
	struct calibration *calibration;
	uint64_t now_ns;
	int rc;

	rc = check(config, reterr);
	if (rc < 0)
		return rc;
	calibration = calloc(1, sizeof(*calibration));
	if (!calibration)
		return error_set(reterr, -ENOMEM, "calibration: out of memory");
	calibration->buffer = aligned_alloc(RANDOM_BYTES, BUFFER_BYTES);
	if (!calibration->buffer) {
		free(calibration);
		return error_set(reterr, -ENOMEM, "calibration: out of memory");
	}
	now_ns = loop_clock_ns();
	calibration->config = *config;
	if (config->duration_ns == 0)
		calibration->config.duration_ns = DURATION_NS;
	calibration->capacity.is_short =
		calibration->config.duration_ns <= CALIBRATION_SHORT_NS;
	calibration->capacity.write_measured = !config->device->read_only &&
		config->free_size_bytes >= SEQUENTIAL_BYTES;
	calibration->capacity.read_measured = true;
	calibration->random = now_ns | 1;
	fill_buffer(calibration);
	set_data(calibration);
	add_phases(calibration);
	if (!find_where(calibration)) {
		calibration_destroy(calibration);
		return error_set(
			reterr, -ENODATA,
			"too little data to read and no free space to write");
	}
	calibration->end_ns =
		now_ns + CALIBRATION_MOST_NS(calibration->config.duration_ns);
	calibration->write_until_ns =
		now_ns + calibration->config.duration_ns / 3 * 2;
	phase_begin(calibration, now_ns);
	calibration->poller.poll = calibration_poll;
	calibration->poller.arm = calibration_arm;
	loop_poller_add(config->loop, &calibration->poller);
	*ret_calibration = calibration;
	return 0;
}

void calibration_abort(struct calibration *calibration)
{
	if (calibration->result == 0)
		calibration->result = -ECANCELED;
}

void calibration_destroy(struct calibration *calibration)
{
	if (!calibration)
		return;
	free(calibration->buffer);
	free(calibration);
}
