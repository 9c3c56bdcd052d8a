/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nullio.c - a block device that completes without touching data, or a model
 * of a device in front of one that does
 *
 * Without servers, at once.  With servers it is a queueing model: requests
 * wait in one FIFO, each of 'servers' serves one at a time for a time drawn
 * from a log-normal distribution, and while the device stalls nothing
 * completes.
 *
 * Service goes on in the model's own time: a server that was free while the
 * loop was late starts its next request when the last one was due, not when
 * the loop came to look, so lateness never takes throughput.  The same seed
 * and the same arrivals give the same times.
 */
#include "block/kinds.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/container.h"

#define SERVERS_MAX	65536U
#define SIGMA_MAX_MILLI	5000U
#define PER_KIB_MAX_NS	UINT64_C(1000000)
#define BATCH		256U	/* completions in one go */
#define FACTORS		4096U	/* steps of the distribution */
#define FACTOR_SHIFT	16

struct serving {
	uint64_t due_ns;
	struct block_request *request;
};

struct nullio {
	struct block_device device;
	struct loop *loop;
	struct block_model model;
	struct block_device *behind;	/* does the work; NULL: nobody */
	uint64_t start_ns;		/* stalls are counted from here */
	uint64_t random[4];
	uint32_t factors[FACTORS];	/* of the median, fixed point */
	struct loop_timer timer;
	struct block_request *waiting, **waiting_end;
	uint32_t count;			/* being served; a heap from 0 */
	struct serving serving[];	/* 'servers' of them */
};

static struct nullio *nullio_of(struct block_device *device)
{
	return (struct nullio *)device;
}

/* ---- chance: xoshiro256**, seeded by splitmix64 ---- */

static uint64_t rotate(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

static uint64_t random_next(uint64_t s[4])
{
	const uint64_t result = rotate(s[1] * 5, 7) * 9;
	const uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

static void random_seed(uint64_t s[4], uint64_t seed)
{
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		s[i] = z ^ z >> 31;
	}
}

/* The middle of each of FACTORS equally likely steps. */
static void factors_fill(uint32_t factors[FACTORS], uint32_t sigma_milli)
{
	const double sigma = sigma_milli / 1000.0;

	for (unsigned int i = 0; i < FACTORS; i++) {
		const double share = (i + 0.5) / FACTORS;
		double low = -5.0, high = 5.0, factor;

		/* The normal distribution, inverted by halving. */
		for (unsigned int step = 0; step < 24; step++) {
			const double middle = (low + high) / 2;

			if (0.5 * erfc(-middle * M_SQRT1_2) < share)
				low = middle;
			else
				high = middle;
		}
		factor = exp(sigma * low) * (1U << FACTOR_SHIFT);
		factors[i] =
			factor < UINT32_MAX ? (uint32_t)factor : UINT32_MAX;
	}
}

static bool fails(struct nullio *nullio)
{
	return nullio->model.error_ppm != 0 &&
		random_next(nullio->random) % 1000000 < nullio->model.error_ppm;
}

/* Its time has come. */
static void finish(struct nullio *nullio, struct block_request *request)
{
	if (fails(nullio))
		block_end(request, -EIO);
	else if (nullio->behind)
		block_submit(nullio->behind, request);
	else
		block_end(request, 0);
}

/* ---- service ---- */

static uint64_t service_ns(struct nullio *nullio,
			   const struct block_request *request)
{
	const struct block_model *model = &nullio->model;
	const uint64_t factor =
		nullio->factors[random_next(nullio->random) % FACTORS];
	uint64_t ns = request->op == BLOCK_READ ? model->read_median_ns :
						  model->write_median_ns;

	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE)
		ns += model->per_kib_ns * request->length_bytes >> 10;
	if (ns > UINT32_MAX)
		ns = UINT32_MAX;
	return ns * factor >> FACTOR_SHIFT;
}

/* A time within a stall is moved to the stall's end. */
static uint64_t after_stall(const struct nullio *nullio, uint64_t time_ns)
{
	const struct block_model *model = &nullio->model;
	uint64_t into_ns;

	if (model->stall_every_ns == 0)
		return time_ns;
	into_ns = (time_ns - nullio->start_ns) % model->stall_every_ns;
	/* The device starts with a stretch without a stall. */
	if (into_ns < model->stall_every_ns - model->stall_ns)
		return time_ns;
	return time_ns + model->stall_every_ns - into_ns;
}

static void serving_sink(struct nullio *nullio, uint32_t index,
			 struct serving entry)
{
	struct serving *heap = nullio->serving;

	for (;;) {
		uint32_t child = index * 2 + 1;

		if (child >= nullio->count)
			break;
		if (child + 1 < nullio->count &&
		    heap[child + 1].due_ns < heap[child].due_ns)
			child++;
		if (heap[child].due_ns >= entry.due_ns)
			break;
		heap[index] = heap[child];
		index = child;
	}
	heap[index] = entry;
}

static void serving_add(struct nullio *nullio, struct serving entry)
{
	struct serving *heap = nullio->serving;
	uint32_t index = nullio->count++;

	while (index > 0 && heap[(index - 1) / 2].due_ns > entry.due_ns) {
		heap[index] = heap[(index - 1) / 2];
		index = (index - 1) / 2;
	}
	heap[index] = entry;
}

static struct serving serve(struct nullio *nullio,
			    struct block_request *request, uint64_t start_ns)
{
	return (struct serving){
		.due_ns = after_stall(nullio,
				      start_ns + service_ns(nullio, request)),
		.request = request,
	};
}

/* The first in service is done: its server takes the next that waits. */
static struct block_request *serving_next(struct nullio *nullio)
{
	struct block_request *done = nullio->serving[0].request;
	struct block_request *next = nullio->waiting;
	uint64_t start_ns = nullio->serving[0].due_ns;

	if (!next) {
		nullio->count--;
		serving_sink(nullio, 0, nullio->serving[nullio->count]);
		return done;
	}
	nullio->waiting = next->next;
	if (!nullio->waiting)
		nullio->waiting_end = &nullio->waiting;
	if (next->due_ns > start_ns)	/* it came after */
		start_ns = next->due_ns;
	serving_sink(nullio, 0, serve(nullio, next, start_ns));
	return done;
}

static void nullio_expired(struct loop_timer *timer, uint64_t now_ns)
{
	struct nullio *nullio = container_of(timer, struct nullio, timer);

	/* Bounded: 'done' may submit the next, which may take no time. */
	for (unsigned int i = 0; i < BATCH && nullio->count > 0 &&
	     nullio->serving[0].due_ns <= now_ns;
	     i++) {
		struct block_request *request = serving_next(nullio);

		finish(nullio, request);
	}
	if (nullio->count > 0)
		loop_timer_set(nullio->loop, timer, nullio->serving[0].due_ns);
}

static void nullio_submit(struct block_device *device,
			  struct block_request *request)
{
	struct nullio *nullio = nullio_of(device);
	const uint64_t now_ns = loop_now_ns(nullio->loop);

	if (nullio->model.servers == 0) {
		finish(nullio, request);
		return;
	}
	if (nullio->count == nullio->model.servers) {
		request->due_ns = now_ns;
		request->next = NULL;
		*nullio->waiting_end = request;
		nullio->waiting_end = &request->next;
		return;
	}
	serving_add(nullio, serve(nullio, request, now_ns));
	if (nullio->serving[0].request == request)
		loop_timer_set(nullio->loop, &nullio->timer,
			       nullio->serving[0].due_ns);
}

static void nullio_destroy(struct block_device *device)
{
	struct nullio *nullio = nullio_of(device);

	loop_timer_finish(nullio->loop, &nullio->timer);
	block_close(nullio->behind);
	free(nullio);
}

static const struct block_device_ops nullio_ops = {
	.kind = "nullio",
	.submit = nullio_submit,
	.destroy = nullio_destroy,
};

static int model_check(const struct block_model *model, struct error *reterr)
{
	if (model->servers > SERVERS_MAX)
		return error_set(reterr, -EINVAL,
				 "nullio model: %u servers: at most %u",
				 model->servers, SERVERS_MAX);
	if (model->sigma_milli > SIGMA_MAX_MILLI)
		return error_set(
			reterr, -EINVAL,
			"nullio model: sigma of %u thousandths: at most %u",
			model->sigma_milli, SIGMA_MAX_MILLI);
	if (model->stall_every_ns != 0 &&
	    model->stall_ns >= model->stall_every_ns)
		return error_set(
			reterr, -EINVAL,
			"nullio model: a stall must be shorter than the time from one to the next");
	if (model->read_median_ns > UINT32_MAX ||
	    model->write_median_ns > UINT32_MAX ||
	    model->per_kib_ns > PER_KIB_MAX_NS)
		return error_set(
			reterr, -EINVAL,
			"nullio model: a median of more than 4 s, or more than 1 ms for a KiB");
	return 0;
}

int block_nullio_open(const struct block_config *config, struct loop *loop,
		      struct block_device **ret_device, struct error *reterr)
{
	struct nullio *nullio;
	int rc;

	rc = model_check(&config->model, reterr);
	if (rc < 0)
		return rc;
	if (config->size_bytes == 0)
		return error_set(reterr, -EINVAL,
				 "nullio device: it needs a size");
	nullio = calloc(1,
			sizeof(*nullio) +
				config->model.servers *
					sizeof(nullio->serving[0]));
	if (!nullio)
		return error_set(reterr, -ENOMEM,
				 "nullio device: out of memory");
	rc = loop_timer_init(loop, &nullio->timer, nullio_expired);
	if (rc < 0) {
		free(nullio);
		return error_set(reterr, rc, "nullio device: out of memory");
	}
	nullio->device.ops = &nullio_ops;
	nullio->device.size_bytes = config->size_bytes;
	nullio->device.block_size = BLOCK_SIZE_BYTES;
	nullio->device.read_only = config->read_only;
	nullio->loop = loop;
	nullio->model = config->model;
	nullio->start_ns = loop_clock_ns();
	nullio->waiting_end = &nullio->waiting;
	random_seed(nullio->random, config->model.seed);
	if (config->model.servers > 0)
		factors_fill(nullio->factors, config->model.sigma_milli);
	*ret_device = &nullio->device;
	return 0;
}

void block_nullio_before(struct block_device *device,
			 struct block_device *behind)
{
	struct nullio *nullio = nullio_of(device);

	nullio->behind = behind;
	device->size_bytes = behind->size_bytes;
	device->read_only = behind->read_only;
}
