/* SPDX-License-Identifier: ISC */
/* paging.c: the hypervisor's own four-level page tables (APM vol. 2, 5.3). Nothing is both writable
 * and executable, nothing of the lower half is mapped, and what has been mapped stays, so that no
 * CPU's TLB ever holds something old. Any thread. */
#include "base/str.h"
#include "plat/metal/mem.h"
#include "plat/metal/msr.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

#define MSR_PAT 0x277u
#define PTE_P   BIT64(0)
#define PTE_W   BIT64(1)
#define PTE_PWT BIT64(3)
#define PTE_PCD BIT64(4)
#define PTE_PS  BIT64(7)
#define PTE_G   BIT64(8)
#define PTE_NX  BIT64(63)
#define PTE_PA  UINT64_C(0x000ffffffffff000)

/* Of the linker script */
extern const uint8_t image_text[], image_rodata[], image_data[], image_end[];

static struct {
	struct spin lock;
	uint64_t root;            /* physical */
	uint64_t next, next_code; /* first free addresses from MAP_BASE, CODE_BASE */
} space;

static uint64_t leaf_bits(unsigned flags)
{
	return PTE_P | PTE_G | (flags & MAP_W ? PTE_W : 0) | (flags & MAP_X ? 0 : PTE_NX) |
	       (flags & MAP_UC ? PTE_PCD | PTE_PWT : 0) | (flags & MAP_WC ? PTE_PWT : 0);
}

/* PWT alone: write-combining in place of write-through (APM vol. 2, 7.8) */
void paging_set_pat(void)
{
	msr_write(MSR_PAT, UINT64_C(0x0007040600070106));
}

/* The table below *entry; made where there is none. */
static uint64_t *descend(uint64_t *entry)
{
	if (!(*entry & PTE_P)) {
		uint64_t pa = phys_alloc(PAGE_SIZE, PAGE_SIZE);

		if (!pa)
			return NULL;
		memset(phys_ptr(pa), 0, PAGE_SIZE);
		*entry = pa | PTE_P | PTE_W;
	}
	return phys_ptr(*entry & PTE_PA);
}

static int map(uint64_t va, uint64_t pa, uint64_t size, unsigned flags)
{
	while (size) {
		uint64_t step = PAGE_SIZE;
		uint64_t *t = phys_ptr(space.root);
		unsigned shift = 39;

		if (IS_ALIGNED(va | pa, 2 * MIB) && size >= 2 * MIB)
			step = 2 * MIB;
		for (; shift > (step == PAGE_SIZE ? 12u : 21u); shift -= 9) {
			t = descend(&t[va >> shift & 511]);
			if (!t)
				return err_here(ERR_NOMEM);
		}
		t[va >> shift & 511] = pa | leaf_bits(flags) | (step == PAGE_SIZE ? 0 : PTE_PS);
		va += step;
		pa += step;
		size -= step;
	}
	return 0;
}

static int map_image(const uint8_t *from, const uint8_t *to, unsigned flags)
{
	uint64_t va = (uint64_t)from;

	return map(va, va - IMAGE_BASE, ALIGN_UP((uint64_t)to, PAGE_SIZE) - va, flags);
}

void paging_load(void)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(space.root) : "memory");
}

int paging_init(const struct ram_range *ram, unsigned n)
{
	int err = 0;

	space.next = MAP_BASE;
	space.next_code = CODE_BASE;
	space.root = phys_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!space.root)
		return err_here(ERR_NOMEM);
	memset(phys_ptr(space.root), 0, PAGE_SIZE);
	for (unsigned i = 0; i < n && !err; i++) {
		uint64_t pa = ALIGN_DOWN(ram[i].pa, PAGE_SIZE);

		err = map(DIRECT_BASE + pa, pa, ALIGN_UP(ram[i].end, PAGE_SIZE) - pa, MAP_W);
	}
	if (!err)
		err = map_image(image_text, image_rodata, MAP_X);
	if (!err)
		err = map_image(image_rodata, image_data, 0);
	if (!err)
		err = map_image(image_data, image_end, MAP_W);
	if (err)
		return err;
	paging_load();
	mem_direct();
	return 0;
}

void *paging_map_parts(const struct ram_range *part, unsigned n, unsigned flags)
{
	uint64_t irq = spin_lock(&space.lock),
		 *next = flags & MAP_X ? &space.next_code : &space.next;
	uint64_t va = *next + PAGE_SIZE, at;
	int err = 0;

	if (part[0].end - part[0].pa >= 2 * MIB) /* by large pages where pa permits */
		va = ALIGN_UP(va, 2 * MIB) + (part[0].pa & (2 * MIB - 1));
	at = va;
	for (unsigned i = 0; i < n && !err; at += part[i].end - part[i].pa, i++)
		err = map(at, part[i].pa, part[i].end - part[i].pa, flags);
	*next = at;
	spin_unlock(&space.lock, irq);
	return err ? NULL : (void *)va;
}

void *paging_map(uint64_t pa, uint64_t size, unsigned flags)
{
	const struct ram_range pages = {ALIGN_DOWN(pa, PAGE_SIZE), ALIGN_UP(pa + size, PAGE_SIZE)};
	uint8_t *p = paging_map_parts(&pages, 1, flags);

	return p ? p + (pa - pages.pa) : NULL;
}

bool paging_query(uint64_t va, bool *writable, bool *executable)
{
	const uint64_t *t = phys_ptr(space.root);

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t e = t[va >> shift & 511];

		if (!(e & PTE_P))
			return false;
		if (shift == 12 || e & PTE_PS) {
			*writable = e & PTE_W;
			*executable = !(e & PTE_NX);
			return true;
		}
		t = phys_ptr(e & PTE_PA);
	}
}
