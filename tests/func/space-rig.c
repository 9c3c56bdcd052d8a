/* SPDX-License-Identifier: Apache-2.0 */
/* space-rig.c - the file behind a pool, and what is free in it */
#include "space-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void space_fill(int first_mib, int end_mib, char byte)
{
	char *block = malloc(MIB);
	int fd = open("d0", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	memset(block, byte, MIB);
	for (int i = first_mib; i < end_mib; i++)
		assert_int_equal(pwrite(fd, block, MIB, (off_t)i * MIB), MIB);
	close(fd);
	free(block);
}

bool space_holds(int first_mib, int end_mib, char byte)
{
	char *block = malloc(MIB), *wanted = malloc(MIB);
	int fd = open("d0", O_RDONLY | O_CLOEXEC);
	bool is_same = true;

	memset(wanted, byte, MIB);
	for (int i = first_mib; i < end_mib; i++)
		is_same &= pread(fd, block, MIB, (off_t)i * MIB) == MIB &&
			memcmp(block, wanted, MIB) == 0;
	close(fd);
	free(block);
	free(wanted);
	return is_same;
}

void space_assert_emptied(void)
{
	assert_true(space_holds(0, 4, 0));
	assert_true(space_holds(4, 8, 'x'));
}

void space_make_new(struct rig *rig)
{
	const struct host_vdev_request request = {
		.name = "new",
		.size = "4MiB",
	};

	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	space_fill(0, 8, 'x');
}

void space_start(struct rig *rig)
{
	rig_start(rig, SPACE_CONFIG, true);
	space_make_new(rig);
}

void space_delete_in_vain(struct rig *rig)
{
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "is not emptied"));
	assert_non_null(strstr(rig->text, "another file"));
	assert_non_null(strstr(rig->text, "penstock device accept"));
	assert_true(rig_has_event(rig, "error", "another file"));
	space_assert_free(rig, 4);
}

static bool free_is(struct rig *rig, void *arg)
{
	return rig_number(host_pool(rig->host, "p1"), "free_bytes") ==
		(long long)*(int *)arg * MIB;
}

void space_assert_free(struct rig *rig, int mib)
{
	assert_true(free_is(rig, &mib));
}

void space_wait_free(struct rig *rig, int mib)
{
	rig_wait(rig, free_is, &mib);
}
