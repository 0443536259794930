/* SPDX-License-Identifier: ISC */
/* linux.c: the Linux boot protocol, 64-bit and 32-bit entry (Documentation/arch/x86/boot.rst of the kernel).
 * Creation and reset time; no vCPU runs. */
#include "base/str.h"
#include "board/boot.h"
#include "vm/vm.h"
#include "x86/cpuid.h"
#include "x86/feature.h"

/* The set-up header, offsets in the image's first sectors and in the zero page */
#define HDR_SETUP_SECTS      0x1f1
#define HDR_BOOT_FLAG        0x1fe
#define HDR_JUMP             0x200
#define HDR_MAGIC            0x202
#define HDR_VERSION          0x206
#define HDR_TYPE_OF_LOADER   0x210
#define HDR_LOADFLAGS        0x211
#define HDR_RAMDISK_IMAGE    0x218
#define HDR_RAMDISK_SIZE     0x21c
#define HDR_CMD_LINE_PTR     0x228
#define HDR_INITRD_ADDR_MAX  0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE      0x234
#define HDR_XLOADFLAGS       0x236
#define HDR_CMDLINE_SIZE     0x238
#define HDR_PAYLOAD_OFFSET   0x248
#define HDR_PAYLOAD_LENGTH   0x24c
#define HDR_PREF_ADDRESS     0x258
#define HDR_INIT_SIZE        0x260
#define HDR_END              0x268
#define ZP_ACPI_RSDP         0x070
#define ZP_E820_ENTRIES      0x1e8
#define ZP_HDR               0x1f1
#define ZP_E820_TABLE        0x2d0

#define XLF_KERNEL_64  BIT(0)
#define LOADFLAG_KASLR BIT(1) /* it has been moved */
#define ENTRY_64       0x200  /* from the protected-mode part's start */
#define LOADER_UNKNOWN 0xff

struct linux_image {
	const uint8_t *file;
	size_t setup_size, code_size;
	uint64_t load, init_size, initrd_max, cmdline_max;
	uint64_t initrd_at, initrd_size, entry;
	bool is64; /* has the 64-bit entry; else the 32-bit one is taken */
};

static uint64_t get(const uint8_t *p, size_t off, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p + off, size);
	return v;
}

static int fail(char *err, size_t err_size, int code, const char *what)
{
	str_copy(err, err_size, what);
	return code;
}

/* Reads and checks the set-up header. */
static int linux_parse(const struct boot_source *src, struct linux_image *img, char *err,
		       size_t err_size)
{
	const uint8_t *f = src->kernel;
	size_t sects;

	if (src->kernel_size < HDR_END || get(f, HDR_BOOT_FLAG, 2) != 0xaa55 ||
	    memcmp(f + HDR_MAGIC, "HdrS", 4) != 0)
		return fail(err, err_size, ERR_FORMAT,
			    "is no kernel that can be started: give a Linux bzImage or a PVH ELF "
			    "file");
	if (get(f, HDR_VERSION, 2) < 0x20a)
		return fail(err, err_size, ERR_FORMAT,
			    "is a Linux kernel older than version 2.6.31: give a newer one");
	img->is64 = get(f, HDR_VERSION, 2) >= 0x20c && get(f, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64;
	sects = get(f, HDR_SETUP_SECTS, 1);
	img->file = f;
	img->setup_size = ((sects ? sects : 4) + 1) * 512;
	if (img->setup_size >= src->kernel_size)
		return fail(err, err_size, ERR_FORMAT, "is truncated: copy the kernel again");
	img->code_size = src->kernel_size - img->setup_size;
	/* The size of the protected-mode part in paragraphs tells a truncated file. */
	if (get(f, 0x1f4, 4) * 16 > ALIGN_UP(img->code_size, (size_t)16))
		return fail(err, err_size, ERR_FORMAT, "is truncated: copy the kernel again");
	img->init_size = MAX(get(f, HDR_INIT_SIZE, 4), (uint64_t)img->code_size);
	img->load = get(f, HDR_PREF_ADDRESS, 8);
	img->initrd_max = get(f, HDR_INITRD_ADDR_MAX, 4);
	img->cmdline_max = MIN(get(f, HDR_CMDLINE_SIZE, 4), (uint64_t)BOOT_CMDLINE_MAX - 1);
	return 0;
}

/* Decides where kernel and initrd go. */
static int linux_place(const struct boot_source *src, struct linux_image *img, char *err,
		       size_t err_size)
{
	uint64_t end, align = get(img->file, HDR_KERNEL_ALIGNMENT, 4);

	if (img->load < MIB || img->load > src->low_end ||
	    img->init_size > src->low_end - img->load) {
		if (!get(img->file, HDR_RELOCATABLE, 1) || !align || (align & (align - 1)))
			return fail(err, err_size, ERR_NOMEM,
				    "does not fit into the guest's memory: give more with "
				    "--memory");
		img->load = ALIGN_UP((uint64_t)MIB, align);
	}
	end = img->load + img->init_size;
	if (end > src->low_end)
		return fail(err, err_size, ERR_NOMEM,
			    "does not fit into the guest's memory: give more with --memory");
	if (str_len(src->cmdline) > img->cmdline_max)
		return fail(err, err_size, ERR_INVAL,
			    "takes no command line of this length: shorten --append");
	return boot_place_modules(src, MIN(src->low_end, img->initrd_max + 1), end,
				  BOOT_INITRD_ALIGN, &img->initrd_at, &img->initrd_size, err,
				  err_size);
}

static void put(uint8_t *p, size_t off, unsigned size, uint64_t v)
{
	memcpy(p + off, &v, size);
}

static void linux_zero_page(const struct boot_source *src, const struct linux_image *img,
			    uint8_t *zp)
{
	size_t hdr_end = HDR_MAGIC + img->file[HDR_JUMP + 1];

	memset(zp, 0, PAGE_SIZE);
	memcpy(zp + ZP_HDR, img->file + ZP_HDR, MIN(hdr_end, (size_t)0x290) - ZP_HDR);
	put(zp, HDR_TYPE_OF_LOADER, 1, LOADER_UNKNOWN);
	put(zp, HDR_LOADFLAGS, 1, get(img->file, HDR_LOADFLAGS, 1) & ~0x80u);
	put(zp, HDR_CMD_LINE_PTR, 4, BOOT_CMDLINE_AT);
	put(zp, HDR_RAMDISK_IMAGE, 4, img->initrd_at);
	put(zp, HDR_RAMDISK_SIZE, 4, img->initrd_size);
	put(zp, ZP_ACPI_RSDP, 8, src->rsdp);
	put(zp, ZP_E820_ENTRIES, 1, src->n_e820);
	for (unsigned i = 0; i < src->n_e820; i++) {
		put(zp, ZP_E820_TABLE + 20 * i, 8, src->e820[i].base);
		put(zp, ZP_E820_TABLE + 20 * i + 8, 8, src->e820[i].size);
		put(zp, ZP_E820_TABLE + 20 * i + 16, 4, src->e820[i].type);
	}
}

/* Identity map of the first 4 GiB in 2 MiB pages. */
static void linux_page_tables(uint8_t *p)
{
	const uint64_t table = 0x3, page = 0x83; /* present, writable; large */

	memset(p, 0, 6 * PAGE_SIZE);
	put(p, 0, 8, (BOOT_TABLES_AT + PAGE_SIZE) | table);
	for (unsigned i = 0; i < 4; i++)
		put(p, PAGE_SIZE + 8 * i, 8, (BOOT_TABLES_AT + (2 + i) * PAGE_SIZE) | table);
	for (uint64_t i = 0; i < 4 * 512; i++)
		put(p, 2 * PAGE_SIZE + 8 * i, 8, i << 21 | page);
}

static void linux_entry_state(struct x86_state *s, const struct linux_image *img)
{
	boot_flat_segments(s, img->is64 ? 64 : 32);
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	if (img->is64) {
		s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
		s->cr3 = BOOT_TABLES_AT;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
	s->rflags = FL_ONE;
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RSI] = BOOT_PARAMS_AT;
	s->gpr[RSP] = BOOT_TABLES_AT;
	s->rip = img->entry;
}

/* Is it one of the words of the command line? */
static bool asked_for(const char *cmdline, const char *word)
{
	size_t n = str_len(word), len = str_len(cmdline);

	for (size_t i = 0; i + n <= len; i++)
		if ((!i || (uint8_t)cmdline[i - 1] <= ' ') && !memcmp(cmdline + i, word, n) &&
		    (i + n == len || (uint8_t)cmdline[i + n] <= ' '))
			return true;
	return false;
}

/* Unpacked by the host. What the kernel's own code would see to besides is five-level paging. */
static bool linux_unpack(struct vm *vm, const struct boot_source *src, struct linux_image *img,
			 uint8_t *zp)
{
	uint64_t at = get(img->file, HDR_PAYLOAD_OFFSET, 4);
	struct boot_packed k = {.size = get(img->file, HDR_PAYLOAD_LENGTH, 4),
				.load = img->load,
				.room = img->init_size,
				.prefers = get(img->file, HDR_PREF_ADDRESS, 8),
				.align = get(img->file, HDR_KERNEL_ALIGNMENT, 4),
				.move = !asked_for(src->cmdline, "nokaslr")};
	struct boot_unpacked u;

	if (!src->unpack || !img->is64 || x86_kind_has(&vm->kind, X_FEAT_LA57) ||
	    at > img->code_size || k.size > img->code_size - at)
		return false;
	k.data = img->file + img->setup_size + at;
	if (!src->unpack(src->unpack_ctx, vm, &k, &u))
		return false;
	img->entry = u.entry;
	if (u.moved)
		zp[HDR_LOADFLAGS] |= LOADFLAG_KASLR;
	return true;
}

int boot_linux(struct vm *vm, const struct boot_source *src, char *err, size_t err_size)
{
	static const uint64_t gdt64[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	static const uint64_t gdt32[4] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	struct linux_image img = {0};
	uint8_t *low;
	int e = linux_parse(src, &img, err, err_size);

	if (!e)
		e = linux_place(src, &img, err, err_size);
	if (e)
		return e;
	low = mem_ptr(vm, 0, 0x80000, true);
	if (!low)
		return fail(err, err_size, ERR_NOMEM, "needs more memory: see --memory");
	linux_zero_page(src, &img, low + BOOT_PARAMS_AT);
	memcpy(low + BOOT_GDT_AT, img.is64 ? gdt64 : gdt32, sizeof(gdt64));
	memcpy(low + BOOT_CMDLINE_AT, src->cmdline, str_len(src->cmdline) + 1);
	linux_page_tables(low + BOOT_TABLES_AT);
	mem_written(vm, 0, 0x80000);
	img.entry = img.load + (img.is64 ? ENTRY_64 : 0);
	if (!linux_unpack(vm, src, &img, low + BOOT_PARAMS_AT))
		e = mem_write(vm, img.load, img.file + img.setup_size, img.code_size);
	if (!e)
		e = boot_copy_modules(vm, src, img.initrd_at, BOOT_INITRD_ALIGN);
	if (e)
		return fail(err, err_size, e, "does not fit into the guest's memory");
	linux_entry_state(vm->vcpu[0]->state, &img);
	return 0;
}
