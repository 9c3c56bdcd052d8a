/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load-replay.c - a block trace: second, r or w, bytes, 512-byte block
 *
 * Times are whole seconds; the requests of one second are spread evenly.
 */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX	(1U << 24)
#define SIZE_MAX_BYTES	(1U << 20)

static int add(struct load_trace *trace, size_t *room,
	       const struct load_record *record)
{
	if (trace->count == *room) {
		const size_t more = *room ? *room * 2 : 4096;
		struct load_record *records =
			reallocarray(trace->records, more, sizeof(*records));

		if (!records)
			return -ENOMEM;
		trace->records = records;
		*room = more;
	}
	trace->records[trace->count++] = *record;
	if (record->size_bytes > trace->size_max_bytes)
		trace->size_max_bytes = record->size_bytes;
	return 0;
}

static void spread(struct load_record *records, size_t count)
{
	size_t first = 0, next, i;

	for (; first < count; first = next) {
		for (next = first; next < count &&
		     records[next].at_ns == records[first].at_ns;
		     next++)
			;
		for (i = next; i-- > first;)
			records[i].at_ns +=
				LOAD_SECOND_NS * (i - first) / (next - first);
	}
}

static int parse(const char *line, struct load_record *ret_record)
{
	unsigned long long second, block;
	unsigned int size;
	char op;
	int end = 0;

	if (sscanf(line, "%llu,%c,%u,%llu %n", &second, &op, &size, &block,
		   &end) != 4 ||
	    line[end] != '\0')
		return -EINVAL;
	if ((op != 'r' && op != 'w') || size == 0 || size % 512 ||
	    size > SIZE_MAX_BYTES || second > 1000000 ||
	    block > UINT64_MAX / 1024)
		return -EINVAL;
	*ret_record = (struct load_record){
		.at_ns = second * LOAD_SECOND_NS,
		.offset_bytes = block * 512,
		.size_bytes = size,
		.write = op == 'w',
	};
	return 0;
}

int load_trace_read(const char *path, struct load_trace *ret_trace,
		    struct error *reterr)
{
	struct load_trace trace = {.count = 0};
	unsigned int line_number = 0;
	size_t room = 0;
	char line[128];
	int result = 0;
	FILE *file;

	file = fopen(path, "re");
	if (!file)
		return error_set(reterr, -errno, "%s: %s", path,
				 strerror(errno));
	while (result == 0 && fgets(line, sizeof(line), file)) {
		struct load_record record;

		if (++line_number == 1)
			continue;	/* names of the columns */
		result = parse(line, &record);
		if (result == 0 &&
		    (trace.count == RECORDS_MAX ||
		     (trace.count > 0 &&
		      record.at_ns < trace.records[trace.count - 1].at_ns)))
			result = -EINVAL;
		if (result == 0)
			result = add(&trace, &room, &record);
		if (result < 0)
			error_set(
				reterr, result,
				"%s:%u: not 'second,r|w,bytes,block' in order of time: %s",
				path, line_number, strerror(-result));
	}
	fclose(file);
	if (result == 0 && trace.count == 0)
		result = error_set(reterr, -EINVAL, "%s: no requests in it",
				   path);
	if (result < 0) {
		load_trace_finish(&trace);
		return result;
	}
	trace.length_ns = trace.records[trace.count - 1].at_ns + LOAD_SECOND_NS;
	spread(trace.records, trace.count);
	*ret_trace = trace;
	return 0;
}

void load_trace_finish(struct load_trace *trace)
{
	free(trace->records);
	trace->records = NULL;
}
