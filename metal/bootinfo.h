/* SPDX-License-Identifier: ISC */
/* bootinfo.h: what the boot loader tells. */
#ifndef METAL_BOOTINFO_H
#define METAL_BOOTINFO_H

#include "base/def.h"
#include "base/err.h"
#include "plat/metal/mem.h"

#define BOOT_MAX_RAM     64
#define BOOT_MAX_MODULES 16

struct boot_info {
	struct ram_range ram[BOOT_MAX_RAM];
	unsigned n_ram;
	struct boot_module {
		uint64_t pa, size;
	} module[BOOT_MAX_MODULES];
	unsigned n_modules;
	uint8_t rsdp[36]; /* a copy, or zeros */
	char cmdline[128];
};

enum boot_kind { BOOT_UNKNOWN, BOOT_MULTIBOOT2, BOOT_PVH };

/* While the loader's memory is mapped as it is. */
int boot_parse(enum boot_kind kind, uint64_t info, struct boot_info *out) attr_must_check;

#endif
