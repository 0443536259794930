/* SPDX-License-Identifier: ISC */
/* pictures.h: small pictures of a VM's screen for its history: at each change of its size, and of what it
 * shows at most every ten seconds. Hosted. */
#ifndef CTL_PICTURES_H
#define CTL_PICTURES_H

#include "history/history.h"
#include "ui/display.h"

#define PICTURE_SIDE 320 /* dots at most, both ways */

struct pictures {
	struct display *display; /* NULL: none */
	uint64_t look;           /* the next time */
	uint64_t taken;          /* the last picture: when, of which size, and what it showed */
	unsigned width, height;
	uint64_t sum;
};

/* By the history's thread, between batches. */
void pictures_tick(struct pictures *p, struct history *to);

#endif
