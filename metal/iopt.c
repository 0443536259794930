/* SPDX-License-Identifier: ISC */
/* iopt.c: see iopt.h. The caller serialises, and has the unit forget what was unmapped. */
#include "metal/iopt.h"

#include "plat/plat.h"

#define ENTRY_PA UINT64_C(0x000ffffffffff000)

/* Read and write, everywhere */
const struct iopt_format iopt_intel = {.table = 3, .page = 3, .large = 3 | BIT(7)};
#define AMD_RW (BIT64(0) | BIT64(61) | BIT64(62))
const struct iopt_format iopt_amd = {
	.table = AMD_RW, .page = AMD_RW, .large = AMD_RW, .level_at = 9};

static unsigned shift_of(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static void set(const struct iopt *t, uint64_t *entry, uint64_t v)
{
	*(volatile uint64_t *)entry = v;
	if (t->flush)
		__asm__ volatile("clflush %0; sfence" : "+m"(*(volatile char *)entry) : : "memory");
}

static uint64_t *table_new(const struct iopt *t)
{
	uint64_t *new = plat_pages_alloc(PAGE_SIZE);

	for (unsigned i = 0; new && t->flush &&i < 512; i += 8)
		set(t, &new[i], 0);
	return new;
}

int iopt_init(struct iopt *t)
{
	t->root = table_new(t);
	return t->root ? 0 : err_here(ERR_NOMEM);
}

static bool is_large(const struct iopt *t, unsigned level, uint64_t entry)
{
	return level == 2 && t->large && (entry & ~ENTRY_PA) == t->format->large;
}

static void table_free(struct iopt *t, uint64_t *table, unsigned level)
{
	for (unsigned i = 0; level > 1 && i < 512; i++)
		if (table[i] && !is_large(t, level, table[i]))
			table_free(t, plat_virt(table[i] & ENTRY_PA), level - 1);
	plat_pages_free(table, PAGE_SIZE);
}

void iopt_fini(struct iopt *t)
{
	if (t->root)
		table_free(t, t->root, t->levels);
	t->root = NULL;
}

/* The entry for pa in a table of this level; NULL: no memory, or, unless make is set, no such table. */
static uint64_t *entry_at(struct iopt *t, uint64_t pa, unsigned level, bool make)
{
	uint64_t *table = t->root;

	for (unsigned l = t->levels; l > level; l--) {
		uint64_t *e = &table[pa >> shift_of(l) & 511];

		if (!*e && make) {
			uint64_t *below = table_new(t);

			if (below)
				set(t, e,
				    plat_phys(below) | t->format->table |
					    (t->format->level_at
						     ? (uint64_t)(l - 1) << t->format->level_at
						     : 0));
		}
		if (!*e)
			return NULL;
		table = plat_virt(*e & ENTRY_PA);
	}
	return &table[pa >> shift_of(level) & 511];
}

/* How map() has cut, and unmap() will cut, [pa, end). */
static unsigned level_for(const struct iopt *t, uint64_t pa, uint64_t end)
{
	return t->large && IS_ALIGNED(pa, 2 * MIB) && end - pa >= 2 * MIB ? 2 : 1;
}

int iopt_map(struct iopt *t, uint64_t pa, uint64_t end)
{
	if (end > BIT64(shift_of(t->levels + 1)))
		return err_here(ERR_RANGE);
	while (pa < end) {
		unsigned level = level_for(t, pa, end);
		uint64_t *e = entry_at(t, pa, level, true);

		if (!e)
			return err_here(ERR_NOMEM);
		/* A table from earlier pages may be in a large one's way: it stays, and is filled. */
		if (level == 2 && *e) {
			level = 1;
			e = entry_at(t, pa, level, true);
			if (!e)
				return err_here(ERR_NOMEM);
		}
		set(t, e, pa | (level == 2 ? t->format->large : t->format->page));
		pa += BIT64(shift_of(level));
	}
	return 0;
}

void iopt_unmap(struct iopt *t, uint64_t pa, uint64_t end)
{
	while (pa < end) {
		unsigned level = level_for(t, pa, end);
		uint64_t *e = entry_at(t, pa, level, false);

		if (level == 2 && e && *e && !is_large(t, level, *e)) {
			level = 1;
			e = entry_at(t, pa, level, false);
		}
		if (e)
			set(t, e, 0);
		pa += BIT64(shift_of(level));
	}
}

bool iopt_reaches(const struct iopt *t, uint64_t pa)
{
	const uint64_t *table = t->root;

	for (unsigned l = t->levels; pa < BIT64(shift_of(t->levels + 1)); l--) {
		uint64_t e = table[pa >> shift_of(l) & 511];

		if (!e || l == 1 || is_large(t, l, e))
			return e;
		table = plat_virt(e & ENTRY_PA);
	}
	return false;
}
