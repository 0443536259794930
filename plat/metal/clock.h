/* SPDX-License-Identifier: ISC */
/* clock.h: the TSC as clock. */
#ifndef PLAT_METAL_CLOCK_H
#define PLAT_METAL_CLOCK_H

#include "base/def.h"

/* Measures the TSC against the ACPI PM timer at that port, or (0) the PIT. plat_now() works from then on: ns since
 * the TSC was entry. */
void clock_init(uint16_t pm_timer, uint64_t entry, void (*meanwhile)(void));
uint64_t clock_ticks(void);        /* the TSC */
uint64_t clock_ns(uint64_t ticks); /* how long they take */
void clock_spin(uint64_t ns);      /* waits, busily */

#endif
