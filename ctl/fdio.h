/* SPDX-License-Identifier: ISC */
/* fdio.h: all of a piece of a file, whatever interrupts. */
#ifndef CTL_FDIO_H
#define CTL_FDIO_H

#include "base/err.h"

/* 0; ERR_IO, and errno says why; reading: ERR_FORMAT, the file ends before (errno is 0). */
int fd_read_at(int fd, void *buf, size_t len, uint64_t at) attr_must_check;
int fd_write_at(int fd, const void *buf, size_t len, uint64_t at) attr_must_check;

#endif
