/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h */
#include "os/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *program = "penstock";
static bool to_journal;

/* JOURNAL_STREAM is "device:inode" of the stream that systemd made; it is
 * inherited even where standard error then was sent elsewhere. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	uintmax_t device, inode;
	char *end;

	if (!stream || fstat(STDERR_FILENO, &status) < 0)
		return false;
	device = strtoumax(stream, &end, 10);
	if (*end != ':')
		return false;
	inode = strtoumax(end + 1, &end, 10);
	return *end == '\0' && device == status.st_dev &&
		inode == status.st_ino;
}

void log_init(const char *name)
{
	program = name;
	to_journal = stderr_is_journal();
}

__attribute__((format(printf, 2, 0))) static void line(int priority,
						       const char *format,
						       va_list args)
{
	const int saved_errno = errno;
	char text[LOG_LINE_MAX];
	int length, more;

	if (to_journal)
		length = snprintf(text, sizeof(text), "<%d>", priority);
	else
		length = snprintf(text, sizeof(text), "%.64s: ", program);
	more = vsnprintf(text + length, sizeof(text) - (size_t)length, format,
			 args);
	if (more > 0)
		length += more;
	if (length > (int)sizeof(text) - 1)
		length = (int)sizeof(text) - 1;
	for (int i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	text[length] = '\n';
	/* There is nobody to tell if this fails. */
	while (write(STDERR_FILENO, text, (size_t)length + 1) < 0 &&
	       errno == EINTR)
		;
	errno = saved_errno;
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(3, format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(4, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(6, format, args);
	va_end(args);
}
