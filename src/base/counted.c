/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counted.c - see counted.h
 *
 * An AA tree (Andersson 1993): a red-black tree in which only right children
 * may be red, so that two rotations keep it balanced.  A node's level is one
 * more than its left child's; a right child may be on its parent's level, a
 * right grandchild not.  Depth is at most 2 log2 n, so recursion is shallow.
 */
#include "base/counted.h"

#include <errno.h>
#include <stdlib.h>

struct counted_node {
	struct counted_node *left, *right;
	uint64_t value, times;
	unsigned int level;
};

static unsigned int level(const struct counted_node *node)
{
	return node ? node->level : 0;
}

/* A left child on the same level becomes the parent. */
static struct counted_node *skew(struct counted_node *node)
{
	struct counted_node *left = node->left;

	if (!left || left->level != node->level)
		return node;
	node->left = left->right;
	left->right = node;
	return left;
}

/* Of three in a row on the same level the middle one goes up. */
static struct counted_node *split(struct counted_node *node)
{
	struct counted_node *right = node->right;

	if (!right || level(right->right) != node->level)
		return node;
	node->right = right->left;
	right->left = node;
	right->level++;
	return right;
}

static void finish(struct counted_node *node)
{
	if (!node)
		return;
	finish(node->left);
	finish(node->right);
	free(node);
}

void counted_finish(struct counted *set)
{
	finish(set->root);
	set->root = NULL;
}

static struct counted_node *find(const struct counted *set, uint64_t value)
{
	struct counted_node *node = set->root;

	while (node && node->value != value)
		node = value < node->value ? node->left : node->right;
	return node;
}

static struct counted_node *insert(struct counted_node *node,
				   struct counted_node *added)
{
	if (!node)
		return added;
	if (added->value < node->value)
		node->left = insert(node->left, added);
	else
		node->right = insert(node->right, added);
	return split(skew(node));
}

int counted_add(struct counted *set, uint64_t value)
{
	struct counted_node *node = find(set, value);

	if (node) {
		node->times++;
		return 0;
	}
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->value = value;
	node->times = 1;
	node->level = 1;
	set->root = insert(set->root, node);
	return 0;
}

/* Put a node right whose children may have lost a level. */
static struct counted_node *rebalance(struct counted_node *node)
{
	const unsigned int left = level(node->left), right = level(node->right);
	const unsigned int should = (left < right ? left : right) + 1;

	if (should < node->level) {
		node->level = should;
		if (node->right && node->right->level > should)
			node->right->level = should;
	}
	node = skew(node);
	if (node->right)
		node->right = skew(node->right);
	if (node->right && node->right->right)
		node->right->right = skew(node->right->right);
	node = split(node);
	if (node->right)
		node->right = split(node->right);
	return node;
}

/* Unlink the smallest node of a tree. */
static struct counted_node *unlink_first(struct counted_node *node,
					 struct counted_node **ret_first)
{
	if (!node->left) {
		*ret_first = node;
		return node->right;
	}
	node->left = unlink_first(node->left, ret_first);
	return rebalance(node);
}

/* 'value' is in the tree. */
static struct counted_node *delete (struct counted_node *node, uint64_t value)
{
	if (value < node->value) {
		node->left = delete (node->left, value);
	} else if (value > node->value) {
		node->right = delete (node->right, value);
	} else if (!node->right) {
		/* On the lowest level, so nothing is on the left either. */
		struct counted_node *left = node->left;

		free(node);
		return left;
	} else {
		struct counted_node *next, *right;

		right = unlink_first(node->right, &next);
		next->left = node->left;
		next->right = right;
		next->level = node->level;
		free(node);
		node = next;
	}
	return rebalance(node);
}

bool counted_remove(struct counted *set, uint64_t value)
{
	struct counted_node *node = find(set, value);

	if (!node)
		return false;
	if (--node->times == 0)
		set->root = delete (set->root, value);
	return true;
}

uint64_t counted_times(const struct counted *set, uint64_t value)
{
	const struct counted_node *node = find(set, value);

	return node ? node->times : 0;
}

bool counted_find(const struct counted *set, uint64_t least,
		  uint64_t *ret_value)
{
	bool is_found = false;

	for (const struct counted_node *node = set->root; node;) {
		if (node->value < least) {
			node = node->right;
			continue;
		}
		*ret_value = node->value;
		is_found = true;
		node = node->left;
	}
	return is_found;
}
