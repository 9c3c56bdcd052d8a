/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - which file it is that lies at a device's path */
#include "host/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ctl/item.h"

#define SECOND_NS UINT64_C(1000000000)

void identity_of_path(struct identity *identity, const char *path)
{
	memset(identity, 0, sizeof(*identity));
	if (path)
		snprintf(identity->path, sizeof(identity->path), "%s", path);
}

/* One line of sysfs; "" if there is none. */
static void read_line(const char *directory, const char *name,
		      char text[IDENTITY_DISK_MAX])
{
	char path[PATH_MAX];
	FILE *file;

	text[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(text, IDENTITY_DISK_MAX, file))
		text[0] = '\0';
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
}

void identity_find_disk(const char *directory, char disk[IDENTITY_DISK_MAX])
{
	/* NVMe, SCSI, virtio, mapped, RAID, file, NVMe and MMC of old. */
	static const char *const names[] = {
		"wwid",	   "device/wwid",	"serial",	 "dm/uuid",
		"md/uuid", "loop/backing_file", "device/serial", "device/cid",
	};
	char partition[IDENTITY_DISK_MAX], whole[PATH_MAX];
	size_t length;

	read_line(directory, "partition", partition);
	snprintf(whole, sizeof(whole), "%s%s", directory,
		 *partition ? "/.." : "");
	disk[0] = '\0';
	for (size_t i = 0; !*disk && i < sizeof(names) / sizeof(names[0]); i++)
		read_line(whole, names[i], disk);
	length = strlen(disk);
	if (length && *partition)
		snprintf(disk + length, IDENTITY_DISK_MAX - length, "/%.16s",
			 partition);
}

int identity_read(struct identity *identity, const char *path, int fd)
{
	struct statx status;
	char directory[64];

	identity_of_path(identity, path);
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
		  &status) < 0)
		return -errno;
	if (S_ISBLK(status.stx_mode)) {
		identity->device =
			makedev(status.stx_rdev_major, status.stx_rdev_minor);
		snprintf(directory, sizeof(directory), "/sys/dev/block/%u:%u",
			 status.stx_rdev_major, status.stx_rdev_minor);
		identity_find_disk(directory, identity->disk);
		return 0;
	}
	identity->device = makedev(status.stx_dev_major, status.stx_dev_minor);
	identity->inode = status.stx_ino;
	if (status.stx_mask & STATX_BTIME)
		identity->born_ns =
			(uint64_t)status.stx_btime.tv_sec * SECOND_NS +
			status.stx_btime.tv_nsec;
	return 0;
}

json_t *identity_json(const struct identity *identity)
{
	json_t *json;

	if (identity->path[0] == '\0')
		return NULL;
	json = json_pack("{s:s, s:I, s:I, s:I}", "path", identity->path,
			 "device", (json_int_t)identity->device, "inode",
			 (json_int_t)identity->inode, "born_ns",
			 (json_int_t)identity->born_ns);
	/* What is no UTF-8 is no name. */
	if (*identity->disk)
		json_object_set_new(json, "disk", json_string(identity->disk));
	return json;
}

void identity_from_json(struct identity *identity, const json_t *json)
{
	const char *disk;

	identity_of_path(identity,
			 json_string_value(json_object_get(json, "path")));
	identity->device = item_number(json, "device");
	identity->inode = item_number(json, "inode");
	identity->born_ns = item_number(json, "born_ns");
	disk = json_string_value(json_object_get(json, "disk"));
	snprintf(identity->disk, sizeof(identity->disk), "%s",
		 disk ? disk : "");
}

bool identity_is_same(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->inode == b->inode &&
		a->born_ns == b->born_ns;
}

bool identity_is_recorded(const struct identity *before,
			  const struct identity *now)
{
	bool is_path = strcmp(before->path, now->path) == 0;

	if (before->inode == 0 || now->inode == 0)
		return is_path && before->path[0] != '\0';
	return before->inode == now->inode && before->born_ns == now->born_ns &&
		(is_path || before->device == now->device);
}

bool identity_is_measured(const struct identity *before,
			  const struct identity *now)
{
	const bool is_file = before->inode != 0;

	return is_file == (now->inode != 0) &&
		identity_is_recorded(before, now) &&
		(is_file || strcmp(before->disk, now->disk) == 0);
}
