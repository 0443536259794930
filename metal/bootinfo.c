/* SPDX-License-Identifier: ISC */
/* bootinfo.c: the tags of multiboot2 (specification 2.0, 3.6) and the start info of PVH (Xen's
 * start_info.h, version 1), into one structure. What the loader gives is trusted: it could have loaded
 * another hypervisor. Once, at the start. */
#include "metal/bootinfo.h"

#include "base/str.h"

static void add_ram(struct boot_info *b, uint64_t pa, uint64_t size)
{
	if (b->n_ram < BOOT_MAX_RAM && size)
		b->ram[b->n_ram++] = (struct ram_range){pa, pa + size};
}

static void add_module(struct boot_info *b, uint64_t pa, uint64_t size)
{
	if (b->n_modules < BOOT_MAX_MODULES)
		b->module[b->n_modules++] = (struct boot_module){pa, size};
}

static uint64_t le64(const uint32_t *p)
{
	return (uint64_t)p[1] << 32 | p[0];
}

/* ---- multiboot2 ---- */

enum {
	TAG_END,
	TAG_CMDLINE = 1,
	TAG_MODULE = 3,
	TAG_MMAP = 6,
	TAG_SCREEN = 8,
	TAG_RSDP1 = 14,
	TAG_RSDP2 = 15
};

static void tag_mmap(struct boot_info *b, const uint32_t *tag)
{
	uint32_t step = tag[2];

	for (uint32_t at = 16; step && at + step <= tag[1]; at += step) {
		const uint32_t *e = tag + at / 4;

		if (e[4] == 1)
			add_ram(b, le64(e), le64(e + 2));
	}
}

#define SCREEN_DIRECT 1

static void tag_screen(struct boot_info *b, const uint32_t *tag)
{
	const uint8_t *byte = (const uint8_t *)tag;

	if (tag[1] < 38 || byte[29] != SCREEN_DIRECT)
		return;
	b->screen = (struct boot_screen){.pa = le64(tag + 2),
					 .pitch = tag[4],
					 .width = tag[5],
					 .height = tag[6],
					 .bytes = (byte[28] + 7u) / 8};
	for (unsigned i = 0; i < 3; i++) {
		b->screen.shift[i] = byte[32 + 2 * i];
		b->screen.bits[i] = byte[33 + 2 * i];
	}
}

static void multiboot2(struct boot_info *b, const uint8_t *info)
{
	uint32_t total;

	memcpy(&total, info, sizeof(total));
	for (uint32_t at = 8; at + 8 <= total;) {
		const uint32_t *tag = (const uint32_t *)(const void *)(info + at);

		switch (tag[0]) {
		case TAG_CMDLINE:
			str_copy(b->cmdline, sizeof(b->cmdline), (const char *)(tag + 2));
			break;
		case TAG_MODULE:
			add_module(b, tag[2], tag[3] - tag[2]);
			break;
		case TAG_MMAP:
			tag_mmap(b, tag);
			break;
		case TAG_SCREEN:
			tag_screen(b, tag);
			break;
		case TAG_RSDP1:
			if (!b->rsdp[0])
				memcpy(b->rsdp, tag + 2, 20);
			break;
		case TAG_RSDP2:
			memcpy(b->rsdp, tag + 2, sizeof(b->rsdp));
			break;
		case TAG_END:
			return;
		default:
			break;
		}
		at += ALIGN_UP(tag[1], 8u);
	}
}

/* ---- PVH ---- */

struct pvh_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};
struct pvh_module {
	uint64_t pa, size, cmdline, reserved;
};
struct pvh_memmap {
	uint64_t pa, size;
	uint32_t type, reserved;
};

static void pvh(struct boot_info *b, const struct pvh_info *info)
{
	const struct pvh_module *m = (const void *)info->modules;
	const struct pvh_memmap *e = (const void *)info->memmap;

	for (uint32_t i = 0; i < info->n_modules; i++)
		add_module(b, m[i].pa, m[i].size);
	for (uint32_t i = 0; i < info->n_memmap; i++)
		if (e[i].type == 1)
			add_ram(b, e[i].pa, e[i].size);
	if (info->cmdline)
		str_copy(b->cmdline, sizeof(b->cmdline), (const char *)info->cmdline);
	if (info->rsdp)
		memcpy(b->rsdp, (const void *)info->rsdp, sizeof(b->rsdp));
}

int boot_parse(enum boot_kind kind, uint64_t info, struct boot_info *out)
{
	const struct pvh_info *p = (const void *)info;

	if (kind == BOOT_MULTIBOOT2)
		multiboot2(out, (const void *)info);
	else if (kind == BOOT_PVH && p->magic == 0x336ec578)
		pvh(out, p);
	return out->n_ram ? 0 : err_here(ERR_FORMAT);
}
