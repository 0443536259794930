/* SPDX-License-Identifier: ISC */
/* dev.h: what every device has in common. */
#ifndef VM_DEV_H
#define VM_DEV_H

#include "base/def.h"
#include "base/err.h"

struct dev;
struct state_stream; /* vm/stream.h */

struct dev_class {
	const char *name;
	void (*reset)(struct dev *dev); /* machine reset; vCPUs are stopped */
	bool stateless;                 /* nothing of it is to be saved */
	/* Saved state, both directions: st->loading says which. NULL and not stateless: a VM with
	 * this device cannot be saved. On the VM's
	 * loop, vCPUs parked, frozen. A load goes into a machine that was just created. */
	int (*state)(struct dev *dev, struct state_stream *st);
	/* on: ends what is in flight, and touches neither guest memory nor rings until it is called
	 * again with false, which also looks for what has come meanwhile. May wait (seconds); not
	 * on a thread that back ends complete on. ERR_TIMEOUT. NULL: nothing runs by itself. */
	int (*freeze)(struct dev *dev, bool on);
	void (*destroy)(struct dev *dev); /* frees; back ends are the board's */
};

/* First member of each device's own struct; linked to its VM by vm_add_dev(). */
struct dev {
	const struct dev_class *cls;
	struct vm *vm;
	struct dev *next;
};

#endif
