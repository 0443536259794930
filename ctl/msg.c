/* SPDX-License-Identifier: ISC */
/* msg.c: messages for the user. Called by the thread that sets up. */
#include "ctl/msg.h"

#include <stdio.h>

int msg_fail(struct msg *msg, int err, const char *fmt, ...)
{
	va_list ap;

	if (msg->text[0])
		return err;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	return err;
}
