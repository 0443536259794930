/* SPDX-License-Identifier: ISC */
/* power.c: power-off and reboot by ACPI's fixed hardware (ACPI 6.4, 4.8.3 and 4.8.3.6); reboot also by
 * the keyboard controller and, at last, by a triple fault. Any thread. */
#include "metal/power.h"

#include "plat/metal/clock.h"
#include "plat/metal/msr.h"
#include "plat/plat.h"

#define SCI_EN  BIT(0)
#define SLP_TYP 10
#define SLP_EN  BIT(13)

static struct acpi_info hw;

void power_init(const struct acpi_info *acpi)
{
	hw = *acpi;
	if (!hw.pm1a_cnt || !hw.smi_cmd || in16(hw.pm1a_cnt) & SCI_EN)
		return;
	out8(hw.smi_cmd, hw.acpi_enable);
	for (unsigned i = 0; i < 100 && !(in16(hw.pm1a_cnt) & SCI_EN); i++)
		clock_spin(NS_PER_SEC / 1000);
}

static void enter_s5(uint16_t port, uint8_t type)
{
	uint16_t v = (uint16_t)((in16(port) & ~(7u << SLP_TYP | SLP_EN)) | (type & 7u) << SLP_TYP);

	out16(port, v);
	out16(port, (uint16_t)(v | SLP_EN));
}

void power_off(void)
{
	if (!hw.has_s5 || !hw.pm1a_cnt)
		return;
	if (hw.pm1b_cnt)
		enter_s5(hw.pm1b_cnt, hw.s5_b);
	enter_s5(hw.pm1a_cnt, hw.s5_a);
	clock_spin(NS_PER_SEC);
}

void power_reboot(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} attr_packed nothing = {0, 0};

	if (hw.reset_at && hw.reset_space == 1) {
		out8((uint16_t)hw.reset_at, hw.reset_value);
		clock_spin(NS_PER_SEC / 10);
	}
	out8(0x64, 0xfe); /* the keyboard controller's reset line */
	clock_spin(NS_PER_SEC / 10);
	__asm__ volatile("lidt %0; int3" : : "m"(nothing));
}
