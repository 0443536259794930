/* SPDX-License-Identifier: ISC */
/* display.h: between a graphics device and the people who look at a screen. The viewers pull: nothing
 * is drawn while nobody looks. What they type is in ui/input.h.
 *
 * Who owns the VM owns the struct display; it outlives the devices and the viewers. Viewers lock it,
 * call refresh and read pixels; several may do so in turn. */
#ifndef UI_DISPLAY_H
#define UI_DISPLAY_H

#include "base/def.h"
#include "base/str.h"
#include "plat/plat.h"

#define DISPLAY_MAX_W 2560u
#define DISPLAY_MAX_H 1600u

struct display {
	struct plat_mutex lock; /* RANK_BUS: all below */
	/* Brings pixels up to date and marks the rows that have changed. NULL: no screen. */
	void (*refresh)(void *dev, struct display *d);
	void *dev;
	const uint32_t *pixels; /* 00RRGGBB, rows of width, without gaps */
	unsigned width, height;
	uint32_t mode; /* the device's: another number, another mode */
	bool resized;  /* since display_take() */
	uint8_t row_dirty[DISPLAY_MAX_H];
};

static inline void display_init(struct display *d)
{
	memset(d, 0, sizeof(*d));
	plat_mutex_init(&d->lock, RANK_BUS);
}

/* A device that goes takes its picture along. */
static inline void display_leave(struct display *d)
{
	plat_mutex_lock(&d->lock);
	d->refresh = NULL;
	d->pixels = NULL;
	d->width = d->height = 0;
	plat_mutex_unlock(&d->lock);
}

/* Locks and brings it up to date; pixels are steady until display_done(). False: there is no
 * picture, and nothing is locked. */
static inline bool display_begin(struct display *d)
{
	plat_mutex_lock(&d->lock);
	if (d->refresh)
		d->refresh(d->dev, d);
	if (d->refresh && d->width && d->height)
		return true;
	plat_mutex_unlock(&d->lock);
	return false;
}

static inline void display_done(struct display *d)
{
	plat_mutex_unlock(&d->lock);
}

/* For the one viewer that follows changes, between begin and done: forgets what has changed. */
static inline void display_take(struct display *d)
{
	memset(d->row_dirty, 0, sizeof(d->row_dirty));
	d->resized = false;
}

#endif
