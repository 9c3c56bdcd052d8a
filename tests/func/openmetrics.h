/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openmetrics.h - a strict reader of the OpenMetrics text format 1.0
 */
#ifndef TESTS_OPENMETRICS_H
#define TESTS_OPENMETRICS_H

/* NULL: 'text' is right.  Else what is wrong with it (static storage): order
 * of TYPE, UNIT and HELP; families in one piece and of known type; units that
 * end the name; suffixes; labels; numbers; no sample twice; "# EOF". */
const char *openmetrics_check(const char *text);

#endif
