/* SPDX-License-Identifier: ISC */
/* crc32c.h: the checksum of saved states and of VHDX images. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/def.h"

/* CRC-32C (Castagnoli) of a block; crc: of what came before, 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
