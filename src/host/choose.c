/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choose.c - the vdev of a process that names a policy instead of one (E9)
 *
 * Each vdev is asked as an admission would ask it, and nothing stays of the
 * question; sla/choose.h says which of those that can it is.  What is chosen is
 * written down with the process and holds until that is released: its data lie
 * there.  The file's are chosen for when all that is there is ready; where none
 * can, whyever, they are listed as refused, and asked for again each second.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/container.h"
#include "host/describe.h"
#include "host/records.h"
#include "host/want.h"
#include "sla/choose.h"

/* What is not judged yet is waited for, so many times, before the file's
 * processes are bound elsewhere. */
#define WAITS	30U

struct choice {
	struct reg_vdev **vdevs;
	struct choose_candidate *candidates;
	bool *is_refused;		/* by admission */
	unsigned int count;
	json_t *reasons;		/* [{"vdev", "reason"}] */
	struct promise_refusal refusal; /* of the first that was */
	bool is_busy;			/* of some it is not known yet */
	struct reg_vdev *vdev;		/* chosen; NULL: none */
};

static void choice_finish(struct choice *choice)
{
	free(choice->vdevs);
	free(choice->candidates);
	free(choice->is_refused);
	json_decref(choice->reasons);
}

/* --- Candidates ---------------------------------------------------------- */

static uint32_t share_ppm(uint32_t promised_ppm, uint32_t allowed_ppm)
{
	const uint64_t of = allowed_ppm ? allowed_ppm : 1;
	const uint64_t ppm = promised_ppm * UINT64_C(1000000) / of;

	return ppm < UINT32_MAX ? (uint32_t)ppm : UINT32_MAX;
}

/* Of its fullest device, or of the core, as it is promised now. */
static uint32_t load_of(const struct reg_pool *pool)
{
	struct admission_report report;
	struct core_report core;
	uint32_t most, one;

	core_report(pool->endpoint->promise.core, &core);
	most = share_ppm(core.promised_ppm, core.allowed_ppm);
	for (unsigned int i = 0; i < pool->device_count; i++) {
		admission_report(pool->devices[i]->promise.admission, &report);
		one = share_ppm(report.promised_ppm, report.allowed_ppm);
		if (one > most)
			most = one;
	}
	return most;
}

/* p99 of one request at a time, at the slowest of its devices. */
static uint64_t latency_of(const struct reg_pool *pool)
{
	uint64_t slowest = 0;

	for (unsigned int i = 0; i < pool->device_count; i++) {
		const struct reg_device *device = pool->devices[i];

		for (unsigned int j = 0; j < 2; j++) {
			const struct capacity_curve *curve =
				&device->capacity.direction[j];

			if (!device->has_capacity || !curve->count)
				return UINT64_MAX;
			if (curve->points[0].p99_ns > slowest)
				slowest = curve->points[0].p99_ns;
		}
	}
	return slowest;
}

static unsigned int processes_of(const struct host *host,
				 const struct reg_vdev *vdev)
{
	const struct reg_process *process;
	unsigned int count = 0;

	for (process = host->registry->processes; process;
	     process = process->next)
		count += process->vdev == vdev &&
			process->state != REG_PROCESS_REFUSED;
	return count;
}

/* Could it be bound there at all?  Returns 0; -EBUSY: not known yet, or -errno
 * with a reason. */
static int check_vdev(const struct host *host,
		      const struct host_process_request *request,
		      const struct wanted *wanted, const struct reg_vdev *vdev,
		      struct error *reterr)
{
	int ret = want_check_ready(vdev, reterr);

	if (ret < 0)
		return ret;
	if (vdev->state != REG_VDEV_SERVING)
		return error_set(reterr, -EBUSY, "it is not served yet");
	if (vdev->read_only)
		return error_set(reterr, -EROFS, "it is read-only");
	if (ports_device(host->registry, vdev))
		return error_set(reterr, -EBUSY, "it is behind device %s",
				 ports_device(host->registry, vdev)->name);
	return want_check_alone(host, request, wanted, vdev, reterr);
}

/* Fills 'candidate'; as check_vdev, or -ENOSPC: admission refuses it. */
static int ask_vdev(const struct host *host,
		    const struct host_process_request *request,
		    const struct wanted *wanted, struct reg_vdev *vdev,
		    struct choose_candidate *candidate,
		    struct promise_refusal *refusal)
{
	struct reg_process probe = {.vdev = vdev};
	int ret = check_vdev(host, request, wanted, vdev, &refusal->text);

	if (ret < 0)
		return ret;
	ret = promise_admit(&probe, &wanted->sla, refusal);
	candidate->load_ppm = load_of(vdev->pool);
	promise_leave(&probe);
	candidate->is_possible = ret == 0;
	candidate->free_bytes = vdev->part ?
		registry_unpromised(host->registry, vdev->pool, vdev->part) :
		describe_pool_free(vdev->pool);
	candidate->latency_ns = latency_of(vdev->pool);
	candidate->processes = processes_of(host, vdev);
	return ret;
}

static int ask_all(struct host *host,
		   const struct host_process_request *request,
		   const struct wanted *wanted, struct choice *choice)
{
	struct promise_refusal refusal;
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next) {
		const unsigned int i = choice->count;
		int ret;

		if (vdev->state == REG_VDEV_REMOVING)
			continue;
		choice->vdevs[choice->count++] = vdev;
		memset(&refusal, 0, sizeof(refusal));
		ret = ask_vdev(host, request, wanted, vdev,
			       &choice->candidates[i], &refusal);
		if (ret == -ENOMEM)
			return ret;
		choice->is_busy |= ret == -EBUSY;
		choice->is_refused[i] = ret == -ENOSPC;
		if (ret == -ENOSPC && !choice->refusal.is_refused)
			choice->refusal = refusal;
		if (ret < 0)
			json_array_append_new(choice->reasons,
					      json_pack("{s:s, s:s}", "vdev",
							vdev->name, "reason",
							refusal.text.text));
	}
	return 0;
}

static void pick(struct choice *choice, enum choose_policy policy,
		 bool is_best_effort)
{
	uint64_t random = 0;
	int at;

	if (policy == CHOOSE_RANDOM &&
	    getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = 0;
	at = choose_pick(policy, choice->candidates, choice->count, random);
	if (at < 0 && is_best_effort) {
		for (unsigned int i = 0; i < choice->count; i++)
			choice->candidates[i].is_possible =
				choice->is_refused[i];
		at = choose_pick(policy, choice->candidates, choice->count,
				 random);
	}
	choice->vdev = at < 0 ? NULL : choice->vdevs[at];
}

/* Returns 0 or -ENOMEM; choice_finish in any case. */
static int choose(struct host *host, const struct host_process_request *request,
		  const struct wanted *wanted, enum choose_policy policy,
		  struct choice *choice)
{
	const struct reg_vdev *vdev;
	size_t count = 1;
	int ret = -ENOMEM;

	memset(choice, 0, sizeof(*choice));
	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		count++;
	choice->vdevs = calloc(count, sizeof(struct reg_vdev *));
	choice->candidates = calloc(count, sizeof(*choice->candidates));
	choice->is_refused = calloc(count, sizeof(bool));
	choice->reasons = json_array();
	if (choice->vdevs && choice->candidates && choice->is_refused &&
	    choice->reasons)
		ret = ask_all(host, request, wanted, choice);
	if (ret == 0)
		pick(choice, policy, request->best_effort);
	return ret;
}

/* Of each, why it cannot be it; as many as go into a line. */
static void explain(const struct choice *choice, struct error *ret_text)
{
	const json_t *reason;
	struct error line = {""};
	size_t i;

	json_array_foreach(choice->reasons, i, reason)
	{
		const char *vdev =
			json_string_value(json_object_get(reason, "vdev"));
		const char *why =
			json_string_value(json_object_get(reason, "reason"));

		error_set(ret_text, 0, "%s%svdev %s: %s", line.text,
			  i ? "; " : "", vdev, why);
		line = *ret_text;
	}
	if (!choice->count)
		error_set(ret_text, 0, "there is no vdev to choose from");
}

/* --- At run time --------------------------------------------------------- */

static void answer_none(struct host *host,
			const struct host_process_request *request,
			const struct wanted *wanted,
			const struct choice *choice, struct host_call *call)
{
	const struct event_subject subject = {.pasid = request->pasid};
	struct reg_process probe = {.vdev = NULL};
	struct error text;
	json_t *value;

	explain(choice, &text);
	if (!choice->refusal.is_refused) {
		host_answer(call,
			    choice->count ? HOST_CONFLICT : HOST_NOT_FOUND,
			    NULL, "process %u: %s", request->pasid, text.text);
		return;
	}
	events_add(host->events, "refused", &subject,
		   "process %u is refused: %s", request->pasid, text.text);
	for (unsigned int i = 0; !probe.vdev; i++)
		probe.vdev = choice->is_refused[i] ? choice->vdevs[i] : NULL;
	value = promise_refusal_json(&choice->refusal);
	if (choice->refusal.device)
		json_object_set_new(value, "device",
				    json_string(choice->refusal.device));
	json_object_set_new(
		value, "where",
		promise_where(host->registry, &probe, &wanted->sla));
	json_object_set(value, "candidates", choice->reasons);
	host_answer(call, HOST_REFUSED, value, "%s", text.text);
}

struct reg_vdev *choose_vdev(struct host *host,
			     const struct host_process_request *request,
			     const struct wanted *wanted,
			     struct host_call *call)
{
	enum choose_policy policy;
	struct reg_vdev *vdev;
	struct choice choice;
	struct error why;

	if (choose_parse(request->vdev, &policy, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "process %u: %s",
			    request->pasid, why.text);
		return NULL;
	}
	if (choose(host, request, wanted, policy, &choice) < 0)
		host_answer(call, HOST_FAILED, NULL, "out of memory");
	else if (!choice.vdev)
		answer_none(host, request, wanted, &choice, call);
	vdev = choice.vdev;
	choice_finish(&choice);
	return vdev;
}

/* --- The file's ---------------------------------------------------------- */

/* As it is now. */
static void set_refusal(struct reg_process *process,
			const struct choice *choice)
{
	process->refusal = choice->refusal;
	explain(choice, &process->refusal.text);
}

/* Where none is, there is no vdev to list it at. */
static void say_refused(struct host *host, struct reg_unchosen *unchosen,
			const struct error *why)
{
	const struct config_process *entry = unchosen->entry;
	const struct event_subject subject = {.pasid = entry->pasid};

	if (strcmp(unchosen->told.text, why->text) == 0)
		return;
	unchosen->told = *why;
	events_add(host->events, "refused", &subject,
		   "process %u (%s) is refused: %s", entry->pasid, entry->name,
		   why->text);
}

/* It cannot be bound now: listed so, at the first of those whose admission
 * refused it, or else of all. */
static void list_refused(struct host *host, struct reg_unchosen *unchosen,
			 const struct wanted *wanted,
			 const struct choice *choice)
{
	const struct config_process *entry = unchosen->entry;
	struct reg_process *process;
	struct error why;
	unsigned int i = 0;

	explain(choice, &why);
	if (!choice->count) {
		say_refused(host, unchosen, &why);
		return;
	}
	while (choice->refusal.is_refused && !choice->is_refused[i])
		i++;
	process = registry_process_new(host->registry, entry->pasid,
				       choice->vdevs[i]);
	if (!process)
		return;		/* in a second */
	process->name = strdup(entry->name);
	if (!process->name) {
		registry_process_free(host->registry, process);
		return;
	}
	process->sla = wanted->sla;
	process->limits = wanted->limits;
	process->weight = wanted->weight;
	process->match = wanted->match;
	records_entry_process(host->config, entry->pasid, process->entry);
	process->is_unchosen = true;
	process->state = REG_PROCESS_REFUSED;
	set_refusal(process, choice);
	say_refused(host, unchosen, &why);
}

static void configured_added(struct host_call *call,
			     const struct host_reply *reply)
{
	struct reg_unchosen *unchosen =
		container_of(call, struct reg_unchosen, call);
	const struct event_subject subject = {.pasid = unchosen->entry->pasid};
	struct host *host = unchosen->host;

	unchosen->is_asked = false;
	if (reply->result == HOST_DONE) {
		registry_unchosen_free(host->registry, unchosen);
		return;
	}
	if (strcmp(unchosen->told.text, reply->text) == 0)
		return;
	error_set(&unchosen->told, 0, "%s", reply->text);
	events_add(host->events, "error", &subject, "%s", reply->text);
}

static void choose_for(struct host *host, struct reg_unchosen *unchosen,
		       struct reg_process *listed)
{
	struct host_process_request request;
	struct want_words words;
	enum choose_policy policy;
	struct wanted wanted;
	struct choice choice;
	struct error why;

	want_request(unchosen->entry, &words, &request);
	request.is_from_file = true;
	/* The file was checked, by the same rules. */
	if (choose_parse(unchosen->entry->policy, &policy, &why) < 0 ||
	    want_parse(&request, &wanted, &why) < 0)
		return;
	if (choose(host, &request, &wanted, policy, &choice) < 0) {
		choice_finish(&choice);
		return;
	}
	if (choice.is_busy && unchosen->waits++ < WAITS) {
		choice_finish(&choice);
		return;
	}
	if (!choice.vdev && listed)
		set_refusal(listed, &choice);
	else if (!choice.vdev)
		list_refused(host, unchosen, &wanted, &choice);
	if (choice.vdev) {
		request.vdev = choice.vdev->name;
		unchosen->host = host;
		unchosen->call.done = configured_added;
		unchosen->is_asked = true;
		host_process_add(host, &request, &unchosen->call);
	}
	choice_finish(&choice);
}

void choose_configured(struct host *host)
{
	struct reg_unchosen *unchosen, *next;

	if (!host->told_ready)
		return;
	for (unchosen = host->registry->unchosen; unchosen; unchosen = next) {
		struct reg_process *process = registry_process(
			host->registry, unchosen->entry->pasid);

		next = unchosen->next;
		if (unchosen->is_asked || (process && process->is_writing))
			continue;
		if (process &&
		    (!process->is_unchosen ||
		     process->state != REG_PROCESS_REFUSED))
			registry_unchosen_free(host->registry, unchosen);
		else
			choose_for(host, unchosen, process);
	}
}
