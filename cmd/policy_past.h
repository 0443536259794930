/* SPDX-License-Identifier: ISC */
/* policy_past.h: rules and the past of a VM. */
#ifndef CMD_POLICY_PAST_H
#define CMD_POLICY_PAST_H

#include "ctl/msg.h"

/* Prints what the rules in file would have redirected and denied in the history of that name. */
int policy_test(const char *file, const char *name, struct msg *msg) attr_must_check;
/* Prints the tightest rules that would have allowed what the history has. */
int policy_suggest(const char *name, struct msg *msg) attr_must_check;

#endif
