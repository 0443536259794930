/* SPDX-License-Identifier: ISC */
/* media.h: disks and discs that are changed while the VM runs. */
#ifndef CTL_MEDIA_H
#define CTL_MEDIA_H

#include "ctl/def.h"
#include "ctl/state.h"

struct backends;
struct vm;

struct media_change {
	const char *drive; /* "cd0": first --cdrom; "fd1": second --floppy */
	const char
		*file; /* its path, for people and for vigia restore; NULL: take out what is in */
	int fd;        /* file, open; stays the caller's */
	bool read_only;
	bool force; /* also where the guest has locked the door */
};
/* Not from a vCPU's or the loop's thread. */
int media_change(struct vm *vm, struct backends *be, const struct vm_def *def,
		 const struct media_change *m, struct msg *msg);
/* Has a later restore start with it: adds to the command line, or changes what was added before.
 * o->argv is copied at the first time; owned: it was. */
int media_remember(struct state_origin *o, bool *owned, const struct media_change *m,
		   struct msg *msg);
void media_forget(struct state_origin *o, bool owned);

#endif
