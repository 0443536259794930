/* SPDX-License-Identifier: ISC */
/* hpet.h: high precision event timers (IA-PC HPET specification 1.0a): a 64-bit counter of 100 MHz and
 * four timers, each one-shot or periodic, by I/O APIC or by message. */
#ifndef DEV_PC_HPET_H
#define DEV_PC_HPET_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

#define HPET_BASE   UINT64_C(0xfed00000)
#define HPET_LEN    0x400u
#define HPET_TIMERS 4
#define HPET_HZ     UINT64_C(100000000)
/* Lower half of the capabilities: vendor, legacy replacement, 64 bits, timers, revision. The ACPI
 * table repeats it. */
#define HPET_BLOCK_ID (0x8086u << 16 | BIT(15) | BIT(13) | (HPET_TIMERS - 1) << 8 | 0x01)

struct vm;
struct hpet;
/* Both optional: an interrupt on this pin, or the one of this message, has not been taken yet, so that one more would
 * be lost; a periodic timer's is then kept and given later. */
struct hpet_wiring {
	bool (*waiting)(void *arg, unsigned gsi);
	bool (*msi_waiting)(void *arg, uint32_t data);
	void *waiting_arg;
};

int hpet_create(struct vm *vm, const struct hpet_wiring *w, struct hpet **out) attr_must_check;
/* Legacy replacement (2.3.4): timers 0 and 1 take the lines of i8254 (n 0, GSI 0) and RTC (n 1, GSI 8)
 * away from them. The two chips are therefore wired to these, which pass their signals on otherwise. */
struct irq_line hpet_legacy_line(struct hpet *h, unsigned n);

#endif
