/* SPDX-License-Identifier: ISC */
/* hostdisk_drivers.h: what looks for disks. Each takes f if it is one of its kind, and adds its disks; n counts
 * them for their names. */
#ifndef METAL_HOSTDISK_DRIVERS_H
#define METAL_HOSTDISK_DRIVERS_H

#include "metal/hostdisk.h"

void hostvblk_probe(struct hostpci *f, unsigned *n);
void hostahci_probe(struct hostpci *f, unsigned *n);
void hostnvme_probe(struct hostpci *f, unsigned *n);
void hostide_probe(struct hostpci *f, unsigned *n);

/* Says that a driver could not take f. */
void hostdisk_refused(const struct hostpci *f, int err);

#endif
