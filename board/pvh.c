/* SPDX-License-Identifier: ISC */
/* pvh.c: the PVH boot protocol for ELF kernels (Xen's docs/misc/pvh.pandoc, start_info.h): 32-bit
 * protected mode without paging, EBX at the start info. Creation and reset time. */
#include "base/str.h"
#include "board/boot.h"
#include "board/elf.h"
#include "vm/vm.h"

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define START_MAGIC       0x336ec578u
#define MODULE_LIST_OFF   0x100 /* from the start info */
#define MEMMAP_OFF        0x200

static uint64_t get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size);
	return v;
}

static int fail(char *err, size_t err_size, int code, const char *what)
{
	str_copy(err, err_size, what);
	return code;
}

/* The entry point from Xen's note, or 0. */
static uint32_t note_entry(const struct elf *e, const struct elf_segment *s)
{
	const uint8_t *p = e->file + s->offset;
	uint64_t left = s->filesz, align = s->align == 8 ? 8 : 4;

	while (left >= 12) {
		uint64_t name = get(p, 4), desc = get(p + 4, 4), type = get(p + 8, 4);
		uint64_t desc_at = ALIGN_UP(12 + name, align);
		uint64_t next = ALIGN_UP(desc_at + desc, align);

		if (name > left || desc > left || desc_at + desc > left)
			return 0;
		if (type == NOTE_PHYS32_ENTRY && name == 4 && memcmp(p + 12, "Xen", 4) == 0 &&
		    desc >= 4)
			return (uint32_t)get(p + desc_at, 4);
		if (next > left)
			return 0;
		p += next;
		left -= next;
	}
	return 0;
}

static uint32_t find_entry(const struct elf *e)
{
	uint32_t entry = 0;

	for (unsigned i = 0; i < e->n && !entry; i++)
		if (e->seg[i].type == ELF_PT_NOTE)
			entry = note_entry(e, &e->seg[i]);
	return entry;
}

static void put(uint8_t *p, unsigned size, uint64_t v)
{
	memcpy(p, &v, size);
}

static void start_info(const struct boot_source *src, uint8_t *p, uint64_t initrd_at,
		       uint64_t initrd_size)
{
	memset(p, 0, PAGE_SIZE);
	put(p, 4, START_MAGIC);
	put(p + 4, 4, 1); /* version: with memory map */
	put(p + 12, 4, initrd_size ? 1 : 0);
	put(p + 16, 8, BOOT_PARAMS_AT + MODULE_LIST_OFF);
	put(p + 24, 8, BOOT_CMDLINE_AT);
	put(p + 32, 8, src->rsdp);
	put(p + 40, 8, BOOT_PARAMS_AT + MEMMAP_OFF);
	put(p + 48, 4, src->n_e820);
	put(p + MODULE_LIST_OFF, 8, initrd_at);
	put(p + MODULE_LIST_OFF + 8, 8, initrd_size);
	for (unsigned i = 0; i < src->n_e820; i++) {
		uint8_t *m = p + MEMMAP_OFF + 24 * i;

		put(m, 8, src->e820[i].base);
		put(m + 8, 8, src->e820[i].size);
		put(m + 16, 4, src->e820[i].type);
	}
}

static void entry_state(struct x86_state *s, uint32_t entry)
{
	boot_flat_segments(s, 32);
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	s->rflags = FL_ONE;
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RBX] = BOOT_PARAMS_AT;
	s->rip = entry;
}

int boot_pvh(struct vm *vm, const struct boot_source *src, char *err, size_t err_size)
{
	static const uint64_t gdt[4] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	struct elf elf = {0};
	uint64_t end = 0, initrd_at, initrd_size;
	uint32_t entry;
	int e;
	uint8_t *low = mem_ptr(vm, 0, 0x80000, true);

	if (!low)
		return fail(err, err_size, ERR_NOMEM, "needs more memory: see --memory");
	if (elf_parse(src->kernel, src->kernel_size, &elf))
		return fail(err, err_size, ERR_FORMAT,
			    "is a damaged or foreign ELF file: give an x86 kernel with a PVH note");
	if (str_len(src->cmdline) >= BOOT_CMDLINE_MAX)
		return fail(err, err_size, ERR_INVAL,
			    "takes no command line of this length: shorten --append");
	if (elf_load(vm, &elf, 0, &end))
		return fail(err, err_size, ERR_NOMEM,
			    "does not fit into the guest's memory: give more with --memory");
	entry = find_entry(&elf);
	if (!entry)
		return fail(err, err_size, ERR_FORMAT,
			    "is an ELF file without a PVH entry note: give a bzImage or a kernel "
			    "built with PVH");
	e = boot_place_modules(src, src->low_end, end, BOOT_INITRD_ALIGN, &initrd_at, &initrd_size,
			       err, err_size);
	if (e)
		return e;
	e = boot_copy_modules(vm, src, initrd_at, BOOT_INITRD_ALIGN);
	if (e)
		return fail(err, err_size, e, "does not fit into the guest's memory");
	start_info(src, low + BOOT_PARAMS_AT, initrd_at, initrd_size);
	memcpy(low + BOOT_GDT_AT, gdt, sizeof(gdt));
	memcpy(low + BOOT_CMDLINE_AT, src->cmdline, str_len(src->cmdline) + 1);
	mem_written(vm, 0, 0x80000);
	entry_state(vm->vcpu[0]->state, entry);
	return 0;
}
