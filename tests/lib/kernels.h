/* SPDX-License-Identifier: ISC */
/* kernels.h: the smallest kernels of each kind that the micro board boots. */
#ifndef TESTS_KERNELS_H
#define TESTS_KERNELS_H

#include <string.h>

#include "base/def.h"

static inline void le(uint8_t *p, unsigned n, uint64_t v)
{
	memcpy(p, &v, n);
}

/* The smallest file that is a bzImage: one set-up sector and 4 KiB of code. */
static inline void make_bzimage(uint8_t *k, size_t size)
{
	memset(k, 0x90, size);
	memset(k, 0, 1024);
	k[0x1f1] = 1;
	le(k + 0x1f4, 4, (size - 1024) / 16);
	le(k + 0x1fe, 2, 0xaa55);
	le(k + 0x200, 2, 0x66eb);
	memcpy(k + 0x202, "HdrS", 4);
	le(k + 0x206, 2, 0x20f);
	le(k + 0x22c, 4, 0x7fffffff);
	le(k + 0x230, 4, 0x100000);
	k[0x234] = 1;
	le(k + 0x236, 2, 1);
	le(k + 0x238, 4, 2047);
	le(k + 0x258, 8, 0x100000);
	le(k + 0x260, 4, 0x10000);
}

/* An ELF file with one load segment and the PVH note. */
static inline void make_elf(uint8_t *k, size_t size)
{
	memset(k, 0, size);
	memcpy(k,
	       "\x7f"
	       "ELF\x02\x01\x01",
	       7);
	le(k + 32, 8, 64);
	le(k + 54, 2, 56);
	le(k + 56, 2, 2);
	le(k + 64, 4, 1); /* PT_LOAD */
	le(k + 64 + 8, 8, 0);
	le(k + 64 + 24, 8, 2 * MIB);
	le(k + 64 + 32, 8, size);
	le(k + 64 + 40, 8, size + 4096);
	le(k + 120, 4, 4); /* PT_NOTE */
	le(k + 120 + 8, 8, 176);
	le(k + 120 + 32, 8, 20);
	le(k + 120 + 40, 8, 20);
	le(k + 120 + 48, 8, 4);
	le(k + 176, 4, 4);
	le(k + 180, 4, 4);
	le(k + 184, 4, 18);
	memcpy(k + 188, "Xen", 4);
	le(k + 192, 4, 2 * MIB + 256);
}

static inline void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* A flat kernel that wants to be at 2 MiB, with some zeros behind it; its header is at 8. */
static inline void make_multiboot(uint8_t *k, size_t size, unsigned version)
{
	const uint32_t at = 2 * MIB, flags = 0x10003, len = 16 + 24 + 16 + 8;
	uint8_t *h = k + 8, *a = h + 12;

	memset(k, 0x90, size);
	if (version == 1) {
		put32(h, 0x1badb002);
		put32(h + 4, flags);
		put32(h + 8, -(0x1badb002u + flags));
	} else {
		memset(h, 0, len);
		put32(h, 0xe85250d6);
		put32(h + 8, len);
		put32(h + 12, -(0xe85250d6u + len));
		h[16] = 2; /* addresses */
		h[20] = 24;
		a = h + 24;
		h[40] = 3; /* entry */
		h[44] = 12;
		put32(h + 48, at + 100);
		h[60] = 8; /* end */
	}
	put32(a, at + 8);
	put32(a + 4, at);
	put32(a + 8, at + (uint32_t)size);
	put32(a + 12, at + (uint32_t)size + 64);
	if (version == 1)
		put32(a + 16, at + 100);
}

#endif
