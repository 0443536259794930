/* SPDX-License-Identifier: ISC */
/* main.c: from the entry to the first guest, in order. Reads from top to bottom. */
#include "base/str.h"
#include "metal/acpi.h"
#include "metal/bootinfo.h"
#include "metal/console.h"
#include "metal/disks.h"
#include "metal/engine.h"
#include "metal/guests.h"
#include "metal/hostpci.h"
#include "metal/ioapic.h"
#include "metal/iommu.h"
#include "metal/power.h"
#include "metal/screen.h"
#include "metal/serial.h"
#include "metal/shell.h"
#include "metal/smp.h"
#include "metal/trap.h"
#include "plat/metal/clock.h"
#include "plat/metal/apic.h"
#include "plat/metal/log.h"
#include "plat/metal/mem.h"
#include "plat/metal/sched.h"

#define LOW_END (4 * GIB) /* what the loader's page tables map */

extern const uint8_t image_data[], image_end[];
extern const uint64_t boot_tsc; /* at the entry */
void metal_main(enum boot_kind kind, uint64_t info);

static struct boot_info boot;
static struct acpi_info acpi;
static struct pcpu boot_cpu;

static void early(const char *text)
{
	serial_write(text, str_len(text));
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* What the loader has put into RAM: modules, and at last (i is their number) the image. */
static struct ram_range taken(unsigned i)
{
	if (i == boot.n_modules)
		return (struct ram_range){MIB,
					  ALIGN_UP((uint64_t)image_end - IMAGE_BASE, PAGE_SIZE)};
	return (struct ram_range){
		ALIGN_DOWN(boot.module[i].pa, PAGE_SIZE),
		ALIGN_UP(boot.module[i].pa + boot.module[i].size, PAGE_SIZE),
	};
}

/* Adds [pa, end) without what is taken, from the i-th on. */
static void add_free(uint64_t pa, uint64_t end, unsigned i)
{
	for (; i <= boot.n_modules && pa < end; i++) {
		struct ram_range t = taken(i);

		if (t.pa >= end || t.end <= pa)
			continue;
		add_free(pa, t.pa, i + 1);
		pa = t.end;
	}
	phys_add(pa, end);
}

static void add_ram(uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < boot.n_ram; i++)
		add_free(MAX(boot.ram[i].pa, from), MIN(boot.ram[i].end, to), 0);
}

static bool in_ram(uint64_t pa, uint64_t end)
{
	for (unsigned i = 0; i < boot.n_ram && pa < end; i++)
		if (boot.ram[i].pa <= pa && pa < boot.ram[i].end) {
			pa = boot.ram[i].end;
			i = UINT32_MAX; /* from the first again */
		}
	return pa >= end;
}

static void memory(void)
{
	/* QEMU's -initrd ends where its BIOS begins, or, with an NVMe disk, has begun already. */
	for (unsigned i = 0; i < boot.n_modules; i++)
		if (!in_ram(boot.module[i].pa, boot.module[i].pa + boot.module[i].size))
			early("vigia: the boot module overlaps what firmware has taken: load it "
			      "elsewhere (by GRUB: vigia pack makes an image)\r\n");
	add_ram(MIB, LOW_END);
	if (paging_init(boot.ram, boot.n_ram))
		early("vigia: not enough memory for page tables\r\n");
	add_ram(LOW_END, UINT64_MAX);
}

void metal_main(enum boot_kind kind, uint64_t info)
{
	int err;

	serial_init();
	if (boot_parse(kind, info, &boot))
		early("vigia: the boot loader gives no memory map: start it by multiboot2 or PVH\r\n");
	if (acpi_parse(boot.rsdp, &acpi))
		early("vigia: this machine has no ACPI tables\r\n");
	memory();
	smp_cpu_features();
	screen_init(&boot.screen);
	log_set_panic(panic);
	err = trap_init_cpu(&boot_cpu);
	if (err)
		early("vigia: not enough memory\r\n");
	ioapic_init(acpi.ioapic);
	err = apic_init(acpi.lapic);
	if (err)
		panic(err_str(err));
	boot_cpu.apic_id = apic_id();
	clock_init(acpi.pm_timer, boot_tsc, mem_clean); /* 10 ms */
	err = apic_measure();
	if (!err)
		err = sched_init(&boot_cpu);
	if (err)
		panic(err_str(err));
	__asm__ volatile("sti");
	console_init(&acpi);
	power_init(&acpi);
	hostpci_init(&acpi);
	iommu_init(&acpi);
	err = smp_start(&acpi, engine_cpu_start);
	if (err)
		panic(err_str(err));
	guests_start(&boot);
	err = disks_start();
	if (err)
		panic(err_str(err));
	console_run(shell_line);
}
