/* SPDX-License-Identifier: ISC */
/* pictures.h: small pictures of a VM's screen for its history: at each change of its mode or size, and of what it
 * shows at most every ten seconds. Hosted. */
#ifndef CTL_PICTURES_H
#define CTL_PICTURES_H

#include "history/history.h"
#include "ui/display.h"

#define PICTURE_SIDE 320 /* dots at most, both ways */

struct pictures {
	struct display *display; /* NULL: none */
	uint64_t look;           /* the next time */
	/* the last picture: when, of what, and its dots */
	uint64_t taken;
	unsigned width, height;
	uint32_t mode;
	uint32_t *dots;
};

/* By the history's thread, between batches. */
void pictures_tick(struct pictures *p, struct history *to);
void pictures_fini(struct pictures *p); /* no tick comes any more */

#endif
