/* SPDX-License-Identifier: ISC */
/* display.h: between a graphics device, input devices and the people who look at a screen. The
 * viewers pull: nothing is drawn while nobody looks.
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

/* Keys are named by their codes of scan code set 1; those with the prefix E0H have KEY_E0. */
#define KEY_E0    0x100u
#define KEY_PAUSE 0x200u /* E1H 1DH 45H; makes no break code */

#define BUTTON_LEFT   BIT(0)
#define BUTTON_RIGHT  BIT(1)
#define BUTTON_MIDDLE BIT(2)

/* What an input device takes. Any thread, no lock held. */
struct display_input {
	void (*key)(void *dev, unsigned key, bool down);
	/* dx: right, dy: down, dz: wheel towards the user; buttons: BUTTON_*, all that are held. */
	void (*mouse)(void *dev, int dx, int dy, int dz, unsigned buttons);
	void *dev;
};

struct display {
	struct plat_mutex lock; /* RANK_BUS: all below */
	/* Brings pixels up to date and marks the rows that have changed. NULL: no screen. */
	void (*refresh)(void *dev, struct display *d);
	void *dev;
	const uint32_t *pixels; /* 00RRGGBB, rows of width, without gaps */
	unsigned width, height;
	bool resized; /* since display_take() */
	uint8_t row_dirty[DISPLAY_MAX_H];
	struct display_input keyboard, pointer;
};

static inline void display_init(struct display *d)
{
	memset(d, 0, sizeof(*d));
	plat_mutex_init(&d->lock, RANK_BUS);
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

/* Input goes nowhere where there is no such device. */
static inline void display_key(struct display *d, unsigned key, bool down)
{
	struct display_input in;

	plat_mutex_lock(&d->lock);
	in = d->keyboard;
	if (in.key)
		in.key(in.dev, key, down);
	plat_mutex_unlock(&d->lock);
}

static inline void display_mouse(struct display *d, int dx, int dy, int dz, unsigned buttons)
{
	struct display_input in;

	plat_mutex_lock(&d->lock);
	in = d->pointer;
	if (in.mouse)
		in.mouse(in.dev, dx, dy, dz, buttons);
	plat_mutex_unlock(&d->lock);
}

#endif
