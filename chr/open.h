/* SPDX-License-Identifier: ISC */
/* open.h: character streams of the hosted programs, by name. All run on an event loop. */
#ifndef CHR_OPEN_H
#define CHR_OPEN_H

#include "chr/chr.h"
#include "plat/plat.h"

/* spec:
 *   none		output is lost, there is no input
 *   stdio		the process's stdin and stdout (chr/stdio.h tells more)
 *   file:F		output goes to file F, which is emptied first
 *   unix:F		a server socket; one client at a time, which first sees the last 64 KiB
 *   pty		a new pseudo-terminal; its name is logged
 * On failure errbuf (size bytes) says in one line what is wrong and what to do. */
int chr_open(struct plat_loop *loop, const char *spec, struct chr **out, char *errbuf,
	     size_t size) attr_must_check;

int chr_none_open(struct chr **out) attr_must_check;
int chr_file_open(struct plat_loop *loop, const char *path, struct chr **out, char *errbuf,
		  size_t size) attr_must_check;
int chr_unix_open(struct plat_loop *loop, const char *path, struct chr **out, char *errbuf,
		  size_t size) attr_must_check;
int chr_pty_open(struct plat_loop *loop, struct chr **out, char *errbuf,
		 size_t size) attr_must_check;
/* The slave's file name, valid as long as the stream. */
const char *chr_pty_name(struct chr *c);

/* A listening Unix socket that only its owner may use, in place of one that a dead process has left. Gives
 * the descriptor, addr filled in, or ERR_* with errbuf. */
struct sockaddr_un;
int unix_listen(const char *path, struct sockaddr_un *addr, char *errbuf, size_t size);

/* A connected socket (or another descriptor that is read and written), which the stream owns from
 * now on, on failure too. gone: called once, on the loop's thread, when the other side has hung up;
 * it may close the stream. NULL: nobody wants to know. */
int chr_fd_open(struct plat_loop *loop, int take_fd, void (*gone)(void *arg, struct chr *c),
		void *arg, struct chr **out) attr_must_check;

#endif
