/* SPDX-License-Identifier: ISC */
/* hyperv.h: what Hyper-V tells its guests and gives them, as far as Windows makes use of it on a machine without
 * VMBus (Microsoft, Hypervisor Top Level Functional Specification 6.0b). In place of pvclock. */
#ifndef DEV_PC_HYPERV_H
#define DEV_PC_HYPERV_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct hyperv;

/* Serves CPUID 4000000xH and the MSRs 400000xxH through the hooks of all vCPUs; what the hooks were goes on
 * being called for the rest. So: after other hooks are set. */
int hyperv_create(struct vm *vm, struct hyperv **out) attr_must_check;

#endif
