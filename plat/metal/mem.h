/* SPDX-License-Identifier: ISC */
/* mem.h: physical memory and the hypervisor's own address space on bare metal. */
#ifndef PLAT_METAL_MEM_H
#define PLAT_METAL_MEM_H

#include "base/def.h"
#include "base/err.h"

/* The upper half:
 *	DIRECT_BASE	all RAM, read and write, never executable
 *	MAP_BASE	stacks, device registers: each between unmapped guard pages
 *	CODE_BASE	code pages, likewise: trap.S knows the upper 20 bits
 *	IMAGE_BASE	the image: code read and execute, constants read, data read and write */
#define DIRECT_BASE UINT64_C(0xffff800000000000)
#define MAP_BASE    UINT64_C(0xffffc00000000000)
#define CODE_BASE   UINT64_C(0xffffe00000000000)
#define IMAGE_BASE  UINT64_C(0xffffffff80000000)

/* ---- physical pages (mem.c) ---- */

/* Gives a range of RAM to the pool, which writes to it. Only memory that the current tables map. */
void phys_add(uint64_t pa, uint64_t end);
/* Contiguous, not zeroed; 0: there is none. size: a page multiple; align: power of two, a page or
 * more. */
uint64_t phys_alloc(uint64_t size, uint64_t align);
/* This VM's memory is never given to anybody else: a device may still write to it. */
void mem_keep(const void *hva);
/* For who waits: zeroes a piece of free memory, which whoever is given it then need not do. */
void mem_clean(void);
void phys_free(uint64_t pa, uint64_t size);
void phys_stats(uint64_t *total, uint64_t *free);
/* RAM through the direct map (before mem_direct(): through the loader's identity map). */
void *phys_ptr(uint64_t pa);
void mem_direct(void);
/* What the hypervisor itself has taken, guest memory not counted. */
uint64_t mem_own_bytes(void);

/* ---- address space (paging.c) ---- */

/* MAP_WC: writes are gathered, as paging_set_pat() makes possible. */
enum map_flags { MAP_W = BIT(0), MAP_X = BIT(1), MAP_UC = BIT(2), MAP_WC = BIT(3) };
struct ram_range {
	uint64_t pa, end;
};
/* Builds the tables and loads them; then mem_direct() holds. */
int paging_init(const struct ram_range *ram, unsigned n) attr_must_check;
void paging_load(void);    /* on each further CPU */
void paging_set_pat(void); /* on each CPU, before anything is MAP_WC */
/* Maps size bytes from pa at a fresh address between guard pages; NULL: no memory. Never undone. */
void *paging_map(uint64_t pa, uint64_t size, unsigned flags);
/* Likewise n whole ranges of pages, one behind the other. */
void *paging_map_parts(const struct ram_range *part, unsigned n, unsigned flags);
/* Whether an address is one of CODE_BASE's. */
static inline bool paging_is_code(uint64_t va)
{
	return va >> 44 == CODE_BASE >> 44;
}
/* Whether the page at va is there, and may be written and executed: for the self-test. */
bool paging_query(uint64_t va, bool *writable, bool *executable);

#endif
