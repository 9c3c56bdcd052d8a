/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c - how a verb ended, said to whoever called it */
#include "host/host-data.h"

#include <stdarg.h>

void host_answer(struct host_call *call, enum host_result result, json_t *value,
		 const char *format, ...)
{
	struct host_reply reply = {.result = result, .value = value};
	struct error text;
	va_list args;

	va_start(args, format);
	error_vset(&text, 0, format, args);
	va_end(args);
	reply.text = text.text;
	if (call)
		call->done(call, &reply);
	json_decref(value);
}

void host_refuse(struct host *host, const struct reg_process *process,
		 const struct sla *sla, const struct promise_refusal *refusal,
		 struct host_call *call)
{
	json_t *value = promise_refusal_json(refusal);

	if (refusal->device)
		json_object_set_new(value, "device",
				    json_string(refusal->device));
	json_object_set_new(value, "where",
			    promise_where(host->registry, process, sla));
	host_answer(call, HOST_REFUSED, value, "%s", refusal->text.text);
}
