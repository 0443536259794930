/* SPDX-License-Identifier: ISC */
/* file.h: the host's files and disks as bfiles. Hosted. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <sys/types.h>

#include "block/bfile.h"

struct aio;

struct file_opts {
	bool read_only;
	bool no_lock;    /* only looks at the header */
	bool unsafe;     /* a flush does not reach the disk */
	bool no_discard; /* nothing is punched out */
	bool create;     /* must not exist before */
	bool overwrite;  /* with create: may exist, and is emptied */
};

struct file_id {
	dev_t dev;
	ino_t ino;
};

/* aio: NULL where only the synchronous calls are used. err: one line, without the path. */
int file_open(struct aio *aio, const char *path, const struct file_opts *o, struct bfile **out,
	      char *err, size_t err_size) attr_must_check;
/* The same for a file that is open already; fd stays the caller's. */
int file_open_fd(struct aio *aio, int fd, const char *path, const struct file_opts *o,
		 struct bfile **out, char *err, size_t err_size) attr_must_check;
/* An empty one without a name, in $TMPDIR. */
int file_temp(struct aio *aio, struct bfile **out, char *err, size_t err_size) attr_must_check;
/* False: there is nothing. */
bool file_path_id(const char *path, struct file_id *id);
void file_get_id(struct bfile *f, struct file_id *id);
/* Bytes that it takes on the host. */
uint64_t file_allocated(struct bfile *f);
int file_error(int e); /* errno to ERR_* */

/* filelock.c */
int file_lock(int fd, bool write, char *err, size_t err_size) attr_must_check;

#endif
