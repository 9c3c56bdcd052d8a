/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - qemu-img, run by us as the calling user
 *
 * Threads: one.  Between image_begin and image_end SIGINT, SIGTERM and SIGHUP
 * do not end us but what we run, so that things are left in order.
 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define IMAGE_ARGS_MAX 20U
#define IMAGE_FORMAT_MAX 16U

struct image_info {
	char format[IMAGE_FORMAT_MAX];
	uint64_t size_bytes; /* of the disk in it */
	char backing[256]; /* the other file that it needs; "" */
};

void image_begin(void);
void image_end(void);

/* One that we read (or write: 'is_target'). */
bool image_knows(const char *format, bool is_target);
/* Those, as "raw, qcow2 or vdi". */
const char *image_formats(bool is_target);

/* What is in the file; 'format' NULL: whatever it looks like.  Returns 0 or
 * -errno with the reason. */
int image_look(const char *file, const char *format,
	       struct image_info *ret_info, struct error *reterr);

/* "qemu-img convert -p" with 'args' (ends with NULL) behind it.  'what' (NULL:
 * nobody looks) is said with the percentage on standard error.  Returns 0;
 * -EINTR: a signal ended it; -ENOENT: there is no qemu-img; -EIO: it failed. */
int image_convert(const char *const *args, const char *what,
		  struct error *reterr);

#endif
