/* SPDX-License-Identifier: ISC */
/* lzma2.h: the compression inside of xz. */
#ifndef CTL_LZMA2_H
#define CTL_LZMA2_H

#include "base/def.h"

/* Unpacks chunks up to the one that says that it is the last, from *in on, which moves behind it. The bytes written
 * to `to`. False: damaged, or more than room. */
bool lzma2_unpack(const uint8_t **in, const uint8_t *end, uint8_t *to, size_t room, size_t *size);

#endif
