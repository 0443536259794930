/* SPDX-License-Identifier: ISC */
/* png.h: pictures as PNG files. Hosted. */
#ifndef UI_PNG_H
#define UI_PNG_H

#include "base/def.h"
#include "base/err.h"

/* pixels: 00RRGGBB, w × h without gaps (both 1 … 65535). *out: malloc'd file of *len bytes. */
int png_make(const uint32_t *pixels, unsigned w, unsigned h, uint8_t **out,
	     size_t *len) attr_must_check;

#endif
