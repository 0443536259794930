/* SPDX-License-Identifier: ISC */
/* replace.h: a file that takes another one's place, whole or not at all. */
#ifndef CMD_REPLACE_H
#define CMD_REPLACE_H

#include "base/def.h"
#include "ctl/msg.h"

struct replacement {
	const char *path;
	char *temp; /* its name until then, in the same folder */
	bool named; /* it has that name already: the file system knows no nameless files */
	int fd;
};

/* For reading and writing; path stays the caller's. What killed ones have left there goes. */
int replace_begin(struct replacement *r, const char *path, struct msg *msg) attr_must_check;
/* It has path's name from now on; fd stays open. */
int replace_commit(struct replacement *r, struct msg *msg) attr_must_check;
/* After begin, whether it went well or not. */
void replace_end(struct replacement *r);

#endif
