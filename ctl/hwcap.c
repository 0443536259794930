/* SPDX-License-Identifier: ISC */
/* hwcap.c: what the kernel lets programs use; apart, since <elf.h> and x86/state.h share names. */
#include <sys/auxv.h>

#include "ctl/doctor.h"

#define HWCAP2_FSGSBASE 2 /* the kernel's asm/hwcap2.h */

bool doctor_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}
