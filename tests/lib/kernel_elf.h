/* SPDX-License-Identifier: ISC */
/* kernel_elf.h: a small ELF file like those in Linux kernels: two segments and the lists of what changes when the
 * kernel is moved. */
#ifndef TESTS_KERNEL_ELF_H
#define TESTS_KERNEL_ELF_H

#include <stdint.h>
#include <string.h>

enum { PREFERS = 0x1000000 };
enum { SEG0 = 0x1000, SEG1 = 0x3000, SECTIONS = 0x5000, LISTS = 0x5040 };

static uint8_t elf[0x5400];
static size_t elf_size;

static inline void put(size_t at, unsigned n, uint64_t v)
{
	memcpy(elf + at, &v, n);
}

static inline void segment(unsigned i, uint64_t offset, uint64_t paddr, uint64_t filesz,
			   uint64_t memsz)
{
	size_t at = 64 + i * 56;

	put(at, 4, 1);
	put(at + 8, 8, offset);
	put(at + 24, 8, paddr);
	put(at + 32, 8, filesz);
	put(at + 40, 8, memsz);
}

static inline void list(const uint32_t *words, unsigned n)
{
	memcpy(elf + LISTS, words, n * 4);
	elf_size = LISTS + n * 4;
}

/* Two segments: at 0 what lies at SEG0, at 2000H what lies at SEG1, with 100H zeroes behind it */
static inline void kernel_elf(void)
{
	static const uint32_t words[] = {0, 0x81000010, 0, 0x81000020, 0, 0x81002030};

	memset(elf, 0, sizeof(elf));
	memcpy(elf, "\177ELF\2\1\1", 7);
	put(24, 8, PREFERS + 4);
	put(32, 8, 64);
	put(40, 8, SECTIONS);
	put(54, 2, 56);
	put(56, 2, 2);
	put(58, 2, 64);
	put(60, 2, 1);
	segment(0, SEG0, PREFERS, 0x1000, 0x1000);
	segment(1, SEG1, PREFERS + 0x2000, 0x1000, 0x1100);
	memset(elf + SEG0, 0x11, 0x1000);
	memset(elf + SEG1, 0x22, 0x1000);
	put(SEG0 + 0x10, 8, UINT64_C(0xffffffff81001234));
	put(SEG0 + 0x20, 4, 0x81001234);
	put(SEG1 + 0x30, 4, 0x81005678);
	list(words, 6);
}

#endif
