/* SPDX-License-Identifier: ISC */
/* boot.c: what the boot protocols share. */
#include "board/boot.h"

#include "base/str.h"
#include "board/elf.h"
#include "vm/vm.h"

#define ATTR_CODE 0x9bu /* present, code, readable, accessed */
#define ATTR_DATA 0x93u /* present, data, writable, accessed */

void boot_flat_segments(struct x86_state *s, unsigned bits)
{
	uint16_t mode = bits == 64 ? SEG_L : SEG_DB;

	s->seg[CS] = (struct x86_seg){0x10, (uint16_t)(ATTR_CODE | SEG_G | mode), ~0u, 0};
	for (unsigned i = 0; i < SREG_COUNT; i++)
		if (i != CS)
			s->seg[i] = (struct x86_seg){0x18, ATTR_DATA | SEG_G | SEG_DB, ~0u, 0};
	s->gdtr = (struct x86_dtr){BOOT_GDT_AT, 4 * 8 - 1};
	s->idtr = (struct x86_dtr){0, 0};
	s->tr = (struct x86_seg){0, 0x8b, 0x67, 0};
}

int boot_place_modules(const struct boot_source *src, uint64_t top, uint64_t end, uint64_t align,
		       uint64_t *at, uint64_t *size, char *err, size_t err_size)
{
	*at = *size = 0;
	for (unsigned i = 0; i < src->n_modules; i++)
		*size = ALIGN_UP(*size, align) + src->module[i].size;
	if (!*size)
		return 0;
	if (*size <= top) {
		*at = ALIGN_DOWN(top - *size, PAGE_SIZE);
		if (*at >= end)
			return 0;
	}
	str_copy(err, err_size,
		 "and its initrd do not fit into the guest's memory: give more with --memory");
	return ERR_NOMEM;
}

int boot_copy_modules(struct vm *vm, const struct boot_source *src, uint64_t at, uint64_t align)
{
	for (unsigned i = 0; i < src->n_modules; i++) {
		const struct boot_file *m = &src->module[i];
		uint64_t size = i + 1 < src->n_modules ? ALIGN_UP(m->size, align) : m->size;
		hva_t p = mem_ptr(vm, at, size, true);

		if (!size)
			continue;
		if (!p)
			return ERR_NOMEM;
		memcpy(p, m->data, m->size);
		memset(p + m->size, 0, size - m->size);
		mem_written(vm, at, size);
		at += size;
	}
	return 0;
}

static bool has_text(const struct boot_source *src)
{
	for (unsigned i = 0; i < src->n_modules; i++)
		if (src->module[i].text[0])
			return true;
	return false;
}

int boot_load(struct vm *vm, const struct boot_source *src, char *err, size_t err_size)
{
	if (multiboot_is(src->kernel, src->kernel_size))
		return boot_multiboot(vm, src, err, err_size);
	if (has_text(src)) {
		str_copy(err, err_size,
			 "is no Multiboot kernel: leave text= out of --initrd, its command line is "
			 "--append");
		return ERR_INVAL;
	}
	if (elf_is(src->kernel, src->kernel_size))
		return boot_pvh(vm, src, err, err_size);
	return boot_linux(vm, src, err, err_size);
}
