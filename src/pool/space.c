/* SPDX-License-Identifier: Apache-2.0 */
/* space.c - see space.h */
#include "pool/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS	SPACE_WORD
#define GROUP_WORDS	(SPACE_GROUP / WORD_BITS)

static uint32_t groups(uint32_t extents)
{
	return (extents + SPACE_GROUP - 1) / SPACE_GROUP;
}

/* Arrays for 'extent_count', into 'ret_space', with what 'old' has. */
static int make(struct space *ret_space, const struct space *old,
		uint32_t extent_count)
{
	const size_t words = (size_t)groups(extent_count) * GROUP_WORDS;
	const size_t had = (size_t)groups(old->extent_count) * GROUP_WORDS;
	struct space made = *old;

	made.bad = NULL;
	made.words = calloc(words + 1, sizeof(*made.words));
	for (unsigned int s = 0; s < SPACE_STATES; s++)
		made.counts[s] =
			calloc(groups(extent_count) + 1, sizeof(uint16_t));
	if (old->bad)
		made.bad = calloc(words + 1, sizeof(uint64_t));
	if (!made.words || !made.counts[0] || !made.counts[1] ||
	    !made.counts[2] || !made.counts[3] || (old->bad && !made.bad)) {
		space_finish(&made);
		return -ENOMEM;
	}
	if (had)
		memcpy(made.words, old->words, had * sizeof(*made.words));
	for (unsigned int s = 0; s < SPACE_STATES && had; s++)
		memcpy(made.counts[s], old->counts[s],
		       groups(old->extent_count) * sizeof(uint16_t));
	if (old->bad)
		memcpy(made.bad, old->bad, had * sizeof(uint64_t));
	*ret_space = made;
	return 0;
}

int space_init(struct space *space, uint32_t extent_count)
{
	memset(space, 0, sizeof(*space));
	return space_grow(space, extent_count);
}

int space_grow(struct space *space, uint32_t extent_count)
{
	const uint32_t had = space->extent_count;
	struct space old = *space, grown;

	assert(extent_count >= had);
	if (make(&grown, space, extent_count) < 0)
		return -ENOMEM;
	*space = grown;
	space_finish(&old);
	space->extent_count = extent_count;
	space->total[SPACE_TAKEN] += extent_count - had;
	space_set(space, had, extent_count - had, SPACE_DIRTY);
	return 0;
}

void space_finish(struct space *space)
{
	free(space->words);
	space->words = NULL;
	for (unsigned int s = 0; s < SPACE_STATES; s++) {
		free(space->counts[s]);
		space->counts[s] = NULL;
	}
	free(space->bad);
	space->bad = NULL;
}

/* Which bits of a word are in 'state'. */
static uint64_t matches(const struct space *space, enum space_state state,
			uint32_t word)
{
	const uint64_t low = space->words[word].bits[0];
	const uint64_t high = space->words[word].bits[1];

	return (state & 1 ? low : ~low) & (state & 2 ? high : ~high);
}

/* Those bits of 'word' that are in [first, end). */
static uint64_t mask_of(uint32_t word, uint32_t first, uint32_t end)
{
	const uint32_t base = word * WORD_BITS;
	uint64_t mask = ~UINT64_C(0);

	if (first > base)
		mask &= ~UINT64_C(0) << (first - base);
	if (end < base + WORD_BITS)
		mask &= ~(~UINT64_C(0) << (end - base));
	return mask;
}

/* Those of 'word' that are in 'mask'. */
static void set_word(struct space *space, uint32_t word, uint64_t mask,
		     enum space_state state)
{
	const uint32_t group = word / GROUP_WORDS;
	struct space_word *w = &space->words[word];

	for (unsigned int s = 0; s < SPACE_STATES; s++) {
		const uint32_t were = (uint32_t)__builtin_popcountll(
			matches(space, (enum space_state)s, word) & mask);

		space->total[s] -= were;
		space->counts[s][group] =
			(uint16_t)(space->counts[s][group] - were);
	}
	w->bits[0] = (w->bits[0] & ~mask) | (state & 1 ? mask : 0);
	w->bits[1] = (w->bits[1] & ~mask) | (state & 2 ? mask : 0);
	space->total[state] += (uint32_t)__builtin_popcountll(mask);
	space->counts[state][group] = (uint16_t)(space->counts[state][group] +
						 __builtin_popcountll(mask));
}

/* All of a group, which is whole: a device of 100 TiB has 26,000, and who uses
 * the endpoint's other devices waits meanwhile. */
static void set_group(struct space *space, uint32_t group,
		      enum space_state state)
{
	struct space_word *words = &space->words[group * GROUP_WORDS];
	const struct space_word all = {
		.bits = {state & 1 ? ~UINT64_C(0) : 0,
			 state & 2 ? ~UINT64_C(0) : 0},
	};
	uint32_t were_taken = SPACE_GROUP;

	for (unsigned int s = SPACE_TAKEN + 1; s < SPACE_STATES; s++) {
		were_taken -= space->counts[s][group];
		space->total[s] -= space->counts[s][group];
		space->counts[s][group] = 0;
	}
	space->total[SPACE_TAKEN] -= were_taken;
	space->total[state] += SPACE_GROUP;
	space->counts[state][group] = SPACE_GROUP;
	for (uint32_t w = 0; w < GROUP_WORDS; w++)
		words[w] = all;
}

void space_set(struct space *space, uint32_t first, uint32_t count,
	       enum space_state state)
{
	const uint32_t end = first + count;
	uint32_t at = first;

	assert(end >= first && end <= space->extent_count);
	if (count == 1) {
		space_change(space, first, space_get(space, first), state);
		return;
	}
	while (at < end)
		if (at % SPACE_GROUP == 0 && end - at >= SPACE_GROUP) {
			set_group(space, at / SPACE_GROUP, state);
			at += SPACE_GROUP;
		} else {
			set_word(space, at / WORD_BITS,
				 mask_of(at / WORD_BITS, at, end), state);
			at = (at / WORD_BITS + 1) * WORD_BITS;
		}
}

int space_set_bad(struct space *space, uint32_t extent)
{
	const uint64_t bit = UINT64_C(1) << extent % WORD_BITS;

	space_set(space, extent, 1, SPACE_TAKEN);
	if (!space->bad)
		space->bad = calloc(
			(size_t)groups(space->extent_count) * GROUP_WORDS + 1,
			sizeof(uint64_t));
	if (!space->bad)
		return -ENOMEM;
	if (!(space->bad[extent / WORD_BITS] & bit))
		space->bad_total++;
	space->bad[extent / WORD_BITS] |= bit;
	return 0;
}

bool space_is_bad(const struct space *space, uint32_t extent)
{
	return space->bad &&
		space->bad[extent / WORD_BITS] >> extent % WORD_BITS & 1;
}

bool space_has(const struct space *space, enum space_state state,
	       uint32_t first, uint32_t count)
{
	const uint32_t end = first + count;

	for (uint32_t at = first; at < end;
	     at = (at / WORD_BITS + 1) * WORD_BITS)
		if (matches(space, state, at / WORD_BITS) &
		    mask_of(at / WORD_BITS, at, end))
			return true;
	return false;
}

/* In [from, end), or SPACE_NONE. */
static uint32_t find_between(const struct space *space, enum space_state state,
			     uint32_t from, uint32_t end)
{
	uint32_t word = from / WORD_BITS;

	while (word * UINT64_C(64) < end) {
		const uint32_t group = word / GROUP_WORDS;
		uint64_t found;

		if (space->counts[state][group] == 0) {
			word = (group + 1) * GROUP_WORDS;
			continue;
		}
		found = matches(space, state, word) & mask_of(word, from, end);
		if (found)
			return word * WORD_BITS +
				(uint32_t)__builtin_ctzll(found);
		word++;
	}
	return SPACE_NONE;
}

uint32_t space_find(const struct space *space, enum space_state state,
		    uint32_t from)
{
	uint32_t found = SPACE_NONE;

	assert(state != SPACE_TAKEN);
	if (space->total[state] == 0)
		return SPACE_NONE;
	if (from < space->extent_count)
		found = find_between(space, state, from, space->extent_count);
	else
		from = space->extent_count;
	return found != SPACE_NONE ? found :
				     find_between(space, state, 0, from);
}

uint32_t space_run(const struct space *space, enum space_state state,
		   uint32_t first, uint32_t max)
{
	const uint32_t left = space->extent_count - first;
	const uint32_t end = first + (max < left ? max : left);
	uint32_t at = first;

	while (at < end) {
		const uint32_t word = at / WORD_BITS;
		const uint64_t others =
			~matches(space, state, word) & mask_of(word, at, end);

		if (others)
			return word * WORD_BITS +
				(uint32_t)__builtin_ctzll(others) - first;
		at = (word + 1) * WORD_BITS;
	}
	return end - first;
}

uint32_t space_take(struct space *space, enum space_state state, uint32_t near,
		    uint32_t max, uint32_t *ret_first)
{
	uint32_t first = near, count;

	if (near >= space->extent_count || space_get(space, near) != state)
		first = space_find(space, state, space->hint[state]);
	if (first == SPACE_NONE)
		return 0;
	count = space_run(space, state, first, max);
	space_set(space, first, count, SPACE_TAKEN);
	space->hint[state] = first + count;
	*ret_first = first;
	return count;
}
