/* SPDX-License-Identifier: ISC */
/* smp.h: the machine's processors. */
#ifndef METAL_SMP_H
#define METAL_SMP_H

#include "metal/acpi.h"

/* Starts all others; each becomes an idle thread. each() runs on every one, here first, whose failure is
 * the function's; another CPU for which it fails is left out. */
int smp_start(const struct acpi_info *acpi, int (*each)(void)) attr_must_check;
/* What a CPU needs before anything else. */
void smp_cpu_features(void);

#endif
