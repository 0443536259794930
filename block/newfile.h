/* SPDX-License-Identifier: ISC */
/* newfile.h: a file that appears under its name when it is complete, or not at all. Hosted. */
#ifndef BLOCK_NEWFILE_H
#define BLOCK_NEWFILE_H

#include <limits.h>

#include "block/file.h"

struct newfile {
	char final[PATH_MAX]; /* what it will be called */
	char path[PATH_MAX];  /* where it is written meanwhile */
	struct bfile *old;    /* what it replaces, locked; or NULL */
	int fd;
	bool named; /* path is a name in a folder, not one of ours only */
};

/* err: one line, without the path. */
int newfile_open(struct newfile *n, const char *path, bool overwrite, char *err,
		 size_t err_size) attr_must_check;
int newfile_commit(struct newfile *n, char *err, size_t err_size) attr_must_check;
/* Instead: nothing of it stays. */
void newfile_abort(struct newfile *n);

#endif
