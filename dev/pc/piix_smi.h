/* SPDX-License-Identifier: ISC */
/* piix_smi.h: where SMIs come from in the power management function of the 82371AB (290562): the APM
 * ports B2H and B3H, and the global registers behind the ACPI ones. A part of the chip set. */
#ifndef DEV_PC_PIIX_SMI_H
#define DEV_PC_PIIX_SMI_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

struct vm;
struct state_stream;

struct piix_smi {
	struct vm *vm;
	uint16_t base;          /* of the global registers, 0: nowhere */
	bool apmc_en;           /* DEVACTB's; the configuration space's lock */
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t apmc, apms;
	uint16_t glbsts, glben;
	uint32_t glbctl, devctl;
};

int piix_smi_init(struct piix_smi *smi, struct vm *vm) attr_must_check;
/* The block of power management ports is at pm_base now, 0: nowhere. Not from two threads at once. */
int piix_smi_move(struct piix_smi *smi, uint16_t pm_base) attr_must_check;
/* Whether writes to B2H make SMIs, as far as the global control register lets them. */
void piix_smi_enable(struct piix_smi *smi, bool apmc_en);
void piix_smi_reset(struct piix_smi *smi);
int piix_smi_state(struct piix_smi *smi, struct state_stream *st);

#endif
