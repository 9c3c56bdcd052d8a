/* SPDX-License-Identifier: Apache-2.0 */
/* test-identity.c - which disk it is, over an invented sysfs */
#include "host/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void write_line(const char *path, const char *line)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fprintf(file, "%s\n", line);
	fclose(file);
}

/* A disk has a name that stays, a partition one of its own. */
static void test_identity_names_disk_and_partition(void **state)
{
	char directory[] = "/tmp/test-identity.XXXXXX";
	char disk[IDENTITY_DISK_MAX], command[64];

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chdir(directory), 0);
	assert_int_equal(mkdir("sda", 0700), 0);
	assert_int_equal(mkdir("sda/device", 0700), 0);
	assert_int_equal(mkdir("sda/sda2", 0700), 0);
	write_line("sda/sda2/partition", "2");
	identity_find_disk("sda", disk);
	assert_string_equal(disk, "");
	identity_find_disk("sda/sda2", disk);
	assert_string_equal(disk, "");
	write_line("sda/device/wwid", "naa.5000c500a1b2c3d4");
	identity_find_disk("sda", disk);
	assert_string_equal(disk, "naa.5000c500a1b2c3d4");
	identity_find_disk("sda/sda2", disk);
	assert_string_equal(disk, "naa.5000c500a1b2c3d4/2");
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

static struct identity block_device(const char *disk)
{
	struct identity identity;

	identity_of_path(&identity, "/dev/sda");
	identity.device = 2048;
	snprintf(identity.disk, sizeof(identity.disk), "%s", disk);
	return identity;
}

/* What was measured of one disk is not true of another behind its path. */
static void test_identity_of_a_measured_disk(void **state)
{
	const struct identity a = block_device("naa.1");
	const struct identity b = block_device("naa.2");
	const struct identity nameless = block_device("");
	struct identity file = nameless, back;
	json_t *json = identity_json(&a);

	(void)state;
	identity_from_json(&back, json);
	json_decref(json);
	assert_true(identity_is_measured(&back, &a));
	assert_false(identity_is_measured(&a, &b));
	assert_false(identity_is_measured(&a, &nameless));
	assert_true(identity_is_measured(&nameless, &nameless));
	file.inode = 5;
	assert_true(identity_is_measured(&file, &file));
	assert_false(identity_is_measured(&file, &a));
	/* Places go by the path: a person looks after those. */
	assert_true(identity_is_recorded(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity_names_disk_and_partition),
		cmocka_unit_test(test_identity_of_a_measured_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
