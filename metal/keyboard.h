/* SPDX-License-Identifier: ISC */
/* keyboard.h: the machine's PS/2 keyboard, or what firmware makes look like one. Keys of an American layout, as a terminal would
 * send them. */
#ifndef METAL_KEYBOARD_H
#define METAL_KEYBOARD_H

#include "base/def.h"

struct acpi_info;

struct keyboard {
	bool shift, ctrl, alt, caps, extended;
};

#define KEYBOARD_MAX 4 /* bytes of a key */

/* A byte of the controller (scan code set 1): gives how many bytes a terminal would have sent. *focus: Alt-F1 to Alt-F10: 1 to
 * 10, else 0. */
unsigned keyboard_decode(struct keyboard *k, uint8_t code, char out[KEYBOARD_MAX], unsigned *focus);

/* False: there is no controller. fn() runs when a key has come, interrupts off. */
bool keyboard_init(const struct acpi_info *acpi, void (*fn)(uint8_t vector));
/* The next byte of the controller; -1: none. */
int keyboard_read(void);

#endif
