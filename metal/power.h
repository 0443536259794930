/* SPDX-License-Identifier: ISC */
/* power.h: the end of the machine's run. */
#ifndef METAL_POWER_H
#define METAL_POWER_H

#include "metal/acpi.h"

void power_init(const struct acpi_info *acpi);
/* Return only where the machine cannot. */
void power_off(void);
void power_reboot(void);

#endif
