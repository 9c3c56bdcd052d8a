/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-poll.c - serving a split virtqueue: a visit, and notifications
 *
 * Theory of operation
 *
 * The guest owns the descriptor table and the available ring; we own the used
 * ring.  Both sides look at indexes that only grow, modulo 2^16:
 *
 *	available  ....[ taken: in flight ][ new ]....
 *	                                   ^      ^
 *	                          next_avail      avail->idx  (the guest's)
 *
 * A visit of the poller takes a bounded batch, so that a deep queue does not
 * delay its neighbours on the reactor (the vdev may say that it is to be less
 * or none: sched/turns.h), or goes on with a piece of what is larger, and goes
 * over the batch in stages.
 * Each stage asks for the cache lines that the next one reads, because most
 * of a small request's cost is waiting for lines that the guest's core wrote:
 *
 *	heads		available ring -> which descriptors
 *	describe	descriptor table -> chain, indirect table
 *	locate		chain -> header and status byte
 *	fill		header -> request for the vdev
 *	submit		request -> vdev
 *
 * The last two go hand in hand: the next request is filled, and the device
 * told of it, before one is submitted, so that a device that copies has the
 * next lines on their way meanwhile.
 *
 * Completions are only collected ('completed'), whether they come inside
 * submit or later from the device; the end of the visit writes them all to
 * the used ring with one store of its index, and decides once whether the
 * guest is to be called.  A ring's poller runs in every round of the loop, so
 * what a device completes is written in the next one without any signal.
 * A guest that had shown nothing more by the end of the last batch waits for
 * us, then we for it: it is shown the first half of this one early, so that
 * from then on both work at the same time.
 *
 * Kicks.  While we poll, the guest need not kick.  With the event index that
 * costs nothing: avail_event stays where it was, behind.  Without, the flag
 * NO_NOTIFY is set once.  Before the loop sleeps, ring_arm asks for kicks and
 * then looks again: either the guest sees the wish, or we see its request.
 * As long as every request that may come would have to wait at the vdev
 * anyhow, kicks stay off, and the loop looks again at that time.
 *
 * What the guest writes is copied once and checked before use.  A request
 * that is wrong is answered with an error; when there is nothing to answer
 * to (a head that isn't one, a loop, no status byte), the ring is broken: it
 * stops, says so, and rings the error descriptor, until it is started again.
 */
#include "vhost/ring-poll.h"

#include <stddef.h>

#include "vhost/access.h"
#include "vhost/ring-take.h"
#include "vhost/ring-used.h"

/* ---- calling the guest ---- */

/* Does the guest want to be called for what was used since it was asked
 * last? */
static bool wants_call(struct ring *ring)
{
	const uint16_t before = ring->signalled_idx;
	uint16_t event;

	/* Its wish is read after our index is out. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring->event_idx)
		return !(access_read_u16(&ring->avail->flags) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = access_read_u16(&ring->avail->ring[ring->size]);
	ring->signalled_idx = ring->used_idx;
	if (!ring->signalled) {
		ring->signalled = true;
		return true;
	}
	return (uint16_t)(ring->used_idx - event - 1) <
		(uint16_t)(ring->used_idx - before);
}

/* Call the guest if it wants that. */
static void call(struct ring *ring)
{
	ring->shown = false;
	if (ring->call && wants_call(ring))
		notify_ring(ring->call);
}

/* What only shows after the fact. */
static void check_troubles(struct ring *ring)
{
	if (memory_lost(ring->map))
		ring_break(ring, "guest memory was truncated");
	else if (ring->inflight.queue && *ring->inflight.lost)
		ring_break(ring, "the inflight region was truncated");
	else if (ring->log && (ring->log->lost || ring->log->overrun))
		ring_break(ring,
			   ring->log->lost ?
				   "the dirty log was truncated" :
				   "the dirty log is too short for the memory");
	else if (notify_failure(ring->kick) < 0 ||
		 notify_failure(ring->call) < 0)
		ring_break(ring, "its kick or call descriptor does not work");
}

/* ---- the poller ---- */

/* A ring that is to end: what was submitted in this visit (again, or the next
 * piece), or has failed, waits for no limit and nobody either. */
static void wind_up(struct ring *ring, unsigned int found, uint64_t now_ns)
{
	if (ring->in_flight > 0 &&
	    (found > 0 || vdev_halts(ring->config.target->vdev)))
		ring_hurry(ring, now_ns);
	if (!ring->told_idle && ring_quiesced(ring)) {
		ring->told_idle = true;
		ring->config.idle(ring->config.arg);
	}
}

unsigned int ring_poll(struct loop_poller *poller, uint64_t now_ns)
{
	struct ring *ring =
		(struct ring *)(void *)((char *)poller -
					offsetof(struct ring, poller));
	unsigned int found = 0;

	if (ring->pieces) {
		ring_next_pieces(ring, now_ns);
		found++;
	} else if (ring->taking && !ring->starved) {
		found += ring_take(ring, now_ns);
	}
	if (ring->completed_count > 0) {
		found += ring->completed_count;
		ring_show(ring);
	}
	if (ring->shown)
		call(ring);
	else if (notify_unsent(ring->call))
		notify_ring(ring->call);
	if (!ring->broken)
		check_troubles(ring);
	if (ring->quiescing)
		wind_up(ring, found, now_ns);
	return found;
}

/* Until when every request that may come would wait at the vdev. */
static uint64_t quiet_until_ns(const struct ring *ring)
{
	const struct blk_target *target = ring->config.target;

	return target->process ? vdev_process_quiet_until_ns(target->process) :
				 vdev_quiet_until_ns(target->vdev);
}

uint64_t ring_quiet_until(struct loop_poller *poller, uint64_t now_ns)
{
	const struct ring *ring =
		(struct ring *)(void *)((char *)poller -
					offsetof(struct ring, poller));

	if (ring->completed_count > 0 || ring->pieces ||
	    notify_unsent(ring->call))
		return now_ns;
	if (!ring->taking || ring->starved)
		return UINT64_MAX;
	return quiet_until_ns(ring);
}

uint64_t ring_arm(struct loop_poller *poller, uint64_t now_ns)
{
	struct ring *ring =
		(struct ring *)(void *)((char *)poller -
					offsetof(struct ring, poller));
	uint64_t quiet_ns;

	if (ring->completed_count > 0 || ring->pieces ||
	    notify_unsent(ring->call) ||
	    (!ring->told_idle && ring_quiesced(ring)))
		return 0;
	if (!ring->taking || ring->starved)
		return UINT64_MAX;
	if (ring->resubmit_next < ring->resubmit_count)
		return 0;
	quiet_ns = quiet_until_ns(ring);
	if (quiet_ns > now_ns)
		return quiet_ns;
	ring->armed = true;
	if (ring->event_idx)
		access_write_u16(&ring->used->ring[ring->size],
				 ring->next_avail);
	else
		access_write_u16(&ring->used->flags, 0);
	if (ring->log && ring->log_used)
		log_mark(ring->log, ring->used_guest_addr,
			 sizeof(struct vring_used) +
				 ring->size * sizeof(struct vring_used_elem) +
				 sizeof(uint16_t));
	/* Either the guest sees the wish, or we its request. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (access_acquire_u16(&ring->avail->idx) != ring->next_avail)
		return 0;
	return ring->kick ? UINT64_MAX : now_ns + RING_NO_KICK_POLL_NS;
}
