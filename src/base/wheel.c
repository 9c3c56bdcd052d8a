/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.c - see wheel.h
 *
 *   keys:  ... <= last      | the rest of last's slot at level 1 | level 2 ...
 *          [ run ] [ late ] [ level 0: 64 slots of a key each   ][ 64 wider ...
 *
 * A key not before 'last' goes to the level at which it first differs from
 * 'last', counted in groups of 6 bits from above, and there to the slot that
 * its own 6 bits name.  So (1) all keys of a lower level are less than those
 * of a higher one, (2) within a level a lower slot is less, (3) at every
 * level, used slots lie above last's own (which at level 0 may be used itself).
 *
 * When the run becomes short, the first used slot of the lowest used level is
 * next.  If it holds few entries, they are sorted and put behind the run, and
 * 'last' becomes the greatest.  Else it is spread over lower levels.  An entry
 * thus moves at most once for each level below its first, and mostly once,
 * always in company, which is what makes it cheap: it is written where others
 * have just been.
 *
 * What is inserted before 'last' has to go to a heap, so 'last' should not
 * run far ahead of the least: not farther than a quarter of 'reach', which
 * follows the distance at which keys are inserted, so that only one in ten
 * comes nearer.  A slot that is wider is spread, and not opened before it is
 * needed.
 */
#include "base/wheel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct wheel_pack) == 256, "four cache lines");

void wheel_init(struct wheel *wheel, uint32_t ahead)
{
	assert(ahead > 0 && ahead <= WHEEL_AHEAD);
	*wheel = (struct wheel){.ahead = ahead};
}

int wheel_reserve(struct wheel *wheel, uint32_t capacity)
{
	/* Of a slot's packs all but one are full; index 0 is none. */
	const uint32_t count =
		capacity / WHEEL_PACK + 2 + WHEEL_LEVELS * WHEEL_SLOTS;
	struct wheel_pack *packs;

	if (capacity <= wheel->capacity)
		return 0;
	if (heap_reserve(&wheel->late, capacity) < 0)
		return -ENOMEM;
	packs = aligned_alloc(64, count * sizeof(*packs));
	if (!packs)
		return -ENOMEM;
	if (wheel->packs_made > 0)
		memcpy(packs, wheel->packs,
		       (wheel->packs_made + UINT64_C(1)) * sizeof(*packs));
	free(wheel->packs);
	wheel->packs = packs;
	wheel->capacity = capacity;
	return 0;
}

void wheel_finish(struct wheel *wheel)
{
	heap_finish(&wheel->late);
	free(wheel->packs);
	wheel->packs = NULL;
	wheel->capacity = 0;
}

void wheel_clear(struct wheel *wheel)
{
	wheel->least = wheel->refill_base = 0;
	wheel->last = wheel->base = wheel->reach = 0;
	wheel->next = wheel->end = wheel->sure = 0;
	wheel->seen[0] = wheel->seen[1] = 0;
	wheel->levels = 0;
	wheel->far_count = 0;
	wheel->free_pack = wheel->packs_made = 0;
	wheel->late.count = 0;
	memset(wheel->used, 0, sizeof(wheel->used));
	memset(wheel->slots, 0, sizeof(wheel->slots));
}

/* The pack that is being filled or is just full, of a slot that has any. */
static uint32_t slot_pack(struct wheel_slot slot)
{
	return (slot.next - 1) / WHEEL_PACK;
}

static uint32_t slot_count(struct wheel_slot slot)
{
	if (slot.packs == 0)
		return 0;
	return (slot.packs - 1) * WHEEL_PACK + (slot.next - 1) % WHEEL_PACK + 1;
}

static void put(struct wheel *wheel, struct wheel_slot *slot, uint32_t id,
		uint64_t key)
{
	struct heap_entry *entry =
		(struct heap_entry *)wheel->packs + slot->next++;

	entry->key = key;
	entry->id = id;
}

/* A slot needs a pack, all that it has being full. */
static __attribute__((noinline)) void put_in_new_pack(struct wheel *wheel,
						      struct wheel_slot *slot,
						      uint32_t id, uint64_t key)
{
	const uint32_t at = (uint32_t)(slot - wheel->slots[0]);
	uint32_t pack = wheel->free_pack;

	if (pack)
		wheel->free_pack = wheel->packs[pack].entries[0].unused;
	else
		pack = ++wheel->packs_made;
	wheel->packs[pack].entries[0].unused =
		slot->packs > 0 ? slot_pack(*slot) : 0;
	slot->next = pack * WHEEL_PACK;
	slot->packs++;
	wheel->used[at / WHEEL_SLOTS] |= UINT64_C(1) << at % WHEEL_SLOTS;
	wheel->levels |= 1U << at / WHEEL_SLOTS;
	put(wheel, slot, id, key);
}

/* Where it belongs, seen from 'last', which it is not before. */
static inline __attribute__((always_inline)) void put_by_key(
	struct wheel *wheel, uint64_t last, uint32_t id, uint64_t key)
{
	const uint32_t level =
		(63U - (uint32_t)__builtin_clzll((key ^ last) | 1)) /
		WHEEL_BITS;
	const uint64_t index = key >> level * WHEEL_BITS & (WHEEL_SLOTS - 1);
	struct wheel_slot *slot = &wheel->slots[level][index];

	if (slot->next % WHEEL_PACK == 0)
		put_in_new_pack(wheel, slot, id, key);
	else
		put(wheel, slot, id, key);
}

/* There is room; 'key' is not before 'last'. */
static inline void insert_far(struct wheel *wheel, uint32_t id, uint64_t key)
{
	wheel->far_count++;
	put_by_key(wheel, wheel->last, id, key);
}

static void insert_late(struct wheel *wheel, uint32_t id, uint64_t key)
{
	if (key < wheel->least)
		wheel->least = key;
	wheel->sure = 0;
	heap_insert(&wheel->late, id, key);
}

/* It comes before 'last', or there is too little for anything but a heap. */
static __attribute__((noinline)) void insert_near(struct wheel *wheel,
						  uint32_t id, uint64_t key)
{
	if (key < wheel->last) {
		wheel->reach -= wheel->reach >> 6;
		insert_late(wheel, id, key);
	} else if (wheel_count(wheel) < WHEEL_FEW) {
		wheel->last = key;
		insert_late(wheel, id, key);
	} else {
		insert_far(wheel, id, key);
	}
}

/* Learn from a key that is inserted: narrow the reach by an eighth for one
 * that comes nearer, else widen it by a 64th. */
static __attribute__((noinline)) void follow(struct wheel *wheel, uint32_t id,
					     uint64_t key)
{
	if (key - wheel->base < wheel->reach)
		wheel->reach -= wheel->reach >> 3;
	else
		wheel->reach += (wheel->reach >> 6) + 1;
	insert_far(wheel, id, key);
}

void wheel_insert(struct wheel *wheel, uint32_t id, uint64_t key)
{
	if (key < wheel->last || wheel->far_count == 0)
		insert_near(wheel, id, key);
	else if (wheel->far_count % WHEEL_SAMPLE == 0)
		follow(wheel, id, key);
	else
		insert_far(wheel, id, key);
}

/* Copy the entries of one of a slot's packs, of 'left' that remain, to 'out',
 * free it and return the next. */
static uint32_t empty_pack(struct wheel *wheel, uint32_t p, uint32_t left,
			   struct heap_entry *out, uint32_t *ret_count)
{
	struct wheel_pack *pack = &wheel->packs[p];
	const uint32_t next = pack->entries[0].unused;
	/* The first one met is the one that was being filled. */
	const uint32_t count = (left - 1) % WHEEL_PACK + 1;

	memcpy(out, pack->entries, count * sizeof(*out));
	pack->entries[0].unused = wheel->free_pack;
	wheel->free_pack = p;
	*ret_count = count;
	return next;
}

static void insertion_sort(struct heap_entry *entries, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		const struct heap_entry entry = entries[i];
		uint32_t k = i;

		for (; k > 0 && entries[k - 1].key > entry.key; k--)
			entries[k] = entries[k - 1];
		entries[k] = entry;
	}
}

/* By the leading bits of the keys' distances; what is left to do is little. */
static void sort(const struct heap_entry *from, uint32_t count,
		 struct heap_entry *to)
{
	const uint32_t bits = 32U - (uint32_t)__builtin_clz(count - 1);
	uint64_t least = UINT64_MAX, most = 0;
	uint16_t starts[WHEEL_RUN + 1];
	uint32_t shift, sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		const uint64_t key = from[i].key;

		least = key < least ? key : least;
		most = key > most ? key : most;
	}
	shift = 64U - (uint32_t)__builtin_clzll((most - least) | 1);
	shift = shift > bits ? shift - bits : 0;
	memset(starts, 0, (size_t)2 << bits);
	for (uint32_t i = 0; i < count; i++)
		starts[(from[i].key - least) >> shift]++;
	for (uint32_t i = 0; i < 1U << bits; i++) {
		const uint16_t here = starts[i];

		starts[i] = (uint16_t)sum;
		sum += here;
	}
	for (uint32_t i = 0; i < count; i++)
		to[starts[(from[i].key - least) >> shift]++] = from[i];
	insertion_sort(to, count);
}

/* Unhook a slot. */
static struct wheel_slot take_slot(struct wheel *wheel, uint32_t level,
				   uint32_t index)
{
	const struct wheel_slot slot = wheel->slots[level][index];

	wheel->slots[level][index] = (struct wheel_slot){0};
	wheel->used[level] &= ~(UINT64_C(1) << index);
	if (wheel->used[level] == 0)
		wheel->levels &= ~(1U << level);
	wheel->far_count -= slot_count(slot);
	return slot;
}

/* Move what is left of the run to its front. */
static void make_way(struct wheel *wheel)
{
	const uint32_t shown = wheel->next;

	wheel->end -= shown;
	memmove(wheel->run, &wheel->run[shown],
		wheel->end * sizeof(*wheel->run));
	for (unsigned int k = 0; k < 2; k++)
		wheel->seen[k] -=
			wheel->seen[k] < shown ? wheel->seen[k] : shown;
	wheel->next = 0;
}

/* A slot that holds few: behind the run with it. */
static void append(struct wheel *wheel, struct wheel_slot slot)
{
	struct heap_entry entries[WHEEL_RUN];
	struct heap_entry *to = &wheel->run[wheel->end];
	const uint32_t all = slot_count(slot);
	uint32_t count = 0, each;

	for (uint32_t p = slot_pack(slot); count < all; count += each)
		p = empty_pack(wheel, p, all - count, &entries[count], &each);
	if (count > WHEEL_FEW) {
		sort(entries, count, to);
	} else {
		memcpy(to, entries, count * sizeof(*entries));
		insertion_sort(to, count);
	}
	wheel->end += count;
	wheel->last = to[count - 1].key;
}

/* All have the same key: some of them go behind the run. */
static void append_some(struct wheel *wheel, uint32_t index)
{
	struct wheel_slot *slot = &wheel->slots[0][index];
	uint32_t pack, each;

	pack = empty_pack(wheel, slot_pack(*slot), slot_count(*slot),
			  &wheel->run[wheel->end], &each);
	slot->next = (pack + 1) * WHEEL_PACK;
	slot->packs--;
	wheel->far_count -= each;
	wheel->last = wheel->run[wheel->end].key;
	wheel->end += each;
}

/* Find the least key of a slot; return true if all are the same. */
static bool find_least(const struct wheel *wheel, struct wheel_slot slot,
		       uint64_t *ret_least)
{
	uint64_t least = UINT64_MAX, most = 0;
	uint32_t left, each, p = slot_pack(slot);

	for (left = slot_count(slot); left > 0; left -= each) {
		const struct wheel_pack *pack = &wheel->packs[p];

		each = (left - 1) % WHEEL_PACK + 1;
		for (uint32_t i = 0; i < each; i++) {
			const uint64_t key = pack->entries[i].key;

			least = key < least ? key : least;
			most = key > most ? key : most;
		}
		p = pack->entries[0].unused;
	}
	*ret_least = least;
	return least == most;
}

/* Over the lower levels, as seen from the least.  Where all have one key, as
 * with clients that were promised the same, the slot moves as it is. */
static void spread(struct wheel *wheel, struct wheel_slot slot)
{
	uint64_t least;
	uint32_t left, each, p = slot_pack(slot);

	if (find_least(wheel, slot, &least)) {
		wheel->last = least;
		wheel->slots[0][least % WHEEL_SLOTS] = slot;
		wheel->used[0] |= UINT64_C(1) << least % WHEEL_SLOTS;
		wheel->levels |= 1;
		wheel->far_count += slot_count(slot);
		return;
	}
	wheel->last = least;
	wheel->far_count += slot_count(slot);
	for (left = slot_count(slot); left > 0; left -= each) {
		struct wheel_pack *pack = &wheel->packs[p];
		const uint32_t next = pack->entries[0].unused;

		each = (left - 1) % WHEEL_PACK + 1;
		for (uint32_t i = 0; i < each; i++)
			put_by_key(wheel, least, pack->entries[i].id,
				   pack->entries[i].key);
		pack->entries[0].unused = wheel->free_pack;
		wheel->free_pack = p;
		p = next;
	}
}

/* Sort what is next, if anything is and it is near or needed. */
static __attribute__((noinline)) void refill(struct wheel *wheel)
{
	const uint64_t near = wheel->base + wheel->reach / 4;

	make_way(wheel);
	while (wheel->end < wheel->ahead && wheel->far_count > 0) {
		const bool needed = wheel->end + wheel->late.count == 0;
		const uint32_t level = (uint32_t)__builtin_ctz(wheel->levels);
		const uint32_t index =
			(uint32_t)__builtin_ctzll(wheel->used[level]);
		const uint32_t shift = level * WHEEL_BITS;
		const uint32_t count = slot_count(wheel->slots[level][index]);
		const uint64_t begin =
			(wheel->last >> shift >> WHEEL_BITS << WHEEL_BITS |
			 index)
			<< shift;
		const uint64_t end = begin + (UINT64_C(1) << shift) - 1;

		if (begin > near && !needed) {
			wheel->refill_base = begin - wheel->reach / 4;
			break;
		}
		if (level == 0 && count > WHEEL_RUN)
			append_some(wheel, index);
		else if (level == 0 || count == 1 ||
			 (count <= WHEEL_RUN && end <= near))
			append(wheel, take_slot(wheel, level, index));
		else
			spread(wheel, take_slot(wheel, level, index));
	}
}

uint64_t wheel_find(struct wheel *wheel)
{
	uint32_t count = wheel->end - wheel->next;
	const struct heap_entry *first;
	uint64_t least;

	if (count < wheel->ahead && wheel->far_count > 0 &&
	    (wheel->base >= wheel->refill_base ||
	     count + wheel->late.count == 0)) {
		refill(wheel);
		count = wheel->end;
	}
	first = &wheel->run[wheel->next];
	least = heap_key(&wheel->late);
	if (count > 0 && first->key < least)
		least = first->key;
	wheel->least = least;
	wheel->sure = 0;
	if (wheel->late.count == 0)
		wheel->sure =
			wheel->next + (count < WHEEL_SURE ? count : WHEEL_SURE);
	return least;
}

uint32_t wheel_pop_any(struct wheel *wheel)
{
	const struct heap_entry *first = &wheel->run[wheel->next];
	const uint64_t key = wheel->least;

	wheel->least = 0;
	wheel->base = key;
	if (wheel->next != wheel->end && first->key == key) {
		wheel->next++;
		return first->id;
	}
	return heap_pop(&wheel->late);
}
