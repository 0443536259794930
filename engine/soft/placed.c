/* SPDX-License-Identifier: ISC */
/* placed.c: the pages of the guest's RAM that lie in the host's fixed place, by where the guest has them and by frame. */
#include "engine/soft/placed.h"

#include "base/str.h"
#include "engine/soft/direct.h"

static uint32_t hash(uint64_t n)
{
	return (uint32_t)(n * UINT64_C(0x9e3779b97f4a7c15) >> 40) % PLACED_HEADS;
}

struct placed_page *placed_find(struct placed *p, gva_t gva)
{
	uint32_t i = p->by_gva[hash(gva >> PAGE_SHIFT)];

	while (i && p->page[i - 1].gva != gva)
		i = p->page[i - 1].next_gva;
	return i ? &p->page[i - 1] : NULL;
}

uint32_t placed_at_frame(const struct placed *p, uint32_t frame)
{
	return p->by_frame[hash(frame)];
}

void placed_clear(struct placed *p)
{
	memset(p->by_gva, 0, sizeof(p->by_gva));
	memset(p->by_frame, 0, sizeof(p->by_frame));
	for (uint32_t i = 0; i < p->n; i++)
		p->page[i].used = false;
	p->n = p->live = p->free = 0;
	if (!plat_fixed_unmap(DIRECT_FIRST, DIRECT_SIZE))
		return;
	/* Too many areas even for that: anew, or never again */
	plat_fixed_free(DIRECT_FIRST, DIRECT_SIZE);
	p->lost = plat_fixed_alloc(p->ram, DIRECT_FIRST, DIRECT_SIZE) != 0;
}

static struct placed_page *page_new(struct placed *p)
{
	uint32_t i = p->free;

	if (i)
		p->free = p->page[i - 1].next_gva;
	else
		i = ++p->n;
	BUG_ON(i > PLACED_MAX);
	return &p->page[i - 1];
}

static void page_note(struct placed *p, gva_t gva, uint32_t frame, bool write)
{
	uint32_t *head = &p->by_gva[hash(gva >> PAGE_SHIFT)];
	uint32_t *frames = &p->by_frame[hash(frame)];
	struct placed_page *page = page_new(p);

	p->live++;
	*page = (struct placed_page){.gva = gva,
				     .frame = frame,
				     .next_gva = *head,
				     .next_frame = *frames,
				     .used = true,
				     .write = write};
	*head = *frames = (uint32_t)(page - p->page) + 1;
}

static void unchain(struct placed *p, struct placed_page *page)
{
	uint32_t *at = &p->by_gva[hash(page->gva >> PAGE_SHIFT)];
	uint32_t i = (uint32_t)(page - p->page) + 1;

	while (*at != i)
		at = &p->page[*at - 1].next_gva;
	*at = page->next_gva;
	at = &p->by_frame[hash(page->frame)];
	while (*at != i)
		at = &p->page[*at - 1].next_frame;
	*at = page->next_frame;
	page->used = false;
	p->live--;
	page->next_gva = p->free;
	p->free = i;
}

void placed_drop(struct placed *p, struct placed_page *page)
{
	gva_t gva = page->gva;

	unchain(p, page);
	/* Too many areas: with all of them it goes. */
	if (plat_fixed_unmap(direct_host(gva), PAGE_SIZE))
		placed_clear(p);
}

bool placed_map(struct placed *p, gva_t gva, uint32_t frame, uint32_t n, bool write)
{
	if (p->live + n > PLACED_MAX)
		placed_clear(p);
	if (p->lost) /* what lies there now may be somebody else's */
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct placed_page *page = placed_find(p, gva + i * PAGE_SIZE);

		if (page)
			unchain(p, page);
	}
	if (plat_fixed_map(p->ram, direct_host(gva), (uint64_t)frame << PAGE_SHIFT, n * PAGE_SIZE,
			   write)) {
		placed_clear(p);
		return false;
	}
	for (uint32_t i = 0; i < n; i++)
		page_note(p, gva + i * PAGE_SIZE, frame + i, write);
	return true;
}
