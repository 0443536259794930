/* SPDX-License-Identifier: ISC */
/* bootinfo.h: what the boot loader tells. */
#ifndef METAL_BOOTINFO_H
#define METAL_BOOTINFO_H

#include "base/def.h"
#include "base/err.h"
#include "plat/metal/mem.h"

#define BOOT_MAX_RAM     64
#define BOOT_MAX_MODULES 16

/* A frame buffer of direct colours. */
struct boot_screen {
	uint64_t pa; /* 0: there is none */
	uint32_t pitch, width, height;
	unsigned bytes;            /* a dot */
	uint8_t shift[3], bits[3]; /* of red, green and blue */
};

struct boot_info {
	struct ram_range ram[BOOT_MAX_RAM];
	unsigned n_ram;
	struct boot_module {
		uint64_t pa, size;
	} module[BOOT_MAX_MODULES];
	unsigned n_modules;
	uint8_t rsdp[36]; /* a copy, or zeros */
	struct boot_screen screen;
	char cmdline[128];
};

enum boot_kind { BOOT_UNKNOWN, BOOT_MULTIBOOT2, BOOT_PVH };

/* While the loader's memory is mapped as it is. */
int boot_parse(enum boot_kind kind, uint64_t info, struct boot_info *out) attr_must_check;

#endif
