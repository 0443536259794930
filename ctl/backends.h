/* SPDX-License-Identifier: ISC */
/* backends.h: the host's side of a VM: kernel files, disks, network, character streams. */
#ifndef CTL_BACKENDS_H
#define CTL_BACKENDS_H

#include "board/micro.h"
#include "board/pc.h"
#include "chr/chr.h"
#include "chr/stdio.h"
#include "ctl/def.h"
#include "ctl/unpack_cache.h"
#include "plat/plat.h"
#include "ui/display.h"
#include "ui/typist.h"
#include "ui/vnc.h"

struct mapped_file {
	void *data; /* NULL: none */
	size_t size;
};

#define BACKENDS_MAX_CLIENTS 8

struct watch;

struct backends {
	struct watch *watch; /* the monitor's part, set before backends_open() */
	struct monitor *mon; /* the VM's; likewise */
	struct plat_loop *loop;
	struct mapped_file kernel, initrd[DEF_MAX_INITRDS], firmware, vga_bios,
		boot_rom[DEF_MAX_NETS];
	struct unpack_cache unpacked;
	struct display display;
	struct input input;
	struct typist typist;
	struct vnc *vnc;                         /* NULL: none */
	struct chr *serial, *console, *parallel; /* what the user has named; NULL: none */
	struct chr *mux; /* between the main console and all who look at it */
	bool mux_is_serial;
	struct chr *client[BACKENDS_MAX_CLIENTS]; /* loop's thread */
	struct block *disk[DEF_MAX_DISKS];
	unsigned n_disks;
	struct block *floppy[DEF_MAX_FLOPPIES], *vars; /* NULL: none */
	struct net *net[DEF_MAX_NETS];
	unsigned n_nets;
};

/* Opens all that def names, on loop. keys: behind Ctrl-A where a stream is stdio; they stay. Call
 * backends_close() even where it fails. */
int backends_open(struct backends *be, const struct vm_def *def, struct plat_loop *loop,
		  const struct chr_stdio_key *keys, unsigned n_keys, struct msg *msg);
/* From here on what comes from the console reaches the guest: once its state has been restored, or bytes
 * would go into devices that forget them. */
int backends_listen(struct backends *be, struct msg *msg);
/* Nobody types or looks any more. Before the devices go. */
void backends_quiet(struct backends *be);
/* The devices have gone. Flushes disks. */
void backends_close(struct backends *be);
/* Wires them to a board. */
void backends_wire(struct backends *be, const struct vm_def *def, struct micro_config *cfg);
void backends_wire_pc(struct backends *be, const struct vm_def *def, struct pc_config *cfg);
/* Takes kernel and initrd out of this process's memory; they are read again where needed. */
void backends_trim(struct backends *be);
/* A console client's socket, non-blocking; on success it is the console's. early: what it has sent
 * already. */
int backends_console(struct backends *be, int fd, const char *early, size_t len);

#endif
