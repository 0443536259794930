/* SPDX-License-Identifier: ISC */
/* keyboard.c: the controller (8042) of the machine's keyboard: its first channel, translated to scan code set 1, with
 * interrupts. Once, at the start; then the console's thread. */
#include "metal/keyboard.h"

#include "metal/acpi.h"
#include "metal/ioapic.h"
#include "metal/trap.h"
#include "plat/metal/apic.h"
#include "plat/metal/msr.h"

#define DATA       0x60
#define STATUS     0x64
#define ST_OUT     BIT(0)
#define ST_IN      BIT(1)
#define ST_MOUSE   BIT(5)
#define CMD_READ   0x20
#define CMD_WRITE  0x60
#define CMD_ENABLE 0xae
#define CFG_IRQ    BIT(0)
#define CFG_IRQ2   BIT(1)
#define CFG_OFF    BIT(4)
#define CFG_SET1   BIT(6)
#define TRIES      20000

static bool there;

static bool put(uint16_t port, uint8_t v)
{
	for (unsigned i = 0; in8(STATUS) & ST_IN; i++)
		if (i == TRIES)
			return false;
	out8(port, v);
	return true;
}

static int get(void)
{
	for (unsigned i = 0; !(in8(STATUS) & ST_OUT); i++)
		if (i == TRIES)
			return -1;
	return in8(DATA);
}

int keyboard_read(void)
{
	uint8_t status = there ? in8(STATUS) : 0, v;

	if (!(status & ST_OUT))
		return -1;
	v = in8(DATA);
	return status & ST_MOUSE ? -1 : v;
}

bool keyboard_init(const struct acpi_info *acpi, void (*fn)(uint8_t vector))
{
	int config;

	if (in8(STATUS) == 0xff)
		return false;
	for (unsigned i = 0; i < 32 && in8(STATUS) & ST_OUT; i++)
		in8(DATA);
	if (!put(STATUS, CMD_READ))
		return false;
	config = get();
	if (config < 0)
		return false;
	there = put(STATUS, CMD_WRITE) &&
		put(DATA,
		    (uint8_t)(((unsigned)config | CFG_IRQ | CFG_SET1) & ~(CFG_OFF | CFG_IRQ2))) &&
		put(STATUS, CMD_ENABLE);
	trap_set_irq(IRQ_KEYBOARD, fn);
	ioapic_route(acpi->keyboard_gsi, IRQ_KEYBOARD, apic_id(), false, false);
	return there;
}
