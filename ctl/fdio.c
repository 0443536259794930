/* SPDX-License-Identifier: ISC */
/* fdio.c: pread and pwrite until all is there. Any thread. */
#include "ctl/fdio.h"

#include <errno.h>
#include <unistd.h>

int fd_read_at(int fd, void *buf, size_t len, uint64_t at)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		if (!n) {
			errno = 0;
			return ERR_FORMAT;
		}
		p += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int fd_write_at(int fd, const void *buf, size_t len, uint64_t at)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (!n)
			errno = ENOSPC;
		if (n <= 0)
			return ERR_IO;
		p += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}
