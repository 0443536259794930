/* SPDX-License-Identifier: ISC */
/* serial.c: the host's first serial port (16550), 115200 8N1. The console serialises writers; a panic
 * writes whatever it interrupts. */
#include "metal/serial.h"

#include "plat/metal/msr.h"

#define COM1 0x3f8u
enum { RBR = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5, SCR = 7 };
#define LSR_DATA  BIT(0)
#define LSR_EMPTY BIT(5)
#define TRIES     200000 /* about a character's time many times over */

static bool there;

void serial_init(void)
{
	out8(COM1 + SCR, 0x5a);
	there = in8(COM1 + SCR) == 0x5a;
	if (!there)
		return;
	out8(COM1 + IER, 0);
	out8(COM1 + LCR, 0x80);
	out8(COM1 + RBR, 1); /* divisor */
	out8(COM1 + IER, 0);
	out8(COM1 + LCR, 3);
	out8(COM1 + FCR, 0xc7);
	out8(COM1 + MCR, 0x0b);
}

void serial_write(const char *buf, size_t len)
{
	for (size_t i = 0; there && i < len; i++) {
		for (unsigned n = 0; n < TRIES && !(in8(COM1 + LSR) & LSR_EMPTY); n++)
			cpu_relax();
		out8(COM1 + RBR, (uint8_t)buf[i]);
	}
}

int serial_read(void)
{
	if (!there || !(in8(COM1 + LSR) & LSR_DATA))
		return -1;
	return in8(COM1 + RBR);
}

void serial_enable_irq(void)
{
	if (there)
		out8(COM1 + IER, 1);
}
