/* SPDX-License-Identifier: ISC */
/* diskcopy.h: a disk's contents, whatever its format, for images that hold it as it is. */
#ifndef CTL_DISKCOPY_H
#define CTL_DISKCOPY_H

#include <stdio.h>

#include "ctl/def.h"

int diskcopy_size(const struct disk_def *d, uint64_t *size, struct msg *msg);
int diskcopy_write(const struct disk_def *d, FILE *out, struct msg *msg);

#endif
