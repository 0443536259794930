/* SPDX-License-Identifier: ISC */
/* elf.h: program headers of an ELF kernel (System V ABI, chapter 5), 32- and 64-bit. */
#ifndef BOARD_ELF_H
#define BOARD_ELF_H

#include "base/def.h"
#include "base/err.h"

struct vm;

#define ELF_MAX_SEGMENTS 64
#define ELF_PT_LOAD      1
#define ELF_PT_NOTE      4

/* offset and filesz lie within the file. */
struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf {
	const uint8_t *file;
	size_t size;
	bool is64;
	uint64_t entry;
	unsigned n;
	struct elf_segment seg[ELF_MAX_SEGMENTS];
};

bool elf_is(const void *file, size_t size);
/* Reads the program headers. 0 or ERR_FORMAT. file stays the caller's. */
int elf_parse(const void *file, size_t size, struct elf *e);
/* Puts the loadable segments at their physical addresses, which may not be below floor. 0,
 * ERR_NOMEM where they do not fit; *end: the first byte behind the highest. */
int elf_load(struct vm *vm, const struct elf *e, gpa_t floor, uint64_t *end);
/* The entry point's physical address. */
uint64_t elf_entry(const struct elf *e);

#endif
