/* SPDX-License-Identifier: ISC */
/* def_impl.h: what the files of a definition share: def.c (its life), def_opts.c (the table of options), def_spec.c (those that have
 * parts), def_check.c (what does not go together). */
#ifndef CTL_DEF_IMPL_H
#define CTL_DEF_IMPL_H

#include "ctl/def.h"

/* A copy of value in place of *p, which is freed. */
int def_string(char **p, const char *value, struct msg *msg) attr_must_check;
void disk_def_fini(struct disk_def *d);
extern const char *const nic_names[]; /* by enum nic_model */

/* opt.set of options that have parts; target: a struct vm_def */
int def_set_disk(void *target, const char *value, struct msg *msg);
int def_set_cdrom(void *target, const char *value, struct msg *msg);
int def_set_medium(void *target, const char *value, struct msg *msg);
int def_set_floppy(void *target, const char *value, struct msg *msg);
int def_set_boot(void *target, const char *value, struct msg *msg);
int def_set_net(void *target, const char *value, struct msg *msg);

#endif
