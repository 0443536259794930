/* SPDX-License-Identifier: ISC */
/* multiboot.c: the Multiboot boot protocols, versions 0.6.96 and 2 (GNU GRUB's specifications): ELF
 * kernels and flat images with an address field, 32-bit protected mode without paging, EBX at the
 * information. The files of --initrd become its modules. Creation and reset time. */
#include "base/str.h"
#include "board/boot.h"
#include "board/elf.h"
#include "vm/vm.h"

#define MB1_MAGIC  0x1badb002u
#define MB1_LOADED 0x2badb002u
#define MB1_SEARCH 8192u
#define MB2_MAGIC  0xe85250d6u
#define MB2_LOADED 0x36d76289u
#define MB2_SEARCH 32768u

#define MB1_NEEDS    0xfff8u /* required features that there are none of */
#define MB1_ADDRESS  BIT(16)
#define INFO_AT      BOOT_PARAMS_AT
#define INFO_MAX     0x2000u /* up to the GDT */
#define KERNEL_FLOOR (BOOT_CMDLINE_AT + BOOT_CMDLINE_MAX)

/* What a header asks for */
struct header {
	unsigned version;
	uint32_t at; /* offset in the file */
	uint32_t size;
	bool flat; /* the five addresses hold */
	uint32_t header_addr, load_addr, load_end, bss_end;
	bool has_entry;
	uint32_t entry;
	const char *missing; /* a thing that is required and not there */
};

/* A writer of the information, with room checked */
struct out {
	uint8_t *p;
	uint32_t used;
	bool full;
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put(struct out *o, unsigned size, uint64_t v)
{
	if (o->used + size > INFO_MAX) {
		o->full = true;
		return;
	}
	memcpy(o->p + o->used, &v, size);
	o->used += size;
}

static void put_text(struct out *o, const char *text)
{
	do
		put(o, 1, (uint8_t)*text);
	while (*text++ && !o->full);
}

static int fail(char *err, size_t err_size, int code, const char *what)
{
	str_copy(err, err_size, what);
	return code;
}

/* ---- headers ---- */

static void header1(const uint8_t *f, size_t size, struct header *h)
{
	uint32_t flags = get32(f + h->at + 4);

	h->version = 1;
	if (flags & MB1_NEEDS)
		h->missing = "asks for a Multiboot feature that is not known: boot it with GRUB";
	if (!(flags & MB1_ADDRESS))
		return;
	if (size - h->at < 32) {
		h->missing = "ends in its Multiboot header: the file is truncated";
		return;
	}
	h->flat = h->has_entry = true;
	h->header_addr = get32(f + h->at + 12);
	h->load_addr = get32(f + h->at + 16);
	h->load_end = get32(f + h->at + 20);
	h->bss_end = get32(f + h->at + 24);
	h->entry = get32(f + h->at + 28);
}

/* Tags of information that can be given */
static bool mb2_known(uint32_t type)
{
	return (type >= 1 && type <= 6 && type != 5) || type == 15;
}

static void tag2(const uint8_t *t, uint32_t type, uint32_t flags, uint32_t size, struct header *h)
{
	bool optional = flags & 1;

	switch (type) {
	case 1: /* information request */
		for (uint32_t i = 8; i + 4 <= size && !optional; i += 4)
			if (!mb2_known(get32(t + i)))
				h->missing =
					"requires Multiboot information that there is none of: "
					"boot it with GRUB";
		return;
	case 2:
		if (size < 24)
			return;
		h->flat = true;
		h->header_addr = get32(t + 8);
		h->load_addr = get32(t + 12);
		h->load_end = get32(t + 16);
		h->bss_end = get32(t + 20);
		return;
	case 3:
		if (size < 12)
			return;
		h->has_entry = true;
		h->entry = get32(t + 8);
		return;
	case 4: /* console flags: a text screen is never required */
	case 5: /* framebuffer: a wish */
	case 6: /* modules are page-aligned anyway */
	case 7: /* EFI boot services, EFI entry points: this is no EFI */
	case 8:
	case 9:
	case 10: /* relocatable: it is loaded where it prefers to be */
		return;
	default:
		if (!optional)
			h->missing = "requires a Multiboot feature that is not known: boot it with "
				     "GRUB";
	}
}

static void header2(const uint8_t *f, struct header *h)
{
	uint32_t at = 16;

	h->version = 2;
	while (at + 8 <= h->size) {
		const uint8_t *t = f + h->at + at;
		uint32_t type = get16(t), size = get32(t + 4);

		if (!type || size < 8 || size > h->size - at)
			return;
		tag2(t, type, get16(t + 2), size, h);
		at += ALIGN_UP(size, 8u);
	}
}

/* Finds a header; the newer one where there are two. */
static bool find_header(const uint8_t *f, size_t size, struct header *h)
{
	memset(h, 0, sizeof(*h));
	for (uint32_t at = 0; at + 16 <= MIN(size, (size_t)MB2_SEARCH); at += 8) {
		uint32_t len = get32(f + at + 8);

		if (get32(f + at) != MB2_MAGIC || get32(f + at + 4) != 0 ||
		    MB2_MAGIC + len + get32(f + at + 12) != 0 || len < 16 || len > size - at)
			continue;
		h->at = at;
		h->size = len;
		header2(f, h);
		return true;
	}
	for (uint32_t at = 0; at + 12 <= MIN(size, (size_t)MB1_SEARCH); at += 4) {
		if (get32(f + at) != MB1_MAGIC ||
		    MB1_MAGIC + get32(f + at + 4) + get32(f + at + 8) != 0)
			continue;
		h->at = at;
		header1(f, size, h);
		return true;
	}
	return false;
}

bool multiboot_is(const void *kernel, size_t size)
{
	struct header h;

	return find_header(kernel, size, &h);
}

/* ---- loading ---- */

/* A flat image: [load_addr, load_end) from the file, zeros up to bss_end. */
static int load_flat(struct vm *vm, const struct boot_source *src, const struct header *h,
		     uint64_t *end)
{
	uint32_t before = h->header_addr - h->load_addr;
	uint64_t from, len, zero = 0;
	hva_t p;

	if (h->header_addr < h->load_addr || before > h->at)
		return ERR_FORMAT;
	from = h->at - before;
	len = src->kernel_size - from;
	if (h->load_end) {
		if (h->load_end < h->load_addr || h->load_end - h->load_addr > len)
			return ERR_FORMAT;
		len = h->load_end - h->load_addr;
	}
	if (h->bss_end) {
		if (h->bss_end < h->load_addr + len)
			return ERR_FORMAT;
		zero = h->bss_end - h->load_addr - len;
	}
	p = h->load_addr < KERNEL_FLOOR ? NULL : mem_ptr(vm, h->load_addr, len + zero, true);
	if (!p)
		return ERR_NOMEM;
	memcpy(p, (const uint8_t *)src->kernel + from, len);
	memset(p + len, 0, zero);
	mem_written(vm, h->load_addr, len + zero);
	*end = h->load_addr + len + zero;
	return 0;
}

static int load_kernel(struct vm *vm, const struct boot_source *src, struct header *h,
		       uint64_t *end)
{
	struct elf elf = {0};
	int err;

	if (h->flat)
		return h->has_entry ? load_flat(vm, src, h, end) : ERR_FORMAT;
	err = elf_parse(src->kernel, src->kernel_size, &elf);
	if (!err)
		err = elf_load(vm, &elf, KERNEL_FLOOR, end);
	if (!h->has_entry)
		h->entry = (uint32_t)elf_entry(&elf);
	return err;
}

/* ---- information ---- */

static uint32_t upper_kib(const struct boot_source *src)
{
	return (uint32_t)((src->low_end - MIB) / KIB);
}

static uint32_t region_type(const struct e820 *e)
{
	return e->type == E820_RAM || e->type == E820_ACPI ? e->type : E820_RESERVED;
}

/* Modules from modules_at on, one at a time: the next one's first byte. */
static uint64_t module_behind(const struct boot_file *m, uint64_t at)
{
	return ALIGN_UP(at + m->size, PAGE_SIZE);
}

/* The list of modules at list; their texts go behind all else, empty ones are what is at empty. */
static void modules1(const struct boot_source *src, struct out *o, uint32_t list, uint32_t empty,
		     uint64_t at)
{
	uint32_t text = o->used;

	for (unsigned i = 0; i < src->n_modules; i++) {
		const struct boot_file *m = &src->module[i];

		o->used = list + 16 * i;
		put(o, 4, at);
		put(o, 4, at + m->size);
		put(o, 4, INFO_AT + (m->text[0] ? text : empty));
		o->used = text;
		if (m->text[0])
			put_text(o, m->text);
		text = o->used;
		at = module_behind(m, at);
	}
}

static void info1(const struct boot_source *src, struct out *o, uint64_t modules_at)
{
	enum { MODS = 0x100, NAME = MODS + BOOT_MAX_FILES * 16, MAP = NAME + 32 };
	static const char name[] = "Vigia";

	put(o, 4, BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9));
	put(o, 4, 640);
	put(o, 4, upper_kib(src));
	put(o, 4, 0); /* boot device: none */
	put(o, 4, BOOT_CMDLINE_AT);
	put(o, 4, src->n_modules);
	put(o, 4, INFO_AT + MODS);
	o->used = 44;
	put(o, 4, src->n_e820 * 24);
	put(o, 4, INFO_AT + MAP);
	o->used = 64;
	put(o, 4, INFO_AT + NAME);
	memcpy(o->p + NAME, name, sizeof(name));
	o->used = MAP;
	for (unsigned i = 0; i < src->n_e820; i++) {
		put(o, 4, 20);
		put(o, 8, src->e820[i].base);
		put(o, 8, src->e820[i].size);
		put(o, 4, region_type(&src->e820[i]));
	}
	modules1(src, o, MODS, NAME + sizeof(name) - 1, modules_at);
}

static void tag_bytes(struct out *o, uint32_t type, const void *bytes, uint32_t size)
{
	put(o, 4, type);
	put(o, 4, 8 + size);
	for (uint32_t i = 0; i < size; i++)
		put(o, 1, ((const uint8_t *)bytes)[i]);
	o->used = ALIGN_UP(o->used, 8u);
}

static void tag_module(struct out *o, const struct boot_file *m, uint64_t at)
{
	put(o, 4, 3);
	put(o, 4, 16 + str_len(m->text) + 1);
	put(o, 4, at);
	put(o, 4, at + m->size);
	put_text(o, m->text);
	o->used = ALIGN_UP(o->used, 8u);
}

static void info2(struct vm *vm, const struct boot_source *src, struct out *o, uint64_t modules_at)
{
	const uint32_t memory[2] = {640, upper_kib(src)};
	hva_t rsdp = mem_ptr(vm, src->rsdp, 36, false);

	o->used = 8;
	tag_bytes(o, 1, src->cmdline, (uint32_t)str_len(src->cmdline) + 1);
	tag_bytes(o, 2, "Vigia", 6);
	for (unsigned i = 0; i < src->n_modules; i++) {
		tag_module(o, &src->module[i], modules_at);
		modules_at = module_behind(&src->module[i], modules_at);
	}
	tag_bytes(o, 4, memory, sizeof(memory));
	put(o, 4, 6);
	put(o, 4, 16 + src->n_e820 * 24);
	put(o, 4, 24);
	put(o, 4, 0);
	for (unsigned i = 0; i < src->n_e820; i++) {
		put(o, 8, src->e820[i].base);
		put(o, 8, src->e820[i].size);
		put(o, 4, region_type(&src->e820[i]));
		put(o, 4, 0);
	}
	if (rsdp)
		tag_bytes(o, 15, rsdp, 36);
	tag_bytes(o, 0, NULL, 0);
	memcpy(o->p, &o->used, 4);
}

static void entry_state(struct x86_state *s, const struct header *h)
{
	boot_flat_segments(s, 32);
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	s->rflags = FL_ONE;
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RAX] = h->version == 1 ? MB1_LOADED : MB2_LOADED;
	s->gpr[RBX] = INFO_AT;
	s->rip = h->entry;
}

int boot_multiboot(struct vm *vm, const struct boot_source *src, char *err, size_t err_size)
{
	static const uint64_t gdt[4] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	uint64_t end = 0, modules_at, size;
	uint8_t *low = mem_ptr(vm, 0, 0x80000, true);
	struct out o = {0};
	struct header h;
	int e;

	if (!find_header(src->kernel, src->kernel_size, &h))
		return fail(err, err_size, ERR_FORMAT, "has no Multiboot header");
	if (!low || src->low_end < 2 * MIB)
		return fail(err, err_size, ERR_NOMEM, "needs more memory: see --memory");
	if (h.missing)
		return fail(err, err_size, ERR_FORMAT, h.missing);
	if (str_len(src->cmdline) >= BOOT_CMDLINE_MAX)
		return fail(err, err_size, ERR_INVAL,
			    "takes no command line of this length: shorten --append");
	e = load_kernel(vm, src, &h, &end);
	if (e == ERR_FORMAT)
		return fail(err, err_size, e,
			    "is a damaged or foreign Multiboot kernel: give another file");
	if (e)
		return fail(err, err_size, e,
			    "does not fit into the guest's memory where it wants to be: give more "
			    "with --memory");
	e = boot_place_modules(src, src->low_end, end, PAGE_SIZE, &modules_at, &size, err,
			       err_size);
	if (e)
		return e;
	e = boot_copy_modules(vm, src, modules_at, PAGE_SIZE);
	if (e)
		return fail(err, err_size, e, "does not fit into the guest's memory");
	o.p = low + INFO_AT;
	memset(o.p, 0, INFO_MAX);
	memcpy(low + BOOT_GDT_AT, gdt, sizeof(gdt));
	memcpy(low + BOOT_CMDLINE_AT, src->cmdline, str_len(src->cmdline) + 1);
	if (h.version == 1)
		info1(src, &o, modules_at);
	else
		info2(vm, src, &o, modules_at);
	if (o.full)
		return fail(err, err_size, ERR_INVAL,
			    "takes no texts of this length: shorten --append or its modules'");
	mem_written(vm, 0, 0x80000);
	entry_state(vm->vcpu[0]->state, &h);
	return 0;
}
