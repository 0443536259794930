/* SPDX-License-Identifier: ISC */
/* windows.c: plat.h's windows on bare metal: pages mapped more than once, one behind the other. As mappings stay for ever,
 * windows that were given back are kept for the next who asks for such. Any thread. */
#include "base/str.h"
#include "plat/metal/mem.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

#define WINDOWS_MAX 8u

struct windows {
	struct windows *next;
	size_t shared, own;
	unsigned n;
	uint8_t *at[WINDOWS_MAX];
};

static struct {
	struct spin lock;
	struct windows *free;
} all;

static struct windows *kept(size_t shared, size_t own, unsigned n)
{
	uint64_t flags = spin_lock(&all.lock);
	struct windows **link = &all.free, *w;

	while (*link && ((*link)->shared != shared || (*link)->own != own || (*link)->n != n))
		link = &(*link)->next;
	w = *link;
	if (w)
		*link = w->next;
	spin_unlock(&all.lock, flags);
	return w;
}

static int map_all(size_t shared, size_t own, unsigned n, uint8_t **window)
{
	uint64_t pa = phys_alloc(shared + n * own, PAGE_SIZE);
	int err = pa ? 0 : err_here(ERR_NOMEM);

	for (unsigned i = 0; i < n && !err; i++) {
		uint64_t mine = pa + shared + i * own;
		const struct ram_range part[] = {{pa, pa + shared}, {mine, mine + own}};

		window[i] = paging_map_parts(part, 2, MAP_W);
		if (!window[i])
			err = err_here(ERR_NOMEM);
	}
	if (err && pa) /* what is mapped already is used by nobody */
		phys_free(pa, shared + n * own);
	return err;
}

int plat_windows_alloc(size_t shared, size_t own, unsigned n, uint8_t **window)
{
	struct windows *w = n <= WINDOWS_MAX ? kept(shared, own, n) : NULL;
	int err = 0;

	if (n > WINDOWS_MAX)
		return err_here(ERR_RANGE);
	if (w) {
		memcpy(window, w->at, n * sizeof(*window));
		plat_free(w);
	} else {
		err = map_all(shared, own, n, window);
	}
	for (unsigned i = 0; i < n && !err; i++) {
		if (!i)
			plat_pages_discard(window[0], shared);
		plat_pages_discard(window[i] + shared, own);
	}
	return err;
}

void plat_windows_free(size_t shared, size_t own, unsigned n, uint8_t **window)
{
	struct windows *w = plat_alloc(sizeof(*w));
	uint64_t flags;

	if (!w) /* lost */
		return;
	*w = (struct windows){.shared = shared, .own = own, .n = n};
	memcpy(w->at, window, n * sizeof(*window));
	flags = spin_lock(&all.lock);
	w->next = all.free;
	all.free = w;
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
