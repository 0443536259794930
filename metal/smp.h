/* SPDX-License-Identifier: ISC */
/* smp.h: the machine's processors. */
#ifndef METAL_SMP_H
#define METAL_SMP_H

#include "metal/acpi.h"

/* Starts all others; each becomes an idle thread. each(index) runs on every one, and ran on the first. */
void smp_start(const struct acpi_info *acpi, void (*each)(void));
/* What a CPU needs before anything else. */
void smp_cpu_features(void);

#endif
