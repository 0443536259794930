/* SPDX-License-Identifier: ISC */
/* windows.c: plat.h's windows on bare metal: pages mapped more than once, one behind the other. As mappings stay for ever,
 * windows that were given back are kept for the next who asks for such. Any thread. */
#include "base/str.h"
#include "plat/metal/mem.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

#define WINDOWS_MAX 8u
#define PARTS_MAX   512u

struct kept {
	struct kept *next;
	struct plat_windows w;
	uint8_t *at[WINDOWS_MAX];
};

static struct {
	struct spin lock;
	struct kept *free;
} all;

static struct kept *kept(const struct plat_windows *w)
{
	uint64_t flags = spin_lock(&all.lock);
	struct kept **link = &all.free, *k;

	while (*link && memcmp(&(*link)->w, w, sizeof(*w)))
		link = &(*link)->next;
	k = *link;
	if (k)
		*link = k->next;
	spin_unlock(&all.lock, flags);
	return k;
}

/* Memory of a part that has arrays in [from, to), and what of it is seen where: PARTS_MAX at most. */
struct layout {
	struct ram_range part[PARTS_MAX];
	unsigned n;
	uint64_t pa;
};

static void lay(struct layout *l, uint64_t pa, uint64_t size)
{
	if (size)
		l->part[l->n++] = (struct ram_range){pa, pa + size};
}

static size_t there(const struct plat_windows *w, size_t size, size_t from, size_t to)
{
	return w->folded ? size - (to - from) + (to - from) / w->array * w->folded : size;
}

static void lay_part(struct layout *l, const struct plat_windows *w, uint64_t pa, size_t size,
		     size_t from, size_t to)
{
	if (!w->folded) {
		lay(l, pa, size);
		return;
	}
	lay(l, pa, from);
	pa += from;
	for (size_t at = from; at < to; at += w->array, pa += w->folded)
		for (size_t i = 0; i < w->array; i += w->folded)
			lay(l, pa, w->folded);
	lay(l, pa, size - to);
}

static int map_all(const struct plat_windows *w, uint8_t **window)
{
	size_t shared = there(w, w->shared, w->from, w->to), own = there(w, w->own, 0, w->own_to);
	struct layout *l = plat_alloc(sizeof(*l));
	uint64_t pa = l ? phys_alloc(shared + w->n * own, PAGE_SIZE) : 0;
	int err = pa ? 0 : err_here(ERR_NOMEM);

	for (unsigned i = 0; i < w->n && !err; i++) {
		l->n = 0;
		lay_part(l, w, pa, w->shared, w->from, w->to);
		lay_part(l, w, pa + shared + i * own, w->own, 0, w->own_to);
		window[i] = paging_map_parts(l->part, l->n, MAP_W);
		if (!window[i])
			err = err_here(ERR_NOMEM);
	}
	if (err && pa) /* what is mapped already is used by nobody */
		phys_free(pa, shared + w->n * own);
	plat_free(l);
	return err;
}

static bool can(const struct plat_windows *w)
{
	size_t arrays = w->folded ? (w->to - w->from + w->own_to) / w->folded : 0;

	return w->n <= WINDOWS_MAX && arrays + 6 <= PARTS_MAX;
}

int plat_windows_alloc(const struct plat_windows *w, uint8_t **window)
{
	struct kept *k = can(w) ? kept(w) : NULL;
	int err = 0;

	if (!can(w))
		return err_here(ERR_RANGE);
	if (k) {
		memcpy(window, k->at, w->n * sizeof(*window));
		plat_free(k);
	} else {
		err = map_all(w, window);
	}
	for (unsigned i = 0; i < w->n && !err; i++) {
		if (!i)
			plat_pages_discard(window[0], w->shared);
		plat_pages_discard(window[i] + w->shared, w->own);
	}
	return err;
}

void plat_windows_free(const struct plat_windows *w, uint8_t **window)
{
	struct kept *k = plat_alloc(sizeof(*k));
	uint64_t flags;

	if (!k) /* lost */
		return;
	k->w = *w;
	memcpy(k->at, window, w->n * sizeof(*window));
	flags = spin_lock(&all.lock);
	k->next = all.free;
	all.free = k;
	spin_unlock(&all.lock, flags);
}

/* Pages in another order would have to be unmapped again. */
hva_t plat_mirrors_alloc(const struct plat_ram *ram, size_t size)
{
	return NULL;
}

int plat_mirror_page(hva_t at, hva_t page)
{
	return err_here(ERR_NOSYS);
}

int plat_fixed_alloc(const struct plat_ram *ram, uint64_t at, uint64_t size)
{
	return err_here(ERR_NOSYS);
}

void plat_fixed_free(uint64_t at, uint64_t size)
{
}

int plat_fixed_map(const struct plat_ram *ram, uint64_t at, uint64_t off, uint64_t size, bool write)
{
	return err_here(ERR_NOSYS);
}

int plat_fixed_unmap(uint64_t at, uint64_t size)
{
	return err_here(ERR_NOSYS);
}
