/* SPDX-License-Identifier: Apache-2.0 */
/* notify.c - see notify.h */
#include "vhost/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct notify {
	struct loop_op op;		/* the read or the write */
	struct loop_op cancel;
	struct loop_watch watch;	/* for what comes in */
	struct loop *loop;
	uint64_t value;
	int fd;
	int failure;
	bool incoming;
	bool busy;			/* 'op' is with the kernel */
	bool cancelling;		/* so is 'cancel' */
	bool wanted;			/* ring once more after this one */
	bool orphan;			/* free when both are back */
};

static void free_if_last(struct notify *notify)
{
	if (!notify->orphan || notify->busy || notify->cancelling)
		return;
	close(notify->fd);
	free(notify);
}

static void submit(struct notify *notify)
{
	struct io_uring_sqe *sqe;

	if (notify->failure < 0)
		return;
	sqe = loop_sqe(notify->loop, &notify->op);
	if (!sqe) {
		notify->wanted = true;
		return;
	}
	notify->busy = true;
	notify->wanted = false;
	if (notify->incoming) {
		io_uring_prep_read(sqe, notify->fd, &notify->value,
				   sizeof(notify->value), 0);
	} else {
		notify->value = 1;
		io_uring_prep_write(sqe, notify->fd, &notify->value,
				    sizeof(notify->value), 0);
	}
}

static void op_done(struct loop_op *op, int result)
{
	struct notify *notify =
		(struct notify *)(void *)((char *)op -
					  offsetof(struct notify, op));

	notify->busy = false;
	if (notify->orphan) {
		free_if_last(notify);
		return;
	}
	/* EAGAIN: emptied by somebody else, or so full that it wakes anyway. */
	if (result != (int)sizeof(notify->value) && result != -EAGAIN &&
	    result != -EINTR && result != -ECANCELED) {
		notify->failure = result < 0 ? result : -EINVAL;
		loop_watch_remove(notify->loop, &notify->watch);
	}
	if (notify->wanted)
		submit(notify);
}

static void cancel_done(struct loop_op *op, int result)
{
	struct notify *notify =
		(struct notify *)(void *)((char *)op -
					  offsetof(struct notify, cancel));

	(void)result;
	notify->cancelling = false;
	free_if_last(notify);
}

static void rung(struct loop_watch *watch)
{
	struct notify *notify =
		(struct notify *)(void *)((char *)watch -
					  offsetof(struct notify, watch));

	if (!notify->busy)
		submit(notify);
}

static int create(struct loop *loop, int fd, struct notify **ret_notify)
{
	struct notify *notify;
	struct stat st;

	/* An event descriptor is of no file type.  Files would be readable all
	 * the time; O_PATH descriptors of files are files too. */
	if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != 0)
		return -EINVAL;
	notify = calloc(1, sizeof(*notify));
	if (!notify)
		return -ENOMEM;
	notify->op.done = op_done;
	notify->cancel.done = cancel_done;
	notify->watch.ready = rung;
	notify->loop = loop;
	notify->fd = fd;
	*ret_notify = notify;
	return 0;
}

int notify_create_out(struct loop *loop, int fd, struct notify **ret_notify)
{
	return create(loop, fd, ret_notify);
}

int notify_create_in(struct loop *loop, int fd, struct notify **ret_notify)
{
	struct notify *notify;
	int rc;

	rc = create(loop, fd, &notify);
	if (rc < 0)
		return rc;
	notify->incoming = true;
	rc = loop_watch_add(loop, &notify->watch, fd);
	if (rc < 0) {
		free(notify);
		return rc;
	}
	*ret_notify = notify;
	return 0;
}

void notify_destroy(struct notify *notify)
{
	if (!notify)
		return;
	loop_watch_remove(notify->loop, &notify->watch);
	notify->orphan = true;
	if (notify->busy) {
		struct io_uring_sqe *sqe =
			loop_sqe(notify->loop, &notify->cancel);

		if (sqe) {
			io_uring_prep_cancel(sqe, &notify->op, 0);
			notify->cancelling = true;
		}
	}
	free_if_last(notify);
}

void notify_ring(struct notify *notify)
{
	if (notify->busy)
		notify->wanted = true;
	else
		submit(notify);
}

bool notify_unsent(const struct notify *notify)
{
	return notify && notify->wanted && !notify->busy &&
		notify->failure == 0;
}

int notify_failure(const struct notify *notify)
{
	return notify ? notify->failure : 0;
}
