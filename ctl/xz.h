/* SPDX-License-Identifier: ISC */
/* xz.h: unpacks what the kernel's build packs by xz. */
#ifndef CTL_XZ_H
#define CTL_XZ_H

#include "base/def.h"

/* The bytes that come out of the first stream in from, at to, or 0: damaged, more than room, or not of
 * the kind that kernels are packed with. to may have been written to then. */
size_t xz_unpack(const uint8_t *from, size_t size, uint8_t *to, size_t room);

#endif
