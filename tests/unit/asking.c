/* SPDX-License-Identifier: Apache-2.0 */
/* asking.c - see asking.h */
#include "asking.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct sla asking_sla(const char *text)
{
	struct error error = {""};
	struct sla sla;

	if (sla_parse(text, &sla, &error) != 0)
		fail_msg("'%s': %s", text, error.text);
	return sla;
}

struct admitted *asking_admit(struct admission *admission, const char *text)
{
	struct sla sla = asking_sla(text);
	const struct admission_request request = {.sla = &sla,
						  .vdev_size_bytes = GIB};
	struct admission_refusal refusal;
	struct admitted *admitted = NULL;
	char reason[256];

	if (admission_admit(admission, &request, &admitted, &refusal) != 0)
		fail_msg("%s: %s", text,
			 admission_explain(&refusal, "d0", "ep0", reason,
					   sizeof(reason)));
	return admitted;
}

void asking_refused(struct admission *admission, const char *text,
		    const char *expected)
{
	struct sla sla = asking_sla(text);
	const struct admission_request request = {.sla = &sla,
						  .vdev_size_bytes = GIB};
	struct admission_refusal refusal = {0}, same = {0};
	struct admitted *admitted = NULL;
	char reason[256];

	assert_int_equal(
		admission_admit(admission, &request, &admitted, &refusal),
		-ENOSPC);
	assert_null(admitted);
	assert_string_equal(admission_explain(&refusal, "d0", "ep0", reason,
					      sizeof(reason)),
			    expected);
	assert_int_equal(admission_what_if(admission, &request, &same),
			 -ENOSPC);
	assert_int_equal(same.reason, refusal.reason);
	assert_int_equal(same.available, refusal.available);
}
