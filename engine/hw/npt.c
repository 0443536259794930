/* SPDX-License-Identifier: ISC */
/* npt.c: AMD's nested page tables (APM vol. 2, 15.25): the format of the processor's own long-mode
 * tables, walked as a user access; and Intel's (SDM vol. 3, 29.3.2), which have read, write and execute
 * rights in the bits that are present, writable and user there, and beside them a page's memory type,
 * where there PWT and PCD are. Only pages that a VM's memory map names are ever entered, which is what
 * keeps VMs apart. */
#include "engine/hw/npt.h"

#include "base/str.h"
#include "plat/plat.h"

#define NPT_P     BIT64(0)
#define NPT_W     BIT64(1)
#define NPT_U     BIT64(2)
#define NPT_LARGE BIT64(7)
#define NPT_PA    UINT64_C(0x000ffffffffff000)
#define TOP       39u /* shift of the root's index */

static unsigned slot(gpa_t gpa, unsigned shift)
{
	return gpa >> shift & 511;
}

static uint64_t *below(uint64_t entry)
{
	return plat_virt(entry & NPT_PA);
}

int npt_init(struct npt *n, uint64_t leaf)
{
	n->leaf = leaf;
	n->root = plat_pages_alloc(PAGE_SIZE);
	return n->root ? 0 : err_here(ERR_NOMEM);
}

static void free_table(uint64_t *t, unsigned shift)
{
	for (unsigned i = 0; i < 512 && shift > PAGE_SHIFT; i++)
		if ((t[i] & (NPT_P | NPT_LARGE)) == NPT_P)
			free_table(below(t[i]), shift - 9);
	plat_pages_free(t, PAGE_SIZE);
}

void npt_fini(struct npt *n)
{
	if (n->root)
		free_table(n->root, TOP);
	n->root = NULL;
}

/* Makes 512 pages of the next size of a large one. */
static int split(uint64_t *entry, unsigned shift)
{
	uint64_t *t = plat_pages_alloc(PAGE_SIZE), e = *entry;
	unsigned low = shift - 9;

	if (!t)
		return err_here(ERR_NOMEM);
	for (uint64_t i = 0; i < 512; i++)
		t[i] = low == PAGE_SHIFT ? (e & ~NPT_LARGE) + (i << low) : e + (i << low);
	*entry = plat_phys(t) | NPT_P | NPT_W | NPT_U;
	return 0;
}

/* The entry for gpa at the level of shift; tables are made, large pages split on the way. */
static int entry_at(struct npt *n, gpa_t gpa, unsigned shift, uint64_t **out)
{
	uint64_t *e = &n->root[slot(gpa, TOP)];

	for (unsigned s = TOP; s > shift; s -= 9) {
		if (!(*e & NPT_P)) {
			uint64_t *t = plat_pages_alloc(PAGE_SIZE);

			if (!t)
				return err_here(ERR_NOMEM);
			*e = plat_phys(t) | NPT_P | NPT_W | NPT_U;
		} else if (*e & NPT_LARGE) {
			int err = split(e, s);

			if (err)
				return err;
		}
		e = &below(*e)[slot(gpa, s - 9)];
	}
	*out = e;
	return 0;
}

int npt_map(struct npt *n, gpa_t gpa, uint64_t pa, uint64_t size, bool writable)
{
	while (size) {
		bool large = IS_ALIGNED(gpa | pa, 2 * MIB) && size >= 2 * MIB;
		uint64_t step = large ? 2 * MIB : PAGE_SIZE, *e;
		int err = entry_at(n, gpa, large ? 21 : PAGE_SHIFT, &e);

		if (err)
			return err;
		if (*e & NPT_P)
			return err_here(ERR_EXIST);
		*e = pa | n->leaf | NPT_P | NPT_U | (writable ? NPT_W : 0) |
		     (large ? NPT_LARGE : 0);
		gpa += step;
		pa += step;
		size -= step;
	}
	return 0;
}

int npt_protect(struct npt *n, gpa_t gpa, uint64_t size, bool writable)
{
	for (gpa_t end = gpa + size; gpa < end; gpa += PAGE_SIZE) {
		uint64_t *e;
		int err = entry_at(n, gpa, PAGE_SHIFT, &e);

		if (err)
			return err;
		if (*e & NPT_P)
			*e = writable ? *e | NPT_W : *e & ~NPT_W;
	}
	return 0;
}

bool npt_lookup(const struct npt *n, gpa_t gpa, uint64_t *pa, bool *writable)
{
	const uint64_t *t = n->root;

	for (unsigned s = TOP;; s -= 9) {
		uint64_t e = t[slot(gpa, s)];

		if (!(e & NPT_P))
			return false;
		if (s == PAGE_SHIFT || e & NPT_LARGE) {
			*pa = (e & NPT_PA) + (gpa & (BIT64(s) - 1));
			*writable = e & NPT_W;
			return true;
		}
		t = below(e);
	}
}
