/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-make.c - files become a pool's devices, with a volume that has data
 *
 * usage: pool-make FILE...       blank ones, of the same size
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/volume.h"

#define EXTENTS	8U

static struct loop *loop;
static struct pool *pool;
static uint32_t waiting;	/* for so many */

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "pool-make: %s: %s\n", what, strerror(-result));
	exit(1);
}

static void run(void)
{
	while (waiting > 0)
		check(loop_run_once(loop, UINT64_MAX), "loop");
}

static void added(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	check(result, error->text);
	waiting--;
}

static void add_file(const char *path, uint8_t number)
{
	static struct pool_add adds[POOL_MEMBERS_MAX];
	struct block_config config = {
		.kind = "file",
		.fd = open(path, O_RDWR | O_CLOEXEC),
	};
	struct member_config member = {
		.name = path,
		.uuid = {{0xd0, number}},
		.may_claim = true,
		.is_zeroed = true,
	};
	struct error error = {""};

	check(config.fd < 0 ? -errno : 0, path);
	check(block_open(&config, loop, &member.device, &error), error.text);
	adds[number].done = added;
	waiting++;
	check(pool_add(pool, &member, true, &adds[number]), path);
	run();
}

static void changed(struct volume_change *change, int result)
{
	(void)change;
	check(result, "volume");
	waiting--;
}

static void placed(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	check(result, "mapping");
	waiting--;
}

/* Mapped, and not yet written to. */
static void map(struct volume *volume, uint32_t index)
{
	struct volume_alloc alloc = {.done = placed};
	struct volume_place place;
	int rc;

	do {
		waiting = 1;
		rc = volume_write(volume, index * FORMAT_EXTENT_BYTES, &alloc,
				  &place);
		check(rc, "write");
		if (rc == VOLUME_READY)
			waiting = 0;
		run();
	} while (rc == VOLUME_WAIT);
}

static void settle(void)
{
	pool_stop(pool);
	while (!pool_is_idle(pool))
		check(loop_run_once(loop, UINT64_MAX), "loop");
}

int main(int argc, char **argv)
{
	static const struct pool_ops ops = {0};
	const struct loop_config loop_config = {.entries = 64};
	const struct volume_config config = {
		.name = "vd0",
		.uuid = {{0x70}},
		.size_bytes = 2 * EXTENTS * FORMAT_EXTENT_BYTES,
	};
	struct volume_change change = {.done = changed};
	struct volume *volume;
	struct error error = {""};

	check(loop_create(&loop_config, &loop, &error), error.text);
	check(pool_create(&ops, NULL, &pool), "pool");
	for (int i = 1; i < argc; i++)
		add_file(argv[i], (uint8_t)i);
	check(pool_start(pool, &error), error.text);
	waiting = 1;
	check(volume_create(pool, &config, &change, &volume), "volume");
	run();
	for (uint32_t i = 0; i < EXTENTS; i++)
		map(volume, 2 * i);
	settle();
	return 0;
}
