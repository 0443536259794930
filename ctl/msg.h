/* SPDX-License-Identifier: ISC */
/* msg.h: one line for the user about what is wrong and what to do. Hosted. */
#ifndef CTL_MSG_H
#define CTL_MSG_H

#include "base/def.h"
#include "base/err.h"

struct msg {
	char text[512];
};

/* Fills msg (the first failure stays: later ones are mostly its consequences); gives back err. */
int msg_fail(struct msg *msg, int err, const char *fmt, ...) attr_printf(3, 4);

/* Puts "prefix: " before the message. */
void msg_prefix(struct msg *msg, const char *prefix);

#endif
