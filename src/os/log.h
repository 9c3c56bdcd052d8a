/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per message on standard error
 *
 * Only daemons log; library rooms return errors.  When standard error is the
 * system's journal, a line starts with its priority ("<3>"); else with the
 * program's name.  A line is written by one system call, so that processes
 * and threads don't mix theirs; control characters are replaced.
 * Threads: any, after log_init.
 */
#ifndef OS_LOG_H
#define OS_LOG_H

#define LOG_LINE_MAX	1024

/* 'name' must stay valid. */
void log_init(const char *name);

/* Something is lost or refused and somebody must act. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something is not as it should be, and goes on. */
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something worth knowing happened. */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
