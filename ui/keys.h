/* SPDX-License-Identifier: ISC */
/* keys.h: names of keys: what people write, the characters of a US keyboard, X's keysyms. Hosted. */
#ifndef UI_KEYS_H
#define UI_KEYS_H

#include "base/def.h"
#include "base/err.h"
#include "ui/input.h"

#define KEYS_NONE 0u

/* The key of a character and whether Shift is needed; KEYS_NONE: a US keyboard has none. */
unsigned keys_of_char(unsigned char c, bool *shift);
/* The key of an X keysym (X11/keysymdef.h). shift: -1 where it does not matter, else 0 or 1. */
unsigned keys_of_keysym(uint32_t sym, int *shift);

#define KEYS_COMBO_MAX 8
/* "ctrl-alt-del", "a", "shift-f1", "ctrl--": keys to be pressed in order and released in reverse.
 * Gives their number, or ERR_INVAL, with *bad and *bad_len what is not known. */
int keys_combo(const char *text, unsigned key[KEYS_COMBO_MAX], const char **bad,
	       size_t *bad_len) attr_must_check;

#endif
