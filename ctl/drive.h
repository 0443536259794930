/* SPDX-License-Identifier: ISC */
/* drive.h: removable drives by their names: "cd0" is the first --cdrom, "fd1" the second --floppy. */
#ifndef CTL_DRIVE_H
#define CTL_DRIVE_H

#include "ctl/def.h"

struct drive {
	bool floppy;
	unsigned index; /* in disk[] or floppy[] of the definition */
};
int drive_find(const struct vm_def *def, const char *name, struct drive *out, struct msg *msg);
/* --medium: DRIVE=FILE, or DRIVE=none, in place of what was said before. */
int drive_define(struct vm_def *def, const char *value, struct msg *msg);

#endif
