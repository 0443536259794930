/* SPDX-License-Identifier: ISC */
/* sandbox.h: gives up what a running VM's process does not need. Linux. */
#ifndef CTL_SANDBOX_H
#define CTL_SANDBOX_H

#include "ctl/msg.h"

/* After everything is open: drops all capabilities, sets no_new_privs, and allows only the system
 * calls that a running VM makes, in all threads, present and future. Others fail with EPERM; those
 * that no honest thread here would try end the process. */
int sandbox_enter(struct msg *msg);

#endif
