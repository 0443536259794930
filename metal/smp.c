/* SPDX-License-Identifier: ISC */
/* smp.c: sets up each processor and starts the application processors, one after the other: entry.S has
 * one place for the stack of the one that comes. */
#include "metal/smp.h"

#include "base/str.h"
#include "metal/trap.h"
#include "plat/metal/clock.h"
#include "plat/metal/apic.h"
#include "plat/metal/mem.h"
#include "plat/metal/sched.h"

#define AP_PAGE  UINT64_C(0x8000) /* below 1 MiB nothing is given to the pool */
#define AP_STACK (16 * KIB)

#define CR4_PGE        BIT64(7)
#define CR4_OSFXSR     BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_FSGSBASE   BIT64(16)
#define CR4_OSXSAVE    BIT64(18)
#define CR4_SMEP       BIT64(20)
#define XCR0_WANTED    7u /* x87, SSE, AVX */

/* entry.S */
extern const uint8_t ap_start[], ap_end[];
uint64_t ap_stack, ap_argument, ap_tables;
void ap_main(struct pcpu *cpu);

static struct {
	int (*each)(void);
	_Atomic uint32_t up;
} smp;

void smp_cpu_features(void)
{
	struct plat_cpuid one, seven = {0}, max;
	uint64_t cr4;

	paging_set_pat();
	plat_cpuid(0, 0, &max);
	plat_cpuid(1, 0, &one);
	if (max.eax >= 7)
		plat_cpuid(7, 0, &seven);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (one.ecx & BIT(26))
		cr4 |= CR4_OSXSAVE;
	if (seven.ebx & BIT(0))
		cr4 |= CR4_FSGSBASE;
	if (seven.ebx & BIT(7))
		cr4 |= CR4_SMEP;
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	if (one.ecx & BIT(26)) {
		struct plat_cpuid x;

		plat_cpuid(0xd, 0, &x);
		__asm__ volatile("xsetbv" : : "a"(x.eax & XCR0_WANTED), "d"(0), "c"(0));
	}
}

void ap_main(struct pcpu *cpu)
{
	int err;

	smp_cpu_features();
	err = trap_init_cpu(cpu);
	if (!err) {
		apic_enable();
		err = smp.each();
	}
	if (!err)
		err = sched_init(cpu);
	if (!err) {
		atomic_fetch_add(&smp.up, 1);
		sched_idle();
	}
}

static int start_one(uint32_t apic_id, unsigned index)
{
	struct pcpu *cpu = plat_alloc(sizeof(*cpu));
	uint64_t pa = phys_alloc(AP_STACK, PAGE_SIZE), deadline;
	uint8_t *stack = pa ? paging_map(pa, AP_STACK, MAP_W) : NULL;
	uint32_t up = atomic_load(&smp.up);

	if (!cpu || !stack)
		return err_here(ERR_NOMEM);
	cpu->apic_id = apic_id;
	cpu->index = index;
	ap_stack = (uint64_t)stack + AP_STACK;
	ap_argument = (uint64_t)cpu;
	apic_start(apic_id, AP_PAGE >> PAGE_SHIFT);
	for (deadline = plat_now() + NS_PER_SEC; atomic_load(&smp.up) == up;) {
		if (plat_now() > deadline)
			return err_here(ERR_TIMEOUT);
		plat_yield();
	}
	return 0;
}

int smp_start(const struct acpi_info *acpi, int (*each)(void))
{
	uint8_t *page = paging_map(AP_PAGE, PAGE_SIZE, MAP_W);
	uint32_t self = apic_id();
	unsigned n = 1;
	int err = each();

	smp.each = each;
	if (err || !page)
		return err;
	memcpy(page, ap_start, (size_t)(ap_end - ap_start));
	__asm__ volatile("mov %%cr3, %0" : "=r"(ap_tables));
	for (unsigned i = 0; i < acpi->n_cpus; i++) {
		if (acpi->cpu[i] == self)
			continue;
		if (start_one(acpi->cpu[i], n))
			plat_log(LOG_WARN, "CPU %u does not start", acpi->cpu[i]);
		else
			n++;
	}
	return 0;
}
