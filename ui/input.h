/* SPDX-License-Identifier: ISC */
/* input.h: between the people at a screen and a machine's keyboards and pointers. Devices register;
 * what comes in goes to the first one whose guest listens, so that a virtio tablet is used where the
 * guest has a driver for it, and the PS/2 mouse otherwise.
 *
 * Who owns the VM owns the struct input; it outlives devices and viewers. Any thread, no lock held. */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include "base/def.h"
#include "base/str.h"
#include "plat/plat.h"

/* Keys are named by their codes of scan code set 1; those with the prefix E0H have KEY_E0. */
#define KEY_E0    0x080u
#define KEY_PAUSE 0x100u /* E1H 1DH 45H */
#define KEY_COUNT 0x101u

#define KEY_LCTRL  0x1du
#define KEY_LSHIFT 0x2au
#define KEY_RSHIFT 0x36u
#define KEY_LALT   0x38u
#define KEY_RCTRL  (KEY_E0 | KEY_LCTRL)
#define KEY_RALT   (KEY_E0 | KEY_LALT)
#define KEY_PRINT  (KEY_E0 | 0x37u)

#define BUTTON_LEFT   BIT(0)
#define BUTTON_RIGHT  BIT(1)
#define BUTTON_MIDDLE BIT(2)
#define BUTTON_SIDE   BIT(3)
#define BUTTON_EXTRA  BIT(4)
#define BUTTON_ALL    0x1fu

#define INPUT_ABS_MAX 32767u /* right and lower edge of an absolute pointer's area */

enum input_kind { INPUT_KEYBOARD, INPUT_MOUSE, INPUT_TABLET, INPUT_KINDS };

/* What a device takes, all under input->lock; dev is the first argument. Those that its kind does not
 * have are NULL. */
struct input_device {
	enum input_kind kind;
	unsigned rank; /* the highest one that listens gets it */
	void *dev;
	/* Its guest has a driver for it. NULL: always. */
	bool (*listens)(void *dev);
	/* What it was given has not been fetched yet. */
	bool (*busy)(void *dev);
	void (*key)(void *dev, unsigned key, bool down);
	/* dx: right, dy: down, dz: wheel towards the user; buttons: BUTTON_*, all that are held. */
	void (*move)(void *dev, int dx, int dy, int dz, unsigned buttons);
	/* x, y: 0 … INPUT_ABS_MAX. */
	void (*point)(void *dev, unsigned x, unsigned y, int dz, unsigned buttons);
};

#define INPUT_DEVICES 6

struct input {
	struct plat_mutex lock; /* RANK_BUS: all below */
	struct input_device device[INPUT_DEVICES];
	unsigned n;
	uint8_t holder[KEY_COUNT]; /* who was told that a key is down: its place + 1 */
};

static inline void input_init(struct input *in)
{
	memset(in, 0, sizeof(*in));
	plat_mutex_init(&in->lock, RANK_BUS);
}

/* Devices beyond INPUT_DEVICES hear nothing. */
static inline void input_add(struct input *in, const struct input_device *dev)
{
	plat_mutex_lock(&in->lock);
	if (in->n < INPUT_DEVICES)
		in->device[in->n++] = *dev;
	plat_mutex_unlock(&in->lock);
}

/* The places of the others stay, as holder[] has them. */
static inline void input_remove(struct input *in, void *dev)
{
	plat_mutex_lock(&in->lock);
	for (unsigned i = 0; i < in->n; i++)
		if (in->device[i].dev == dev)
			in->device[i] = (struct input_device){.kind = INPUT_KINDS};
	plat_mutex_unlock(&in->lock);
}

/* Lock held. */
static inline const struct input_device *input_find(const struct input *in, enum input_kind kind)
{
	const struct input_device *best = NULL;

	for (unsigned i = 0; i < in->n; i++) {
		const struct input_device *d = &in->device[i];

		if (d->kind == kind && (!d->listens || d->listens(d->dev)) &&
		    (!best || d->rank > best->rank))
			best = d;
	}
	return best;
}

/* Says something of the machine at this moment. */
static inline bool input_has(struct input *in, enum input_kind kind)
{
	bool has;

	plat_mutex_lock(&in->lock);
	has = input_find(in, kind) != NULL;
	plat_mutex_unlock(&in->lock);
	return has;
}

static inline bool input_busy(struct input *in, enum input_kind kind)
{
	const struct input_device *d;
	bool busy;

	plat_mutex_lock(&in->lock);
	d = input_find(in, kind);
	busy = d && d->busy && d->busy(d->dev);
	plat_mutex_unlock(&in->lock);
	return busy;
}

/* Keyboards repeat by themselves: a key that is down already is no news. */
static inline void input_key(struct input *in, unsigned key, bool down)
{
	const struct input_device *d = NULL;

	if (key >= KEY_COUNT)
		return;
	plat_mutex_lock(&in->lock);
	if (down && !in->holder[key]) {
		d = input_find(in, INPUT_KEYBOARD);
		in->holder[key] = d ? (uint8_t)(d - in->device + 1) : 0;
	} else if (!down && in->holder[key]) {
		d = &in->device[in->holder[key] - 1];
		in->holder[key] = 0;
	}
	if (d && d->key)
		d->key(d->dev, key, down);
	plat_mutex_unlock(&in->lock);
}

/* Input goes nowhere where there is no such device. */
static inline void input_move(struct input *in, int dx, int dy, int dz, unsigned buttons)
{
	const struct input_device *d;

	plat_mutex_lock(&in->lock);
	d = input_find(in, INPUT_MOUSE);
	if (d)
		d->move(d->dev, dx, dy, dz, buttons);
	plat_mutex_unlock(&in->lock);
}

/* False: no device takes absolute positions now. */
static inline bool input_point(struct input *in, unsigned x, unsigned y, int dz, unsigned buttons)
{
	const struct input_device *d;

	plat_mutex_lock(&in->lock);
	d = input_find(in, INPUT_TABLET);
	if (d)
		d->point(d->dev, MIN(x, INPUT_ABS_MAX), MIN(y, INPUT_ABS_MAX), dz, buttons);
	plat_mutex_unlock(&in->lock);
	return d;
}

#endif
