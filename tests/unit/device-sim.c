/* SPDX-License-Identifier: Apache-2.0 */
/* device-sim.c - see device-sim.h */
#include "device-sim.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sim_request {
	struct sched_request sched;	/* first: found by cast */
	struct sim_load *load;
	struct sim_request *next;
	uint64_t end_ns;
	uint64_t sequence;
};

uint64_t sim_random(struct sim *sim)
{
	uint64_t x = sim->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	sim->random = x;
	return x * UINT64_C(0x2545F4914F6CDD1D);
}

static double uniform(struct sim *sim)
{
	return ((double)(sim_random(sim) >> 11) + 1.0) / 9007199254740993.0;
}

static double normal(struct sim *sim)
{
	const double u = uniform(sim), v = uniform(sim);

	return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

/* Device-ns per request at full depth, where the test does not say. */
static void fit_config(struct sim_config *config)
{
	const double sigma = config->sigma_milli / 1000.0;
	struct sched_config *sched = &config->sched;

	if (sched->window_max == 0) {
		sched->window_min = 1;
		/* As calibration chooses it. */
		sched->window_max = config->servers ? 2 * config->servers : 32;
	}
	for (unsigned int d = 0; d < 2; d++) {
		const uint32_t servers = config->servers ? config->servers : 1;
		const double mean = (double)config->service_ns[d] *
			exp(sigma * sigma / 2.0);

		if (sched->cost.request_ns[d] == 0)
			sched->cost.request_ns[d] = (uint64_t)(mean / servers);
		if (sched->cost.per_kib_ns[d] == 0)
			sched->cost.per_kib_ns[d] =
				config->per_kib_ns / servers;
	}
}

void sim_init(struct sim *sim, const struct sim_config *config)
{
	*sim = (struct sim){.config = *config, .speed_milli = 1000};
	sim->random = config->seed * 2 + UINT64_C(88172645463325253);
	sim->waiting_end = &sim->waiting;
	sim->now_ns = SIM_S;
	sim->began_ns = SIM_S;
	fit_config(&sim->config);
	if (sched_create(&sim->config.sched, &sim->sched, NULL) < 0)
		abort();
}

void sim_finish(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->load_count; i++) {
		struct sim_load *load = sim->loads[i];

		if (load->client) {
			sched_client_drain(load->client);
			sched_client_destroy(load->client);
		}
		free(load->requests);
		free(load);
	}
	free(sim->loads);
	free(sim->heap);
	sched_destroy(sim->sched);
}

struct sim_load *sim_load(struct sim *sim, const struct sim_load_config *config)
{
	struct sim_load *load = calloc(1, sizeof(*load));

	assert(load && config->depth > 0);
	load->config = *config;
	if (load->config.bytes == 0)
		load->config.bytes = 4096;
	load->sim = sim;
	load->requests = calloc(config->depth, sizeof(*load->requests));
	assert(load->requests);
	for (uint32_t i = 0; i < config->depth; i++) {
		load->requests[i].load = load;
		load->requests[i].next = load->idle;
		load->idle = &load->requests[i];
	}
	if (sched_client_create(sim->sched, config->group, &config->params,
				sim->now_ns, &load->client, NULL) < 0)
		abort();
	sim->loads = realloc(sim->loads,
			     (sim->load_count + 1) * sizeof(*sim->loads));
	assert(sim->loads);
	sim->loads[sim->load_count++] = load;
	return load;
}

/* The heap of requests being served. */
static void heap_push(struct sim *sim, struct sim_request *request)
{
	uint32_t i = sim->heap_count++;

	if (sim->heap_count > sim->heap_capacity) {
		sim->heap_capacity = sim->heap_count * 2;
		sim->heap = realloc(sim->heap,
				    sim->heap_capacity * sizeof(*sim->heap));
		assert(sim->heap);
	}
	for (; i > 0 && sim->heap[(i - 1) / 2]->end_ns > request->end_ns;
	     i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = request;
}

static struct sim_request *heap_pop(struct sim *sim)
{
	struct sim_request *top = sim->heap[0];
	struct sim_request *last = sim->heap[--sim->heap_count];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < sim->heap_count) {
		if (child + 1 < sim->heap_count &&
		    sim->heap[child + 1]->end_ns < sim->heap[child]->end_ns)
			child++;
		if (sim->heap[child]->end_ns >= last->end_ns)
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return top;
}

static void serve(struct sim *sim, struct sim_request *request)
{
	const double sigma = sim->config.sigma_milli / 1000.0;
	double ns = (double)sim->config.service_ns[request->sched.direction];

	if (sigma > 0)
		ns *= exp(sigma * normal(sim));
	ns += (double)sim->config.per_kib_ns * request->sched.bytes / 1024.0;
	ns *= 1.0 + sim->config.crowding_milli * sim->busy / 1000.0;
	ns = ns * 1000.0 / sim->speed_milli;
	request->end_ns = sim->now_ns + (uint64_t)ns;
	sim->busy++;
	heap_push(sim, request);
}

static void device_start(struct sim *sim, struct sched_request *sched_request)
{
	struct sim_request *request = (struct sim_request *)sched_request;
	struct sim_load *load = request->load;
	const unsigned int d = sched_request->direction;

	assert(request->sequence > load->last_sequence[d]);
	load->last_sequence[d] = request->sequence;
	load->started++;
	if (sim->started)
		sim->started(load, sched_request);
	if (sim->config.servers == 0 || sim->busy < sim->config.servers) {
		serve(sim, request);
		return;
	}
	request->next = NULL;
	*sim->waiting_end = request;
	sim->waiting_end = &request->next;
}

static void send(struct sim_load *load)
{
	static uint64_t sequence;
	struct sim *sim = load->sim;
	struct sim_request *request = load->idle;

	load->idle = request->next;
	load->outstanding++;
	request->sequence = ++sequence;
	request->sched.bytes = load->config.bytes;
	request->sched.direction =
		load->config.write_percent > sim_random(sim) % 100;
	if (sched_submit(sim->sched, load->client, &request->sched,
			 sim->now_ns) == SCHED_GO)
		device_start(sim, &request->sched);
}

static void finish_one(struct sim *sim)
{
	struct sim_request *request = heap_pop(sim);
	struct sim_load *load = request->load;
	const uint64_t latency_ns = sim->now_ns - request->sched.arrival_ns;
	const uint64_t window = (sim->now_ns - sim->began_ns) / SIM_WINDOW_NS;

	sim->busy--;
	sched_complete(sim->sched, &request->sched, sim->now_ns);
	if (sim->waiting) {
		struct sim_request *next = sim->waiting;

		sim->waiting = next->next;
		if (!sim->waiting)
			sim->waiting_end = &sim->waiting;
		serve(sim, next);
	}
	load->done[request->sched.direction]++;
	load->done_bytes += request->sched.bytes;
	load->latency_total_ns += latency_ns;
	histogram_add(&load->latency, latency_ns, 1);
	if (window < SIM_WINDOWS)
		load->windows[window]++;
	load->outstanding--;
	request->next = load->idle;
	load->idle = request;
	if (load->running && load->config.every_ns == 0)
		send(load);
}

void sim_start(struct sim_load *load)
{
	load->running = true;
	load->next_ns = load->sim->now_ns;
	if (load->config.every_ns > 0)
		return;
	while (load->idle)
		send(load);
}

void sim_start_all(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->load_count; i++)
		sim_start(sim->loads[i]);
}

void sim_stop(struct sim_load *load)
{
	load->running = false;
}

static void arrivals(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->load_count; i++) {
		struct sim_load *load = sim->loads[i];

		if (!load->running || load->config.every_ns == 0)
			continue;
		for (; load->next_ns <= sim->now_ns;
		     load->next_ns += load->config.every_ns)
			if (load->idle)
				send(load);
	}
}

static uint64_t next_event(const struct sim *sim)
{
	uint64_t next_ns = sched_wake_ns(sim->sched);

	if (next_ns < sim->now_ns)
		next_ns = sim->now_ns;
	if (sim->heap_count > 0 && sim->heap[0]->end_ns < next_ns)
		next_ns = sim->heap[0]->end_ns;
	for (uint32_t i = 0; i < sim->load_count; i++) {
		const struct sim_load *load = sim->loads[i];

		if (load->running && load->config.every_ns > 0 &&
		    load->next_ns < next_ns)
			next_ns = load->next_ns;
	}
	return next_ns;
}

void sim_run(struct sim *sim, uint64_t for_ns)
{
	const uint64_t until_ns = sim->now_ns + for_ns;
	struct sched_request *request;
	uint64_t next_ns;

	for (;;) {
		while ((request = sched_next(sim->sched, sim->now_ns)) != NULL)
			device_start(sim, request);
		next_ns = next_event(sim);
		if (next_ns > until_ns)
			break;
		sim->now_ns = next_ns;
		while (sim->heap_count > 0 &&
		       sim->heap[0]->end_ns <= sim->now_ns)
			finish_one(sim);
		arrivals(sim);
	}
	sim->now_ns = until_ns;
}

void sim_reset(struct sim *sim)
{
	sim->began_ns = sim->now_ns;
	for (uint32_t i = 0; i < sim->load_count; i++) {
		struct sim_load *load = sim->loads[i];

		memset(load->done, 0, sizeof(load->done));
		memset(load->windows, 0, sizeof(load->windows));
		memset(&load->latency, 0, sizeof(load->latency));
		load->done_bytes = 0;
		load->started = 0;
		load->latency_total_ns = 0;
	}
}

uint64_t sim_rate(const struct sim_load *load)
{
	return (load->done[0] + load->done[1]) * SIM_S /
		(load->sim->now_ns - load->sim->began_ns);
}

uint32_t sim_windows_below(const struct sim_load *load, uint32_t count)
{
	const uint64_t whole =
		(load->sim->now_ns - load->sim->began_ns) / SIM_WINDOW_NS;
	uint32_t below = 0;

	for (uint64_t w = 0; w < whole && w < SIM_WINDOWS; w++)
		below += load->windows[w] < count;
	return below;
}

uint32_t sim_worst_window(const struct sim_load *load)
{
	const uint64_t whole =
		(load->sim->now_ns - load->sim->began_ns) / SIM_WINDOW_NS;
	uint32_t worst = UINT32_MAX;

	for (uint64_t w = 0; w < whole && w < SIM_WINDOWS; w++)
		if (load->windows[w] < worst)
			worst = load->windows[w];
	return worst;
}

struct sched_report sim_report(const struct sim *sim)
{
	struct sched_report report;

	sched_report(sim->sched, &report);
	return report;
}
