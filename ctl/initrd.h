/* SPDX-License-Identifier: ISC */
/* initrd.h: --initrd: what is loaded beside the kernel, initial RAM disks or Multiboot modules. */
#ifndef CTL_INITRD_H
#define CTL_INITRD_H

#include "ctl/def.h"

/* FILE[,text=TEXT][,FILE[,text=TEXT]…], at most DEF_MAX_INITRDS, in place of what was said before; two commas
 * stand for one in a name or text. */
int initrd_define(struct vm_def *def, const char *value, struct msg *msg);
void initrd_fini(struct vm_def *def);

#endif
