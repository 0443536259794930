/* SPDX-License-Identifier: ISC */
/* boot.h: puts a kernel into guest memory without firmware, and a vCPU at its entry. */
#ifndef BOARD_BOOT_H
#define BOARD_BOOT_H

#include "base/def.h"
#include "base/err.h"

struct vm;

#define BOOT_MAX_E820 16
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };
struct e820 {
	uint64_t base, size;
	uint32_t type; /* enum e820_type */
};

/* A Linux kernel with the 64-bit entry that is to be unpacked */
struct boot_packed {
	const void *data; /* what is packed, and behind it anything */
	size_t size;
	gpa_t load;              /* where the kernel shall be */
	uint64_t room;           /* bytes there, RAM */
	uint64_t prefers, align; /* the address that it is linked for, steps from there */
	bool move;               /* in the virtual address space, at random (KASLR) */
};
struct boot_unpacked {
	gpa_t entry; /* startup_64 */
	bool moved;
};

/* What is loaded beside the kernel. Linux finds all as one initrd, one behind the other, as PVH kernels do. */
#define BOOT_MAX_FILES 16
struct boot_file {
	const void *data;
	size_t size;
	const char *text; /* a Multiboot module's string, "" if none; never NULL */
};

/* All buffers stay the caller's and are read again at each reset. */
struct boot_source {
	/* NULL, or false where it can't, and nothing is there then: the kernel does it itself. */
	bool (*unpack)(void *ctx, struct vm *vm, const struct boot_packed *k,
		       struct boot_unpacked *out);
	void *unpack_ctx;
	const void *kernel;
	size_t kernel_size;
	struct boot_file module[BOOT_MAX_FILES];
	unsigned n_modules;
	const char *cmdline; /* never NULL */
	gpa_t rsdp;
	gpa_t low_end; /* end of RAM below 4 GiB */
	struct e820 e820[BOOT_MAX_E820];
	unsigned n_e820;
};

/* Where the loaders put small things, all below 640 KiB. */
#define BOOT_PARAMS_AT   0x1000u /* Linux zero page, or PVH start info */
#define BOOT_GDT_AT      0x3000u
#define BOOT_CMDLINE_AT  0x20000u
#define BOOT_CMDLINE_MAX 0x8000u
#define BOOT_TABLES_AT   0x30000u /* page tables: six pages */

/* Each answers 0, ERR_FORMAT where the kernel is not of its kind, or another error; for all errors
 * err holds one line for people. They fill guest memory and vm->vcpu[0]->state. */
int boot_linux(struct vm *vm, const struct boot_source *src, char *err, size_t err_size);
int boot_pvh(struct vm *vm, const struct boot_source *src, char *err, size_t err_size);
/* Multiboot 1 and 2. */
int boot_multiboot(struct vm *vm, const struct boot_source *src, char *err, size_t err_size);
bool multiboot_is(const void *kernel, size_t size);
/* Finds out what the kernel is and loads it. */
int boot_load(struct vm *vm, const struct boot_source *src, char *err, size_t err_size);

/* Modules, in their order, below top: the first at *at, which is page-aligned, the others at multiples of align from there, a
 * power of two, with zeros between; *size: bytes from *at to the end of the last, 0 where there are none. ERR_NOMEM where
 * they would reach below end, with a line in err. */
int boot_place_modules(const struct boot_source *src, uint64_t top, uint64_t end, uint64_t align,
		       uint64_t *at, uint64_t *size, char *err, size_t err_size);
int boot_copy_modules(struct vm *vm, const struct boot_source *src, uint64_t at, uint64_t align);

/* Of Linux' initrds (its driver-api/early-userspace/buffer-format.rst) */
#define BOOT_INITRD_ALIGN 4u

/* Flat segments as a boot loader leaves them: CS 10H and data 18H. bits: 32 or 64. */
struct x86_state;
void boot_flat_segments(struct x86_state *s, unsigned bits);

#endif
