/* SPDX-License-Identifier: ISC */
/* intr.h: the interrupt complex of a PC: PIC pair, I/O APIC, a local APIC for each vCPU, wired up
 * and installed in vm->irq. */
#ifndef DEV_IRQ_INTR_H
#define DEV_IRQ_INTR_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct vcpu;
struct intr;

/* After vm_create(), once a VM. The chips are devices of the VM. Sets vcpu->intc and, where the
 * board has set none, vcpu->cpuid to intr_cpuid(). */
int intr_create(struct vm *vm, struct intr **out) attr_must_check;
/* Puts the local APICs into virtual wire mode, as firmware does before it starts a system (so that
 * the PIC's interrupts arrive without further set-up). For boards that boot a kernel without
 * firmware: after creation and after each reset. */
void intr_virtual_wire(struct intr *intr);
/* An edge of this GSI has not been taken by any processor yet: one more would be lost. intr: for
 * wiring structs. */
bool intr_gsi_waiting(void *intr, unsigned gsi);
/* The same of a message with this data. */
bool intr_msi_waiting(void *intr, uint32_t data);
/* CPUID of what is in here: APIC ids, one core a vCPU in one package (leaves 1, 4, 6, 0BH, 1FH,
 * 80000008H, 8000001EH), APIC and x2APIC bits. As vcpu->cpuid. */
void intr_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);

#endif
