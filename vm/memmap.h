/* SPDX-License-Identifier: ISC */
/* memmap.h: guest-physical RAM and ROM, and devices' access to it (DMA).
 *
 * The map is laid out at creation and does not change while vCPUs run. */
#ifndef VM_MEMMAP_H
#define VM_MEMMAP_H

#include "base/def.h"
#include "base/err.h"

struct vm;

/* Per-page state, shared by all engines and devices */
#define PGF_CODE  BIT(0) /* translations of code on this page exist: writers must report */
#define PGF_DIRTY BIT(1) /* written since mem_dirty_take() */
#define PGF_RO    BIT(2) /* writes go to the bus; see mem_protect() */

struct mem_slot {
	gpa_t gpa;
	uint64_t size; /* bytes, page multiple */
	hva_t hva;
	uint64_t file_offset;   /* in the RAM memfd */
	_Atomic uint8_t *flags; /* PGF_*, one a page */
	bool rom;
	bool protectable; /* some of its pages may have PGF_RO */
};

#define MEM_MAX_SLOTS 16
struct memmap {
	struct mem_slot slot[MEM_MAX_SLOTS]; /* sorted by gpa */
	unsigned n;
	struct mem_slot
		screen;        /* RAM where the screen is, for SMM; size 0: none. Not for devices */
	_Atomic uint8_t smram; /* SMRAM_*: when it is there in place of the screen */
};

#define SMRAM_SMM  BIT(0) /* in SMM */
#define SMRAM_OPEN BIT(1) /* always */
#define SMRAM_CODE BIT(2) /* in SMM for code only: data is the screen's */

/* May gpa lead to the RAM behind the screen? Such a translation depends on more than the page tables. */
static inline bool mem_is_screen(const struct memmap *m, gpa_t gpa)
{
	return gpa - m->screen.gpa < m->screen.size;
}
/* Does it, for a processor that is in SMM or not, and fetches code or not? */
static inline bool mem_is_smram(struct memmap *m, gpa_t gpa, bool smm, bool fetch)
{
	uint8_t who = atomic_load_explicit(&m->smram, memory_order_relaxed);

	if (likely(!who || !mem_is_screen(m, gpa)))
		return false;
	return who & SMRAM_OPEN || (smm && who & SMRAM_SMM && (fetch || !(who & SMRAM_CODE)));
}

int mem_add(struct vm *vm, gpa_t gpa, uint64_t size, hva_t hva, uint64_t file_offset,
	    bool rom) attr_must_check;
/* Slot that holds gpa, or NULL. */
struct mem_slot *mem_slot(struct vm *vm, gpa_t gpa);
/* Host address of [gpa, gpa+len) if it lies in one slot (and is RAM where write), else NULL. For
 * writes the caller calls mem_written() afterwards. */
hva_t mem_ptr(struct vm *vm, gpa_t gpa, uint64_t len, bool write);
/* Reports that a device has written: dirty log, and translated code on these pages is dropped. */
void mem_written(struct vm *vm, gpa_t gpa, uint64_t len);
/* From now on the guest's writes to these pages do not reach them (ro), or do again. gpa, len: page
 * multiples within one slot. Reads are not affected. Any thread; no lock of RANK_ENGINE held. */
void mem_protect(struct vm *vm, gpa_t gpa, uint64_t len, bool ro);
/* From now on pages of RAM that are written to are noted. ERR_NOSYS: the engine cannot say, or the host's kernel writes, too. One thread; vCPUs may run. */
int mem_dirty_start(struct vm *vm) attr_must_check;
/* The pages that were written to since then or the last call: each from vm->ram's start on has a bit, which is added. */
int mem_dirty_take(struct vm *vm, uint64_t *bits) attr_must_check;
void mem_dirty_stop(struct vm *vm);
/* Copies; all or nothing. ERR_RANGE outside of RAM. */
int mem_read(struct vm *vm, gpa_t gpa, void *buf, uint64_t len) attr_must_check;
int mem_write(struct vm *vm, gpa_t gpa, const void *buf, uint64_t len) attr_must_check;

#endif
