/* SPDX-License-Identifier: ISC */
/* screen.h: the machine's screen: the loader's frame buffer, or VGA in text mode. */
#ifndef METAL_SCREEN_H
#define METAL_SCREEN_H

#include "base/def.h"

struct boot_screen;

void screen_init(const struct boot_screen *fb); /* once the address space is ours */
void screen_write(const char *buf, size_t len);
void screen_panic(void); /* white on red from here on */

#endif
