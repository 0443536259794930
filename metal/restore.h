/* SPDX-License-Identifier: ISC */
/* restore.h: VMs that begin where the hosted program has saved them. */
#ifndef METAL_RESTORE_H
#define METAL_RESTORE_H

#include "metal/fleet.h"

struct vm;
struct x86_kind;

/* Whether the VM has a state. */
bool restore_wanted(const struct fleet_vm *d);
/* Its processors and their TSCs' rate, for vm_create(). On errors err holds one line for people. */
int restore_kind(const struct fleet_vm *d, struct x86_kind *out, uint64_t *tsc_hz, char *err,
		 size_t err_size) attr_must_check;
/* Into a VM whose board is there, not started. */
int restore_load(const struct fleet_vm *d, struct vm *vm, char *err,
		 size_t err_size) attr_must_check;

#endif
