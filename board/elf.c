/* SPDX-License-Identifier: ISC */
/* elf.c: reads and loads ELF kernels (System V ABI, chapter 5). Creation and reset time. */
#include "board/elf.h"

#include "base/str.h"
#include "vm/vm.h"

#define ELF_CLASS_64 2

static uint64_t get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size);
	return v;
}

bool elf_is(const void *file, size_t size)
{
	static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};

	return size >= 4 && memcmp(file, magic, 4) == 0;
}

static void segment_read(const struct elf *e, const uint8_t *p, struct elf_segment *s)
{
	s->type = (uint32_t)get(p, 4);
	if (e->is64) {
		s->offset = get(p + 8, 8);
		s->vaddr = get(p + 16, 8);
		s->paddr = get(p + 24, 8);
		s->filesz = get(p + 32, 8);
		s->memsz = get(p + 40, 8);
		s->align = get(p + 48, 8);
	} else {
		s->offset = get(p + 4, 4);
		s->vaddr = get(p + 8, 4);
		s->paddr = get(p + 12, 4);
		s->filesz = get(p + 16, 4);
		s->memsz = get(p + 20, 4);
		s->align = get(p + 28, 4);
	}
}

int elf_parse(const void *file, size_t size, struct elf *e)
{
	const uint8_t *f = file;
	uint64_t phoff, phsize;

	if (size < 64 || !elf_is(file, size) || f[5] != 1 || (f[4] != 1 && f[4] != ELF_CLASS_64))
		return ERR_FORMAT;
	e->file = f;
	e->size = size;
	e->is64 = f[4] == ELF_CLASS_64;
	e->entry = e->is64 ? get(f + 24, 8) : get(f + 24, 4);
	phoff = e->is64 ? get(f + 32, 8) : get(f + 28, 4);
	phsize = e->is64 ? 56 : 32;
	e->n = (unsigned)get(f + (e->is64 ? 56 : 44), 2);
	if (!e->n || e->n > ELF_MAX_SEGMENTS || get(f + (e->is64 ? 54 : 42), 2) != phsize ||
	    phoff > size || e->n * phsize > size - phoff)
		return ERR_FORMAT;
	for (unsigned i = 0; i < e->n; i++) {
		struct elf_segment *s = &e->seg[i];

		segment_read(e, f + phoff + i * phsize, s);
		if (s->offset > size || s->filesz > size - s->offset || s->filesz > s->memsz)
			return ERR_FORMAT;
	}
	return 0;
}

int elf_load(struct vm *vm, const struct elf *e, gpa_t floor, uint64_t *end)
{
	for (unsigned i = 0; i < e->n; i++) {
		const struct elf_segment *s = &e->seg[i];
		hva_t p;

		if (s->type != ELF_PT_LOAD || !s->memsz)
			continue;
		if (s->paddr < floor)
			return ERR_NOMEM;
		p = mem_ptr(vm, s->paddr, s->memsz, true);
		if (!p)
			return ERR_NOMEM;
		memcpy(p, e->file + s->offset, s->filesz);
		memset(p + s->filesz, 0, s->memsz - s->filesz);
		mem_written(vm, s->paddr, s->memsz);
		*end = MAX(*end, s->paddr + s->memsz);
	}
	return 0;
}

uint64_t elf_entry(const struct elf *e)
{
	for (unsigned i = 0; i < e->n; i++) {
		const struct elf_segment *s = &e->seg[i];

		if (s->type == ELF_PT_LOAD && e->entry >= s->vaddr &&
		    e->entry - s->vaddr < s->memsz)
			return e->entry - s->vaddr + s->paddr;
	}
	return e->entry;
}
