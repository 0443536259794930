/* SPDX-License-Identifier: ISC */
/* journal.h: the history on a disk of the machine, where the fleet names an area for it. */
#ifndef METAL_JOURNAL_H
#define METAL_JOURNAL_H

#include "base/def.h"
#include "base/err.h"

/* area: for disks_open(); "": there is none. Of all VMs, from now on. */
int journal_start(const char *area) attr_must_check;
/* What there is so far is on the disk afterwards, if that does not take too long: before the machine goes off. */
void journal_sync(void);

#endif
