/* SPDX-License-Identifier: ISC */
/* disks.h: the machine's disks, found, and parts of them by name. */
#ifndef METAL_DISKS_H
#define METAL_DISKS_H

#include "base/def.h"
#include "base/err.h"

struct block;
struct part;
struct hostdisk;

/* Looks for disks, on a thread of its own: guests without any need not wait. After hostpci_init(). */
int disks_start(void) attr_must_check;
/* DISK, DISK/PARTITION, DISK/PARTITION/IMAGE, DISK//IMAGE: a disk's name or serial number, a partition's
 * number or label, an image in the volume that the partition (or the whole disk) is. Waits until all disks have been found.
 * On errors err holds one line for people. */
int disks_open(const char *spec, bool read_only, struct block **out, char *err,
	       size_t err_size) attr_must_check;
/* each() for the partitions of a disk; the shell's thread. */
int disks_parts(struct hostdisk *d, bool (*each)(void *ctx, const struct part *p),
		void *ctx) attr_must_check;

/* Reads a sector into a page that the disk must not reach. 0: the IOMMU has refused it; ERR_ACCES: the page has changed. The
 * disk may be cut off afterwards. */
int disks_check_iommu(struct hostdisk *d) attr_must_check;

#endif
