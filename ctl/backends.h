/* SPDX-License-Identifier: ISC */
/* backends.h: the host's side of a VM: kernel files, disks, network, character streams. */
#ifndef CTL_BACKENDS_H
#define CTL_BACKENDS_H

#include "board/micro.h"
#include "chr/chr.h"
#include "ctl/def.h"
#include "plat/plat.h"

struct mapped_file {
	const void *data;
	size_t size;
};

struct backends {
	struct mapped_file kernel, initrd;
	struct chr *serial, *console;
	struct chr *mux; /* what the VM's main console (serial, else console) is attached to */
	struct block *disk[DEF_MAX_DISKS];
	int disk_fd[DEF_MAX_DISKS]; /* O_PATH: free space is asked for here */
	unsigned n_disks;
	struct net *net[DEF_MAX_NETS];
	unsigned n_nets;
};

/* Opens all that def names. leave(arg) is called when the user leaves a VM on the terminal. */
int backends_open(struct backends *be, const struct vm_def *def, struct plat_loop *loop,
		  void (*leave)(void *arg), void *arg, struct msg *msg);
void backends_close(struct backends *be);
/* Wires them to a board. */
void backends_wire(const struct backends *be, const struct vm_def *def, struct micro_config *cfg);
/* Gives the page cache's copies of kernel and initrd back; they are read again if needed. */
void backends_trim(struct backends *be);
/* True where each file system that holds a disk has this much room. */
bool backends_room(const struct backends *be, uint64_t bytes);
/* A console client's socket, non-blocking; ownership moves in any case. early: bytes that it has
 * sent already. */
int backends_console(struct backends *be, int take_fd, const char *early, size_t len);

#endif
