/* SPDX-License-Identifier: ISC */
/* pci_rig.h: the machine of pc_rig.h with a PCI bus, for unit tests of functions on it: slots have addresses from the start, and
 * what the four interrupt lines do is seen. */
#ifndef TESTS_PCI_RIG_H
#define TESTS_PCI_RIG_H

#include "tests/unit/pc_rig.h"

#include "dev/pci/pci.h"

#define RIG_BAR_MEM 0xc0000000u /* where the first function's BARs are */
#define RIG_BAR_IO  0xc000u

static struct vm *vm;
static struct pci_host *host;
static struct rig_line pirq[4];
static hva_t ram;

static inline bool rig_pin(void)
{
	return pirq[0].level || pirq[1].level || pirq[2].level || pirq[3].level;
}

static inline void rig_pci(void)
{
	struct pci_host_wiring w = {
		.io = {RIG_BAR_IO, 0x1000}, .mem = {RIG_BAR_MEM, 0x100000}, .preassign = true};

	vm = rig_vm(1);
	memset(pirq, 0, sizeof(pirq));
	for (unsigned i = 0; i < 4; i++)
		w.pirq[i] = (struct irq_line){rig_line_set, pirq, i};
	assert_int_equal(pci_host_create(vm, &w, &host), 0);
	ram = mem_ptr(vm, 0, 2 * MIB, true);
}

#endif
