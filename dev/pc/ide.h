/* SPDX-License-Identifier: ISC */
/* ide.h: the two IDE channels of the 82371SB with hard disks and CD drives. */
#ifndef DEV_PC_IDE_H
#define DEV_PC_IDE_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct pci_host;
struct block;
struct ide;

#define IDE_DRIVES 4 /* primary master and slave, secondary master and slave */

struct ide_wiring {
	struct pci_host *host;
	int slot;
	unsigned func;
	struct irq_line irq[2]; /* IRQ 14 and 15 */
	struct {
		bool present, cdrom;
		struct block *block; /* NULL: a CD drive without a disc */
		const char *serial;  /* up to 20 characters; copied */
	} drive[IDE_DRIVES];
};

/* Blocks stay the board's, beyond the life of the device. */
int ide_create(struct vm *vm, const struct ide_wiring *w, struct ide **out) attr_must_check;
/* Puts another disc into a CD drive, or takes it out (NULL). The old one is no longer used when
 * this returns. ERR_INVAL: not a CD drive; ERR_BUSY: the guest has locked the door; ERR_TIMEOUT: it does
 * not end a transfer. Not from a vCPU's
 * or the loop's thread. */
int ide_change_disc(struct ide *ide, unsigned drive, struct block *block,
		    bool force) attr_must_check;

#endif
