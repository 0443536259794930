/* SPDX-License-Identifier: ISC */
/* placed.h: which pages of the guest's RAM lie in the host's fixed place (placed.c). */
#ifndef ENGINE_SOFT_PLACED_H
#define ENGINE_SOFT_PLACED_H

#include "plat/plat.h"

/* Each page may take two areas of the host's, of which a process has 65,530. */
#define PLACED_MAX   20000u
#define PLACED_HEADS 16384u

struct placed_page {
	gva_t gva;
	uint32_t frame;                /* offset in RAM, in pages */
	uint32_t next_gva, next_frame; /* page + 1 */
	bool used, write;
};

/* Whoever calls holds a lock. */
struct placed {
	const struct plat_ram *ram;
	bool lost; /* the place could not be kept: nothing is mapped any more */
	struct placed_page page[PLACED_MAX];
	uint32_t n, live, free;
	uint32_t by_gva[PLACED_HEADS], by_frame[PLACED_HEADS];
};

struct placed_page *placed_find(struct placed *p, gva_t gva);
/* The first of those at frame, behind which are others (next_frame), also of other frames; 0: none. Index + 1 */
uint32_t placed_at_frame(const struct placed *p, uint32_t frame);
/* n pages from gva on become those at frame on. False: not these, nor any others any more */
bool placed_map(struct placed *p, gva_t gva, uint32_t frame, uint32_t n, bool write);
/* With the page all others may go. */
void placed_drop(struct placed *p, struct placed_page *page);
void placed_clear(struct placed *p);

#endif
