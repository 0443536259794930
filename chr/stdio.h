/* SPDX-License-Identifier: ISC */
/* stdio.h: the process's stdin and stdout as a character stream, and the keys behind Ctrl-A. */
#ifndef CHR_STDIO_H
#define CHR_STDIO_H

#include "chr/chr.h"
#include "plat/plat.h"

/* What Ctrl-A and a key do. On the loop's thread. */
struct chr_stdio_key {
	char key;
	const char *help; /* "leave: power the guest off", shown by Ctrl-A h */
	void (*fn)(void *arg);
	void *arg;
};

/* A terminal is put into raw mode until the stream is closed or the process ends, however it ends;
 * Ctrl-A and a key of the table call its function, Ctrl-A h (or ?) lists them, Ctrl-A Ctrl-A is one
 * Ctrl-A. Where 'x' is not in the table it sends SIGTERM to the process. keys: copied pointers, must
 * stay. Input from a pipe or a file is passed on as it is, and its end is no error. */
int chr_stdio_open(struct plat_loop *loop, const struct chr_stdio_key *keys, unsigned n_keys,
		   struct chr **out, char *errbuf, size_t size) attr_must_check;
/* The default 'keys' of chr_open(…, "stdio") can be given afterwards, before the guest runs. */
void chr_stdio_set_keys(struct chr *c, const struct chr_stdio_key *keys, unsigned n_keys);

#endif
