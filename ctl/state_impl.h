/* SPDX-License-Identifier: ISC */
/* state_impl.h: what the files of ctl/state share: a file under a stream, and the memory's part of it. */
#ifndef CTL_STATE_IMPL_H
#define CTL_STATE_IMPL_H

#include "ctl/state.h"
#include "vm/stream.h"

#define STATE_RAM_AT  (64 * MIB) /* sections, video memory too, are before it */
#define STATE_MARK_AT (STATE_RAM_AT - PAGE_SIZE)

/* The context of state_file_io. */
struct state_fd {
	int fd;
	uint64_t at;
	int error; /* errno */
};
extern const struct state_io state_file_io;
/* ERR_FORMAT: the file ends before. Both leave f->at as it is. */
int state_read_at(struct state_fd *f, void *buf, size_t len, uint64_t at);
int state_write_at(struct state_fd *f, const void *buf, size_t len, uint64_t at);

/* The section "memory", and "frames" where it is compressed. */
int state_ram_write(struct state_stream *st, struct state_fd *f, struct vm *vm, bool compress,
		    struct state_ahead *ahead);
enum ram_use { RAM_LOOK, RAM_VERIFY, RAM_TAKE, RAM_COPY };
/* Reads the section; checks that the image is there, and does with what it holds what use says. to: RAM_TAKE's struct
 * vm, RAM_COPY's struct state_parts */
int state_ram_read(struct state_stream *st, struct state_fd *f, enum ram_use use, void *to);

#endif
