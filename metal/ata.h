/* SPDX-License-Identifier: ISC */
/* ata.h: what a disk says of itself (ATA8-ACS, 7.12), behind AHCI and IDE. */
#ifndef METAL_ATA_H
#define METAL_ATA_H

#include "metal/hostdisk.h"

/* Of a disk whose sectors are of 512 bytes and that knows 48-bit commands; others: ERR_NOSYS. id: 256 words. */
int ata_identity(struct hostdisk *d, const uint16_t *id) attr_must_check;

#endif
