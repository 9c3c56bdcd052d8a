/* SPDX-License-Identifier: Apache-2.0 */
/* history-slot.c - see history-slot.h */
#include "host/history-slot.h"

#include <stdlib.h>
#include <string.h>

/* Reads, writes: rates of one second. */
struct history_second {
	uint64_t per_s[2][DERIVE_AXES];
};

struct history_minute {
	int64_t at_s;
	struct history_second seconds[60];
};

struct history_counters {		/* reads, writes */
	uint64_t count[2][DERIVE_AXES];
};

struct history_slot {
	int64_t since_s;		/* the first second that is known */
	uint64_t counted_ns;		/* when the counters were these */
	struct history_counters counted;
	struct histogram before[2];	/* as the minute began */
	struct derive_cell cell;	/* the minute, less its latencies */
	struct history_minute *minutes[HISTORY_MINUTES];
};

static void read_counters(const struct stats_process *stats,
			  struct history_counters *counted)
{
	for (unsigned int i = 0; i < 2; i++) {
		counted->count[i][DERIVE_REQUESTS] =
			stats_get(&stats->direction[i].requests);
		counted->count[i][DERIVE_BYTES] =
			stats_get(&stats->direction[i].bytes);
	}
}

/* Count from here. */
static void begin(struct history_slot *slot, const struct stats_process *stats,
		  uint64_t now_ns)
{
	slot->counted_ns = now_ns;
	read_counters(stats, &slot->counted);
	memcpy(slot->before, stats->latency, sizeof(slot->before));
}

static void keep_second(struct history_slot *slot,
			const struct derive_cell *cell, int64_t now_s)
{
	const int64_t at_s = now_s - now_s % 60;
	struct history_minute **place =
		&slot->minutes[(uint64_t)at_s / 60 % HISTORY_MINUTES];
	struct history_second *second;

	if (!*place)
		*place = calloc(1, sizeof(**place));
	if (!*place)
		return;
	if ((*place)->at_s != at_s)
		memset(*place, 0, sizeof(**place));
	(*place)->at_s = at_s;
	/* Two ticks may be in the same second: the busier one stays. */
	second = &(*place)->seconds[now_s - at_s];
	for (unsigned int i = 0; i < DERIVE_AXES; i++) {
		const uint64_t *top[2] = {&cell->top_per_s[SLA_READ][i],
					  &cell->top_per_s[SLA_WRITE][i]};

		for (unsigned int d = 0; d < 2; d++)
			if (second->per_s[d][i] < *top[d])
				second->per_s[d][i] = *top[d];
	}
}

void history_slot_count(struct history_slot **slot,
			const struct stats_process *stats,
			enum keep_verdict verdict, uint64_t now_ns,
			int64_t now_s)
{
	struct history_slot *history = *slot;
	struct history_counters now, since;
	struct derive_cell cell = {0};
	bool is_back = false;

	if (!history) {
		history = calloc(1, sizeof(*history));
		if (!history)
			return;
		*slot = history;
		history->since_s = now_s;
		begin(history, stats, now_ns);
		return;
	}
	if (now_ns <= history->counted_ns)
		return;
	read_counters(stats, &now);
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int j = 0; j < DERIVE_AXES; j++) {
			const uint64_t before = history->counted.count[i][j];

			is_back |= now.count[i][j] < before;
			since.count[i][j] = now.count[i][j] - before;
		}
	}
	if (is_back) {		/* others have been in this place */
		begin(history, stats, now_ns);
		return;
	}
	derive_count(&cell, since.count, now_ns - history->counted_ns);
	history->counted_ns = now_ns;
	history->counted = now;
	if (cell.seconds)
		keep_second(history, &cell, now_s);
	cell.kept_s = verdict == KEEP_KEPT;
	cell.broken_s = verdict == KEEP_BROKEN;
	derive_merge(&history->cell, &cell);
}

bool history_slot_look(const struct history_slot *slot,
		       const struct stats_process *stats,
		       struct derive_cell *ret_cell)
{
	if (!slot ||
	    slot->cell.seconds + slot->cell.kept_s + slot->cell.broken_s == 0)
		return false;
	*ret_cell = slot->cell;
	if (slot->cell.seconds)
		derive_latency(ret_cell, slot->before, stats->latency);
	return true;
}

bool history_slot_close(struct history_slot *slot,
			const struct stats_process *stats,
			struct derive_cell *ret_cell)
{
	if (!history_slot_look(slot, stats, ret_cell))
		return false;
	if (slot->cell.seconds)
		memcpy(slot->before, stats->latency, sizeof(slot->before));
	memset(&slot->cell, 0, sizeof(slot->cell));
	return true;
}

static void second_cell(const struct history_second *second,
			struct derive_cell *cell)
{
	memset(cell, 0, sizeof(*cell));
	cell->seconds = 1;
	for (unsigned int i = 0; i < DERIVE_AXES; i++) {
		cell->top_per_s[SLA_READ][i] = second->per_s[0][i];
		cell->top_per_s[SLA_WRITE][i] = second->per_s[1][i];
		cell->top_per_s[SLA_TOTAL][i] =
			second->per_s[0][i] + second->per_s[1][i];
	}
}

size_t history_slot_seconds(const struct history_slot *slot, int64_t since_s,
			    struct derive_cell *cells)
{
	size_t count = 0;

	for (unsigned int i = 0; slot && i < HISTORY_MINUTES; i++) {
		const struct history_minute *minute = slot->minutes[i];

		for (unsigned int s = 0; minute && s < 60; s++) {
			const struct history_second *second =
				&minute->seconds[s];

			if (minute->at_s + s < since_s ||
			    second->per_s[0][DERIVE_REQUESTS] +
					    second->per_s[1][DERIVE_REQUESTS] ==
				    0 ||
			    count == HISTORY_SECONDS)
				continue;
			second_cell(second, &cells[count++]);
		}
	}
	return count;
}

int64_t history_slot_since(const struct history_slot *slot)
{
	return slot ? slot->since_s : INT64_MAX;
}

void history_slot_free(struct history_slot *slot)
{
	for (unsigned int i = 0; slot && i < HISTORY_MINUTES; i++)
		free(slot->minutes[i]);
	free(slot);
}
