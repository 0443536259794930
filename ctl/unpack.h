/* SPDX-License-Identifier: ISC */
/* unpack.h: does on the host what a Linux kernel does first: unpacks itself. */
#ifndef CTL_UNPACK_H
#define CTL_UNPACK_H

#include "board/boot.h"

/* As boot_source.unpack. ctx: struct unpack_cache, or NULL */
bool unpack_linux(void *ctx, struct vm *vm, const struct boot_packed *k, struct boot_unpacked *out);

#endif
