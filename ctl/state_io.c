/* SPDX-License-Identifier: ISC */
/* state_io.c: a file under a stream of sections, which end where the memory's image begins. Main thread. */
#include "ctl/state_impl.h"

#include <errno.h>

#include "ctl/fdio.h"

int state_write_at(struct state_fd *f, const void *buf, size_t len, uint64_t at)
{
	int err = fd_write_at(f->fd, buf, len, at);

	if (err)
		f->error = errno;
	return err;
}

int state_read_at(struct state_fd *f, void *buf, size_t len, uint64_t at)
{
	int err = fd_read_at(f->fd, buf, len, at);

	if (err)
		f->error = errno;
	return err;
}

static int file_write(void *ctx, const void *buf, size_t len)
{
	struct state_fd *f = ctx;
	int err = f->at + len > STATE_MARK_AT ? ERR_NOMEM : state_write_at(f, buf, len, f->at);

	f->at += err ? 0 : len;
	return err;
}

static int file_read(void *ctx, void *buf, size_t len)
{
	struct state_fd *f = ctx;
	int err = f->at + len > STATE_MARK_AT ? ERR_FORMAT : state_read_at(f, buf, len, f->at);

	f->at += err ? 0 : len;
	return err;
}

const struct state_io state_file_io = {file_write, file_read};
