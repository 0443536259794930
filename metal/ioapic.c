/* SPDX-License-Identifier: ISC */
/* ioapic.c: the first I/O APIC (82093AA data sheet). Set up once, at the start. */
#include "metal/ioapic.h"

#include "plat/metal/mem.h"
#include "plat/metal/msr.h"

enum { REG_VERSION = 1, REG_TABLE = 0x10 };
#define RTE_LOW    BIT(13)
#define RTE_LEVEL  BIT(15)
#define RTE_MASKED BIT(16)

static volatile uint32_t *mmio;

static uint32_t reg_read(uint32_t reg)
{
	mmio[0] = reg;
	return mmio[4];
}

static void reg_write(uint32_t reg, uint32_t v)
{
	mmio[0] = reg;
	mmio[4] = v;
}

void ioapic_init(uint64_t base)
{
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	mmio = base ? paging_map(base, PAGE_SIZE, MAP_W | MAP_UC) : NULL;
	if (!mmio)
		return;
	for (uint32_t i = 0; i <= (reg_read(REG_VERSION) >> 16 & 0xff); i++)
		reg_write(REG_TABLE + 2 * i, RTE_MASKED);
}

void ioapic_route(uint32_t pin, uint8_t vector, uint32_t apic_id, bool low, bool level)
{
	if (!mmio)
		return;
	reg_write(REG_TABLE + 2 * pin + 1, apic_id << 24);
	reg_write(REG_TABLE + 2 * pin, vector | (low ? RTE_LOW : 0) | (level ? RTE_LEVEL : 0));
}
