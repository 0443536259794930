/* SPDX-License-Identifier: ISC */
/* unpack_cache.h: kernels that were unpacked before, as files. */
#ifndef CTL_UNPACK_CACHE_H
#define CTL_UNPACK_CACHE_H

#include "board/boot.h"
#include "ctl/blake2bp.h"

struct unpack_cache {
	int dir; /* -1: there is none */
	int fd;  /* of this VM's kernel, while nothing can be opened any more; -1: none */
	char name[2 * BLAKE2BP_SIZE + 1]; /* of the kernel that was asked for last */
};

/* The user's: ~/.cache/vigia/kernels. Without one, everything is unpacked each time. */
void unpack_cache_open(struct unpack_cache *c);
void unpack_cache_close(struct unpack_cache *c);
/* What k unpacks to, into k->room bytes. Bytes, or 0: it is not there. */
size_t unpack_cache_get(struct unpack_cache *c, const struct boot_packed *k, uint8_t *to);
/* Keeps what has come out of k, which unpack_cache_get() has just not found. */
void unpack_cache_put(struct unpack_cache *c, const struct boot_packed *k, const uint8_t *from,
		      size_t size);

#endif
