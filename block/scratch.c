/* SPDX-License-Identifier: ISC */
/* scratch.c: see watch.h: in a temporary file. Hosted; any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/watch.h"

struct scratch_file {
	struct block_scratch s;
	int fd;
};

static int file_io(struct block_scratch *s, bool write, uint64_t off, void *to, size_t len)
{
	int fd = container_of(s, struct scratch_file, s)->fd;
	uint8_t *buf = to;

	while (len) {
		ssize_t n =
			write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
				       ? ERR_NOSPC
				       : ERR_IO;
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static void file_close(struct block_scratch *s)
{
	struct scratch_file *f = container_of(s, struct scratch_file, s);

	close(f->fd);
	free(f);
}

static int open_file(void)
{
	const char *dir = getenv("TMPDIR");
	FILE *f;
	int fd = open(dir && *dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	f = tmpfile(); /* no such file system, or no such folder */
	fd = f ? fcntl(fileno(f), F_DUPFD_CLOEXEC, 0) : -1;
	if (f)
		fclose(f);
	return fd;
}

struct block_scratch *block_scratch_file(void)
{
	struct scratch_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->s.io = file_io;
	f->s.close = file_close;
	f->fd = open_file();
	if (f->fd >= 0)
		return &f->s;
	free(f);
	return NULL;
}
