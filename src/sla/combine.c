/* SPDX-License-Identifier: Apache-2.0 */
/*
 * combine.c - see combine.h
 *
 * An array of the different specifications, ordered; each has a 128-bit sum
 * or, if it is shared, the ordered set of all values with the least one at
 * hand.
 */
#include "sla/combine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/counted.h"

struct slot {
	struct sla_spec spec;		/* value: the strictest, if shared */
	uint32_t processes;
	unsigned __int128 sum;		/* if not shared */
	struct counted values;		/* if shared */
};

struct combine {
	/* While one SLA replaces another, both are in. */
	struct slot slots[COMBINE_SPECS_MAX + SLA_SPECS_MAX];
	unsigned int count;
};

static bool is_shared(const struct sla_spec *spec)
{
	return spec->metric == SLA_LATENCY || spec->metric == SLA_JITTER ||
		spec->metric == SLA_LOSS;
}

/* Orders specifications by metric, direction, percentile. */
static uint32_t key(const struct sla_spec *spec)
{
	return (uint32_t)spec->metric << 24 | (uint32_t)spec->direction << 16 |
		spec->percentile;
}

/* Where the slot of 'spec' is, or would be. */
static unsigned int find(const struct combine *set, const struct sla_spec *spec)
{
	unsigned int low = 0, high = set->count;

	while (low < high) {
		const unsigned int middle = (low + high) / 2;

		if (key(&set->slots[middle].spec) < key(spec))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool has(const struct combine *set, unsigned int i,
		const struct sla_spec *spec)
{
	return i < set->count && key(&set->slots[i].spec) == key(spec);
}

int combine_create(struct combine **ret_set)
{
	struct combine *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	*ret_set = set;
	return 0;
}

void combine_destroy(struct combine *set)
{
	if (!set)
		return;
	for (unsigned int i = 0; i < set->count; i++)
		counted_finish(&set->slots[i].values);
	free(set);
}

static int add_spec(struct combine *set, const struct sla_spec *spec)
{
	const unsigned int i = find(set, spec);
	struct slot *slot = &set->slots[i];
	struct counted values = {NULL};
	const bool is_new = !has(set, i, spec);
	int r = 0;

	if (is_shared(spec))
		r = counted_add(is_new ? &values : &slot->values, spec->value);
	if (r < 0)
		return r;
	if (is_new) {
		memmove(slot + 1, slot, (set->count - i) * sizeof(*slot));
		*slot = (struct slot){.spec = *spec, .values = values};
		set->count++;
	}
	slot->processes++;
	slot->sum += spec->value;
	if (is_shared(spec) && spec->value < slot->spec.value)
		slot->spec.value = spec->value;
	return 0;
}

static void remove_spec(struct combine *set, const struct sla_spec *spec)
{
	const unsigned int i = find(set, spec);
	struct slot *slot = &set->slots[i];

	/* Who removes has added it before. */
	assert(has(set, i, spec) && slot->sum >= spec->value);
	slot->sum -= spec->value;
	if (is_shared(spec)) {
		const bool is_there =
			counted_remove(&slot->values, spec->value);

		assert(is_there);
	}
	if (--slot->processes == 0) {
		set->count--;
		memmove(slot, slot + 1, (set->count - i) * sizeof(*slot));
	} else if (is_shared(spec) && spec->value == slot->spec.value) {
		counted_find(&slot->values, 0, &slot->spec.value);
	}
}

/* The value that 'sla' gives to what 'spec' names; false: none. */
static bool value_in(const struct sla *sla, const struct sla_spec *spec,
		     uint64_t *ret_value)
{
	for (unsigned int i = 0; sla && i < sla->count; i++) {
		if (key(&sla->specs[i]) == key(spec)) {
			*ret_value = sla->specs[i].value;
			return true;
		}
	}
	return false;
}

/* Whether 'old' can become 'sla'. */
static bool is_bounded(const struct combine *set, const struct sla *old,
		       const struct sla *sla)
{
	unsigned int count = set->count;

	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];
		const unsigned int at = find(set, spec);
		unsigned __int128 sum = spec->value;
		uint64_t replaced = 0;

		if (!has(set, at, spec)) {
			count++;
			continue;
		}
		value_in(old, spec, &replaced);
		sum += set->slots[at].sum - replaced;
		if (!is_shared(spec) && sum > UINT64_MAX)
			return false;
	}
	for (unsigned int i = 0; old && i < old->count; i++) {
		const unsigned int at = find(set, &old->specs[i]);
		uint64_t value;

		if (set->slots[at].processes == 1 &&
		    !value_in(sla, &old->specs[i], &value))
			count--;
	}
	return count <= COMBINE_SPECS_MAX;
}

int combine_update(struct combine *set, const struct sla *old,
		   const struct sla *sla)
{
	if (!is_bounded(set, old, sla))
		return -EOVERFLOW;
	for (unsigned int i = 0; i < sla->count; i++) {
		int r = add_spec(set, &sla->specs[i]);

		if (r < 0) {
			while (i-- > 0)
				remove_spec(set, &sla->specs[i]);
			return r;
		}
	}
	if (old)
		combine_remove(set, old);
	return 0;
}

int combine_add(struct combine *set, const struct sla *sla)
{
	return combine_update(set, NULL, sla);
}

void combine_remove(struct combine *set, const struct sla *sla)
{
	for (unsigned int i = 0; i < sla->count; i++)
		remove_spec(set, &sla->specs[i]);
}

void combine_get_without(const struct combine *set, const struct sla *sla,
			 struct sla_combined *ret_combined)
{
	ret_combined->count = 0;
	for (unsigned int i = 0; i < set->count; i++) {
		const struct slot *slot = &set->slots[i];
		uint32_t processes = slot->processes;
		struct sla_spec spec = slot->spec;
		unsigned __int128 sum = slot->sum;
		uint64_t value;

		if (value_in(sla, &spec, &value)) {
			processes--;
			sum -= value;
			if (is_shared(&spec) && value == spec.value &&
			    counted_times(&slot->values, value) == 1 &&
			    processes > 0)
				counted_find(&slot->values, value + 1,
					     &spec.value);
		}
		if (processes == 0)
			continue;
		if (!is_shared(&spec))
			spec.value = (uint64_t)sum;
		ret_combined->processes[ret_combined->count] = processes;
		ret_combined->specs[ret_combined->count++] = spec;
	}
}

void combine_get(const struct combine *set, struct sla_combined *ret_combined)
{
	combine_get_without(set, NULL, ret_combined);
}

char *combine_format(const struct sla_combined *combined, char *buffer,
		     size_t size)
{
	return sla_format_specs(combined->specs, combined->count, buffer, size);
}
