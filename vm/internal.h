/* SPDX-License-Identifier: ISC */
/* internal.h: between vm.c and vcpu.c. */
#ifndef VM_INTERNAL_H
#define VM_INTERNAL_H

#include "vm/vm.h"

void vcpu_thread(void *arg);
/* Resets devices and vCPUs. vm->lock held, all vCPUs parked, on the bootstrap processor's thread. */
void vm_do_reset(struct vm *vm);
/* Likewise, of a frozen VM whose state is then loaded. */
void vm_reset_frozen(struct vm *vm);

#endif
