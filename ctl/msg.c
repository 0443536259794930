/* SPDX-License-Identifier: ISC */
/* msg.c: messages for the user. Called by the thread that sets up. */
#include "ctl/msg.h"

#include <stdio.h>

/* Names and values come from files and command lines: one line stays one line, and no terminal is told
 * what to do. */
static void msg_clean(struct msg *msg)
{
	for (char *p = msg->text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

void msg_prefix(struct msg *msg, const char *prefix)
{
	struct msg old = *msg;

	snprintf(msg->text, sizeof(msg->text), "%.200s: %.300s", prefix, old.text);
	msg_clean(msg);
}

int msg_fail(struct msg *msg, int err, const char *fmt, ...)
{
	va_list ap;

	if (msg->text[0])
		return err;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	msg_clean(msg);
	return err;
}
