/* SPDX-License-Identifier: Apache-2.0 */
/* session-messages.h - what a checked message asks of a session */
#ifndef VHOST_SESSION_MESSAGES_H
#define VHOST_SESSION_MESSAGES_H

#include "vhost/session-state.h"

#define SESSION_LATER	1	/* the answer comes when 'pending' is done */

/* Do what a checked message says.  Returns 0: acknowledge it; SESSION_LATER;
 * or -errno.  Messages with an answer of their own have sent it. */
int session_handle(struct session *session, struct message *message,
		   struct error *reterr);

#endif
