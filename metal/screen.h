/* SPDX-License-Identifier: ISC */
/* screen.h: the machine's VGA in text mode, where there is one. */
#ifndef METAL_SCREEN_H
#define METAL_SCREEN_H

#include "base/def.h"

void screen_init(void); /* once the address space is ours */
void screen_write(const char *buf, size_t len);
void screen_panic(void); /* white on red from here on */

#endif
