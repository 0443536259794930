/* SPDX-License-Identifier: ISC */
/* boot.c: what the boot protocols share. */
#include "board/boot.h"

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

int boot_load(struct vm *vm, const struct boot_source *src, char *err, size_t err_size)
{
	if (multiboot_is(src->kernel, src->kernel_size))
		return boot_multiboot(vm, src, err, err_size);
	if (elf_is(src->kernel, src->kernel_size))
		return boot_pvh(vm, src, err, err_size);
	return boot_linux(vm, src, err, err_size);
}
